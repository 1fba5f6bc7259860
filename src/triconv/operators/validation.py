"""From a user's arguments to a `Call`: checks everything, before any array work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

import numpy as np
from array_api_compat import array_namespace, is_array_api_obj

from triconv.backends import BACKENDS, Standard, backend_of
from triconv.geometry import Geometry, Pads
from triconv.geometry.integers import one_per_axis, shown
from triconv.geometry.padding import resolve_padding
from triconv.operators.layout import Layout
from triconv.operators.operation import Call
from triconv.operators.signature_types import Precision
from triconv.operators.symbolic import resolve_symbolic
from triconv.padding_modes import MODES, check_padding_mode
from triconv.planning import planner
from triconv.rules import ROLES, Roles

Array = Any

PRECISIONS: tuple[str, ...] = get_args(Precision)
RESULT_SIZES = {"x": "input_size", "w": "kernel_size"}
"""The argument that gives the spatial sizes of a result which is x or w."""


class NumpyBesideError(TypeError):
    """Arrays of NumPy stand beside those of a library whose own functions take both: they can be converted.

    Parameters
    ----------
    message : str
        What is said if nobody converts them.
    converted : callable
        Converts an array of NumPy, to the device of the others, and returns what is none as it is.
    """

    def __init__(self, message: str, converted: Callable[[Any], Any]) -> None:
        super().__init__(message)
        self.converted = converted


def check_arrays(**arrays: Array) -> Any:
    """The common namespace of the arrays; raises if one is no array of numbers, or of another library or device."""
    namespaces = {}
    for name, array in arrays.items():
        if not is_array_api_obj(array):
            msg = f"`{name}` must be an array of an array API library, got {type(array).__name__}"
            if isinstance(array, (list, tuple)) or type(array).__name__ == "matrix":
                msg = f"{msg}; numpy.asarray makes one of it"
            raise TypeError(msg)
        namespaces[name] = array_namespace(array)
        if obstacle := backend_of(namespaces[name]).obstacle(array):
            msg = f"`{name}` must be {obstacle}"
            raise TypeError(msg)
    (first, xp), *others = namespaces.items()
    place = backend_of(xp).place(arrays[first])
    for name, other in others:
        if other is not xp:
            libraries = {first: backend_of(xp), name: backend_of(other)}
            found = " and ".join(lib.name for lib in libraries.values())
            msg = f"`{first}` and `{name}` must be arrays of one library, got {found}{_conversion(libraries)}"
            if (converted := _beside(arrays, namespaces)) is not None:
                raise NumpyBesideError(msg, converted)
            raise TypeError(msg)
        if (elsewhere := backend_of(xp).place(arrays[name])) != place:
            msg = f"`{first}` and `{name}` must be on one device, got {place} and {elsewhere}"
            raise ValueError(msg)
    for name, array in arrays.items():
        if not backend_of(xp).is_number(array.dtype):
            msg = f"`{name}.dtype` must be an integer, real or complex floating dtype, got {array.dtype}"
            if any(narrow in str(array.dtype) for narrow in ("float8", "float6", "float4", "int4", "int2", "int1")):
                msg = f"{msg}; convert it first, to bfloat16 or float32"
            raise TypeError(msg)
    return xp


def resolve(
    contraction: str,
    arrays: dict[str, Array],
    *,
    names: dict[str, str],
    layout: Layout,
    result_size: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    input_dilation: Any = 1,
    groups: Any = 1,
    mode: str = "zeros",
    fit: bool = False,
    algorithm: str = "auto",
    precision: str = "highest",
) -> Call:
    """Check the arguments of an operator and resolve them.

    Parameters
    ----------
    contraction : str
        The contraction.
    arrays : dict of array
        The operator's arrays by role, in its positional order.
    names : dict of str
        The operator's names for them, by role; and its names for "groups" and "layout", if they are others.
    layout : Layout
        The layout.
    result_size : int or sequence of int
        Spatial sizes of the result, if it is x or w.
    stride, padding, dilation, input_dilation, groups, algorithm, precision
        See `triconv.conv`.
    mode : str
        The padding mode.
    fit : bool
        Whether a window that does not fit is an error.

    Returns
    -------
    Call
        The call; if a size is symbolic, a `SymbolicCall`, which has the same three methods.
    """
    roles = ROLES[contraction]
    check_axes(layout, {role: arrays[role] for role in roles.operands}, names)
    planner.check_algorithm(algorithm)
    _check_member("precision", precision, PRECISIONS)
    _check_member("padding_mode", mode, MODES)
    lib = backend_of(array_namespace(*arrays.values()))
    if lib.varies(_every_size(arrays, result_size)):
        call, obstacle = resolve_symbolic(
            contraction,
            arrays,
            names=names,
            layout=layout,
            result_size=result_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            input_dilation=input_dilation,
            groups=groups,
            mode=mode,
            algorithm=algorithm,
            precision=precision,
        )
        if obstacle is None:
            _check_operands(layout, arrays, names, call.groups, roles)
            return cast("Call", call)
        spatial = [size for role in roles.operands for size in layout.spatial_size(role, arrays[role].shape)]
        if lib.varies([*spatial, *_flat(result_size)]):
            msg = f"sizes that vary must be those of batch or channels for this {contraction}, got spatial ones: {obstacle}"
            raise ValueError(msg)
    sizes = _spatial_sizes(roles, arrays, names, layout, result_size)
    pads: Any = ()
    if mode != "zeros":
        pads = _pads_of_mode(mode, sizes, stride, padding, dilation)
        sizes["x"] = tuple(size + lo + hi for size, (lo, hi) in zip(sizes["x"], pads, strict=True))
        padding = 0
    geometry = Geometry.of(
        sizes["x"],
        sizes["w"],
        stride=stride,
        padding=padding,
        dilation=dilation,
        input_dilation=input_dilation,
        groups=groups,
    )
    # before the spatial sizes: of arrays in another layout neither fits, and the channels say so
    _check_operands(layout, arrays, names, geometry.groups, roles)
    if fit:
        geometry.require_fit(names.get("w", "kernel_size"))
    _check_output_size(roles, sizes, geometry, names, result_size)
    return Call(contraction, tuple(arrays), geometry, layout, mode, pads, algorithm, precision)


def _spatial_sizes(
    roles: Roles, arrays: dict[str, Array], names: dict[str, str], layout: Layout, result_size: Any
) -> dict[str, tuple[int, ...]]:
    """The spatial sizes of the operands, and of the result if it is x or w, by role; raises unless they are numbers."""
    sizes = {role: layout.spatial_size(role, arrays[role].shape) for role in roles.operands}
    for role, lengths in sizes.items():
        if symbols := [size for size in lengths if not hasattr(size, "__index__")]:
            msg = (
                f"the spatial sizes of `{names[role]}` must be numbers, got {symbols[0]}: batch and channels may be symbolic, "
                "but of each spatial size a program of its own has to be exported"
            )
            raise TypeError(msg)
    if roles.result != "g":
        name = RESULT_SIZES[roles.result]
        sizes[roles.result] = one_per_axis(result_size, len(layout.spatial), name, least=0, repeat=False)
    return sizes


def _pads_of_mode(mode: str, sizes: dict[str, tuple[int, ...]], stride: Any, padding: Any, dilation: Any) -> Pads:
    """The padding of a mode that is not zeros, by which x is padded before it is convolved."""
    ndim = len(sizes["x"])
    strides = one_per_axis(stride, ndim, "stride", least=1)
    dilations = one_per_axis(dilation, ndim, "dilation", least=1)
    pads = resolve_padding(padding, sizes["x"], sizes["w"], strides, dilations, (1,) * ndim)
    check_padding_mode(mode, sizes["x"], pads)
    return pads


def _check_output_size(
    roles: Roles, sizes: dict[str, tuple[int, ...]], geometry: Geometry, names: dict[str, str], result_size: Any
) -> None:
    """Raise if g is an operand of other spatial sizes than the output of the geometry."""
    if "g" not in sizes or sizes["g"] == geometry.output_size:
        return
    msg = (
        f"the spatial sizes of `{names['g']}` must be those of the output of this geometry, "
        f"got {sizes['g']} != {geometry.output_size}"
    )
    if roles.result != "g":
        name = RESULT_SIZES[roles.result]
        if 0 in sizes[roles.result]:
            msg = f"`{name}` must be at least 1 for `{names['g']}` of spatial sizes {sizes['g']}, got {shown(result_size)}"
        else:
            msg = f"{msg}; `{name}` is {shown(result_size)}"
    raise ValueError(msg)


def check_axes(layout: Layout, arrays: dict[str, Array], names: dict[str, str]) -> None:
    """Raise unless each array, by role, has as many axes as the layout has letters for it."""
    for role, array in arrays.items():
        letters = layout.letters(role)
        if array.ndim != len(letters):
            msg = f"`{names[role]}` must have {len(letters)} axes ({letters}), got {array.ndim}"
            raise ValueError(msg)


def _every_size(arrays: dict[str, Array], result_size: Any) -> list[Any]:
    return [*(size for array in arrays.values() for size in array.shape), *_flat(result_size)]


def _flat(size: Any) -> list[Any]:
    """The sizes in an int or a sequence, without what is no number."""
    sizes = size if isinstance(size, (list, tuple)) else [size]
    return [number for number in sizes if hasattr(number, "__index__")]


def _check_operands(layout: Layout, arrays: dict[str, Array], names: dict[str, str], groups: int, roles: Roles) -> None:
    """Raise unless the letters of the operands, and the bias, fit together."""
    operands = {role: (names[role], arrays[role].shape) for role in roles.operands}
    _check_channels(layout, operands, groups, names)
    _check_left_out(layout, arrays, groups, roles.result)
    if "bias" in arrays:
        letter, groups_ = ("O", 1) if roles.result == "g" else ("I", groups)
        channels = groups_ * layout.size("w", letter, arrays["w"].shape)
        found, is_left_out = tuple(arrays["bias"].shape), letter not in layout.w and channels == 1
        if found != (channels,) and not (is_left_out and found == ()):
            expected = f"{(channels,)}{' or ()' if is_left_out else ''}"
            msg = f"`bias.shape` must be {expected}, one number per output channel, got {found}"
            raise ValueError(msg)


def _check_channels(
    layout: Layout, operands: dict[str, tuple[str, tuple[int, ...]]], groups: int, names: dict[str, str]
) -> None:
    """Raise unless the letters that two tensors share have one length, and groups divide the channels."""
    called = names.get("groups", "groups")

    def axis(role: str, letter: str) -> tuple[str, int]:
        name, shape = operands[role]
        position = layout.letters(role).find(letter)
        written = f"{name}.shape[{position}]" if position >= 0 else "1"
        return written, layout.size(role, letter, shape)

    def hint(role: str, factor: int, channels: int, channels_if_last: int) -> str:
        """The end of a message on channels, where those of x or g, or of w, fit if they are last."""
        shape, w = operands[role][1], operands["w"][1]
        if not (layout.spatial and layout.is_channels_first):
            return ""
        spatial, x = layout.spatial, layout.x
        first, last = (shape[-1] == factor * w[axis] for axis in (channels, channels_if_last))
        if first or last:
            words = "looks channels last"
            x = f"{x.removesuffix('C' + spatial)}{spatial}C"
            kernels = [letters for letters, fits in ((f"OI{spatial}", first), (f"{spatial}IO", last)) if fits]
        elif shape[-len(spatial) - 1] == factor * w[channels_if_last]:
            words, kernels = f"`{operands['w'][0]}` looks channels last", [f"{spatial}IO"]
        else:
            return ""
        if "layout" in names:
            return f"; {words}; see `{names['layout']}`"
        return f"; {words}: pass " + " or ".join(f"layout='{x},{letters}->{x}'" for letters in kernels)

    def equal(left: tuple[str, int], right: tuple[str, int], hinted: tuple[Any, ...] = ()) -> None:
        if left[1] != right[1]:
            msg = f"`{left[0]}` must equal `{right[0]}`, got {left[1]} != {right[1]}{hint(*hinted) if hinted else ''}"
            raise ValueError(msg)

    def divisible(role: str, letter: str) -> None:
        written, size = axis(role, letter)
        if size % groups:
            msg = f"`{written}` must be a multiple of `{called}`, got {size} and {groups}"
            raise ValueError(msg)

    if "x" in operands and "w" in operands:
        (x, c), (w, per_group) = axis("x", "C"), axis("w", "I")
        if layout.grouped == "N":
            equal((x, c), (w, per_group))
        elif c != groups * per_group:
            msg = f"`{x}` must equal `{called} * {w}`, got {c} != {groups} * {per_group}{hint('x', groups, 1, -2)}"
            raise ValueError(msg)
    if "g" in operands and "w" in operands:
        equal(axis("g", "C"), axis("w", "O"), ("g", 1, 0, -1))
    if "x" in operands and "g" in operands:
        equal(axis("g", "N"), axis("x", "N"))
    for role, letter in (("w", "O"), ("x", layout.grouped), ("g", "C")):
        if role in operands:
            divisible(role, letter)


def _check_left_out(layout: Layout, arrays: dict[str, Array], groups: int, result: str) -> None:
    """Raise if the layout of the result leaves out an axis that is longer than 1."""
    head = {  # per letter of the result: the tensor and letter that have its length, and the factor and divisor to it
        "g": {"N": ("x", "N", 1, 1), "C": ("w", "O", 1, 1)},
        "x": {"N": ("g", "N", 1, 1), "C": ("w", "I", groups, 1)},
        "w": {"O": ("g", "C", 1, 1), "I": ("x", "C", 1, groups)},
    }
    for letter, (role, source, times, over) in head[result].items():
        size = layout.size(role, source, arrays[role].shape) * times // over
        if letter not in layout.letters(result) and size != 1:
            msg = f"`layout` must have the letter {letter} in the result unless its length is 1, got {size}"
            raise ValueError(msg)


def _check_member(name: str, value: Any, members: tuple[str, ...]) -> None:
    if not isinstance(value, str) or value not in members:
        msg = f"`{name}` must be one of {', '.join(map(repr, members))}, got {shown(value)}"
        raise ValueError(msg)


def _beside(arrays: dict[str, Array], namespaces: dict[str, Any]) -> Callable[[Any], Any] | None:
    """How to convert the arrays that are NumPy's; None unless all others are of one library that takes them."""
    libraries = {name: backend_of(xp) for name, xp in namespaces.items()}
    others = [name for name, lib in libraries.items() if lib.name != "numpy"]
    lib = libraries[others[0]]
    if not lib.takes_numpy or len({libraries[name].name for name in others}) > 1:
        return None
    return lambda a: lib.asarray(a, device=lib.place(arrays[others[0]])) if isinstance(a, np.ndarray) else a


def _conversion(libraries: dict[str, Standard]) -> str:
    """How to bring two arrays of these libraries to one of them, as the end of a message."""
    known = [lib for lib in libraries.values() if lib.name in BACKENDS]
    target = next((lib for lib in known if lib.name != "numpy"), None)
    if target is None:
        return ""
    plain = [name for name, lib in libraries.items() if lib.name == "numpy"]
    convert = f"convert `{plain[0]}` with {target.converter}, or use" if plain else "use"
    return f"; {convert} the operators of triconv.use({target.name!r}), which convert their arrays"
