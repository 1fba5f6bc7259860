"""The process that checks one problem of a manifest; the candidate runs in another, which it starts."""

from __future__ import annotations

import io
import json
import os
import sys
import traceback
from typing import Any

START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from triconv.cli import batch_worker; batch_worker.main()"
)


def main() -> None:
    """Read a problem from standard input as JSON, check it, and write what came out to standard output as JSON."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.stderr = io.StringIO() if sys.flags.dev_mode else open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    problem = json.load(sys.stdin)
    json.dump(outcome(problem), out)
    out.flush()


def outcome(problem: dict[str, Any]) -> dict[str, Any]:
    """Return the report on a problem and its text, or the error in one line.

    Parameters
    ----------
    problem : dict
        The fields of `manifest.Entry`.
    """
    import triconv
    from triconv.checking.findings.exception_text import one_line
    from triconv.checking.isolation import Isolation
    from triconv.cli.targets import GIB, reference_named

    memory = problem["memory"]
    keywords = problem["keywords"]
    if isinstance(keywords.get("args"), list):  # JSON has no tuples
        keywords["args"] = tuple(keywords["args"])
    try:
        isolate = Isolation(problem["timeout"], None if memory is None else int(memory * GIB))
        like = reference_named(problem["like"])
        shapes = [tuple(shape) for shape in problem["shapes"]]
        report = triconv.check(problem["target"], like, *shapes, isolate=isolate, **keywords)
    except (ValueError, TypeError, ImportError) as error:
        return {"error": one_line(error)}
    except Exception as error:  # noqa: BLE001 (of the checker itself: the traceback is wanted)
        return {"error": f"{type(error).__name__}: {one_line(error)}", "text": traceback.format_exc()}
    return {"report": report.to_dict(), "text": str(report)}
