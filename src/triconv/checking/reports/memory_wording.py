"""The sentences on arrays, memory and calls as in training: part of `wording.py`."""

from __future__ import annotations

from collections.abc import Callable

from triconv.checking.findings.arrangement_findings import AnyArrangement, Arrangement, Misread, Reading
from triconv.checking.findings.memory_findings import (
    AnyBatchAxis,
    AnySign,
    AnySubset,
    CallsDiffer,
    Carried,
    CarriedOver,
    ChangesSettings,
    DependsOnThread,
    EagerDiffers,
    EarlierAnswer,
    FakeDiffers,
    HookedGradient,
    InputChanged,
    LaterForward,
    MemoryFinding,
    NothingKept,
    NotZero,
    OneSign,
    OtherAfterBatch,
    OtherAfterOtherNumbers,
    OtherSituation,
    ResultOverwritten,
    SameInThreads,
    SecondPullback,
    SharesMemory,
    Sign,
    Situation,
    Unwritten,
    UsesGenerators,
    WritesGradient,
    WrongAlone,
    WrongBatchAxis,
)
from triconv.checking.findings.protocol import Kind, Question, Transform

QUESTIONS = {
    Kind.MEMORY: "memory and earlier calls",
    Kind.OPERANDS: "arrays after a call",
    Kind.RESULTS: "results after later calls",
    Kind.HISTORY: "results after earlier calls",
    Kind.UNWRITTEN: "results in used memory",
    Kind.GENERATORS: "global random generators",
    Kind.FAKES: "operators as a compiler sees them",
    Kind.SETTINGS: "global settings",
    Kind.THREADS: "two threads at once",
}
ARRANGEMENTS = {
    Arrangement.EXPANDED: "expanded from one number (stride 0, as of the cotangent of a sum)",
    Arrangement.EXPANDED_BATCH: "expanded along the first axis (stride 0)",
    Arrangement.EXPANDED_POSITIONS: "expanded along the last axes (stride 0, as of the cotangent of a mean)",
    Arrangement.TRANSPOSED: "transposed (the first axis is the fastest, as in Fortran)",
    Arrangement.LAST_AXES_TRANSPOSED: "transposed in its last two axes",
    Arrangement.CHANNELS_LAST: "channels last in memory",
    Arrangement.OFFSET: "not at the start of its memory",
    Arrangement.SLICED: "a slice of a larger array",
    Arrangement.EVERY_OTHER: "every other element of a larger array",
    Arrangement.NEGATIVE: "reversed (negative strides)",
    Arrangement.READ_ONLY: "read-only",
    Arrangement.SUBCLASS: "of a subclass",
    Arrangement.PARAMETER: "a torch.nn.Parameter",
    Arrangement.CONJUGATED: "conjugated lazily (torch's conj bit)",
}
READINGS = {
    Reading.CONTIGUOUS: "it is read as if it were contiguous; use its strides, or take .contiguous() first",
    Reading.WHOLE_MEMORY: "it is read from the start of its memory; use its strides and offset, or take .contiguous() first",
    Reading.ADDRESS: "it depends on where in its memory an array begins: vectors are read as if the address were a multiple of "
    "their size, or the offset is used wrongly",
    Reading.UNCONJUGATED: "its memory is read without the conjugation that its bit asks for: take .resolve_conj() first",
}
SITUATIONS = {
    Situation.INFERENCE: "under torch.inference_mode()",
    Situation.COMPILED: "where torch.compiler.is_compiling() or torch.jit.is_tracing() is true, as in torch.compile",
    Situation.CREATE_GRAPH: "with create_graph=True, as where it is differentiated again",
    Situation.EVALUATION: "in evaluation mode, after .eval()",
}
SHOWN = 3


def question(q: Question) -> str:
    """Return what was asked."""
    match q.kind:
        case Kind.ARRANGEMENTS:
            return f"VJP of {q.name}, other strides" if q.order else "other strides and classes of arrays"
        case Kind.SIGNS:
            return f"VJP of {q.name}, data of one sign or number" if q.order else "data of one sign or number"
        case Kind.SUBSETS:
            if q.name is None:
                return "derivatives by some arrays alone"
            return f"{'JVP along' if q.transform == Transform.JVP else 'VJP of'} {q.name} alone"
        case Kind.BATCHED:
            return f"VJP of {q.name}, vmap" if q.order else "vmap, other axes"
    return QUESTIONS[q.kind]


def _tried(number: int, smaller: bool) -> str:
    return f"{number} tried{' at smaller sizes' if smaller else ''}"


def detail(finding: MemoryFinding, words: Callable[[Question], str]) -> str:
    """Return a finding in a sentence; `words` are those of a question."""
    match finding:
        case AnyArrangement(tried, smaller):
            return f"equal for expanded, transposed, sliced and other arrays, {_tried(tried, smaller)}"
        case Misread():
            return _misread(finding)
        case NothingKept(calls):
            return f"{calls} calls leave arrays, results and generators as they are, and give the same in any order"
        case InputChanged(array, by, restored):
            if restored:
                return f"{words(by)} writes into {array} and restores it, so that nothing else may read it meanwhile"
            return f"{words(by)} changes {array}: copy it first"
        case WritesGradient(array, _, clears=True):
            return f"a call replaces {array}.grad, so that gradients of earlier batches are lost: leave it alone"
        case WritesGradient(array, returns):
            then = "and returns it, so that backward() adds it twice" if returns else "and returns nothing"
            return f"the backward writes into {array}.grad itself, {then}: return the gradient alone"
        case HookedGradient(array, elements, total, factor):
            times = "" if factor is None else f", {factor:.4g} times as large"
            left = (
                f"backward() leaves another gradient in {array}.grad than autograd computes{times}, as by a hook of it"
            )
            return f"{left}: {elements} of {total} elements"
        case SharesMemory(of, array):
            return f"{words(of)} is returned in the memory of {array}: return an array of its own"
        case ResultOverwritten(of, by):
            return f"{words(of)}: the result of one call changes when {words(by)} is asked later: return a new array each time"
        case EarlierAnswer(of, array):
            result = "" if of is None else f"{words(of)}: "
            return f"{result}it is the answer for the earlier data of {array}: something is kept from call to call"
        case OtherAfterBatch(of, after):
            when = "after a call with one sample" if after else "for one sample alone"
            return f"{words(of)}: it is another one {when}"
        case OtherAfterOtherNumbers():
            return "it depends on the numbers of the call before: something is kept from call to call"
        case CallsDiffer(of, (), _):
            return f"{words(of)}: after some calls the same numbers give another result than before"
        case CallsDiffer(of, calls, total):
            return f"{words(of)}: the same numbers give another result in call {_some(calls)} of {total}"
        case LaterForward(of):
            return f"{words(of)}: after two forwards, the backward of the first gives another result: keep its arrays per call"
        case CarriedOver():
            return f"{words(finding.of)}: {_carried(finding)}"
        case SecondPullback(of):
            return f"{words(of)}: the pullback gives another result when it is called again"
        case EagerDiffers(of):
            return f"{words(of)}: without jit it is another one than with it"
        case Unwritten(of, elements, total):
            return f"{words(of)}: {elements} of {total} elements are what the memory held before: write every element"
        case FakeDiffers(operator, said):
            return f"the fake implementation of {operator}, which torch.compile asks, does not give what it returns: {said}"
        case OtherSituation(of, situation):
            return f"{words(of)}: it is another one {SITUATIONS[situation]}: compute the same in both"
        case ChangesSettings(settings):
            which = ", ".join(settings)
            return f"a call leaves changed, for everybody else in the process: {which}; put it back after the call"
        case UsesGenerators(by, generators, seeds):
            which = " and ".join(generators)
            what = f"seeds {which}" if seeds else f"draws from {which}"
            return f"{words(by)} {what}, which others draw from too: use a generator of your own"
        case SameInThreads():
            return "each of two threads gets what it gets alone"
        case DependsOnThread(of, where):
            return (
                f"{words(of)}: results depend on another thread's call (shared scratch memory)"
                f"{f', which came at {where}' if where else ''}: make the memory in each call, or hold a lock"
            )
        case AnySign():
            return "those of data that are nowhere negative, and nowhere positive, add up to those of both; zeros give zeros"
        case NotZero(_, array, elements, total, is_nan):
            which = f"right for other data, wrong where {array} is zero everywhere: {elements} of {total} elements are"
            if is_nan:
                return f"{which} not zero but nan: guard what divides by its largest number, or by its norm"
            return f"{which} not zero: look for an epsilon that is added to it, or for memory that is not written then"
        case OneSign(_, array, Sign.CANCELLING, elements, total):
            return (
                f"right for other data, wrong where the numbers of {array} add up to zero: {elements} of {total} elements: "
                "work is skipped by a test of their sum"
            )
        case OneSign(_, array, Sign.EQUAL, elements, total):
            return (
                f"right for other data, wrong where {array} is one number everywhere: {elements} of {total} elements: "
                "a shortcut is taken there"
            )
        case OneSign(_, array, sign, elements, total):
            return (
                f"right for data of both signs, wrong where {array} is {sign}: {elements} of {total} elements: "
                "another path is taken there, or sums are clamped"
            )
        case AnySubset(tried, smaller):
            return f"those by some arrays alone are those by all at once, {_tried(tried, smaller)}"
        case WrongAlone(arrays, raised):
            others = f"asked for {' and '.join(arrays)} without the others"
            return f"{others}, it raises {raised}" if raised else f"{others}, it is another one than by all at once"
        case AnyBatchAxis(tried, smaller):
            return f"some arrays alone, and along other axes, {_tried(tried, smaller)}"
        case WrongBatchAxis(in_axes, sample, raised):
            axes = f"with in_axes={in_axes}"
            return (
                f"{axes} it raises {raised}" if raised else f"{axes}, sample {sample} is another one than called alone"
            )


def _misread(f: Misread) -> str:
    shown = [ARRANGEMENTS[how] for how in f.arrangements[:SHOWN]]
    more = len(f.arrangements) - len(shown)
    which = ", or ".join(shown) + (f" ({more} more)" if more else "")
    if f.raised:
        sentence = f"right for plain arrays, but raises {f.raised} if {f.array} is {which}"
    else:
        sentence = f"right for plain arrays, wrong if {f.array} is {which}: {f.elements} of {f.total} elements"
    if f.reading is not None:
        sentence += f"; {READINGS[f.reading]}"
    return sentence + (f"; wrong for other {' and '.join(f.others)} too" if f.others else "")


def _carried(f: CarriedOver) -> str:
    held = f"its attribute {f.attribute} held before" if f.attribute else "the call before gave"
    match f.how:
        case Carried.EARLIER:
            return "called again with other numbers, the same object gives the result of the call before"
        case Carried.START:
            return f"it is added to what {held}, which is not zero in a new object: let it begin as zeros"
        case Carried.OTHER:
            return "called again, the same object gives another result than a new one does"
    share, weight = (f"{1.0 if a is None else a:.4g}" for a in (f.share, f.weight))
    what = {
        Carried.SHARE: f"it adds {share} times it",
        Carried.WEIGHTED: f"it is {share} times it and {weight} times the gradient",
        Carried.SOME: "it adds it in some elements, and not in the others",
        Carried.LARGER: "it is the larger of both",
        Carried.SMALLER: "it is the smaller of both",
    }[f.how]
    return f"the gradient depends on what {held}: {what}"


def _some(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers[:SHOWN])) + (", ..." if len(numbers) > SHOWN else "")
