"""One spatial axis in blocks, one per device: which inputs a device needs, and which device sends them.

Device ``d`` of ``parts`` has the inputs ``[d * input_block, (d + 1) * input_block)`` and computes the outputs
``[d * output_block, (d + 1) * output_block)``; past the end of the axis both are zeros. With ``o = d * output_block + o'`` in
the incidence equation, the first input that these outputs meet is ``start + d * (input_block + step)``::

    start = ceil(-pad_lo / input_dilation)        step = stride * output_block / input_dilation - input_block

where ``output_block`` is chosen so that the division has no remainder. So every device reads a window of the same ``size``,
and relative to its window every device has the same equation, that of the axis `local`::

    input_dilation * i' + (pad_lo + input_dilation * start)  =  stride * o' + dilation * t

The part of its window that a device does not hold is its halo: ``before`` positions before its block and ``after`` positions
after it. All devices use the same two numbers; if ``step`` is not 0, they are the maxima over the devices. A halo that is wider
than a block comes in several hops.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from triconv.geometry.geometry import Geometry
from triconv.geometry.incidence import Axis


class Transfer(NamedTuple):
    """A message between devices: `size` positions, sent over a distance of `hop` devices (forwards if positive)."""

    hop: int
    size: int
    pairs: tuple[tuple[int, int], ...]
    """Pairs of sender and receiver; a device that needs none of it does not receive."""


@dataclass(frozen=True, slots=True)
class ShardedAxis:
    """An axis in blocks, one per device.

    Parameters
    ----------
    axis : Axis
        The whole axis, with at least one input, tap and output.
    parts : int
        Number of devices.
    input_block, output_block : int
        Inputs and outputs of each device; ``stride * output_block`` divides by ``input_dilation``.
    """

    axis: Axis
    parts: int
    input_block: int
    output_block: int

    @classmethod
    def of(cls, axis: Axis, parts: int, result: str = "g") -> ShardedAxis:
        """Return even blocks of the operand, and blocks of the `result` ("g" or "x") that need little communication.

        Blocks of the result are even if its size divides by `parts`; otherwise each device computes the results that lie over
        its own part of the operand.
        """
        multiple = axis.input_dilation // math.gcd(axis.stride, axis.input_dilation)
        even = -(-axis.input_size // parts), -(-axis.output_size // parts)
        if result == "g":
            operand, (above, rest) = even[0], divmod(axis.input_dilation * even[0], axis.stride)
            fits = not rest and above % multiple == 0 and above * parts >= axis.output_size
            keeps = axis.output_size % parts == 0 and even[1] % multiple == 0
            return cls(axis, parts, operand, above if fits and not keeps else _up(even[1], multiple))
        operand = _up(even[1], multiple)
        below = axis.stride * operand // axis.input_dilation
        fits = below * parts >= axis.input_size and axis.input_size % parts != 0
        return cls(axis, parts, below if fits else even[0], operand)

    @property
    def start(self) -> int:
        """Where the window of the first device begins."""
        return -(self.axis.pad_lo // self.axis.input_dilation)

    @property
    def step(self) -> int:
        """How much later the window begins within the device's own block, from one device to the next."""
        return self.axis.stride * self.output_block // self.axis.input_dilation - self.input_block

    @property
    def size(self) -> int:
        """Length of the window."""
        reach = self.axis.stride * (self.output_block - 1) + self.axis.dilated_kernel - 1
        return max(1, (reach - self.axis.pad_lo) // self.axis.input_dilation - self.start + 1)

    @property
    def before(self) -> int:
        """Positions before a device's own block that its window can reach."""
        return max(0, -self.start, -(self.start + (self.parts - 1) * self.step))

    @property
    def after(self) -> int:
        """Positions after a device's own block that its window can reach."""
        end = self.start + self.size - self.input_block
        return max(0, end, end + (self.parts - 1) * self.step)

    @property
    def local(self) -> Axis:
        """The axis from the window of a device to its outputs."""
        axis = self.axis
        return axis.between(self.output_block, self.size, axis.pad_lo + axis.input_dilation * self.start)

    def interior(self) -> tuple[int, int]:
        """The outputs, from the first up to the last, that meet no halo; requires a `step` of 0."""
        return self.axis.between(self.output_block, self.input_block, self.axis.pad_lo).interior()

    def transfers(self) -> Iterator[Transfer]:
        """The messages: first from the devices before, then from those after, the nearest first."""
        for sign, width in ((1, self.before), (-1, self.after)):
            for hop in range(1, -(-width // self.input_block) + 1):
                done = (hop - 1) * self.input_block
                pairs = tuple(
                    (receiver - sign * hop, receiver)
                    for receiver in range(self.parts)
                    if 0 <= receiver - sign * hop < self.parts and self._needs(receiver, sign) > done
                )
                yield Transfer(sign * hop, min(self.input_block, width - done), pairs)

    def count_sent(self) -> int:
        """Positions that all devices together send in one exchange."""
        return sum(transfer.size * len(transfer.pairs) for transfer in self.transfers())

    def _needs(self, device: int, sign: int) -> int:
        """How far the window of a device reaches beyond its block."""
        begin = self.start + device * self.step
        return -begin if sign > 0 else begin + self.size - self.input_block


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


class Scale(NamedTuple):
    """What a spatially sharded convolution costs the device that it costs most."""

    devices: int
    held: int
    """Bytes of x, w and y that a device holds."""
    sent: dict[str, int]
    """Bytes that a device sends for each contraction."""
    multiply_adds: int
    """Multiply-adds per contraction on a device."""

    def bandwidth(self, contraction: str, rate: float) -> float:
        """Bandwidth (bytes per second) at which sending takes as long as computing at `rate` (multiply-adds per second)."""
        return self.sent[contraction] * rate / self.multiply_adds


def scale(geometry: Geometry, parts: Sequence[int], *, n: int = 1, c: int = 1, k: int = 1, itemsize: int = 4) -> Scale:
    """Bytes that a device holds and sends, and its multiply-adds, when the spatial axes are sharded over devices.

    Parameters
    ----------
    geometry : Geometry
        Geometry of the whole convolution.
    parts : sequence of int
        Number of devices along each spatial axis.
    n, c, k : int
        Samples, and input and output channels (of all groups), on each device.
    itemsize : int
        Bytes of an element.

    Returns
    -------
    Scale
        The costs of a device in the middle of the mesh, which sends the most.

    Notes
    -----
    The axes are exchanged one after the other, so corners are sent along with later axes. With blocks ``b_j``, halos
    ``h_j = before + after`` and windows ``b_j + h_j`` of the sharded axes::

        halos  =  n * c * itemsize * sum over j of  h_j * prod over i < j of (b_i + h_i) * prod over i > j of b_i

    The forward contraction sends the halos of x. The input VJP sends those of gx back. The weight VJP sends those of x, and
    ``2 (p - 1) / p`` times its result for the sum over ``p`` devices. If devices and volume grow together, blocks and halos
    keep their sizes. If the volume is fixed, halos shrink with the surface of a block, and multiply-adds with its volume.

    Examples
    --------
    >>> from triconv.geometry import Geometry
    >>> from triconv.halo import scale
    >>> unet = Geometry.of((2048,) * 3, (3,) * 3, padding=1)
    >>> for side in 2, 4, 8, 16:
    ...     layer = scale(unet, (side,) * 3, c=32, k=32)
    ...     print(layer.devices, layer.held >> 20, layer.sent["conv"] >> 20, f"{layer.multiply_adds:.2e}")
    8 262144 384 2.97e+13
    64 32768 192 3.71e+12
    512 4096 48 4.64e+11
    4096 512 12 5.80e+10
    """
    axes = [ShardedAxis.of(axis, part) for axis, part in zip(geometry.axes, parts, strict=True)]
    devices, positions = math.prod(parts), [axis.input_block for axis in axes]
    halos = 0
    for number, axis in enumerate(axes):
        sent_positions = max(
            sum(t.size for t in axis.transfers() if any(sender == device for sender, _ in t.pairs))
            for device in range(axis.parts)
        )
        halos += sent_positions * math.prod(positions[:number]) * math.prod(positions[number + 1 :])
        positions[number] = axis.size if axis.parts > 1 else axis.input_block
    halos *= n * c * itemsize
    weights = itemsize * (k * c // geometry.groups) * math.prod(geometry.kernel_size)
    inputs, outputs = (math.prod(getattr(axis, name) for axis in axes) for name in ("input_block", "output_block"))
    summed = 2 * (devices - 1) * weights // devices
    sent = {"conv": halos, "conv_input_vjp": halos, "conv_weight_vjp": halos + summed}
    multiply_adds = math.prod(axis.local.count_meetings() for axis in axes) * n * k * c // geometry.groups
    return Scale(devices, itemsize * n * (c * inputs + k * outputs) + weights, sent, multiply_adds)
