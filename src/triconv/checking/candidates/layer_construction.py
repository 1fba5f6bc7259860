"""Make a layer from its class: the arguments of its constructor by their names, from shapes and parameters of the operator."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from triconv.checking.candidates.layer_search import plain

Shape = tuple[int, ...]

IN_CHANNELS = {
    "inchannels", "inchannel", "cin", "nchannels", "inputchannels", "ninputschannels", "ninputchannels", "inputdepth",
    "channels", "nbchannels", "numchannels", "inch", "inc", "inplanes", "ninputs", "inputchannel", "inputchannelnum",
    "inputsize", "infeatures", "inputdim", "indepth",
}  # fmt: skip
OUT_CHANNELS = {
    "outchannels", "outchannel", "cout", "numfilters", "nfilters", "nbfilters", "filters", "nfilter", "outputchannels",
    "outputchannel", "outch", "outc", "nkernels", "numkernels", "depth", "noutputs", "noutputchannels", "outplanes",
    "outputdepth", "outputsize", "outfeatures", "outputdim", "kernels", "numberoffilters",
}  # fmt: skip
KERNEL_SIZE = {
    "kernelsize",
    "kernalsize",
    "filtersize",
    "ksize",
    "size",
    "k",
    "kernel",
    "fsize",
    "f",
    "kernelshape",
    "windowsize",
    "hf",
}
KERNEL_HEIGHT = {"hfilter", "filterheight", "kernelheight", "kernelh", "kh", "fh"}
KERNEL_WIDTH = {"wfilter", "filterwidth", "kernelwidth", "kernelw", "kw", "fw"}
WEIGHTS = {"w", "weight", "weights", "kernelweights"}
BIASES = {"b", "bias", "biases"}
INPUT_SHAPE = {"inputshape", "xdim", "inputdim", "inshape", "xshape", "imageshape", "shape"}
PARAMETERS = {
    "stride": {"stride", "strides", "s"},
    "padding": {"padding", "pad", "p", "paddingsize"},
    "dilation": {"dilation", "dilations"},
    "groups": {"groups"},
}
DEFAULTS: dict[str, Any] = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1}


def construct(
    cls: type, args: tuple[Any, ...], kwargs: dict[str, Any], shapes: tuple[Shape, ...], params: dict[str, Any]
) -> Any:
    """Return an instance of a layer's class.

    Parameters
    ----------
    cls : type
        The class.
    args, kwargs : tuple, dict
        The arguments of its constructor; without any, they are found by their names.
    shapes : tuple of tuple of int
        Shapes of x, w and the bias.
    params : dict
        Parameters of the operator: stride, padding, layout.

    Raises
    ------
    TypeError
        If the constructor needs something of an unknown name.
    """
    if args or kwargs:
        return cls(*args, **kwargs)
    try:
        signature = inspect.signature(cls)
    except (TypeError, ValueError):
        return cls()
    values: dict[str, Any] = {}
    for name, p in signature.parameters.items():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            continue
        known, value = _value(p, signature, shapes, params)
        if known:
            values[name] = value
        elif p.default is p.empty:
            example = "..." if name in values else f"{name}=..."
            given = ", ".join([*(f"{key}={_shown(v)}" for key, v in values.items()), example])
            msg = (
                f"`candidate` must be an instance of {cls.__name__}, such as {cls.__name__}({given}), got the class; "
                f"its constructor takes {signature}"
            )
            raise TypeError(msg)
    try:
        return _called(cls, signature, values)
    except Exception as problem:  # noqa: BLE001 (one that the user's code raises for these sizes is reported)
        sizes = {n: _repeated(v, shapes) for n, v in values.items() if plain(n) in KERNEL_SIZE}
        try:
            return _called(cls, signature, {**values, **sizes})
        except Exception:  # noqa: BLE001
            given = ", ".join(f"{name}={_shown(value)}" for name, value in values.items())
            return Unconstructed(ValueError(f"{cls.__name__}({given}) raised {type(problem).__name__}: {problem}"))


class Unconstructed:
    """In the place of a layer whose constructor raises."""

    def __init__(self, problem: Exception) -> None:
        self.problem = problem

    def forward(self, *_: Any) -> Any:
        """Raise what the constructor raised."""
        raise self.problem

    def backward(self, *_: Any) -> Any:
        """Raise what the constructor raised."""
        raise self.problem


def _repeated(size: Any, shapes: tuple[Shape, ...]) -> tuple[Any, ...]:
    """A kernel size for each axis, for constructors that take no number."""
    return size if isinstance(size, tuple) else (size,) * max(1, len(shapes[1]) - 2)


def _called(cls: type, signature: inspect.Signature, values: dict[str, Any]) -> Any:
    values = dict(values)
    positional = [n for n, p in signature.parameters.items() if p.kind is p.POSITIONAL_ONLY and n in values]
    return cls(*(values.pop(name) for name in positional), **values)


def _shown(value: Any) -> str:
    return "..." if isinstance(value, np.ndarray) else repr(value)


def _value(
    p: inspect.Parameter, signature: inspect.Signature, shapes: tuple[Shape, ...], params: dict[str, Any]
) -> tuple[bool, Any]:
    """Return whether the value of a parameter is known, and the value."""
    name = plain(p.name)
    for ours, names in PARAMETERS.items():
        if name in names:
            value = _single(params.get(ours, DEFAULTS[ours]))
            if ours == "dilation" and p.default == 0 and isinstance(value, int):  # the zeros between taps
                return True, value - 1
            return True, _spelled(value, p.default, shapes) if ours == "padding" else value
    if not shapes:
        return False, None
    x = shapes[0]
    w = shapes[1] if len(shapes) > 1 else None
    x_letters, w_letters = _letters(x, w, params)
    one = "N" not in x_letters
    channels = x[x_letters.index("C")] if "C" in x_letters else 1
    is_required = p.default is p.empty or p.default is None
    if name in INPUT_SHAPE and is_required:
        return True, x if one or name in ("shape", "xshape") else tuple(x[1:])
    if w is not None:
        kernel = tuple(w[w_letters.index(letter)] for letter in w_letters if letter not in "OI")
        outputs = w[w_letters.index("O")] if "O" in w_letters else 1
        rng = np.random.default_rng(0)
        if name in WEIGHTS and is_required:
            return True, rng.standard_normal(w)
        if name in BIASES and is_required:
            return True, rng.standard_normal(shapes[2] if len(shapes) > 2 else (outputs,))
        if name == "filtershape":
            counted = any(plain(other) in OUT_CHANNELS for other in signature.parameters)
            return True, kernel if counted else w
        if name in OUT_CHANNELS:
            return True, outputs
        if name in KERNEL_SIZE:
            return True, kernel if name == "kernelshape" else _single(kernel)
        if name in KERNEL_HEIGHT or name in KERNEL_WIDTH:
            return True, kernel[0 if name in KERNEL_HEIGHT else -1]
    if name in IN_CHANNELS:
        return True, channels
    return False, None


def _letters(x: Shape, w: Shape | None, params: dict[str, Any]) -> tuple[str, str]:
    """Return the letters of the axes of x and w, as the layout says or in torch's order."""
    layout = str(params.get("layout") or "")
    if layout:
        x_letters, _, w_letters = layout.partition("->")[0].partition(",")
        return x_letters.strip().upper(), w_letters.strip().upper()
    ndim = len(w) - 2 if w is not None else max(1, len(x) - 2)
    spatial = "DHW"[-ndim:] if 0 < ndim <= 3 else ""
    return ("NC" + spatial)[-len(x) :] if len(x) else "", "OI" + spatial


def _single(value: Any) -> Any:
    """Return the number that a sequence repeats."""
    if isinstance(value, (tuple, list)) and value and all(v == value[0] for v in value):
        return _single(value[0])
    return value


def _spelled(value: Any, default: Any, shapes: tuple[Shape, ...]) -> Any:
    """Return a padding as a word where the constructor takes words."""
    if not isinstance(default, str) or isinstance(value, str):
        return value
    w = shapes[1] if len(shapes) > 1 else None
    if value == 0:
        word = "valid"
    elif w is not None and isinstance(value, int) and any(2 * value == size - 1 for size in w):
        word = "same"
    else:
        return value
    return word.upper() if default.isupper() else word
