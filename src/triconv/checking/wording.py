"""The sentences of a report: each question, finding and diagnosis in words. No other file makes or reads them."""

from __future__ import annotations

from typing import Any

from triconv.checking.causes import Diagnosis, Factor, Hypothesis
from triconv.checking.findings import (
    Advice,
    CaughtException,
    Collective,
    Declared,
    DerivativeOfValues,
    DoesNotReach,
    EqualOnIntegers,
    Evidence,
    FewerBits,
    Finding,
    Level,
    NoArray,
    NoDerivative,
    NotFinite,
    NotRepeatable,
    NotSupported,
    OnlyLater,
    OracleResult,
    OracleStatus,
    Raised,
    ReachesAll,
    Reason,
    Repeatable,
    SameValues,
    SentBetweenDevices,
    ShapeOfLine,
    Swept,
    Undecided,
    WithinNormWiseBound,
    WrongDtype,
    WrongElements,
    WrongShape,
)
from triconv.checking.protocol import RIGHT, Kind, Question, Role, Transform, Verdict

TENSORS = {Role.X: "x", Role.W: "the kernel", Role.G: "the output (or its cotangent)", Role.BIAS: "the bias"}
CHANNELS = {
    (Role.X, 1): "channels",
    (Role.G, 1): "channels",
    (Role.W, 0): "output channels",
    (Role.W, 1): "input channels",
}
LETTERS = {
    (Role.X, 0): "batch",
    (Role.G, 0): "batch",
    (Role.X, 1): "input channels",
    (Role.W, 1): "input channels",
    (Role.W, 0): "output channels",
    (Role.G, 1): "output channels",
}

HYPOTHESES: dict[Hypothesis, str] = {
    Hypothesis.KERNEL_FLIPPED: "the kernel is flipped against this operator, which is cross-correlation: reverse its spatial "
    "axes, or do not",
    Hypothesis.KERNEL_FLIPPED_IN_AXES: "the kernel is flipped in spatial axis {spatial_axes} alone",
    Hypothesis.RESULT_FLIPPED: "the result is reversed in axis {axes}",
    Hypothesis.OUTPUT_PADDING_IGNORED: "the output padding is ignored",
    Hypothesis.STRIDE_AND_DILATION_EXCHANGED: "stride and dilation are exchanged",
    Hypothesis.STRIDE_IGNORED: "the stride is ignored",
    Hypothesis.DILATION_IGNORED: "the dilation is ignored",
    Hypothesis.INPUT_DILATION_IGNORED: "the dilation of the input is ignored",
    Hypothesis.PADDING_EXCHANGED: "padding before and after are exchanged{in_spatial_axis}",
    Hypothesis.PADDING_IGNORED: "the padding is ignored",
    Hypothesis.PADDING_OFFSET: "the padding is off by {before:+d} before and {after:+d} after{in_spatial_axis}",
    Hypothesis.PARAMETER_OF_OTHER_AXIS: "the {parameter} of the spatial axes is exchanged",
    Hypothesis.PADDING_MODE: "the borders are of mode {mode!r}",
    Hypothesis.REMAINDER_MISPLACED: "the windows leave {positions} positions of the input over (stride), and those are not put "
    "where they belong",
    Hypothesis.RESULT_SHIFTED: "the result is shifted by {before} in axis {axis}",
    Hypothesis.SPATIAL_AXES_EXCHANGED: "spatial axes {first} and {second} of {tensor} are exchanged",
    Hypothesis.KERNEL_CHANNELS_EXCHANGED: "input and output channels of the kernel are exchanged",
    Hypothesis.KERNEL_CHANNELS_MISREAD: "the kernel is read with its channel axes in the other order",
    Hypothesis.GROUPS_INTERLEAVED: "the groups in the channels of {tensor} are interleaved",
    Hypothesis.GROUPS_REVERSED: "the groups in the channels of {tensor} are in reverse",
    Hypothesis.GROUPS_SHIFTED: "the groups in the channels of {tensor} are shifted by one group",
    Hypothesis.CHANNELS_REVERSED: "the {channels} of {tensor} are reversed",
    Hypothesis.CHANNELS_SHIFTED: "the {channels} of {tensor} are shifted by one",
    Hypothesis.TENSOR_RESHAPED: "{tensor} is reshaped where it must be transposed",
    Hypothesis.RESULT_RESHAPED: "the result is reshaped where it must be transposed",
    Hypothesis.RESULT_TRANSPOSED: "the axes of the result are in another order: ({axes}) of torch's",
    Hypothesis.FIRST_GROUP_INPUT: "every group has the input of the first",
    Hypothesis.FIRST_GROUP_KERNEL: "every group has the kernel of the first",
    Hypothesis.FIRST_GROUP_COMPUTED: "only the first group is computed: {size} of {total} channels",
    Hypothesis.FIRST_SAMPLE_FOR_ALL: "every sample of {tensor} is the first",
    Hypothesis.FIRST_SAMPLE_SUMMED: "only the first sample of the batch is in the sum",
    Hypothesis.FIRST_SAMPLE_COMPUTED: "only the first sample of the batch is computed",
    Hypothesis.FIRST_POSITION_LEFT_OUT: "the first position of {tensor} in spatial axis {spatial_axes} is left out",
    Hypothesis.LAST_POSITION_LEFT_OUT: "the last position of {tensor} in spatial axis {spatial_axes} is left out",
    Hypothesis.FIRST_SLICE_LEFT_OUT: "the first {slice} of {tensor} (axis {axis}) is left out",
    Hypothesis.LAST_SLICE_LEFT_OUT: "the last {slice} of {tensor} (axis {axis}) is left out",
    Hypothesis.TAP_LEFT_OUT: "tap {index} is left out",
    Hypothesis.ELEMENT_DROPPED: "one element is dropped: {index}",
    Hypothesis.ELEMENT_WRONG: "one element is wrong: {index}",
    Hypothesis.BORDER_WRONG: "only index {positions_and} of axis {axis} is wrong: a border row is dropped or wrong",
    Hypothesis.ZERO: "it is zero everywhere: the argument was detached, or its gradient was stopped",
    Hypothesis.SIGN: "the sign is wrong",
    Hypothesis.BATCH_MEAN: "it is the mean over the batch of {size}, where the derivative of a sum is the sum",
    Hypothesis.FACTOR: "every element is multiplied by {factor}",
    Hypothesis.FACTOR_NEAR_ONE: "every element is multiplied by {exact_factor:.9g}",
    Hypothesis.CONSTANT_ADDED: "{amount:.2g} is added to every element",
    Hypothesis.CONJUGATE: "a conjugate is missing, or one too many; a gradient of this framework conjugates {convention}",
    Hypothesis.BIAS_NOT_ADDED: "the bias is not added",
    Hypothesis.BIAS_ALONG_AXIS: "the bias is added along axis {axis}, where it must be along the channels, axis 1",
    Hypothesis.BIAS_SUM_KEEPS_AXIS: "the sum keeps axis {axis} of the cotangent, where it must keep the channels, axis 1",
    Hypothesis.BIAS_SUM_LEAVES_OUT_AXES: "the sum leaves out axis {axes} of the cotangent",
    Hypothesis.BIAS_SUM_LEAVES_OUT_POSITIONS: "the sum leaves positions out",
    Hypothesis.DEVICE_MEAN: "it is the mean over the {devices} devices of mesh axis {mesh_axes}, where it must be the sum",
    Hypothesis.DEVICE_SUM_TWICE: "what is the same on the {devices} devices of mesh axis {mesh_axes} is summed over them",
    Hypothesis.DEVICE_SUM_LOST: "only what device {device} has of the {sharded} is in it: a sum (psum) over mesh axis "
    "{mesh_axes} is missing",
    Hypothesis.NO_HALO: "there is no halo in it: what other devices have of {sharded} is taken for zero, or not sent back",
    Hypothesis.NO_HALO_BEFORE: "there is no halo from the device before: what it has of {sharded} is taken for zero, or not "
    "sent back",
    Hypothesis.NO_HALO_AFTER: "there is no halo from the device after: what it has of {sharded} is taken for zero, or not "
    "sent back",
    Hypothesis.HALO_WRAPS: "the halos wrap around: beyond the ends of {sharded} stands the other end, not zeros",
    Hypothesis.HALO_POSITIONS: "only positions at the boundaries between devices are wrong, in {sharded}: {positions}",
    Hypothesis.UNEXPLAINED: "no hypothesis explains it",
    Hypothesis.UNEXPLAINED_SHAPE: "its shape is wrong, and no hypothesis explains its elements",
    Hypothesis.SMALL: "it is off by up to {amount:.2g}, which is little, but more than rounding explains",
}

ONLY_LATER = {
    Kind.JVP: "the VJPs are right, the JVP is not",
    Kind.SECOND_ORDER: "first order is right, second is not",
}
LEVELS = {
    Level.FLOAT32: "in float32",
    Level.TF32: "with 11-bit products (TF32 or float16); in JAX set precision='highest', in torch "
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    Level.BFLOAT16: "with 8-bit products (bfloat16); in JAX set precision='highest', in torch leave autocast",
    Level.FLOAT8_E4M3: "with 4-bit products (float8 e4m3)",
    Level.FLOAT8_E5M2: "with 3-bit products (float8 e5m2)",
    Level.NARROW_SUMS: "with sums in 8 to 11 bits (accumulated in bfloat16 or float16); take the sums in float32",
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
        case Kind.NAN:
            return f"a NaN in {q.name}"
        case Kind.INFINITY:
            return f"an infinity in {q.name}"
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
        case Kind.SWEEP:
            return f"sweep: {q.name}"


def detail(finding: Finding, evidence: Evidence | None = None) -> str:
    """Return a finding in a sentence; with the evidence, also where and how far it is wrong."""
    match finding:
        case EqualOnIntegers(random):
            return "equal on integers, bit for bit" + ("; random data within rounding" if random else "")
        case WithinNormWiseBound():
            return "random data within the norm-wise bound, as of an FFT or Winograd algorithm, not element by element"
        case Repeatable(spread):
            if spread == 0:
                return "three runs give the same bits"
            return f"runs differ by up to {spread:.2g}, which is rounding: sums in another order"
        case ReachesAll(more):
            return (
                f"it reaches what it meets, and {more} elements more"
                if more
                else "it reaches what it meets and nothing else"
            )
        case SameValues():
            return "the same values"
        case ShapeOfLine():
            return _line(finding.degree, finding.part)
        case DerivativeOfValues():
            return _derivative_of_values(finding)
        case Undecided(difference, allowed):
            if difference != difference:
                return "undecided: its values are smooth nowhere, so that they have no derivative"
            return f"undecided: it differs from the numerical derivative by {difference:.2g}; rounding explains {allowed:.2g}"
        case FewerBits():
            return _fewer_bits(finding)
        case NotRepeatable(spread_):
            if spread_ is None:
                return "the shape is not the same from run to run"
            return f"the result is not the same from run to run: it differs by up to {spread_:.2g}"
        case WrongElements(why_wrong):
            return diagnosis(why_wrong) + (f"; {_element(evidence)}" if evidence is not None else "")
        case OnlyLater(kind, cause, inner):
            return f"{ONLY_LATER[kind]}{f' ({cause})' if cause else ''}: {detail(inner, evidence)}"
        case NotFinite(elements):
            if evidence is None:
                return f"{elements} elements are not finite, of finite data"
            return f"{_element(evidence)}, of finite data"
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
        case Raised(caught, again):
            return f"the candidate raised{', asked again:' if again else ''} {exception(caught)}"
        case NoArray(type_):
            return f"the candidate returned a {type_}, which is no array"
        case NotSupported():
            return _not_supported(finding)
        case NoDerivative():
            return f"right: value only, no derivative was asked: {_advice(finding)}"


def diagnosis(d: Diagnosis) -> str:
    """Return a diagnosis in a sentence."""
    before, after = d.offset if d.offset is not None and len(d.offset) == 2 else ((d.offset or (0,))[0], 0)
    axes = d.spatial_axes or ()
    words = {
        "tensor": TENSORS[d.role] if d.role else "",
        "channels": CHANNELS.get((d.role, d.axis), "channels") if d.role and d.axis is not None else "",
        "slice": "sample" if (d.role, d.axis) == (Role.X, 0) else "channel",
        "sharded": axis_of(d.role, d.axis) if d.role and d.axis is not None else "",
        "axis": d.axis,
        "axes": _list(d.axes),
        "spatial_axes": _list(d.spatial_axes),
        "in_spatial_axis": f" in spatial axis {axes[0]}" if axes else "",
        "first": axes[0] if axes else None,
        "second": axes[-1] if axes else None,
        "index": d.index,
        "positions": _list(d.positions),
        "positions_and": " and ".join(map(str, d.positions or ())),
        "before": before,
        "after": after,
        "amount": d.amount,
        "factor": factor(d.factor) if d.factor else "",
        "exact_factor": d.factor.value if d.factor else None,
        "size": d.size,
        "total": d.total,
        "parameter": d.parameter,
        "mode": d.mode,
        "convention": "the other operand" if d.conjugates else "nothing",
        "device": d.device,
        "devices": d.devices,
        "mesh_axes": " and ".join(map(repr, d.mesh_axes or ())),
    }
    sentence = HYPOTHESES[d.hypothesis].format_map(words)
    if d.factor is not None and d.hypothesis not in (Hypothesis.FACTOR, Hypothesis.FACTOR_NEAR_ONE):
        sentence += f"; and times {factor(d.factor)}"
    return sentence


def factor(f: Factor) -> str:
    """Return a factor with every size of the problem that it may be."""
    if f.size is None:
        return f"{f.value:.6g}"
    inverse = "1 over " if f.is_inverse else ""
    return f"{inverse}{f.size}" + (f", {' or '.join(f.names)}" if f.names else "")


def axis_of(role: Role, axis: int) -> str:
    """Return the name of an axis of a tensor in torch's order."""
    return LETTERS.get((role, axis), f"spatial axis {axis - 2}")


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


def summary(verdict: Verdict, candidate: str, like: str, *, asked: int, first: str = "", first_detail: str = "") -> str:
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
    """
    if verdict == RIGHT:
        if not like:
            return f"right: the derivatives of {candidate} are those of its values ({asked} questions)"
        return f"right: {candidate} computes what {like} does ({asked} questions)"
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


def exception(caught: CaughtException) -> str:
    """Return the type and the message of an exception."""
    return f"{caught.type}: {caught.message}"


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


def _fewer_bits(f: FewerBits) -> str:
    sentence = f"right, but computed {LEVELS[f.level]}; it has about {f.bits} bits of {f.dtype_bits}"
    return sentence if f.declared is None else f"as declared, {f.declared}: {sentence}"


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
        case Reason.RULES | Reason.EMPTY | Reason.OTHER_SHAPE | Reason.DECLARED:
            return str(f.reason)


def _advice(f: NoDerivative) -> str:
    match f.advice:
        case Advice.COMPLETE_RULES:
            return "give triconv.Rules its input_vjp and weight_vjp too"
        case Advice.USE_RULES:
            return f"a function of {f.library} has none of its own; give triconv.Rules(forward, input_vjp, weight_vjp)"
        case Advice.NONE:
            return "it has none" if f.reason is None else _not_supported(f.reason)


def _list(numbers: tuple[int, ...] | None) -> str:
    return ", ".join(map(str, numbers or ()))
