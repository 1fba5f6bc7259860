"""Why a result is wrong, as data: `Cause`, the name that users see, and `Diagnosis`, the hypothesis with its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from triconv.checking.protocol import PlainEnum, Role


class Cause(PlainEnum):
    """Names of mistakes."""

    NONE = ""
    BATCH_AVERAGED = "batch averaged"
    BIAS_AXIS = "bias axis"
    BIAS_IGNORED = "bias ignored"
    BORDER_DROPPED = "border dropped"
    CHANNELS_PERMUTED = "channels permuted"
    CHANNELS_SWAPPED = "channels swapped"
    CONJUGATE = "conjugate"
    CONSTANT_ADDED = "constant added"
    CONSTANT_FACTOR = "constant factor"
    CROSS_DEVICE_MEAN = "cross-device mean"
    CROSS_DEVICE_SUM_LOST = "cross-device sum lost"
    DETACHED = "detached"
    DILATION_IGNORED = "dilation ignored"
    DTYPE = "dtype"
    GROUPS_PERMUTED = "groups permuted"
    JVP_ONLY = "jvp only"
    KEPT_AXES = "kept axes"
    KERNEL_FLIP = "kernel flip"
    KERNEL_FLIP_IN_ONE_AXIS = "kernel flip in one axis"
    LAYOUT_MISREAD = "layout misread"
    NONDETERMINISTIC = "nondeterministic"
    NOT_A_NUMBER = "not a number"
    ONE_ELEMENT = "one element"
    ONLY_THE_FIRST_GROUP = "only the first group"
    ONLY_THE_FIRST_SAMPLE = "only the first sample"
    OUTPUT_PADDING_IGNORED = "output_padding ignored"
    PADDING_EXCHANGED = "padding low and high exchanged"
    PADDING_IGNORED = "padding ignored"
    PADDING_MODE = "padding mode"
    PADDING_OFF_BY_ONE = "padding off by one"
    RAISED = "raised"
    REMAINDER_DROPPED = "remainder dropped"
    SECOND_ORDER_ONLY = "second order only"
    SHAPE = "shape"
    SIGN = "sign"
    SPATIAL_AXES_SWAPPED = "spatial axes swapped"
    STRIDE_AND_DILATION_EXCHANGED = "stride and dilation exchanged"
    STRIDE_IGNORED = "stride ignored"
    SUMMED_TWICE = "summed once too often"
    WRONG_HALO = "wrong halo"


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
    PADDING_MODE = "another padding mode"
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
    # something left out
    FIRST_GROUP_INPUT = "input of the first group for all"
    FIRST_GROUP_KERNEL = "kernel of the first group for all"
    FIRST_GROUP_COMPUTED = "first group computed alone"
    FIRST_SAMPLE_FOR_ALL = "first sample for all"
    FIRST_SAMPLE_SUMMED = "first sample summed alone"
    FIRST_SAMPLE_COMPUTED = "first sample computed alone"
    FIRST_POSITION_LEFT_OUT = "first position left out"
    LAST_POSITION_LEFT_OUT = "last position left out"
    FIRST_SLICE_LEFT_OUT = "first sample or channel left out"
    LAST_SLICE_LEFT_OUT = "last sample or channel left out"
    TAP_LEFT_OUT = "tap left out"
    ELEMENT_DROPPED = "one element dropped"
    ELEMENT_WRONG = "one element wrong"
    BORDER_WRONG = "border wrong"
    # one number for all elements
    ZERO = "zero everywhere"
    SIGN = "sign"
    BATCH_MEAN = "mean over the batch"
    FACTOR = "constant factor"
    FACTOR_NEAR_ONE = "constant factor close to one"
    CONSTANT_ADDED = "constant added"
    CONJUGATE = "conjugate"
    # the bias
    BIAS_NOT_ADDED = "bias not added"
    BIAS_ALONG_AXIS = "bias added along another axis"
    BIAS_SUM_KEEPS_AXIS = "bias gradient keeps another axis"
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
    # without a name
    UNEXPLAINED = "unexplained"
    UNEXPLAINED_SHAPE = "unexplained, of wrong shape"
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
