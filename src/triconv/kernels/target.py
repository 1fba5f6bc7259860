"""The target: what a schedule is made for, and every constant that a kernel or the cost model has.

Each constant has its unit and its reason here, and nowhere else; the factors that slow down a library's own convolution stand
in `vendor_model`. Sizes and factors are of the order of a small machine's and a large accelerator's: only ratios matter.
``python -m bench --fit`` fits them again: it varies one after the other, times the workloads, and prints which values are
faster on the machine at hand. With ``--write PATH`` it measures the rates and writes a file of them, which `target_file` reads
where the environment variable ``TRICONV_TARGET`` names it.
"""

from __future__ import annotations

import contextlib
import contextvars
import functools
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

from triconv.backends.base import Standard
from triconv.kernels import target_file
from triconv.kernels.vendor_model import CUDNN, MIB, ONEDNN, XLA_CPU, XLA_GPU, VendorModel


class Rates(NamedTuple):
    """How fast a library does what kernels do on a kind of device."""

    matrix: float  # multiply-adds per second in matrix products
    vector: float  # multiply-adds per second, element by element
    sum: float  # multiply-adds per second into few sums
    transform: float  # points of a Fourier transform, times the logarithm of their number, per second
    vendor: float  # multiply-adds per second in the library's own convolution, at its best
    integer: float  # multiply-adds per second in matrix products of integers
    bandwidth: float  # bytes per second
    overhead: float  # seconds per operation: to call it, or to compile it, amortized over 1,000 calls
    # how many times as long the library's own convolution may take before another kernel is preferred
    margin: float = 1.0
    row: float = 0.0  # multiply-adds per second in `row_products`; 0 where they are no faster
    least_gain: float = 0.0  # seconds that another kernel must save
    # how many times as fast matrix products and the library's own convolution are of half-width operands
    half: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)  # compared by identity, at no cost: `target_of` makes one of each
class Target:
    """What a schedule is made for.

    Sizes in bytes are those of a working set, unless it says otherwise; on a GPU, where each block is a call and the cache is
    no matter, blocks have `call_bytes`, or twice the input if that is more.
    """

    rates: Rates
    vendor: VendorModel
    kind: str = "cpu"  # kind of device, "cpu" or "gpu"
    compiled: bool = False  # whether it is a part of a compiled program, not one call after the other
    partitioned: bool = False  # whether a compiler may shard the arrays over devices
    # whether a kernel with several taps is a function that a compiler keeps apart from what is around it
    apart: bool = False
    # whether the positions of an array can be kept whole on each device where it is sharded
    positions_whole: bool = False
    source: str = ""  # the file that its rates were read from, if there is one
    vendor_name: str = ""  # the library, as messages name it
    vendor_axes: range | None = None  # how many spatial axes its own convolution takes, if it has one
    vendor_steps: int | None = None  # the longest stride or dilation that it takes, if there is a limit
    # whether it takes a dilated input, so that any geometry is one call of it and needs no phases
    vendor_dilates: bool = False
    # whether its transposed convolution is fast: it inserts no zeros, and needs no phases
    vendor_transposes: bool = False
    # whether windows are views, which one copy unfolds along all axes, on threads (`Standard.windows`)
    window_views: bool = False
    # how many times as fast shifted multiply-adds are in place, in tiles on threads; 0 where a library has none
    in_place: float = 0.0
    # channels last that such multiply-adds read in runs, with any stride, at no cost beside that of a copy
    channel_run: int = 16
    # how long a weight VJP takes that sums channels side by side, for each sum along positions; and the channels that take as
    # long as to begin a loop along them
    channel_sums: float = 1.1
    channel_loop: float = 60.0
    # outputs from which they run along lines of all positions of a channel: of one sample and axis, and of all samples and
    # several axes. `numpy.einsum` takes three times as long where two lines have room in its buffer of 8,192 elements
    line_of_sample: int = 512
    line_of_samples: int = 4096

    # ---- blocks
    call_bytes: int = 64 * MIB  # a block on a GPU: what memory allows
    block_bytes: int = 2 * MIB  # a block whose operands are read once: of the order of a core's second-level cache
    # unfolded input of a block where windows are views: what the second-level caches of two cores hold
    window_bytes: int = 4 * MIB
    # unfolded input, and products of row axes, of a block. A compiled loop starts the next block at no cost, and so leaves half
    # of a shared cache to others; where a block is a dozen calls, it is larger.
    unfold_bytes: int = 10 * MIB
    # the same of a block of rows of one sample, where there are row axes: the products of all blocks are read once more
    row_bytes: int = 10 * MIB
    # unfolded bytes up to which a sample is one block: with blocks of rows, results are read and written once more. An array of
    # more than 32 MiB takes longer, since the C library asks the system for it in each call
    sample_bytes: int = 30 * MIB
    # windows of a block of a compiled weight VJP whose channels stand last: its product copies both operands in another order
    summed_rows_bytes: int = 12 * MIB
    # the same with windows in lines of positions: so many bytes for each byte of the result, if that is more than
    # `unfold_bytes`, since each block reads and writes the sum
    sum_bytes: int = 6
    line_bytes: int = 15 * MIB  # windows of a sample, in lines of positions, up to which it is one block
    split_k_bytes: int = 12 * MIB  # unfolded rows, with the copies that a split-K product makes of both operands
    scatter_bytes: int = 16 * MIB  # products of all samples that are scatter-added at once
    depthwise_bytes: int = 2 * MIB  # input and output of a block of `depthwise`
    # temporary memory up to which a compiled `depthwise` has no blocks: for more, an allocator gives new pages each time
    depthwise_whole_bytes: int = 0
    # input and output of a sample that stay in cache while `depthwise` goes over its channels
    cached_bytes: int = 16 * MIB
    spectrum_bytes: int = 8 * MIB  # spectra of a block of `fft`
    plane_bytes: int = (
        16 * MIB
    )  # volumes with the taps of one axis as channels (`planes`, `merged_rows`), which stand in memory
    largest_products: int = 8 * MIB  # elements of one sample's products of row axes, which stand in memory

    # ---- programs
    unrolled_taps: int = 64  # taps up to which a kernel is unrolled; of more taps, a loop takes a few at a time
    unrolled_sums: int = 32  # the same of a weight VJP that is made of sums, one per tap
    taps_per_step: int = 32  # how many of them, along the last axis
    largest_layers: int = 16  # passes over non-overlapping windows that stand for a loop over taps
    largest_scatter_layers: int = 64  # passes of scatter-adds over non-overlapping windows that stand for phases
    largest_phases: int = 16  # phases of a compiled program; where there are more, zeros are written
    # taps (on a GPU, times channels) up to which a compiled loop pads as it reads, and no padded copy is written: on a CPU,
    # where there is a stride, or the copy would have more bytes than these; of other copies, which stay in a cache, fewer taps
    fused_padding_taps: int = 9
    padding_taps: int = 5
    padded_bytes: int = 16 * MIB
    chained_taps: int = 16  # products that are added in one chain; of more, each row of the kernel is added by itself
    # places at which an array may be read that is to be fused, such as the sums of so many rows of such a kernel: XLA's CPU
    # compiler writes one that is read at more than 15
    fused_places: int = 14
    # partial sums of a weight VJP whose taps are axes of an array
    partial_sums_bytes: int = 20 * MIB
    largest_operations: int = 1024  # operations of a program
    memory: int = 64 * MIB  # bytes of temporary memory beside twice the operands and the result
    counted_phases: int = 64  # phases that are scheduled one by one; of more, the first stands for all
    batch: int = 16  # samples that a batch of unknown size is planned for

    # ---- products
    # parts of a small product with a long sum, each on its own thread; a library that threads one product needs one part
    split_k: int = 1
    split_line: int = 16  # elements of a cache line, at which the parts start
    # a compiled product that sums over rows is split into equal parts if it has so many times as many rows as columns: each
    # part has its own threads, and reads its rows in order
    split_rows: float = 16.0
    most_split: int = 8  # the most such parts
    row_call: float = 2000.0  # multiply-adds of `row_products` that take as long as to call a product of a row
    row_elements: int = 9000  # elements of the matrix of such a product up to which OpenBLAS leaves it on one thread
    row_tile_bytes: int = 2 * MIB  # unfolded input of a tile of them: smaller ones take less time than to call them
    split_k_elements: int = 64 * 64  # elements of a product up to which it is small
    split_k_terms: int = 12 * 2**10  # terms from which its sum is long
    # multiply-adds that take as long as writing an element: weighs unfolded input against products
    written_multiply_adds: int = 50
    # a product of ``m`` rows takes ``1 + ramp / m`` times as long per multiply-add; of ``m`` columns, too (`product_factor`)
    ramp: float = 12.0
    few_columns: int = 96  # columns up to which a product over long rows is bound by reading them
    # how many times the unfolded input is moved between cache and memory
    unfold_passes: float = 0.5  # by a convolution, whose blocks stay in cache
    row_passes: float = 0.8  # at least so many times, where a sample is divided into blocks of rows
    weight_vjp_passes: float = 0.8  # by a weight VJP: its columns are long, and a product copies them in another order
    stepped_volumes: float = 1.0  # how many times more by one of volumes in a loop over taps
    few_columns_passes: float = 1.2  # by one with few columns, which does little else
    layer_passes: float = 2.0  # by passes over non-overlapping windows, whose rows are short
    # the same of volumes with the taps of one axis as channels: written in one loop, read by a convolution that unfolds them
    plane_passes: float = 1.0
    # the same of an array that is transposed: it is written, or read, element by element
    transpose_passes: float = 16.0
    group_transpose: float = 1.0  # the part of that where there are groups: their products read it in short rows anyway
    # how many times the windows and products of `channels_last` are moved: written, read, and brought in order by the product
    last_passes: float = 3.0
    summed_rows_passes: float = 1.5  # the same of a weight VJP in a compiled program
    summed_rows_products: float = 0.6  # how long its products take, as a part of the time of other products
    line_passes: float = 0.4  # both of windows in lines of positions
    line_products: float = 0.7
    # how many times as long each takes that a compiled loop looks up, as windows of volumes (`windows_in_lines`): 2 to 6 of 11
    # layers, JAX 0.10 and 0.12
    looked_up: float = 6.0
    across_passes: float = 0.7  # how many times the input is moved that such windows read across its lines
    # elements that are copied in the time that it takes to begin a run of them in memory, where windows are views
    run_elements: float = 24.0
    # operations of such a phase, for each axis of several taps: it takes about 140 ms to compile, 10 each
    last_operations: int = 14
    # how many times as many input as output channels make scatter-adding cheaper than unfolding
    scatter_channels: int = 4

    # ---- choices
    small: int = 2**16  # multiply-adds up to which nothing is to be gained
    long_taps: int = 128  # taps from which `direct` is no longer a smaller program than others
    fused_channels: int = 64  # products of channels up to which a compiler fuses the terms of all taps into one loop
    vector_channels: int = 4  # channels up to which products are of vectors
    # input channels per group from which `depthwise` reads them from memory once for each output channel
    many_channels: int = 8
    uncached: float = 3.0  # how many times as long that takes
    # the same for sums and for products of several channels whose channels stand last, in a loop that a compiler fuses: it
    # reads them one by one
    last_sums: float = 5.0
    last_products: float = 6.0
    # the same where `summed_positions` terms are summed first, and so stay in the first-level cache, of as many channels as
    # fill a cache line. (3x3 taps, 124 x 124 positions, 256 channels, JAX on two cores: 24 ms; 11.2 of 8 terms, 11.5 of 4,
    # 18.6 of 31)
    summed_sums: float = 2.5
    summed_positions: int = 8
    summed_channels: int = 16
    # the same in a loop over taps, before which XLA brings both arrays in order with channels first
    looped_sums: float = 2.2
    # outputs of a convolution from which the library's own keeps all threads busy, whatever the channels are
    many_outputs: float = 3e6
    fft_taps: int = 256  # taps from which a Fourier transform, whose error is bounded norm by norm alone, is considered
    fft_span: int = 4  # kernels that a segment of a long signal spans
    # operations that compiling transforms takes as long as: of one phase, and for each of several
    fft_operations: tuple[int, int] = (40, 300)

    def elements(self, size: float, itemsize: int, inputs: int) -> float:
        """Elements of a block of `size` bytes, for a contraction of so many `inputs` (elements of x)."""
        return size / itemsize if self.kind == "cpu" else max(self.call_bytes / itemsize, 2 * inputs)

    def product_factor(self, rows: int, columns: int) -> float:
        """How many times as long per multiply-add a product of few rows or columns takes."""
        return (1 + self.ramp / rows) * (1 + self.ramp / columns)


FUSED: Any = {
    "unfold_bytes": 5 * MIB,
    "sample_bytes": 20 * MIB,  # with its copies it comes near 32 MiB
    "depthwise_bytes": 16 * MIB,
    "depthwise_whole_bytes": 32 * MIB,
    # 24 parts take 0.7 to 0.9 times as long, and each 90 ms to compile (64 by 27, 32,768 terms: 4.9 ms; 6.2 of 3 parts, 6.4 of
    # one; of JAX 0.10.2 and 0.12 on two cores)
    "split_k": 3,
    "group_transpose": 0.5,
    "stepped_volumes": 3.0,
}
# each element has a thread, and threads side by side read channels side by side; a transposed array is written and read again
FUSED_GPU: Any = {"last_sums": 1.0, "last_products": 1.0, "transpose_passes": 2.0, "fused_padding_taps": 27}
UNCACHED: Any = {"unfold_passes": 2.0, "row_passes": 2.0, "weight_vjp_passes": 2.0}

TARGETS = {
    ("jax", "cpu"): Target(
        Rates(90e9, 30e9, 8e9, 3e9, 80e9, 1e9, 10e9, 10e-6, 1.15, least_gain=1e-4), XLA_CPU, **FUSED
    ),
    # torch transposes an array at about half the speed at which it copies one
    ("torch", "cpu"): Target(
        Rates(65e9, 1e9, 1e9, 3e9, 80e9, 1e9, 6e9, 5e-6, 1.25, least_gain=2e-4), ONEDNN, transpose_passes=3.0
    ),
    # NumPy has no convolution of its own; rows are products of OpenBLAS, on as many threads as there are
    # tiles; it transposes and unfolds in blocks, on threads (`NumPy.ordered`)
    ("numpy", "cpu"): Target(
        Rates(65e9, 0.6e9, 0.6e9, 2e9, 80e9, 1e9, 6e9, 5e-6, 1.25, 20e9),
        VendorModel(),
        window_views=True,
        in_place=16.0,
        transpose_passes=2.0,
        last_passes=0.4,
    ),
    # GPUs, not measured. JAX: ceilings of NVIDIA's data sheet of the H100 SXM, 67 TFLOPS in float32, 989 in bfloat16 on tensor
    # cores, 3.35 TB/s. A multiply-add of a fused loop reads a number from the L1 cache, 132 * 32 a clock of 1.75 GHz; a point
    # of a transform takes 5 operations; a launch takes some microseconds
    ("jax", "gpu"): Target(
        Rates(33.5e12, 7.4e12, 7.4e12, 13e12, 33.5e12, 1e12, 3.35e12, 4e-6, half=989 / 67),
        XLA_GPU,
        **UNCACHED,
        **FUSED_GPU,
    ),
    ("torch", "gpu"): Target(Rates(15e12, 0.5e12, 0.3e12, 0.5e12, 20e12, 1e12, 2e12, 10e-6), CUDNN, **UNCACHED),
}

_CHANGES: contextvars.ContextVar[tuple[tuple[str, Any], ...]] = contextvars.ContextVar("changes", default=())


@contextlib.contextmanager
def changed(**constants: Any) -> Iterator[None]:
    """Within it, targets have other constants: for tests, and to fit them.

    A program that JAX has traced before keeps what it was planned with.
    """
    token = _CHANGES.set((*_CHANGES.get(), *constants.items()))
    try:
        yield
    finally:
        _CHANGES.reset(token)


def changes() -> tuple[tuple[str, Any], ...]:
    """The constants that `changed` has set here: a plan depends on them."""
    return _CHANGES.get()


def target_of(lib: Standard, array: Any = None) -> Target:
    """The target of a library: where an array is, or would be by default."""
    known = lib.is_partitioned(), lib.keeps_apart(), lib.keeps_positions_whole(), lib.transposes(array)
    return _target(type(lib), lib.device_kind(array), *known, _CHANGES.get())  # type: ignore[arg-type] # a class is hashable


def default_target(backend: type[Standard], kind: str) -> Target:
    """The target of a library on a kind of device; of one without an entry, that of a library that works as it does."""
    return TARGETS.get((backend.name, kind)) or TARGETS["jax" if backend.compiles else "torch", kind]


def constant_types() -> dict[str, type]:
    """The constants of `Target` that are one number, and whether each is an int or a float."""
    return {field.name: type(field.default) for field in fields(Target) if type(field.default) in (int, float)}


def fitted() -> dict[tuple[str, str], target_file.Fitted]:
    """What was measured on this machine, by the library and the kind of device; see `target_file`."""
    return target_file.fitted(frozenset(Rates._fields), frozenset(constant_types().items()))


@functools.lru_cache(256)
def _target(
    backend: type[Standard],
    kind: str,
    partitioned: bool,
    apart: bool,
    positions_whole: bool,
    transposes: bool,
    changes: tuple[tuple[str, Any], ...],
) -> Target:
    target = default_target(backend, kind)
    if of_machine := fitted().get((backend.name, kind)):
        rates = target.rates._replace(**of_machine.rates)
        target = replace(target, rates=rates, source=of_machine.path, **of_machine.constants)
    return replace(
        target,
        kind=kind,
        compiled=backend.compiles,
        partitioned=partitioned,
        apart=apart and kind == "cpu",
        positions_whole=positions_whole,
        vendor_name=backend.name,
        vendor_axes=backend.vendor_axes,
        vendor_steps=backend.vendor_steps,
        vendor_dilates=backend.vendor_dilates,
        vendor_transposes=transposes,
        **dict(changes),
    )
