"""Operators on arrays that are sharded over a mesh: `conv_sharded`, and `sharded` for every other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from jax.sharding import AxisType, Mesh, PartitionSpec

from triconv.geometry.integers import shown
from triconv.jax import spatial_sharding
from triconv.operators import conv

Array = Any


def conv_sharded(
    x: Array,
    w: Array,
    mesh: Mesh,
    x_spec: PartitionSpec,
    w_spec: PartitionSpec | None = None,
    *,
    overlap: bool | None = None,
    **params: Any,
) -> Array:
    """Convolve arrays that are sharded over a mesh; of what is sharded in space, only the halos travel.

    Parameters
    ----------
    x : array, shape (n, c, *input)
        The input, in the order of `layout`.
    w : array, shape (k, c // groups, *kernel)
        The kernel.
    mesh : jax.sharding.Mesh
        The devices, of this process and of others.
    x_spec : jax.sharding.PartitionSpec
        Over which axes of the mesh the batch, the channels and the spatial axes of `x` are sharded, one entry per axis.
    w_spec : jax.sharding.PartitionSpec, optional
        The same of `w`; its input channels are sharded as those of `x`, its spatial axes are whole on each device.
    overlap : bool, optional
        Whether to convolve the interior of each block apart, which XLA can do while the halos travel; by default on anything
        but a CPU.
    **params : Any
        Those of `triconv.conv`.

    Returns
    -------
    array, shape (n, k, *output)
        Sharded as `x` in the batch and in space, as `w` in the channels.

    Raises
    ------
    ValueError, TypeError
        As `triconv.conv`; and if the specs contradict each other, or the batch, channels or groups do not divide.

    See Also
    --------
    sharded : The same for every operator of triconv.

    Notes
    -----
    Device ``d`` has the inputs ``[d * b, (d + 1) * b)``. The incidence equation says which inputs its outputs meet; those that
    others have come by collective permutes (from several blocks away, if the halo is wider than one), see `triconv.halo`.
    Spatial sizes need not divide among the devices: the last blocks are then filled with zeros. Of the derivatives the input
    VJP sends the halos back and adds them, the weight VJP sends those of `x` and adds up over batch and space.
    A step sends, for each spatial axis that is sharded and each device in the middle of it, at most
    ``dilation * (kernel - 1) / input_dilation`` positions if ``output = input_dilation * input / stride``, no matter how many
    devices there are; see `triconv.halo.scale`.

    Examples
    --------
    >>> import jax, triconv
    >>> mesh = jax.make_mesh((1,), ("space",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> x, w = jax.numpy.ones((1, 1, 6)), jax.numpy.ones((1, 1, 3))
    >>> print(triconv.jax.conv_sharded(x, w, mesh, jax.P(None, None, "space"), padding=1))
    [[[2. 3. 3. 3. 3. 2.]]]
    """
    return sharded(conv, mesh, x_spec, w_spec, overlap=overlap)(x, w, **params)


def sharded(
    operator: Callable[..., Array], mesh: Mesh, *specs: PartitionSpec | None, overlap: bool | None = None
) -> Callable[..., Array]:
    """An operator of triconv, on arrays that are sharded over a mesh.

    Parameters
    ----------
    operator : callable
        An operator such as `triconv.conv_transpose2d` or `triconv.conv_weight_vjp`.
    mesh : jax.sharding.Mesh
        The devices.
    *specs : jax.sharding.PartitionSpec or None
        How each of its arrays is sharded, in their positional order; None, or one left out, as the others say.
    overlap : bool, optional
        See `conv_sharded`.

    Returns
    -------
    callable
        Takes what the operator takes, and gives what it gives.

    Raises
    ------
    TypeError, ValueError
        If `operator` is none of triconv's, or `mesh` is no mesh, or one with explicit axes.

    Examples
    --------
    >>> import jax, triconv
    >>> mesh = jax.make_mesh((1,), ("space",), axis_types=(jax.sharding.AxisType.Auto,))
    >>> upsample = triconv.jax.sharded(triconv.conv_transpose1d, mesh, jax.P(None, None, "space"))
    >>> print(upsample(jax.numpy.ones((1, 1, 3)), jax.numpy.ones((1, 1, 2)), stride=2))
    [[[1. 1. 1. 1. 1. 1.]]]
    """
    if not isinstance(mesh, Mesh):
        msg = f"`mesh` must be a jax.sharding.Mesh, got {type(mesh).__name__}"
        raise TypeError(msg)
    if others := [name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind != AxisType.Auto]:
        msg = f"`mesh` must have automatic axes (jax.sharding.AxisType.Auto), got others: {', '.join(others)}"
        raise ValueError(msg)
    if not hasattr(operator, "resolve"):
        msg = f"`operator` must be an operator of triconv, got {shown(operator)}"
        raise TypeError(msg)

    @functools.wraps(operator)
    def run(*args: Any, **kwargs: Any) -> Array:
        call, arrays = operator.resolve(*args, **kwargs)
        if len(specs) > len(arrays):
            msg = f"there must be at most one spec per array, got {len(specs)} for {len(arrays)}"
            raise TypeError(msg)
        return spatial_sharding.apply(call, arrays, mesh, specs, overlap)

    return run
