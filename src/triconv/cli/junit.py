"""JUnit XML, which CI systems show: a test case for each problem of a manifest."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence

from triconv.checking.findings.protocol import IMPRECISE, UNCHECKED, WRONG
from triconv.checking.reports.text_report import without_escapes
from triconv.cli.outcome import Outcome

NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, escaped or not; a candidate's message may have them."""


def text(outcomes: Sequence[Outcome], name: str, seconds: float) -> str:
    """Return the XML of a test suite.

    Parameters
    ----------
    outcomes : sequence of Outcome
        What came out. Wrong and imprecise are failures, unchecked is an error.
    name : str
        Of the suite.
    seconds : float
        How long all of it took.
    """
    verdicts = [outcome.verdict for outcome in outcomes]
    counts = {
        "tests": str(len(verdicts)),
        "failures": str(sum(verdict in (WRONG, IMPRECISE) for verdict in verdicts)),
        "errors": str(verdicts.count(UNCHECKED)),
        "time": f"{seconds:.3f}",
    }
    suites = ET.Element("testsuites", {"name": _plain(name), **counts})
    suite = ET.SubElement(suites, "testsuite", {"name": _plain(name), **counts, "skipped": "0"})
    for outcome in outcomes:
        words = {
            "classname": _plain(outcome.problem.target),
            "name": _plain(outcome.problem.name),
            "time": f"{outcome.seconds:.3f}",
        }
        case = ET.SubElement(suite, "testcase", words)
        if outcome.verdict in (WRONG, IMPRECISE, UNCHECKED):
            kind = "error" if outcome.verdict == UNCHECKED else "failure"
            said = {"message": _plain(outcome.summary), "type": _plain(outcome.cause or outcome.verdict)}
            ET.SubElement(case, kind, said).text = _plain(outcome.text)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _plain(words: str) -> str:
    return NOT_XML.sub("?", without_escapes(words))
