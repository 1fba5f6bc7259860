"""`vjp` and `jvp`: derivatives of the operators on any backend, by the rule table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Unpack

from array_api_compat import array_namespace

from triconv.backends import backend_of
from triconv.geometry.integers import shown
from triconv.operators.operation import Call
from triconv.operators.signature_types import AnyArray, Arrays, ArrayT, Parameters
from triconv.operators.validation import check_arrays

Array = Any


def vjp(
    op: Callable[..., object], first: ArrayT, /, *others: AnyArray, **params: Unpack[Parameters]
) -> tuple[ArrayT, Pullback]:
    """Value and pullback (vector-Jacobian product) of an operator, by the hand-derived rules, on any backend.

    Parameters
    ----------
    op : callable
        An operator of triconv, such as `triconv.conv2d`.
    first, *others : array
        Its arrays in its positional order, bias left out where there is none.
    **params : Any
        Its parameters.

    Returns
    -------
    y : array
        ``op(first, *others, **params)``.
    pullback : callable
        Takes a cotangent ``g`` of the shape of ``y`` and returns a tuple of cotangents: one per array, in its shape and dtype.

    Raises
    ------
    TypeError
        If `op` is no operator of triconv, or if `op` raises it.
    ValueError
        If `op` raises it; by ``pullback``, if ``g`` has another shape than ``y``.

    Notes
    -----
    Every rule is one line of the table in `triconv.rules`. For complex arrays the pullback is the plain transpose, as in JAX;
    for torch's arrays it is the conjugate of that, as in torch.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> x, w = np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 3))
    >>> y, pullback = triconv.vjp(triconv.conv1d, x, w)
    >>> gx, gw = pullback(np.ones_like(y))
    >>> gx
    array([[[1., 2., 3., 2., 1.]]])
    """
    call, resolved = resolve_call(op, (first, *others), params)
    y = call(*resolved)
    return y, Pullback(call, resolved, tuple(y.shape), y.dtype)


@dataclass(frozen=True, eq=False)
class Pullback:
    """The pullback that `vjp` returns: a function of a cotangent of the result. It can be copied and pickled.

    Parameters
    ----------
    call : Call
        The call.
    arrays : tuple of array
        Its arrays.
    shape, dtype : tuple of int, dtype
        Shape and dtype of the result.
    move : callable, optional
        Converts a cotangent before it is used.
    """

    call: Call
    arrays: tuple[Array, ...] = field(repr=False)
    shape: tuple[int, ...]
    dtype: Any
    move: Callable[[Any], Array] | None = None

    def __call__(self, g: AnyArray) -> tuple[Array, ...]:
        """Cotangents of the arrays, in their shapes and dtypes."""
        g = g if self.move is None else self.move(g)
        _check_like("g", g, self.shape, self.dtype, "the result", self.arrays)
        return self.call.pullback(self.arrays, g)


def jvp(
    op: Callable[..., object], arrays: Arrays[ArrayT], tangents: Arrays[AnyArray], **params: Unpack[Parameters]
) -> tuple[ArrayT, ArrayT]:
    """Value and tangent (Jacobian-vector product) of an operator, on any backend.

    Parameters
    ----------
    op : callable
        An operator of triconv, such as `triconv.conv2d`.
    arrays : tuple of array
        Its arrays in its positional order, bias left out where there is none.
    tangents : tuple of array
        Their tangents, one per array, of the same shape.
    **params : Any
        Its parameters.

    Returns
    -------
    y : array
        ``op(*arrays, **params)``.
    tangent : array
        Directional derivative of ``y`` along `tangents`.

    Raises
    ------
    TypeError, ValueError
        If `op` raises them, and if a tangent does not fit its array.

    Notes
    -----
    The contractions are linear in each array: ``d conv(x, w) = conv(dx, w) + conv(x, dw)``.

    Examples
    --------
    >>> import numpy as np, triconv
    >>> x, w = np.arange(5.0).reshape(1, 1, 5), np.ones((1, 1, 3))
    >>> triconv.jvp(triconv.conv1d, (x, w), (np.ones_like(x), np.zeros_like(w)))[1]
    array([[[3., 3., 3.]]])
    """
    check_tuples(arrays, tangents)
    call, resolved = resolve_call(op, tuple(arrays), params)
    if len(tangents) != len(resolved):
        msg = f"`tangents` must be one per array, got {len(tangents)} for {len(resolved)} arrays"
        raise ValueError(msg)
    for number, (tangent, array) in enumerate(zip(tangents, resolved, strict=True)):
        _check_like(f"tangents[{number}]", tangent, array.shape, array.dtype, f"arrays[{number}]", resolved)
    return call(*resolved), call.pushforward(resolved, tuple(tangents))


def check_tuples(arrays: Any, tangents: Any) -> None:
    """Raise unless both are tuples or lists; an array would be read as a tuple of its parts."""
    for name, listed in (("arrays", arrays), ("tangents", tangents)):
        if not isinstance(listed, (tuple, list)):
            msg = f"`{name}` must be a tuple of arrays, got {type(listed).__name__}"
            raise TypeError(msg)


def resolve_call(
    op: Callable[..., Any], arrays: tuple[Array, ...], params: Mapping[str, Any]
) -> tuple[Call, tuple[Array, ...]]:
    """The call of an operator, and its arrays in native byte order."""
    if not hasattr(op, "resolve"):
        msg = f"`op` must be an operator of triconv, such as triconv.conv2d, got {shown(op)}"
        raise TypeError(msg)
    call, resolved = op.resolve(*arrays, **params)
    lib = backend_of(array_namespace(*resolved))
    return call, tuple(map(lib.native, resolved))


def _check_like(
    name: str, a: Array, shape: tuple[int, ...], dtype: Any, primal: str, arrays: tuple[Array, ...]
) -> None:
    """Raise unless `a` can be a cotangent or tangent of an array of this shape and dtype."""
    xp = check_arrays(**{name: a, **{f"arrays[{n}]": array for n, array in enumerate(arrays)}})
    if tuple(a.shape) != tuple(shape):
        msg = f"`{name}.shape` must be that of {primal}, got {tuple(a.shape)} != {tuple(shape)}"
        raise ValueError(msg)
    lib, kinds = backend_of(xp), ("integer", "real", "complex")
    tangent_kind, primal_kind = (kinds.index(lib.element(each)[1]) for each in (a.dtype, dtype))
    if tangent_kind > primal_kind:
        msg = f"`{name}.dtype` must fit into the dtype of {primal}, got {a.dtype} for {dtype}"
        raise TypeError(msg)
