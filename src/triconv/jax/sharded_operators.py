"""The public functions for arrays that are sharded over a mesh: `conv_sharded`, and `sharded` for every operator."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Unpack

from jax import Array
from jax.sharding import AxisType, Mesh, PartitionSpec

from triconv.geometry.integers import shown
from triconv.jax import spatial_sharding
from triconv.operators import conv
from triconv.operators.signature_types import ConvParameters


def conv_sharded(
    x: Array,
    w: Array,
    mesh: Mesh,
    x_spec: PartitionSpec,
    w_spec: PartitionSpec | None = None,
    *,
    overlap: bool | None = None,
    **params: Unpack[ConvParameters],
) -> Array:
    """Convolve arrays that are sharded over a mesh; along spatial axes, devices send only halos.

    Parameters
    ----------
    x : array, shape (n, c, *input)
        The input, in the order of `layout`.
    w : array, shape (k, c // groups, *kernel)
        The kernel.
    mesh : jax.sharding.Mesh
        The devices, of this process and of other processes.
    x_spec : jax.sharding.PartitionSpec
        Mesh axes over which the batch, the channels and the spatial axes of `x` are sharded, one entry per axis.
    w_spec : jax.sharding.PartitionSpec, optional
        The same for `w`. Its input channels are sharded as those of `x`; its spatial axes must be whole on each device.
    overlap : bool, optional
        Whether to convolve the interior of each block separately, which XLA can do while halos are sent. By default True unless
        the devices are CPUs.
    **params : Any
        The parameters of `triconv.conv`.

    Returns
    -------
    array, shape (n, k, *output)
        The result; its batch and spatial axes are sharded as those of `x`, its channels as those of `w`.

    Raises
    ------
    ValueError, TypeError
        As `triconv.conv`; and if the specs contradict each other, or the batch, channels or groups do not divide.

    See Also
    --------
    sharded : The same for every operator of triconv.

    Notes
    -----
    Device ``d`` holds the inputs ``[d * b, (d + 1) * b)``. The incidence equation says which inputs its outputs meet. Those
    that other devices hold are sent by collective permutes, over several blocks if the halo is wider than a block; see
    `triconv.halo`. Spatial sizes need not divide by the number of devices: the last blocks are then padded with zeros.

    The input VJP sends the halos back and adds them. The weight VJP sends the halos of `x` and sums over batch and space.

    Per sharded spatial axis a device sends at most ``dilation * (kernel - 1) / input_dilation`` positions, if
    ``output = input_dilation * input / stride``. This does not depend on the number of devices; see `triconv.halo.scale`.

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
    """Make an operator of triconv take arrays that are sharded over a mesh.

    Parameters
    ----------
    operator : callable
        An operator such as `triconv.conv_transpose2d` or `triconv.conv_weight_vjp`.
    mesh : jax.sharding.Mesh
        The devices.
    *specs : jax.sharding.PartitionSpec or None
        How each of its arrays is sharded, in their positional order. A spec that is None or left out follows from the others.
    overlap : bool, optional
        See `conv_sharded`.

    Returns
    -------
    callable
        Takes the arguments of the operator and returns its result.

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
