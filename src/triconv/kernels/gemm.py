"""Unfold and multiply (im2col): windows become columns of a matrix, and the taps one matrix product.

Axes are of two kinds. The windows of the trailing axes are unfolded, so that their taps ``t`` stand as channels; samples are
one more position. The taps ``s`` of the leading axes stay rows of the product (`PhaseSchedule.row_axes`), and each row is
scatter-added where it belongs::

    u[t, c, n, i.., o] = x[n, c, i.., stride * o + dilation * t]

    y[k, n, o.., o] = sum over s of  (w @ u)[s, k, n, i.., o]      where i.. and o.. meet at s
    gw[k, c, s, t]  = sum over n, i.., o of  v[s, k, n, i.., o] * u[t, c, n, i.., o]

and ``v`` is the cotangent, unfolded along the leading axes of the transposed geometry. A row axis has no stride, since its
products are taken at all inputs. Of 3x3 taps, unfolding both axes would write nine times the input, and one of each three times
the input and three times the output. Windows that do not overlap are a mere change of shape (`patches`). Where a convolution
widens its input, all axes are row axes (`col2im`); where a compiler shards arrays over devices, nothing is merged (`spmd`).

The multiply-adds are those of `direct`, and those with the padding.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from triconv.backends.array_operations import permute_dims
from triconv.backends.base import Standard
from triconv.geometry import Axis, Geometry
from triconv.kernels import blocks, channels_last, col2im, patches, polyphase, spmd, tap_loops, unfolding
from triconv.kernels.col2im import scattered
from triconv.kernels.polyphase import samples_last
from triconv.kernels.problem import Problem
from triconv.kernels.schedule import Cost, PhaseSchedule, Schedule, by_phases, counted
from triconv.kernels.target import Target

Array = Any

RATIONALE = "matrix products of unfolded blocks"
NARROW_FACTORS = True  # its operands are factors of products, and nothing else
UNFOLD, LAST, SPMD = "unfold", "unfold as it stands in memory", "sharded"


def conv(x: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """``y = w @ unfold(x)``."""
    if schedule.form in (col2im.BY_PASSES, col2im.BY_TAPS):
        return col2im.conv(x, w, schedule, lib)
    if schedule.form == SPMD:
        return polyphase.conv(spmd.conv, x, w, schedule, lib)
    if schedule.form == LAST:
        return polyphase.conv(channels_last.conv, x, w, schedule, lib, channels_last.matrix)
    return polyphase.conv(_conv, x, w, schedule, lib, _prepared)


def conv_input_vjp(g: Array, w: Array, schedule: Schedule, lib: Standard) -> Array:
    """`conv` of the transposed geometry."""
    return conv(g, polyphase.transposed(w, lib), schedule, lib)


def conv_weight_vjp(g: Array, x: Array, schedule: Schedule, lib: Standard) -> Array:
    """``gw = unfold(g) @ unfold(x)^T``, summed over the samples."""
    one_phase = {SPMD: spmd.conv_weight_vjp, LAST: channels_last.conv_weight_vjp}.get(schedule.form, _weight_vjp)
    return polyphase.conv_weight_vjp(one_phase, g, x, schedule, lib)


def _prepared(w: Array, how: PhaseSchedule, lib: Standard) -> Array:
    """The kernel of a phase: one matrix, unless its taps are taken a few at a time."""
    return w if how.step or how.layers else _matrix(w, how.row_axes, lib)


def _matrix(w: Array, row_axes: int, lib: Standard) -> Array:
    """One matrix for all taps, shape (groups, taps of row axes * k, other taps * c)."""
    groups, k, c, *kernel = w.shape
    w = permute_dims(w, (0, *range(3, 3 + row_axes), 1, *range(3 + row_axes, w.ndim), 2), lib.xp)
    return lib.xp.reshape(w, (groups, math.prod(kernel[:row_axes]) * k, math.prod(kernel[row_axes:]) * c))


def _conv(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv` of one phase and block: all taps at once, in passes over non-overlapping windows, or in a loop over them."""

    def part(x: Array, w: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
        return _conv_at_once(x, _matrix(w, 0, lib), geometry, how, lib)

    if how.layers:
        terms = (part(x, w[(..., *p.taps)], p.geometry, how, lib) for p in patches.passes(geometry))
        return functools.reduce(operator.add, terms)
    return tap_loops.sum_taps(part if how.step else _conv_at_once, x, w, geometry, how, lib)


def _weight_vjp(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """`conv_weight_vjp` likewise."""
    if how.layers:
        kernels = [_weight_vjp_at_once(g, x, p.geometry, how, lib) for p in patches.passes(geometry)]
        return patches.joined(kernels, geometry, lib)
    return tap_loops.map_taps(_weight_vjp_at_once, g, x, geometry, how, lib)


def _conv_at_once(x: Array, matrix: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``y = matrix @ unfold(x)`` in rows of the first axis, then the row axes are scatter-added."""
    lead = how.row_axes
    trailing = Geometry((*map(_whole, geometry.input_size[:lead]), *geometry.axes[lead:]))

    def block(x: Array, part: Geometry) -> Array:
        u = unfolding.unfolded(samples_last(x, lib), part.axes, lib)
        y = lib.matmul(matrix, lib.xp.reshape(u, (*u.shape[:2], -1)))
        return samples_last(lib.xp.reshape(y, (*y.shape[:2], *u.shape[2:])), lib)

    y = blocks.map_rows(block, x, trailing, how.rows, lib)
    if not lead:
        return y
    y, taps = samples_last(y, lib), geometry.kernel_size[:lead]
    products = lib.xp.reshape(y, (y.shape[0], *taps, y.shape[1] // math.prod(taps), *y.shape[2:]))
    return samples_last(scattered(products, Geometry(geometry.axes[:lead]), lib), lib)


def _weight_vjp_at_once(g: Array, x: Array, geometry: Geometry, how: PhaseSchedule, lib: Standard) -> Array:
    """``gw = unfold(g) @ unfold(x)^T`` in rows of the first axis, which is an axis of x or of g."""
    (groups, _, c), k, lead = x.shape[:3], g.shape[2], how.row_axes
    leading = Geometry((*geometry.transposed().axes[:lead], *map(_whole, geometry.output_size[lead:])))
    trailing = Geometry((*map(_whole, geometry.input_size[:lead]), *geometry.axes[lead:]))

    def block(g: Array, x: Array, leading: Geometry, trailing: Geometry) -> Array:
        v, u = (unfolding.unfolded(samples_last(a, lib), part.axes, lib) for a, part in ((g, leading), (x, trailing)))
        v, u = (lib.xp.reshape(a, (*a.shape[:2], -1)) for a in (v, u))
        return _split_product(v, u, how, lib)

    if lead:
        rows_of_x = lambda x, g, part: block(g, x, part, _rows_of(trailing, x))  # noqa: E731
        gw = blocks.sum_rows(rows_of_x, x, g, leading, how.rows, lib)
    else:
        gw = blocks.sum_rows(lambda g, x, part: block(g, x, _rows_of(leading, g), part), g, x, trailing, how.rows, lib)
    sizes = geometry.kernel_size
    gw = lib.xp.reshape(gw, (groups, *sizes[:lead], k, *sizes[lead:], c))
    # the transposed geometry's taps are in reverse
    gw = lib.flip(gw, range(1, 1 + lead)) if lead else gw
    last = gw.ndim - 1
    return permute_dims(gw, (0, 1 + lead, last, *range(1, 1 + lead), *range(2 + lead, last)), lib.xp)


def _split_product(v: Array, u: Array, how: PhaseSchedule, lib: Standard) -> Array:
    """``v @ u^T``, as a sum of so many independent products."""
    inner, parts, line = v.shape[2], how.split_k, how.split_line
    ends = [*(inner * number // parts // line * line for number in range(parts)), inner]
    products = (lib.matmul_transposed(*(a[:, :, start:end] for a in (v, u))) for start, end in itertools.pairwise(ends))
    return functools.reduce(operator.add, products) if parts > 1 else lib.matmul_transposed(v, u)


def _whole(size: int) -> Axis:
    """An axis of windows that are its positions."""
    return Axis(size, 1)


def _rows_of(geometry: Geometry, a: Array) -> Geometry:
    """The geometry of as many rows as there are, of an axis that is not unfolded."""
    return Geometry((*map(_whole, a.shape[3:4]), *geometry.axes[1:]))


# ---- schedules


def schedules(problem: Problem, target: Target) -> Iterator[Schedule]:
    """Sharded einsums, a scatter-add, or else unfolding."""
    schedule, view = by_phases("gemm", UNFOLD, problem, target)
    if target.partitioned:
        yield replace(schedule, form=SPMD, phases=spmd.phases(view, target))
        return
    if channels_last.suits(view, target):
        geometries = counted(view.geometry, target)
        yield from channels_last.schedules(replace(schedule, form=LAST), view, geometries, target)
    if schedule.contraction == "conv" and (scatter := next(col2im.schedules(problem.by_windows(), target), None)):
        yield scatter
        return
    inputs = view.bytes_of["x"] // view.itemsize
    parts = [(geometry, count, _phase(view, geometry, target)) for geometry, count in counted(view.geometry, target)]
    size = sum(count * _working_set(view, geometry, how, target) for geometry, count, how in parts)
    most = target.elements(target.unfold_bytes, view.itemsize, inputs)
    splits = schedule.contraction == "conv_weight_vjp" and _split_k(view, view.geometry, view.n, target) > 1
    if splits:
        whole = target.elements(target.sample_bytes, view.itemsize, inputs)
        size = max(size, (2 * size + view.k * math.prod(view.geometry.output_size)) * most / whole)
    elif target.compiled and patches.are_apart(view.geometry):
        # nothing is unfolded, so a sample is a block as it is; but a product brings a large kernel in order once per block
        most = min(most, max(target.elements(target.block_bytes, view.itemsize, inputs), view.k * view.c * view.taps))
    samples, groups = blocks.block_of(view, size, most, target)
    in_block = replace(view, n=samples or view.n, groups=groups or view.groups)
    phases = tuple(_in_rows(in_block, geometry, how, target, inputs) for geometry, _, how in parts)
    yield replace(schedule, phases=phases, samples=samples, groups=groups)


def _phase(view: Problem, geometry: Geometry, target: Target) -> PhaseSchedule:
    """How the taps of a phase are taken."""
    if patches.are_apart(geometry):
        return PhaseSchedule()
    if math.prod(geometry.kernel_size) > target.unrolled_taps:
        layers = bool(patches.counts(geometry, target.largest_layers))
        return PhaseSchedule(layers=layers, step=0 if layers else tap_loops.step_of(geometry, target.taps_per_step))
    most = next((number for number, axis in enumerate(geometry.axes) if axis.stride > 1), len(geometry.axes))

    def weight(row_axes: int) -> float:
        unfolded, products = _elements(view, geometry, row_axes)
        if row_axes and products > target.largest_products:
            return math.inf
        multiply_adds = products * view.c * math.prod(geometry.kernel_size[row_axes:])
        return multiply_adds + target.written_multiply_adds * (unfolded + products)

    return PhaseSchedule(row_axes=min(range(most + 1), key=weight))


def _in_rows(view: Problem, geometry: Geometry, how: PhaseSchedule, target: Target, inputs: int) -> PhaseSchedule:
    """The same for a block, with the rows of a sample that are taken at a time, and the parts of each product."""
    if how.step or how.layers:
        at_once = tap_loops.one_step(geometry, how.step) if how.step else patches.passes(geometry)[0].geometry
    else:
        at_once = geometry
    if not geometry.axes:
        return how
    size = whole = _working_set(view, at_once, replace(how, step=0, layers=False), target)
    block = target.unfold_bytes
    if view.contraction == "conv":
        # in a loop over samples, the result of each stands in memory before it is copied to its place
        whole += view.k * math.prod(geometry.output_size) if view.n > 1 else 0
        block = target.row_bytes if how.row_axes else block
    elif _split_k(view, at_once, view.n, target) > 1:
        # a split product copies both operands
        size = whole = 2 * size + view.k * math.prod(geometry.output_size)
        block = target.split_k_bytes
    axis = at_once.axes[0]
    rows = axis.input_size if how.row_axes else axis.output_size
    if whole > target.elements(target.sample_bytes, view.itemsize, inputs):
        most = max(1, int(rows * target.elements(block, view.itemsize, inputs) / size))
        exact = blocks.divisor(rows, most)  # such that nothing has to be padded
        taken = exact if 2 * exact >= most else blocks.even(rows, most)
        how = replace(how, rows=taken if taken < rows else 0)
    if view.contraction == "conv_weight_vjp":
        samples = view.n * (how.rows or rows) / rows
        parts = _split_k(view, at_once, samples, target)
        how = replace(how, split_k=parts, split_line=target.split_line if parts > 1 else 1)
    return how


def _elements(view: Problem, geometry: Geometry, row_axes: int) -> tuple[int, int]:
    """Elements of the unfolded input and of the products of one sample and group."""
    leading, trailing = geometry.axes[:row_axes], geometry.axes[row_axes:]
    positions = math.prod(axis.input_size for axis in leading) * math.prod(axis.output_size for axis in trailing)
    return (
        view.c * positions * math.prod(axis.kernel_size for axis in trailing),
        view.k * positions * math.prod(axis.kernel_size for axis in leading),
    )


def _working_set(view: Problem, geometry: Geometry, how: PhaseSchedule, target: Target) -> float:
    """Elements of the unfolded input of one sample and group, and of the products that are not yet the output."""
    unfolded, products = _elements(view, geometry, how.row_axes)
    if how.layers:
        return unfolded / math.prod(patches.counts(geometry, target.largest_layers))
    if how.step:
        return unfolded * target.taps_per_step / math.prod(geometry.kernel_size)
    return unfolded + (products if how.row_axes else 0)


def _split_k(view: Problem, geometry: Geometry, samples: float, target: Target) -> int:
    """Parts of the product of a weight VJP: several where it is small, of a single group, and its sum is long."""
    elements = view.k * view.c * math.prod(geometry.kernel_size)
    terms = samples * math.prod(geometry.output_size)
    is_split = view.groups == 1 and elements <= target.split_k_elements and terms >= target.split_k_terms
    return target.split_k if is_split and target.kind == "cpu" else 1


def _ordered(problem: Problem) -> float:
    """Bytes written and read again where samples and channels of x and g are exchanged, on a GPU."""
    return 2.0 * (problem.bytes_of["x"] + problem.bytes_of["g"]) if problem.n > 1 else 0.0


def cost(schedule: Schedule, problem: Problem, target: Target) -> Cost:
    """Matrix products with the unfolded input; few rows or columns make them slower."""
    if schedule.form in (col2im.BY_PASSES, col2im.BY_TAPS):
        return col2im.cost(schedule, problem, target)
    if schedule.form == LAST:
        return channels_last.cost(schedule, problem, target)
    view = replace(problem.by_windows(), geometry=schedule.geometry)
    if schedule.form == SPMD or patches.are_apart(view.geometry):
        return _cost_of_products(view, problem, target)
    return _cost_of_unfolding(schedule, view, problem, target)


def _cost_of_products(view: Problem, problem: Problem, target: Target) -> Cost:
    """That of products alone: windows that do not overlap are a change of shape; where arrays are sharded, none is counted."""
    amount = view.padded_multiply_adds * target.product_factor(view.k, view.c * view.taps)
    temporary = min(2 * problem.bytes_of["x"], 4 * target.row_bytes) + 2 * problem.bytes_of["w"]
    if target.kind == "gpu":
        return Cost("matrix", amount, _ordered(problem), temporary, 16, launches=4)
    # samples and positions are one axis of the product: called one by one, both arrays are copied for that
    copied = ("x", "g") if problem.n > 1 and not target.compiled else ("x",)
    return Cost("matrix", amount, sum(problem.bytes_of[role] for role in copied), temporary, 16)


def _cost_of_unfolding(schedule: Schedule, view: Problem, problem: Problem, target: Target) -> Cost:
    """That of products, and of what is unfolded for them."""
    item, is_weight_vjp = problem.itemsize, schedule.contraction == "conv_weight_vjp"
    parts = problem.groups * problem.n  # each has products of its own
    amount, moved, most = 0.0, 0.0, 0.0
    for geometry, count, how in schedule.counted():
        unfolded, products = _elements(view, geometry, how.row_axes)
        rows = view.k * math.prod(geometry.kernel_size[: how.row_axes])
        columns = view.c * math.prod(geometry.kernel_size[how.row_axes :])
        amount += count * parts * products * columns * target.product_factor(rows, columns)
        if how.layers:
            passes = target.layer_passes
        elif is_weight_vjp and problem.groups == 1 and columns < target.few_columns:
            passes = target.few_columns_passes
        else:
            passes = target.weight_vjp_passes if is_weight_vjp else target.unfold_passes
        if is_weight_vjp and how.step and len(geometry.axes) > 2:
            passes *= target.stepped_volumes
        in_rows = item * (unfolded + (products if how.row_axes else 0)) > target.sample_bytes
        steps = 2 if len(geometry.axes) == 1 and geometry.axes[0].stride > 1 else 1  # read one by one
        bytes_ = parts * item * (steps * unfolded + products)
        moved += count * (max(passes, target.row_passes) if in_rows else passes) * bytes_
        most = max(most, min(parts * item * unfolded, target.sample_bytes) + 2 * item * products)
    if view.phases > 1 or (target.kind == "gpu" and any(axis.input_dilation > 1 for axis in view.geometry.axes)):
        moved += 2 * view.bytes_of["w" if is_weight_vjp else "g"]
    moved += _ordered(problem) if target.kind == "gpu" else 0
    most += 2 * problem.bytes_of["w"]
    operations = 16 + view.phases * min(view.taps, target.unrolled_taps)
    # each part copies both operands, in a loop of its own
    operations += target.last_operations * sum(how.split_k - 1 for how in schedule.phases)
    return Cost("matrix", amount, moved, most, operations, launches=5 * view.phases * schedule.steps(view.taps))
