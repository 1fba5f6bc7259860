"""The sentences of a report: each question and finding in words; those of a diagnosis are in `diagnosis_wording.py`."""

from __future__ import annotations

import re
from typing import Any

from triconv.checking.findings.evidence import Evidence
from triconv.checking.findings.exception_text import CaughtException, EndedProcess
from triconv.checking.findings.findings import (
    Collective,
    Declared,
    DerivativeOfValues,
    DoesNotReach,
    EqualOnIntegers,
    FewerBits,
    Finding,
    Homogeneous,
    NotFinite,
    NotHomogeneous,
    NotRepeatable,
    OnlyLater,
    OracleResult,
    OracleStatus,
    ReachesAll,
    Repeatable,
    SameValues,
    SentBetweenDevices,
    ShapeOfLine,
    StressedSizes,
    Swept,
    WithinNormWiseBound,
    WrongDtype,
    WrongElements,
    WrongShape,
)
from triconv.checking.findings.protocol import RIGHT, Kind, Question, Transform
from triconv.checking.findings.unanswered import Advice, NoArray, NoDerivative, NotSupported, Raised, Reason, Undecided
from triconv.checking.reports import homogeneity_wording, memory_wording, precision_wording
from triconv.checking.reports.diagnosis_wording import diagnosis

__all__ = ["diagnosis"]  # of another file, but words of a report as well

ONLY_LATER = {
    Kind.VALUE: "it is right where a VJP is asked too, and wrong where it is asked alone, as under no_grad",
    Kind.JVP: "the VJPs are right, the JVP is not",
    Kind.SECOND_ORDER: "first order is right, second is not",
}


def question(q: Question) -> str:
    """Return what was asked, such as "VJP of x"; no two questions of a check have the same words."""
    match q.kind:
        case Kind.VALUE:
            under = {Transform.JIT: " under jit", Transform.VJP: " with a VJP", Transform.JVP: " with a JVP"}
            return "value" + (under[q.transform] if q.transform else "")
        case Kind.REPEAT:
            return "run to run"
        case Kind.VMAP:
            return f"vmap, sample {q.sample}"
        case Kind.NAN | Kind.INFINITY:
            poison = "a NaN" if q.kind == Kind.NAN else "an infinity"
            if q.role is None:
                return f"{poison} in each array"
            return f"{poison} in {q.name or 'the cotangent'}" + (f", VJP of {q.of}" if q.of else "")
        case Kind.HOMOGENEITY:
            if q.role is None:
                return "negated and scaled"
            of = {Transform.VJP: f"VJP of {q.name}", Transform.JVP: "JVP"}
            return f"negated and scaled: {of[q.transform] if q.transform else 'value'}"
        case Kind.VJP:
            return f"VJP of {q.name}"
        case Kind.JVP:
            return "JVP"
        case Kind.SECOND_ORDER:
            return f"second order of {q.name or 'the cotangent'} ({q.mode})"
        case Kind.DERIVATIVES:
            return "derivatives"
        case Kind.DTYPE:
            return "dtype"
        case Kind.SHAPE:
            return f"shape of the VJP of {q.name}"
        case Kind.STRESS:
            return f"sizes: {q.name}" if q.name else "stress sizes"
        case Kind.SWEEP:
            return f"sweep: {q.name}"
        case _:
            return memory_wording.question(q)


def detail(finding: Finding, evidence: Evidence | None = None) -> str:
    """Return a finding in a sentence; with the evidence, also where and how far it is wrong."""
    match finding:
        case EqualOnIntegers():
            return _equal(finding)
        case WithinNormWiseBound(truth, mixes_samples):
            bound = f"the norm-wise bound{_truth(truth)}"
            if mixes_samples:
                return (
                    f"random data within {bound}, of all samples together, as of Strassen's products: normwise stable only, a "
                    "small sample beside large ones has fewer right digits"
                )
            return f"random data within {bound}, as of an FFT or Winograd algorithm, not element by element"
        case Repeatable(spread):
            if spread == 0:
                return "three runs give the same bits"
            return f"runs differ by up to {spread:.2g}, which is rounding: sums in another order"
        case ReachesAll(more, answers):
            asked = f" ({answers} answers)" if answers > 1 else ""
            return f"it reaches what it meets{f', and {more} elements more' if more else ' and nothing else'}{asked}"
        case Homogeneous(answers, up, down):
            return (
                f"arrays times -1, 2^{up} and 2^-{down} give results times that, bit for bit"
                f"{f' ({answers} answers)' if answers > 1 else ''}"
            )
        case NotHomogeneous():
            return homogeneity_wording.not_homogeneous(finding)
        case SameValues():
            return "the same values"
        case ShapeOfLine():
            return _line(finding.degree, finding.part)
        case DerivativeOfValues():
            return _derivative_of_values(finding)
        case Undecided(difference, allowed):
            if difference != difference:
                return "undecided: the values do not show this derivative: they are not smooth, or it is too small"
            return f"undecided: it differs from the numerical derivative by {difference:.2g}; rounding explains {allowed:.2g}"
        case FewerBits():
            return precision_wording.fewer_bits(finding)
        case NotRepeatable(adds_up=True):
            return "each call adds its result to those of the calls before: a buffer is not set to zero first"
        case NotRepeatable(spread_):
            if spread_ is None:
                return "the shape is not the same from run to run"
            return f"the result is not the same from run to run: it differs by up to {spread_:.2g}"
        case WrongElements(why_wrong):
            return diagnosis(why_wrong) + (f"; {_element(evidence)}" if evidence is not None else "")
        case OnlyLater(kind, cause, inner):
            return f"{ONLY_LATER[kind]}{f' ({cause})' if cause else ''}: {detail(inner, evidence)}"
        case NotFinite(elements, narrow, where):
            in_region = f"{diagnosis(where)}; " if where is not None else ""
            of = "of finite data"
            if narrow is not None:
                of += f": it overflows as {narrow.dtype} does, whose largest number is {narrow.largest:.6g}"
            if evidence is None:
                return f"{in_region}{elements} elements are not finite, {of}"
            return f"{in_region}{_element(evidence)}, {of}"
        case DoesNotReach(missing, total):
            if total is None:
                return f"what is not finite in the arrays does not reach {missing} elements that it meets"
            return f"it does not reach {missing} of {total} elements that it meets"
        case WrongShape(expected, found, kept_axes, why):
            sentence = f"its shape must be {expected}, got {found}"
            if kept_axes:
                return f"{sentence}: the sum kept axes of length 1"
            return sentence if why is None else f"{sentence}: {diagnosis(why)}"
        case WrongDtype(expected_dtype, found_dtypes, questions):
            of = ", ".join(map(question, questions))
            return f"the dtype must be {expected_dtype}, as that of the arrays, got {' and '.join(found_dtypes)}: {of}"
        case Declared(name):
            return f"as declared, {name}"
        case Swept(question_, finding_):
            return (
                "" if question_ is None or finding_ is None else f"{question(question_)}: {detail(finding_, evidence)}"
            )
        case Raised(EndedProcess() as end):
            return _ended(end)
        case StressedSizes(right, refused):
            return f"{right} sizes: right" + (f"; {refused} others it does not take" if refused else "")
        case Raised(caught, again):
            return f"the candidate raised{', asked again:' if again else ''} {exception(caught)}"
        case NoArray("dict"):
            return "the candidate returned a dict, which is no array: give a function that returns one entry of it"
        case NoArray(type_, attribute):
            instead = f": return its .{attribute}, and give (forward, backward) if its derivatives are asked of a tape"
            return f"the candidate returned a {type_}, which is no array{instead if attribute else ''}"
        case NotSupported():
            return _not_supported(finding)
        case NoDerivative():
            return f"right: value only, no derivative was asked: {_advice(finding)}"
        case _:
            return memory_wording.detail(finding, question)


def where(e: Evidence) -> list[str]:
    """Return sentences on the first wrong element: its index, the two values, and how many elements are wrong."""
    # results of a bias have one axis, whose order needs no word
    order = ", axes in torch's order" if len(e.index) > 1 and e.in_torch_order else ""
    return [
        f"first wrong element: {e.index}{order}",
        f"expected {value(e.expected_value)}, found {value(e.found_value)}",
        f"{e.wrong_elements} of {e.elements} elements {'is' if e.wrong_elements == 1 else 'are'} wrong",
    ]


def value(number: Any) -> str:
    """Return a number with all its digits; a whole one without '.0'."""
    return str(number).removesuffix(".0")


def compared(candidate: str, like: str) -> str:
    """Return what was compared with what; without an operator, a function's derivatives with its own values."""
    return f"{candidate} like {like}" if like else f"{candidate}, its derivatives against its own values"


def call(
    candidate: str,
    like: str,
    shapes: tuple[tuple[int, ...], ...],
    params: dict[str, Any],
    framework: str,
    dtype: str,
    seed: int,
) -> str:
    """Return the call in Python that makes such a report."""
    given = {**params, "framework": framework, "dtype": dtype, "seed": seed}
    arguments = [candidate, *([like] if like else []), *map(str, shapes)]
    arguments += [f"{name}={value!r}" for name, value in given.items() if value != ""]
    return f"triconv.{'check' if like else 'gradcheck'}({', '.join(arguments)})"


def summary(
    verdict: str,
    candidate: str,
    like: str,
    *,
    asked: int,
    first: str = "",
    first_detail: str = "",
    unjudged: tuple[str, ...] = (),
) -> str:
    """Return the verdict in one sentence.

    Parameters
    ----------
    verdict : Verdict
        The verdict.
    candidate, like : str
        Names of what was checked, and of the operator.
    asked : int
        Number of right answers.
    first, first_detail : str
        The first question with this verdict, and its detail.
    unjudged : tuple of str
        The gradients that the candidate does not give.
    """
    if verdict == RIGHT:
        without = f"; it gives no {', no '.join(unjudged)}" if unjudged else ""
        count = f"{asked} of {asked} checks{without}"
        if not like:
            return f"right: the derivatives of {candidate} agree with its values ({count})"
        return f"right: {candidate} agrees with {like} ({count})"
    if not first:
        return f"{verdict}: {candidate}: nothing could be asked"
    return f"{verdict}: {candidate}, {first}" + (f": {first_detail}" if first_detail else "")


def oracle(result: OracleResult) -> str:
    """Return in a sentence what a framework's own convolution says."""
    match result.status:
        case OracleStatus.AGREES:
            return f"{result.oracle} agrees with the definition: value and both VJPs, on integers, bit for bit"
        case OracleStatus.WRONG:
            names = ", ".join(map(question, result.wrong))
            return f"{result.oracle} itself is wrong here, against the definition: {names}"
        case OracleStatus.CANNOT_EXPRESS:
            return f"{result.oracle} cannot express this geometry"


def sent(record: SentBetweenDevices) -> str:
    """Return in a sentence what devices send each other for a question."""
    return f"{question(record.question)}: {collectives(record.collectives)}"


def collectives(found: tuple[Collective, ...]) -> str:
    """Return in words what devices send each other."""
    if not found:
        return "nothing is sent between devices"
    return ", ".join(f"{c.number} {c.kind} ({c.bytes:,} bytes per device)" for c in found)


SIGNATURE = re.compile(r"takes .*positional argument|missing \d+ required .*argument")
"""What Python says of a call with other arguments than a function takes."""
OTHER_SIGNATURE = "it gets the arrays one by one, in the order of their shapes (a lambda adapts another signature)"


def exception(caught: CaughtException) -> str:
    """Return the type and the message of an exception, where it was raised, and what it means where that is not plain."""
    why = "; JAX cannot transpose the rule: its tangent is not linear in the tangents"
    is_not_linear = caught.type == "AssertionError" and "ValAccum" in caught.message
    return (
        f"{caught.type}: {caught.message}"
        + (f" ({caught.where})" if caught.where else "")
        + (why if is_not_linear else "")
        + (f"; {OTHER_SIGNATURE}" if caught.type == "TypeError" and SIGNATURE.search(caught.message) else "")
    )


def _ended(end: EndedProcess) -> str:
    where = f" ({end.where})" if end.where else ""
    if end.seconds is not None:
        return f"the candidate's process gave no answer within {end.seconds:g} s"
    if end.memory is not None:
        limit = f", of which it may have {end.memory / 2**30:.3g} GiB" if end.memory else ""
        return f"the candidate's process found no more memory{limit}"
    if end.is_garbled:
        return f"the candidate's process sent what is no answer: {end.message}"
    if end.signal is not None:
        return (
            f"the candidate's process ended with signal {end.signal}"
            + (f", {end.message}" if end.message else "")
            + where
        )
    return f"the candidate's process ended with exit status {end.status}"


def _equal(f: EqualOnIntegers) -> str:
    by_projection = f"in random combinations (a fault is missed with a probability below {f.missed:.0e})"
    exact = f"equal on integers, {by_projection if f.missed else 'bit for bit'}"
    return exact + (f"; random data within rounding{_truth(f.truth)}" if f.random else "")


def _truth(kernel: str) -> str:
    return f" of triconv's {kernel} in float64, itself equal on integers" if kernel else ""


def _line(degree: int | None, part: float) -> str:
    if degree is None:
        return "no polynomial, so that its derivative is known numerically"
    shown = f"a polynomial of degree {degree} or less on a piece, as its values show"
    return shown if part == 1 else f"{part:.0%} of the elements are {shown}; the others are known numerically"


def _derivative_of_values(f: DerivativeOfValues) -> str:
    if f.degree is None:
        return "equal to the numerical derivative of its values, within the estimate of its error"
    exact = f"the derivative of its values, exactly, along {f.lines} random lines"
    return exact if f.part == 1 else "the derivative of its values: exactly on a piece, numerically elsewhere"


def _element(e: Evidence) -> str:
    found, expected = _distinct(e.found_value, e.expected_value)
    return f"at {e.index} it is {found}, must be {expected}; {e.wrong_elements} of {e.elements} elements are wrong"


def _distinct(a: Any, b: Any) -> tuple[str, str]:
    """Return two numbers with as many digits as it takes to see that they differ."""
    if a.dtype.kind in "iu":
        return str(a), str(b)
    pairs = ((f"{a:.{digits}g}", f"{b:.{digits}g}") for digits in (6, 9, 17))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{a:.17g}", f"{b:.17g}"))


def _not_supported(f: NotSupported) -> str:
    caught = exception(f.exception) if f.exception else ""
    match f.reason:
        case Reason.LIBRARY:
            return f"a function of {f.name} has no {f.ability}"
        case Reason.EXCEPTION:
            return f"no {f.ability}: {caught}"
        case Reason.NO_TENSOR:
            return f"no {f.ability}: the result is no tensor, but of {f.name}"
        case Reason.LEAVES_TORCH:
            return f"no {f.ability}: the result has no graph, for the code takes its numbers out of torch"
        case Reason.CUSTOM_OPERATOR:
            return f"no {f.ability}: torch gives zeros for the operator {f.name}, without a warning"
        case Reason.ONCE_DIFFERENTIABLE:
            return f"no {f.ability}: it is marked with @once_differentiable"
        case Reason.REFUSED | Reason.REFUSED_GEOMETRY:
            return f"the candidate raised {caught}"
        case Reason.NOT_GIVEN | Reason.RULES | Reason.EMPTY | Reason.OTHER_SHAPE | Reason.OTHER_SIZES | Reason.DECLARED:
            return str(f.reason)


def _advice(f: NoDerivative) -> str:
    match f.advice:
        case Advice.COMPLETE_RULES:
            return "give triconv.Rules its input_vjp and weight_vjp too"
        case Advice.USE_RULES:
            own = f"a function of {f.library} has none of its own"
            return f"{own}; give (forward, backward) or triconv.Rules(forward, input_vjp, weight_vjp)"
        case Advice.NONE:
            return "it has none" if f.reason is None else _not_supported(f.reason)
