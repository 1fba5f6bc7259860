"""What to do about a wrong answer: one imperative sentence for each hypothesis and each finding that has a remedy."""

from __future__ import annotations

from triconv.checking.dtypes import NarrowRange
from triconv.checking.findings.arrangement_findings import Misread
from triconv.checking.findings.causes import Hypothesis
from triconv.checking.findings.findings import (
    DoesNotReach,
    FewerBits,
    Finding,
    Level,
    NotFinite,
    NotHomogeneous,
    NotRepeatable,
    OnlyLater,
    Swept,
    WrongDtype,
    WrongElements,
    WrongShape,
)
from triconv.checking.findings.memory_findings import (
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
    NotZero,
    OneSign,
    OtherAfterBatch,
    OtherAfterOtherNumbers,
    OtherSituation,
    ResultOverwritten,
    SecondPullback,
    SharesMemory,
    Sign,
    Unwritten,
    UsesGenerators,
    WritesGradient,
    WrongAlone,
    WrongBatchAxis,
)
from triconv.checking.findings.protocol import Kind, Question
from triconv.checking.reports import function_wording

RUN_IT = "run the program below, and compare the terms that meet in the first wrong element"
OWN_BIAS = "add bias[k] once to every element of output channel k, after the sum over taps and channels"
SUM_BIAS = "sum the cotangent over the batch and all positions, and keep the channels: g.sum((0, 2, 3)) in 2-D"
HALO = "exchange halos with both neighbours before the convolution, and send them back and add them in the input VJP"
EVERY_INDEX = "index it by the loop's own variable, not by 0"
FULL_RANGE = "compare the ranges of the loops with the sizes of the arrays: the first and the last position count too"
ORDER = "compare the order of the axes at each reshape, transpose and einsum with that of the arrays"

REMEDIES: dict[Hypothesis, str] = {
    Hypothesis.COLUMNS_MISREAD: ORDER,
    Hypothesis.OPERAND_CENTERED: "convolve the array as it is given, or give a `like` that normalises it too",
    Hypothesis.OPERAND_STANDARDISED: "convolve the array as it is given, or give a `like` that normalises it too",
    Hypothesis.UPDATED_FIRST: "compute all gradients first, then update",
    Hypothesis.KERNEL_FLIPPED: "reverse the kernel's spatial axes once (w[..., ::-1, ::-1]), or remove the flip that is there",
    Hypothesis.KERNEL_FLIPPED_IN_AXES: "treat all spatial axes alike: flip the kernel in all of them or in none",
    Hypothesis.RESULT_FLIPPED: "remove the reversal, or reverse the result once more",
    Hypothesis.OUTPUT_PADDING_IGNORED: "make the result longer by the output padding, at its end, before it is filled",
    Hypothesis.OUTPUT_PADDING_ZERO: "make the result longer by the output padding before it is filled, not after",
    Hypothesis.OUTPUT_PADDING_SIDE: "append the output padding after the last position",
    Hypothesis.STRIDE_AND_DILATION_EXCHANGED: "read the input at stride * o + dilation * t: o counts outputs, t counts taps",
    Hypothesis.STRIDE_IGNORED: "multiply the output index by the stride where the input is read or written: stride * o + t",
    Hypothesis.STRIDE_DOUBLED: "apply the stride once: either in the index or in the slice",
    Hypothesis.DILATION_IGNORED: "multiply the tap index by the dilation: stride * o + dilation * t",
    Hypothesis.INPUT_DILATION_IGNORED: "put input_dilation - 1 zeros between the inputs, or divide the index by it",
    Hypothesis.PADDING_EXCHANGED: "pad by (lo, hi): lo before the first position, hi after the last",
    Hypothesis.PADDING_IGNORED: "pad the input before the loop, or subtract the padding from the index of the input",
    Hypothesis.PADDING_OFFSET: "compare the padding of each side with the parameters, and with the crop in the backward",
    Hypothesis.PARAMETER_OF_OTHER_AXIS: "use the first number for the first spatial axis (height), the second for the second",
    Hypothesis.PARAMETER_FOR_ALL_AXES: "use one number per spatial axis, each for its own axis",
    Hypothesis.PADDING_MODE: "pad with the mode that is asked for",
    Hypothesis.PADDING_PART: "compare the indices that the padding copies with those that its adjoint adds to",
    Hypothesis.WRAP_AROUND: "replace np.roll or an index modulo the size by zeros beyond the borders",
    Hypothesis.NEGATIVE_INDICES: "skip positions below 0, or pad first: an index of -1 reads the last element",
    Hypothesis.EMPTY: "slice by p : p + size, which works for p = 0 too",
    Hypothesis.PADDING_NOT_CROPPED: "return gx_padded[..., p:-p, p:-p] (or p : p + size, which works for p = 0 too)",
    Hypothesis.CROPPED_WRONGLY: "crop by [..., lo : lo + size] in each spatial axis",
    Hypothesis.RESULT_CUT: "allocate the result with the shape of the array that it is the gradient of, or of the output",
    Hypothesis.NEXT_IN_MEMORY: "test the position along each axis against its size, not the index of the flattened array",
    Hypothesis.REMAINDER_MISPLACED: "allocate the gradient with the whole shape of x; inputs that no window reads stay zero",
    Hypothesis.RESULT_SHIFTED: "start at the right position: compare the first index written with the first index read",
    Hypothesis.SPATIAL_AXES_EXCHANGED: "keep height before width, in every index and transpose",
    Hypothesis.KERNEL_CHANNELS_EXCHANGED: "use the kernel as (output channels, input channels, ...)",
    Hypothesis.KERNEL_CHANNELS_MISREAD: "use the kernel as (output channels, input channels, ...)",
    Hypothesis.GROUPS_INTERLEAVED: "take the channels of group j as one block: j * size : (j + 1) * size",
    Hypothesis.GROUPS_REVERSED: "take the groups in their order",
    Hypothesis.GROUPS_SHIFTED: "take the channels of group j from j * size on, for x, w and the result alike",
    Hypothesis.CHANNELS_REVERSED: "take the channels in their order",
    Hypothesis.CHANNELS_SHIFTED: "start the channel index at 0",
    Hypothesis.TENSOR_RESHAPED: "replace the reshape by a transpose, or transpose before it",
    Hypothesis.RESULT_RESHAPED: "replace the reshape by a transpose, or transpose before it",
    Hypothesis.RESULT_TRANSPOSED: "transpose the result into the order of the array that it is the gradient of",
    Hypothesis.SAMPLES_REVERSED: "take the samples in their order",
    Hypothesis.SAMPLES_SHIFTED: "start the batch index at 0",
    Hypothesis.SAMPLES_SUMMED: "multiply sample by sample, and sum over the batch afterwards",
    Hypothesis.SAMPLES_AVERAGED: "multiply sample by sample, and sum over the batch afterwards",
    Hypothesis.SLICES_ROLLED: ORDER,
    Hypothesis.SLICES_REVERSED: ORDER,
    Hypothesis.SLICES_PERMUTED: ORDER,
    Hypothesis.SLICES_COPIED: EVERY_INDEX,
    Hypothesis.RESULT_ROLLED: "remove the roll (ifftshift, np.roll), or roll back by as many positions",
    Hypothesis.ALL_CHANNELS_CONNECTED: "multiply within each group alone",
    Hypothesis.PARTS_LEFT_OUT: FULL_RANGE,
    Hypothesis.ONE_PART_ALONE: "add each term (+=), and return after the loop",
    Hypothesis.PARTS_TWICE: "visit each term once: compare the ranges of loops and tiles, which overlap",
    Hypothesis.PARTS_NEGATED: "compare the sign of these terms with that of the others",
    Hypothesis.PARTS_WEIGHTED: "visit each term once, with a weight of 1",
    Hypothesis.PARTS_BEYOND_OTHER_SIZE: "use each axis's own size in its loop: shape[-2] for rows, shape[-1] for columns",
    Hypothesis.OVERWRITTEN: "write += where = stands, into an array of zeros",
    Hypothesis.OVERWRITTEN_FIRST: "add the later terms too",
    Hypothesis.RUNNING_SUM: "set the sum to zero before each element",
    Hypothesis.FIRST_GROUP_INPUT: EVERY_INDEX,
    Hypothesis.FIRST_GROUP_KERNEL: EVERY_INDEX,
    Hypothesis.FIRST_GROUP_COMPUTED: "loop over all groups",
    Hypothesis.FIRST_SAMPLE_FOR_ALL: EVERY_INDEX,
    Hypothesis.FIRST_SAMPLE_SUMMED: "sum over the whole batch",
    Hypothesis.FIRST_SAMPLE_COMPUTED: "loop over the whole batch",
    Hypothesis.ELEMENT_DROPPED: FULL_RANGE,
    Hypothesis.ELEMENT_WRONG: RUN_IT,
    Hypothesis.BORDER_WRONG: FULL_RANGE,
    Hypothesis.ZERO: "return the gradient, and remove detach() or stop_gradient from the path to the argument",
    Hypothesis.SKIPPED: "skip work only where every number is zero, not where a sum or a mean of them is",
    Hypothesis.ZERO_VALUE: "write the sums into the array that is returned",
    Hypothesis.BIAS_ALONE: "add the products to the bias",
    Hypothesis.TANGENT_WEIGHTED: "add each term once: d conv(x, w) = conv(dx, w) + conv(x, dw)",
    Hypothesis.TANGENT_LEFT_OUT: "add the term with this tangent: d conv(x, w) = conv(dx, w) + conv(x, dw)",
    Hypothesis.OPERAND_OF_OTHER_SAMPLE: "in the batching rule, take sample n of every array that is batched",
    Hypothesis.SAMPLES_OF_OTHER_SAMPLE: "put the axis of vmap in front before it is joined with the batch, and split it there",
    Hypothesis.SIGN: "remove one minus sign, or add one",
    Hypothesis.BATCH_MEAN: "remove the division by the batch size (or mean over axis 0): the loss, not the layer, averages",
    Hypothesis.FACTOR: "look for a mean where a sum must be, a factor of the loss, or a term that is counted twice",
    Hypothesis.FACTOR_NEAR_ONE: "look for an epsilon, a momentum or a rounded constant that multiplies the result",
    Hypothesis.CONSTANT_ADDED: "look for an epsilon, or an array that does not begin as zeros",
    Hypothesis.AT_FLIPPED: "reverse the other array, or no array, in this result as in the value",
    Hypothesis.AT_TRANSPOSED: "exchange the axes of the other array as the value does",
    Hypothesis.AT_ZERO: "take the other array from what the forward saved",
    Hypothesis.FOURIER_CONJUGATE: "conjugate the spectrum of the one array that is correlated, and no other",
    Hypothesis.FOURIER_HALF: "count frequencies that stand for two twice, or take the inverse of rfft, irfft",
    Hypothesis.FOURIER_LENGTH: "give the inverse transform the length of the forward one, irfft(..., n=n)",
    Hypothesis.FOURIER_ORDER: "leave out fftshift, or undo it with ifftshift before the result is cropped",
    Hypothesis.MEAN_HELD: "differentiate the mean as well",
    Hypothesis.NORM_HELD: "differentiate the norm as well",
    Hypothesis.SLICES_REPLACED: "correct the index that chooses these slices",
    Hypothesis.COMPLEX_PARTS: "(a + ib)(c + id) is ac - bd + i(ad + bc): correct the terms of the part that is named",
    Hypothesis.CONJUGATE: "add a conjugate, or remove one: JAX and NumPy conjugate nothing, torch the other operand",
    Hypothesis.NORM: "remove the normalisation from the backward; it belongs to the optimiser",
    Hypothesis.NORM_CLIPPED: "remove the clipping from the backward; it belongs to the optimiser",
    Hypothesis.COTANGENT_CLIPPED: "remove the clipping from the backward; it belongs to the optimiser",
    Hypothesis.STANDARDISED: "remove the normalisation from the backward, or add it to what this is compared with",
    Hypothesis.CENTERED: "do not subtract the mean",
    Hypothesis.NOISE: "remove dropout or other noise, or fix its key",
    Hypothesis.FUNCTION_OF_RESULT: "return the result as it is",
    Hypothesis.FUNCTION_OF_TENSOR: "use the array as it is",
    Hypothesis.SOME_FUNCTION: "remove the activation, or check the layer with `like` set to the same composition",
    Hypothesis.LEAKY: "remove the activation, or check the layer with `like` set to the same composition",
    Hypothesis.COTANGENT_MASKED: "remove the derivative of the activation, or add the activation to the forward",
    Hypothesis.RESULT_PRUNED: "remove the mask: the derivative by a zero is not zero",
    Hypothesis.RESULT_MASKED: "remove the derivative of the activation, or add the activation to the forward",
    Hypothesis.VALUES_CLIPPED: "do not clip",
    Hypothesis.PARTIAL_SUMS: "add all terms first, and apply it once to the whole sum, or not at all",
    Hypothesis.TENSOR_ADDED: "remove the weight decay or the residual from the backward",
    Hypothesis.BIAS_NOT_ADDED: OWN_BIAS,
    Hypothesis.BIAS_REPEATED: OWN_BIAS,
    Hypothesis.BIAS_PER_TAP: OWN_BIAS,
    Hypothesis.BIAS_SUBTRACTED: OWN_BIAS,
    Hypothesis.BIAS_PERMUTED: OWN_BIAS,
    Hypothesis.BIAS_REDUCED: OWN_BIAS,
    Hypothesis.BIAS_MULTIPLIED: OWN_BIAS,
    Hypothesis.BIAS_ALONG_AXIS: "reshape the bias to (1, k, 1, 1) before it is added",
    Hypothesis.BIAS_SUM_OVER_CHANNELS: SUM_BIAS,
    Hypothesis.BIAS_SUM_KEEPS_AXIS: SUM_BIAS,
    Hypothesis.BIAS_SUM_OF_RESHAPED: "sum over all axes but the channels, g.sum((0, 2, 3)), or transpose before the reshape",
    Hypothesis.BIAS_SUM_LEAVES_OUT_AXES: SUM_BIAS,
    Hypothesis.BIAS_SUM_LEAVES_OUT_POSITIONS: SUM_BIAS,
    Hypothesis.DEVICE_MEAN: "replace pmean by psum: the loss, not the layer, averages",
    Hypothesis.DEVICE_SUM_TWICE: "remove one psum, or sum only over the axes that are sharded",
    Hypothesis.DEVICE_SUM_LOST: "add a psum over the mesh axis",
    Hypothesis.NO_HALO: HALO,
    Hypothesis.NO_HALO_BEFORE: HALO,
    Hypothesis.NO_HALO_AFTER: HALO,
    Hypothesis.HALO_WRAPS: "leave the pair from the last device to the first out of the permutation",
    Hypothesis.HALO_POSITIONS: HALO,
    Hypothesis.REGION: "look at how the work is cut into tiles, and at the mask of the last tile",
    Hypothesis.REGION_OUTSIDE: "look at how the work is cut into tiles, and at the mask of the last tile",
    Hypothesis.REGION_DIAGONAL: "compare the two indices where one is used for the other",
    Hypothesis.TILE_TRANSFORM: "run a tile for x and w that are 1 in one place each: 1 must be where they meet, 0 elsewhere",
    Hypothesis.REDUCTION_CUT: "loop over all products: round the number of blocks up, and mask the last one",
    Hypothesis.INDEX_WRAPS: "compute the index in 32 or 64 bits",
    Hypothesis.ADDED_MODULO: "make the transform as long as the whole result: the input and the kernel together, less one",
    Hypothesis.INDEX_NEGATIVE: "compute the index in 32 or 64 bits",
    **function_wording.REMEDIES,
    Hypothesis.GRADIENT_OF_MASKED: "multiply the cotangent by the mask of the forward",
    Hypothesis.GRADIENT_OF_CONSTANT: "if it is meant, leave this function out of the check; else return zeros",
    Hypothesis.UNEXPLAINED_OF_FUNCTION: RUN_IT,
    Hypothesis.UNEXPLAINED: RUN_IT,
    Hypothesis.UNEXPLAINED_AT: RUN_IT,
    Hypothesis.UNEXPLAINED_SHAPE: "return the gradient in the shape of the array that it is the gradient of",
    Hypothesis.NARROW_OPERAND: "remove the cast, or declare it with precision=",
    Hypothesis.SHARED_EXPONENT: "keep an exponent for each number, or declare it with meant=",
    Hypothesis.SMALL_DROPPED: "multiply all numbers, however small they are beside others",
    Hypothesis.ROUNDED_TO_STEPS: "remove the rounding (fixed point, quantisation), or declare it with meant=",
    Hypothesis.QUANTISED: "use the numbers as they are; declare meant=('int8 products',) where that is what they are for",
    Hypothesis.SMALL: "look for sums or products in another dtype, and for an epsilon",
}

BITS = {
    Level.FLOAT32: "compute in the dtype of the arrays: look for a cast, or an array or a constant of another dtype",
    Level.TF32: "in JAX set precision='highest', in torch torch.backends.cuda.matmul.fp32_precision = 'ieee'; "
    "if it is meant, check with precision='tf32'",
    Level.BFLOAT16: "in JAX set precision='highest', in torch leave autocast; if it is meant, check with precision='bfloat16'",
    Level.SHORT_SUMS: "take the sums in float32, and round once, at the end",
    Level.CUT_OFF: "convert with rounding to nearest, as an ordinary cast does, not by masking or shifting bits",
    Level.NARROW_SUMS: "take the sums in float32, and round once, at the end",
}


def remedy(finding: Finding) -> str:
    """Return what to do about a finding, in one sentence without its first capital; "" where nothing is to be done."""
    match finding:
        case WrongElements(why) | OnlyLater(finding=WrongElements(why)):
            return REMEDIES[why.hypothesis]
        case WrongShape(diagnosis=why, kept_axes=kept) | OnlyLater(finding=WrongShape(diagnosis=why, kept_axes=kept)):
            if kept:
                return "sum without keepdims, or reshape to the shape of the array"
            return REMEDIES[Hypothesis.UNEXPLAINED_SHAPE if why is None else why.hypothesis]
        case Swept(finding=inner) if inner is not None:
            return remedy(inner)
        case FewerBits(level=level, declared=None):
            return BITS.get(level, BITS[Level.FLOAT32])
        case WrongDtype(expected):
            return f"return {expected}: allocate with dtype=x.dtype, and use constants that do not promote"
        case NotFinite(narrow=NarrowRange(dtype)):
            return f"do not cast to {dtype} inside, or scale the arrays before it and back after it"
        case NotFinite():
            return "look for a division by zero, an overflow, or memory that is not written"
        case DoesNotReach():
            return "look for terms that are left out or masked where the arrays are not finite"
        case NotHomogeneous():
            return "look for a constant, a clip or a rounding step: a convolution is linear in each array"
        case NotRepeatable(adds_up=True):
            return "set the buffer to zero at the start of each call"
        case NotRepeatable():
            return "look for a random number, a race between threads, or memory that is not written"
    return _of_memory(finding)


def _of_memory(finding: Finding) -> str:
    match finding:
        case Misread():
            return "use the strides of the array, or take a contiguous copy first"
        case InputChanged():
            return "copy the array before it is changed"
        case WritesGradient():
            return "return the gradient, and leave .grad to autograd"
        case HookedGradient():
            return "remove the hook of the parameter that changes its gradient, or apply it to the update instead"
        case SharesMemory():
            return "return a copy"
        case ResultOverwritten():
            return "allocate a new result in each call"
        case EarlierAnswer() | LaterForward() | OtherAfterBatch() | OtherAfterOtherNumbers():
            return "keep what the backward needs in the cache of its own call, not in an attribute or a global"
        case CallsDiffer(of) if of.kind == Kind.VALUE:
            return "make the result depend on the arguments alone: no counter, no running mean"
        case CallsDiffer():
            return "set gradients to zero before each call, and keep nothing else from call to call"
        case CarriedOver(how=Carried.EARLIER) | CarriedOver(of=Question(order=0)):
            return "compute it anew in each call, from the arrays of that call"
        case CarriedOver(how=Carried.START):
            return "make the array of the gradient with zeros"
        case CarriedOver():
            return "write the gradient (=), or add it to all that is there (+=); momentum belongs to the optimiser"
        case SecondPullback():
            return "leave the cache as it is: do not pop or overwrite what the backward reads"
        case EagerDiffers():
            return "remove what depends on tracing: Python side effects, or `isinstance(x, Tracer)`"
        case DependsOnThread():
            return "keep arrays that calls share out of attributes and globals, or hold a lock"
        case Unwritten():
            return "allocate with zeros, or write every element"
        case FakeDiffers():
            return "register a fake implementation that gives the shape, dtype and strides of the result"
        case OtherSituation():
            return (
                "branch neither on the mode nor on whether gradients are wanted, unless both branches compute the same"
            )
        case ChangesSettings():
            return "change settings with a context manager, or put them back in `finally`"
        case UsesGenerators():
            return "use a generator or key of your own"
        case NotZero(is_nan=True):
            return "divide by np.maximum(size, tiny), or leave zeros as they are: a dead unit's gradient is zero"
        case NotZero():
            return "take out what is added: zeros must give zeros"
        case OneSign(sign=Sign.CANCELLING):
            return "test each number, not their sum: `g.any()`"
        case OneSign(sign=Sign.EQUAL):
            return "take the shortcut out: the cotangent of a sum is one number everywhere"
        case OneSign():
            return "take the path for data of one sign out, or keep the sums and casts of it signed and wide"
        case WrongAlone():
            return "do not skip work by what is asked (needs_input_grad, symbolic zeros), or do it per array"
        case WrongBatchAxis():
            return "honour in_axes in the batching rule: move the batch axis to the front first"
    return ""
