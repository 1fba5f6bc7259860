"""The arguments of `check`: shapes or arrays, as many as the operator has, and the dtype of the arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj

from triconv.backends import to_numpy
from triconv.operators.registry import array_names


class ArrayCountError(TypeError):
    """There are not as many shapes or arrays as the operator has arrays."""

    def __init__(self, operator: str, names: Sequence[str], count: int) -> None:
        self.operator, self.names, self.count = operator, tuple(names), count or "none"
        super().__init__(
            f"`shapes_or_arrays` must have one shape or array per array of {operator} ({', '.join(names)}): got {self.count}; "
            f"such as triconv.check(f, triconv.{operator}, {_example(operator)})"
        )


def shapes_of(shapes_or_arrays: tuple[Any, ...]) -> tuple[tuple[tuple[int, ...], ...], list[Any] | None]:
    """Return the shapes, and the arrays if there are any."""
    if shapes_or_arrays and all(is_array_api_obj(a) for a in shapes_or_arrays):
        return tuple(tuple(map(int, a.shape)) for a in shapes_or_arrays), list(shapes_or_arrays)
    shapes = []
    for a in shapes_or_arrays:
        if is_array_api_obj(a) or not isinstance(a, (tuple, list)) or not all(hasattr(n, "__index__") for n in a):
            msg = f"`shapes_or_arrays` must be all shapes (tuples of ints) or all arrays, got {type(a).__name__}: {str(a)[:60]}"
            raise TypeError(msg)
        if any(int(n) < 0 for n in a):
            msg = f"`shapes_or_arrays` must be shapes without negative sizes, got {tuple(a)}"
            raise ValueError(msg)
        shapes.append(tuple(map(int, a)))
    return tuple(shapes), None


def check_count(like: Callable[..., Any], count: int) -> None:
    """Raise unless there are as many shapes as the operator has arrays, a bias or not."""
    parameters = inspect.signature(like).parameters
    names = [name for name, p in parameters.items() if name in array_names(like) and p.kind is not p.KEYWORD_ONLY]
    needed = sum(parameters[name].default is inspect.Parameter.empty for name in names)
    if not needed <= count <= len(names):
        raise ArrayCountError(like.__name__, names, count)


def plain_bias(
    like: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]
) -> tuple[tuple[tuple[int, ...], ...], tuple[int, ...]]:
    """Return the shapes with the bias as the operator takes it, and its shape in the candidate, with -1 for its channels.

    People write a bias as (k, 1) or (1, 1, 1, k).
    """
    names = array_names(like)
    if len(shapes) != len(names) or names[-1] != "bias" or len(shapes[-1]) < 2:
        return shapes, (-1,)
    long = [axis for axis, size in enumerate(shapes[-1]) if size != 1] or [0]
    if len(long) > 1:
        return shapes, (-1,)
    pattern = tuple(-1 if axis == long[0] else 1 for axis in range(len(shapes[-1])))
    return (*shapes[:-1], (shapes[-1][long[0]],)), pattern


def most_arrays(like: Callable[..., Any]) -> int:
    """Return the number of arrays that an operator takes by position, the bias among them."""
    parameters = inspect.signature(like).parameters
    return sum(parameters[name].kind is not inspect.Parameter.KEYWORD_ONLY for name in array_names(like))


def _example(name: str) -> str:
    """Return shapes that an operator takes, and its required parameter."""
    shapes = example_shapes(name)
    sizes = {"conv_input_vjp": "input_size=(8, 8)", "conv_weight_vjp": "kernel_size=(3, 3)"}
    return ", ".join([*map(str, shapes), *([sizes[name]] if name in sizes else [])])


def example_shapes(name: str) -> tuple[tuple[int, ...], ...]:
    """Return shapes that an operator takes, for messages."""
    if name.startswith("conv2d_"):
        shapes = {"conv2d_forward": ((6, 7, 3), (3, 2, 3)), "conv2d_backward": ((4, 6, 1), (3, 2, 3))}
        return shapes.get(name, ((6, 7, 3), (4, 6, 1)))
    ndim = next((int(digit) for digit in name if digit.isdigit()), 2)
    x, w, g = ((a, b, *(size,) * ndim) for a, b, size in ((2, 3, 8), (4, 3, 3), (2, 4, 6)))
    if name == "conv_weight_vjp":
        return g, x
    return (g if "transpose" in name or name == "conv_input_vjp" else x), w


def dtype_of(arrays: list[Any] | None) -> str | None:
    """Return the dtype of the arrays; bfloat16 is one too, whatever library has it."""
    if not arrays:
        return None
    names = {to_numpy(a).dtype.name if str(a.dtype)[:1] in "<>=|" else str(a.dtype).rpartition(".")[2] for a in arrays}
    return names.pop() if len(names) == 1 else str(np.result_type(*(to_numpy(a).dtype for a in arrays)))
