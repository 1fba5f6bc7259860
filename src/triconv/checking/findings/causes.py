"""Why a result is wrong, as data: `Cause`, the name that users see, and `Diagnosis`, the hypothesis with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.findings.protocol import PlainEnum, Role


class Cause(PlainEnum):
    """Names of mistakes."""

    NONE = ""
    ACCUMULATED = "accumulated"
    ACTIVATION = "activation"
    ALONE = "wrong for one argument alone"
    BATCH_AVERAGED = "batch averaged"
    BATCH_AXIS = "batch axis of vmap"
    BATCH_INDEX = "from a batch index on"
    BATCH_SIZE = "wrong for another batch size"
    BIAS_AXIS = "bias axis"
    BIAS_IGNORED = "bias ignored"
    BIAS_REPEATED = "bias added several times"
    BIAS_WRONG = "wrong bias"
    BLOCK = "block of elements"
    BORDER_DROPPED = "border dropped"
    CALL_COUNT = "depends on the call count"
    CHANNELS_LEFT_OUT = "channels left out"
    CHANNELS_PERMUTED = "channels permuted"
    CHANNELS_SWAPPED = "channels swapped"
    CHANNEL_RANGE = "channel range"
    CLIPPED = "clipped"
    COMPLEX_PARTS = "complex parts"
    CONJUGATE = "conjugate"
    CONSTANT_ADDED = "constant added"
    CONSTANT_FACTOR = "constant factor"
    COTANGENT_STRIDES = "cotangent strides misread"
    COUNTED_TWICE = "counted twice"
    CROPPED_WRONGLY = "padding cropped on the wrong side"
    CROSS_DEVICE_MEAN = "cross-device mean"
    CROSS_DEVICE_SUM_LOST = "cross-device sum lost"
    DETACHED = "detached"
    DIAGONAL = "diagonal"
    DILATION_IGNORED = "dilation ignored"
    DTYPE = "dtype"
    EAGER = "not the same without jit"
    EMPTY = "empty result"
    EVERY_NTH = "every n-th element"
    EVERY_SECOND = "every second element"
    FAKE = "fake implementation"
    FIXED_POINT = "fixed point"
    GLOBAL_RANDOM_STATE = "global random state"
    GLOBAL_SETTINGS = "global settings"
    GRADIENT_OF_MASKED = "gradient of what is masked"
    GROUPS_CONNECTED = "groups connected"
    GROUPS_PERMUTED = "groups permuted"
    INPUT_CHANGED = "input changed"
    JVP_ONLY = "jvp only"
    KEPT_AXES = "kept axes"
    KERNEL_FLIP = "kernel flip"
    KERNEL_FLIP_IN_ONE_AXIS = "kernel flip in one axis"
    LARGE_INDICES = "large indices"
    LARGE_NUMBERS = "large numbers"
    LATER_FORWARD = "backward of a later forward"
    LAYOUT_MISREAD = "layout misread"
    NOISE = "noise"
    NONDETERMINISTIC = "nondeterministic"
    NORMALISED = "normalised"
    NOT_A_NUMBER = "not a number"
    NOT_LINEAR = "not linear"
    ONE_ELEMENT = "one element"
    ONE_NUMBER = "one number"
    ONE_SIGN = "one sign"
    ONLY_THE_FIRST_GROUP = "only the first group"
    ONLY_THE_FIRST_SAMPLE = "only the first sample"
    OPERAND_STRIDES = "operand strides misread"
    OTHER_MODE = "other mode"
    OUTPUT_PADDING_IGNORED = "output_padding ignored"
    OUTPUT_PADDING_SIDE = "output_padding on the wrong side"
    OVERFLOW = "overflow"
    OVERWRITTEN = "overwritten"
    PADDING_EXCHANGED = "padding low and high exchanged"
    PADDING_IGNORED = "padding ignored"
    PADDING_MODE = "padding mode"
    PADDING_NOT_CROPPED = "padding not cropped"
    PADDING_OFF_BY_ONE = "padding off by one"
    PADDING_WRONG = "wrong padding"
    PARTIAL_SUMS = "function of partial sums"
    PARTS_WEIGHTED = "parts weighted"
    POSITIONS_LEFT_OUT = "positions left out"
    RAISED = "raised"
    REDUCTION_CUT = "reduction cut"
    REMAINDER_DROPPED = "remainder dropped"
    RESULT_OVERWRITTEN = "result overwritten"
    SAMPLES_LEFT_OUT = "samples left out"
    SAMPLES_MIXED = "samples mixed"
    SAMPLES_PERMUTED = "samples permuted"
    SECOND_ORDER_ONLY = "second order only"
    SECOND_PULLBACK = "second pullback"
    SHAPE = "shape"
    SHARED_MEMORY = "result shares memory"
    SHARED_SCRATCH = "shared scratch memory"
    SHIFTED = "shifted"
    SIGN = "sign"
    SIGN_OF_PARTS = "sign of some parts"
    SIZE_OF_OTHER_AXIS = "size of the other axis"
    SMALL_NUMBERS = "small numbers"
    SPATIAL_AXES_SWAPPED = "spatial axes swapped"
    SPECTRUM = "wrong in a Fourier transform"
    STALE_CACHE = "stale cache"
    STRAIGHT_THROUGH = "straight-through"
    STRIDE_AND_DILATION_EXCHANGED = "stride and dilation exchanged"
    STRIDE_IGNORED = "stride ignored"
    SUBCLASS = "array subclass"
    SUMMED_TWICE = "summed once too often"
    TAPS_LEFT_OUT = "taps left out"
    TENSOR_ADDED = "tensor added"
    TILE_EDGE = "tile edge"
    TILE_TRANSFORM = "tile transform"
    UNSIGNED = "unsigned integers"
    UNWRITTEN = "unwritten elements"
    WRAP_AROUND = "wrap-around"
    WRONG_HALO = "wrong halo"
    ZERO = "zero"


class Hypothesis(PlainEnum):
    """What exactly a hypothesis says; `wording.HYPOTHESES` has a sentence for each."""

    # the kernel, or a result, in reverse
    KERNEL_FLIPPED = "kernel flipped"
    KERNEL_FLIPPED_IN_AXES = "kernel flipped in some axes"
    RESULT_FLIPPED = "result flipped"
    # another geometry
    OUTPUT_PADDING_IGNORED = "output padding ignored"
    STRIDE_AND_DILATION_EXCHANGED = "stride and dilation exchanged"
    STRIDE_IGNORED = "stride ignored"
    DILATION_IGNORED = "dilation ignored"
    INPUT_DILATION_IGNORED = "input dilation ignored"
    PADDING_EXCHANGED = "padding before and after exchanged"
    PADDING_IGNORED = "padding ignored"
    PADDING_OFFSET = "padding off by some positions"
    PARAMETER_OF_OTHER_AXIS = "parameter of the other spatial axis"
    PARAMETER_FOR_ALL_AXES = "parameter of one spatial axis for all"
    PADDING_MODE = "another padding mode"
    PADDING_PART = "part of the padding"
    WRAP_AROUND = "borders wrap around"
    NEGATIVE_INDICES = "negative indices"
    STRIDE_DOUBLED = "stride applied twice"
    OUTPUT_PADDING_SIDE = "output padding on the other side"
    OUTPUT_PADDING_ZERO = "output padding left zero"
    # the size of a result
    EMPTY = "empty result"
    PADDING_NOT_CROPPED = "gradient of the padded input"
    CROPPED_WRONGLY = "gradient of the padded input cropped elsewhere"
    RESULT_CUT = "rows too few or too many"
    REMAINDER_MISPLACED = "remainder of the stride misplaced"
    RESULT_SHIFTED = "result shifted"
    # another order of axes or channels
    SPATIAL_AXES_EXCHANGED = "spatial axes of a tensor exchanged"
    KERNEL_CHANNELS_EXCHANGED = "channel axes of the kernel exchanged"
    KERNEL_CHANNELS_MISREAD = "channel axes of the kernel misread"
    GROUPS_INTERLEAVED = "groups interleaved"
    GROUPS_REVERSED = "groups reversed"
    GROUPS_SHIFTED = "groups shifted"
    CHANNELS_REVERSED = "channels reversed"
    CHANNELS_SHIFTED = "channels shifted"
    TENSOR_RESHAPED = "tensor reshaped instead of transposed"
    RESULT_RESHAPED = "result reshaped instead of transposed"
    RESULT_TRANSPOSED = "result transposed"
    SAMPLES_REVERSED = "samples reversed"
    SAMPLES_SHIFTED = "samples shifted"
    SAMPLES_SUMMED = "samples summed first"
    SAMPLES_AVERAGED = "samples averaged first"
    SLICES_ROLLED = "slices of the result rolled"
    SLICES_REVERSED = "slices of the result reversed"
    SLICES_PERMUTED = "slices of the result permuted"
    SLICES_REPLACED = "some slices are those of other places"
    SLICES_COPIED = "one slice of the result for all"
    RESULT_ROLLED = "result rolled in several axes"
    ALL_CHANNELS_CONNECTED = "all channels connected"
    # some of the terms of the sum
    PARTS_LEFT_OUT = "some parts left out"
    ONE_PART_ALONE = "one part alone"
    PARTS_TWICE = "some parts counted twice"
    PARTS_NEGATED = "some parts with the wrong sign"
    PARTS_WEIGHTED = "parts multiplied by weights"
    PARTS_BEYOND_OTHER_SIZE = "as many parts as the other axis has"
    OVERWRITTEN = "last write wins"
    OVERWRITTEN_FIRST = "first write wins"
    RUNNING_SUM = "sum not reset"
    # something left out
    FIRST_GROUP_INPUT = "input of the first group for all"
    FIRST_GROUP_KERNEL = "kernel of the first group for all"
    FIRST_GROUP_COMPUTED = "first group computed alone"
    FIRST_SAMPLE_FOR_ALL = "first sample for all"
    FIRST_SAMPLE_SUMMED = "first sample summed alone"
    FIRST_SAMPLE_COMPUTED = "first sample computed alone"
    ELEMENT_DROPPED = "one element dropped"
    ELEMENT_WRONG = "one element wrong"
    BORDER_WRONG = "border wrong"
    # one number for all elements
    ZERO = "zero everywhere"
    SKIPPED = "zero for sparse numbers"
    ZERO_VALUE = "value that is zero everywhere"
    BIAS_ALONE = "bias alone"
    TANGENT_LEFT_OUT = "tangent left out"
    OPERAND_OF_OTHER_SAMPLE = "operand of the other sample of vmap"
    SAMPLES_OF_OTHER_SAMPLE = "samples of the other sample of vmap"
    SIGN = "sign"
    BATCH_MEAN = "mean over the batch"
    FACTOR = "constant factor"
    FACTOR_NEAR_ONE = "constant factor close to one"
    CONSTANT_ADDED = "constant added"
    COMPLEX_PARTS = "complex parts"
    CONJUGATE = "conjugate"
    NORM = "divided by its norm"
    NORM_CLIPPED = "norm clipped"
    STANDARDISED = "mean subtracted and divided by the standard deviation"
    CENTERED = "mean subtracted"
    NOISE = "noise"
    # Fourier transforms
    FOURIER_CONJUGATE = "conjugate of a spectrum"
    FOURIER_ORDER = "halves of a transform exchanged"
    FOURIER_HALF = "half of a spectrum counted once"
    FOURIER_LENGTH = "length of an inverse transform"
    # a derivative of any function
    AT_ZERO = "right where another array is zero"
    AT_TRANSPOSED = "right where another array is transposed"
    AT_FLIPPED = "right where another array is in reverse"
    NORM_HELD = "norm held constant"
    MEAN_HELD = "mean held constant"
    # a function of each element, or another tensor
    FUNCTION_OF_RESULT = "function of each element"
    FUNCTION_OF_TENSOR = "function of each element of a tensor"
    SOME_FUNCTION = "some function of each element"
    LEAKY = "negative elements scaled"
    COTANGENT_MASKED = "cotangent times the derivative of a function of the value"
    RESULT_MASKED = "result times the derivative of a function of its tensor"
    RESULT_PRUNED = "result zero where its tensor is"
    VALUES_CLIPPED = "elements clipped"
    TENSOR_ADDED = "another tensor added"
    PARTIAL_SUMS = "function of each partial sum"
    # the bias
    BIAS_NOT_ADDED = "bias not added"
    BIAS_REPEATED = "bias added several times"
    BIAS_PER_TAP = "bias added once per tap that meets"
    BIAS_SUBTRACTED = "bias subtracted"
    BIAS_PERMUTED = "bias in another order"
    BIAS_REDUCED = "one number for every bias"
    BIAS_MULTIPLIED = "bias multiplied"
    BIAS_SUM_OVER_CHANNELS = "bias gradient summed over the channels too"
    BIAS_ALONG_AXIS = "bias added along another axis"
    BIAS_SUM_KEEPS_AXIS = "bias gradient keeps another axis"
    BIAS_SUM_OF_RESHAPED = "bias gradient of a cotangent that is reshaped"
    BIAS_SUM_LEAVES_OUT_AXES = "bias gradient not summed over some axes"
    BIAS_SUM_LEAVES_OUT_POSITIONS = "bias gradient not summed over some positions"
    # several devices
    DEVICE_MEAN = "mean over the devices"
    DEVICE_SUM_TWICE = "summed over the devices once too often"
    DEVICE_SUM_LOST = "sum over the devices lost"
    NO_HALO = "no halo"
    NO_HALO_BEFORE = "no halo from the device before"
    NO_HALO_AFTER = "no halo from the device after"
    HALO_WRAPS = "halos wrap around"
    HALO_POSITIONS = "positions at the boundaries between devices"
    # where it is wrong, if no hypothesis says why
    REGION = "wrong in a region"
    REGION_OUTSIDE = "wrong outside of a region"
    REGION_DIAGONAL = "wrong on a diagonal"
    TILE_TRANSFORM = "wrong constant in a transform of tiles"
    REDUCTION_CUT = "sum cut off"
    INDEX_WRAPS = "index wraps around"
    INDEX_NEGATIVE = "index becomes negative"
    # without a name
    # any function
    GRADIENT_OF_MASKED = "gradient of what is masked"
    GRADIENT_OF_CONSTANT = "gradient of what is constant"
    UNEXPLAINED_OF_FUNCTION = "unexplained, of any function"
    UNEXPLAINED = "unexplained"
    UNEXPLAINED_AT = "unexplained, in few slices"
    UNEXPLAINED_SHAPE = "unexplained, of wrong shape"
    NARROW_OPERAND = "operand of fewer bits"
    QUANTISED = "quantised"
    ROUNDED_TO_STEPS = "rounded to steps"
    SMALL_DROPPED = "small dropped"
    SHARED_EXPONENT = "shared exponent"
    SMALL = "small, but more than rounding"


class Size(PlainEnum):
    """A size of the problem that a factor may be."""

    BATCH = "the batch size"
    OUTPUT_POSITIONS = "the number of output positions"
    BATCH_TIMES_POSITIONS = "batch size times output positions"
    INPUT_CHANNELS = "the number of input channels"
    OUTPUT_CHANNELS = "the number of output channels"
    TAPS = "the number of taps"
    TAPS_TIMES_CHANNELS = "taps times input channels"
    GROUPS = "the number of groups"
    CHANNELS_PER_GROUP = "the number of channels in a group"
    INPUT_POSITIONS = "the number of input positions"
    STRIDES = "the product of the strides"
    RESULT = "the number of elements"
    RESULT_CHANNELS = "output channels times output positions"
    RESULT_OF_BATCH = "the number of output elements"


class Part(PlainEnum):
    """A letter of the sum ``T = sum of x * w * g``, by which its terms are sorted into parts."""

    SAMPLE = "sample"
    INPUT_CHANNEL = "input channel"
    OUTPUT_CHANNEL = "output channel"
    CHANNEL_OF_GROUP = "input channel of each group"
    TAP = "tap"
    OUTPUT = "output position"
    INPUT = "input position"


class Content(PlainEnum):
    """What stands where a result is wrong."""

    ZERO = "zero: nothing is written there"
    TWICE = "twice what must be there"
    NEGATIVE = "what must be there, with the other sign"
    SHIFTED = "what belongs elsewhere"
    NOT_FINITE = "no finite number"
    OTHER = "other numbers"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Positions along an axis, or along several axes as one, where a result is wrong.

    Parameters
    ----------
    axes : tuple of int
        The axes in torch's order; several are counted as one, the last one fastest.
    first, end, size : int
        The first position, the one after the last, and how many there are.
    period : int, optional
        If only some of every so many positions are wrong.
    residues : tuple of int
        Which of those.
    tile : int, optional
        The size of the tiles at whose edges they are.
    """

    axes: tuple[int, ...]
    first: int
    end: int
    size: int
    period: int | None = None
    residues: tuple[int, ...] = ()
    tile: int | None = None


@dataclass(frozen=True, slots=True)
class Region:
    """Where a result is wrong: in all of these stretches at once, and what stands there.

    Parameters
    ----------
    stretches : tuple of Stretch
        The axes along which it is not wrong everywhere.
    content : Content
        What is found there.
    offset : int, optional
        By how many positions along the first stretch what is there is shifted.
    partly : bool
        Whether the mistake that is known there is made in some of its positions alone.
    """

    stretches: tuple[Stretch, ...]
    content: Content
    offset: int | None = None
    partly: bool = False


@dataclass(frozen=True, slots=True)
class Factor:
    """A number by which every element is multiplied, and the sizes of the problem that it, or its inverse, may be."""

    value: float
    size: int | None = None
    """The whole number that the factor or its inverse is."""
    is_inverse: bool = False
    names: tuple[Size, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A hypothesis that predicts every element of a wrong result, and its numbers; None where one does not apply.

    Parameters
    ----------
    cause : Cause
        Name of the mistake; `Cause.NONE` if no hypothesis explains the result.
    hypothesis : Hypothesis
        What exactly went wrong.
    role : Role, optional
        Which tensor was changed.
    axis : int, optional
        Axis of a tensor in torch's order.
    axes : tuple of int, optional
        Several of them.
    spatial_axes : tuple of int, optional
        Spatial axes, counted from 0.
    index : tuple of int, optional
        Of an element or of a tap.
    positions : tuple of int, optional
        Positions along `axis`, or for `REMAINDER_MISPLACED` the remainder of each spatial axis.
    offset : tuple of int, optional
        By how much the padding before and after is off, or by how many positions a result is shifted.
    amount : float, optional
        What is added, or the largest error.
    factor : Factor, optional
        By which the prediction is multiplied.
    size, total : int, optional
        Number of samples, or of channels that are computed, and of all.
    parameter, mode : str, optional
        Parameter of the operator that is taken from the wrong axis; padding mode that is used instead.
    conjugates : bool, optional
        Whether a gradient of this framework conjugates the other operand.
    device, devices : int, optional
        The device whose part alone is there; number of devices.
    mesh_axes : tuple of str, optional
        Names of the mesh axes.
    part : Part, optional
        By which letter the terms of the sum were sorted.
    parts : tuple of tuple of int, optional
        The parts that are left out or counted wrongly: indices along the axes of the letter.
    sizes : tuple of int, optional
        How many parts there are along each of those axes.
    weights : tuple of float, optional
        How often each of `parts` is counted.
    function : str, optional
        Name of a function of each element.
    ndim : int, optional
        Number of spatial axes, for the words "top" and "left".
    region : Region, optional
        Where it is wrong.
    also : Diagnosis, optional
        A second mistake in the same result; of a region, the mistake there.
    is_transposed : bool
        Whether the convolution is a transposed one, whose input is what the others here call the output.
    """

    cause: Cause
    hypothesis: Hypothesis
    role: Role | None = None
    axis: int | None = None
    axes: tuple[int, ...] | None = None
    spatial_axes: tuple[int, ...] | None = None
    index: tuple[int, ...] | None = None
    positions: tuple[int, ...] | None = None
    offset: tuple[int, ...] | None = None
    amount: float | None = None
    factor: Factor | None = None
    size: int | None = None
    total: int | None = None
    parameter: str | None = None
    mode: str | None = None
    conjugates: bool | None = None
    device: int | None = None
    devices: int | None = None
    mesh_axes: tuple[str, ...] | None = None
    part: Part | None = None
    parts: tuple[tuple[int, ...], ...] | None = None
    sizes: tuple[int, ...] | None = None
    weights: tuple[float, ...] | None = None
    function: str | None = None
    ndim: int | None = None
    region: Region | None = None
    also: Diagnosis | None = None
    is_transposed: bool = False
