"""``triconv check --manifest``: many problems, each checked in a process of its own, with a row for each."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from triconv.checking.candidates import target_names
from triconv.checking.candidates.candidate_process import name_of_signal
from triconv.checking.findings.exception_text import one_line
from triconv.checking.findings.protocol import EXIT_STATUS, IMPRECISE, RIGHT, UNCHECKED, WRONG, Verdict
from triconv.checking.reports.text_report import STYLES, without_escapes
from triconv.cli import junit, output
from triconv.cli.batch_worker import START
from triconv.cli.manifest import Entry
from triconv.cli.outcome import Outcome

GRACE = 15.0
"""Seconds after its time limit that a check has to end its candidate and to write its report."""
INTERRUPTED = "it was not checked: Ctrl-C"


class Batch:
    """Problems that are checked in a number of processes at a time.

    Parameters
    ----------
    problems : sequence of Entry
        The problems.
    folder : Path
        That of the manifest, to which paths are relative.
    jobs : int
        Number of checks at a time.
    """

    def __init__(self, problems: Sequence[Entry], folder: Path, jobs: int) -> None:
        self.problems, self.folder, self.jobs = problems, folder, jobs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._is_over = False
        self._lock = threading.Lock()

    def run(self, on_outcome: Callable[[Outcome], Any]) -> list[Outcome]:
        """Return an outcome for each problem, in their order; after Ctrl-C, those of the rest say so."""
        outcomes = {number: Outcome(problem, UNCHECKED, INTERRUPTED) for number, problem in enumerate(self.problems)}
        pool = concurrent.futures.ThreadPoolExecutor(self.jobs)
        futures = {pool.submit(self._row, problem): number for number, problem in enumerate(self.problems)}
        try:
            for future in concurrent.futures.as_completed(futures):
                outcomes[futures[future]] = future.result()
                on_outcome(future.result())
        except KeyboardInterrupt:
            self._end_all()
        finally:
            pool.shutdown(cancel_futures=True)
        return [outcomes[number] for number in range(len(self.problems))]

    def _row(self, problem: Entry) -> Outcome:
        """Check one problem, whatever becomes of it."""
        if problem.refused:
            return Outcome(problem, UNCHECKED, problem.refused)
        file = target_names.file_of(problem.target)
        if file is not None and not (self.folder / file).is_file():  # known without a process
            return Outcome(problem, UNCHECKED, target_names.no_file(str(file)))
        try:
            return self._checked(problem)
        except Exception as error:  # noqa: BLE001 (no process can be started, such as: the others are checked)
            summary = f"the check could not be run: {type(error).__name__}: {one_line(error)}"
            return Outcome(problem, UNCHECKED, summary, text=traceback.format_exc())

    def _checked(self, problem: Entry) -> Outcome:
        """Check one problem in a process."""
        started = time.monotonic()
        words = [sys.executable, "-c", START, json.dumps([str(Path(place).resolve()) for place in sys.path])]
        with self._lock:
            if self._is_over:
                return Outcome(problem, UNCHECKED, INTERRUPTED)
            process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=self.folder,
                start_new_session=os.name == "posix",
            )
            self._running.add(process)
        is_late = False
        try:
            given = json.dumps(dataclasses.asdict(problem)).encode()
            out, err = process.communicate(given, problem.timeout + GRACE)
        except subprocess.TimeoutExpired:
            is_late = True
            _end(process)
            out, err = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        seconds = time.monotonic() - started
        if is_late:
            summary = f"the check gave no answer within {problem.timeout:g} s"
            return Outcome(problem, UNCHECKED, summary, seconds=seconds)
        if self._is_over:
            return Outcome(problem, UNCHECKED, INTERRUPTED, seconds=seconds)
        return _outcome(problem, process.returncode, out, err, seconds)

    def _end_all(self) -> None:
        with self._lock:
            self._is_over = True
            for process in self._running:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a check and its candidate, which is of the same group."""
    with contextlib.suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _outcome(problem: Entry, status: int, out: bytes, err: bytes, seconds: float) -> Outcome:
    try:
        said = json.loads(out)
        report, text = said.get("report"), str(said.get("text", ""))
        if report is None:
            return Outcome(problem, UNCHECKED, str(said["error"]), seconds=seconds, text=text)
        verdict = Verdict(report["verdict"])
        return Outcome(problem, verdict, str(report["summary"]), str(report["cause"]), seconds, report, text)
    except (ValueError, KeyError, AttributeError, TypeError):
        text = err.decode(errors="replace")[-4000:]
        return Outcome(problem, UNCHECKED, f"the check's process {_ending(status)}", seconds=seconds, text=text)


def _ending(status: int) -> str:
    """Return in words how a process ended that should not have."""
    if status < 0:
        return f"ended with signal {-status}, {name_of_signal(-status)}"
    return f"ended with exit status {status}"


def check(problems: Sequence[Entry], manifest: str, jobs: int | None, json_path: str | None, xml: str | None) -> int:
    """Check all problems, print and write what came out, and return the exit status.

    Parameters
    ----------
    problems : sequence of Entry
        The problems of the manifest.
    manifest : str
        Its path.
    jobs : int, optional
        Number of checks at a time; by default that of the processors.
    json_path, xml : str, optional
        Files for all reports as JSON, and for JUnit XML.

    Returns
    -------
    int
        0 if all are right, 1 if any is wrong or imprecise, else 2.
    """
    batch = Batch(problems, Path(manifest).resolve().parent, jobs or os.cpu_count() or 1)
    started, console = time.monotonic(), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    count: Counter[str] = Counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("checking", total=len(problems))

        def on_outcome(outcome: Outcome) -> None:
            count[outcome.verdict] += 1
            progress.update(task, advance=1, description=", ".join(f"{n} {verdict}" for verdict, n in count.items()))
            if not console.is_terminal:
                name = without_escapes(outcome.problem.name)
                sys.stderr.write(f"{count.total()}/{len(problems)} {outcome.verdict}: {name}\n")

        outcomes = batch.run(on_outcome)
    show(outcomes)
    seconds = time.monotonic() - started
    if json_path is not None:
        _write(json_path, json.dumps(as_dict(outcomes, manifest, seconds), indent=2, allow_nan=False) + "\n")
    if xml is not None:
        _write(xml, junit.text(outcomes, manifest, seconds))
    return status_of(outcomes)


def status_of(outcomes: Sequence[Outcome]) -> int:
    """Return the exit status."""
    statuses = {EXIT_STATUS[outcome.verdict] for outcome in outcomes}
    return 1 if 1 in statuses else max(statuses)


def as_dict(outcomes: Sequence[Outcome], manifest: str, seconds: float) -> dict[str, Any]:
    """Return everything that came out, in plain Python."""
    count = Counter(outcome.verdict.value for outcome in outcomes)
    return {
        "manifest": manifest,
        "status": status_of(outcomes),
        "seconds": round(seconds, 3),
        "count": {verdict.value: count[verdict.value] for verdict in (RIGHT, WRONG, IMPRECISE, UNCHECKED)},
        "problems": [
            {
                "name": outcome.problem.name,
                "target": outcome.problem.target,
                "verdict": outcome.verdict.value,
                "summary": outcome.summary,
                "cause": outcome.cause,
                "seconds": round(outcome.seconds, 3),
                "report": outcome.report,
            }
            for outcome in outcomes
        ],
    }


def show(outcomes: Sequence[Outcome]) -> None:
    """Print one row for each problem, and how many there are of each verdict."""
    console = output.console()
    table = Table(box=None, pad_edge=False)
    for title in ("problem", "verdict", "cause", "seconds", "summary"):
        table.add_column(title, overflow="fold", justify="right" if title == "seconds" else "left")
    for outcome in outcomes:
        words = (outcome.problem.name, outcome.verdict, outcome.cause, f"{outcome.seconds:.1f}", _short(outcome))
        cells = [Text(without_escapes(word)) for word in words]
        cells[1].stylize(STYLES.get(outcome.verdict, ""))
        table.add_row(*cells)
    console.print(table)
    count = Counter(outcome.verdict.value for outcome in outcomes)
    console.print(Text(f"{len(outcomes)} problems: " + ", ".join(f"{n} {verdict}" for verdict, n in count.items())))


def _short(outcome: Outcome) -> str:
    """Return the summary without the verdict, which has a column of its own."""
    return outcome.summary.removeprefix(f"{outcome.verdict}: ")


def _write(path: str, text: str) -> None:
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as problem:
        msg = f"the result could not be written: {problem}"
        raise ValueError(msg) from None
