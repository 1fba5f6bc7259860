"""What is handed to a candidate: arrays that lie in memory in a given way, and what became of them after its call.

A question hands the candidate arrays of NumPy, which `CandidateFunction.move` makes arrays of its library. Marked ones
(`marked`) keep their name and their arrangement on that way, however the candidate is written.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from triconv.checking.findings.arrangement_findings import Arrangement
from triconv.checking.memory.arrangements import arranged


class MarkedArray(np.ndarray):
    """An array of NumPy with the name of what it stands for, and how the candidate's array is to lie in memory."""

    label: str
    arrangement: Arrangement | None

    def __array_finalize__(self, of: Any) -> None:
        """Take over the marks of the array that this is a view of."""
        self.label = getattr(of, "label", "")
        self.arrangement = getattr(of, "arrangement", None)


def marked(a: np.ndarray, label: str, arrangement: Arrangement | None = None) -> np.ndarray:
    """Return the array with marks."""
    view = np.asarray(a).view(MarkedArray)
    view.label, view.arrangement = label, arrangement
    return view


class Handed(NamedTuple):
    """An array in the candidate's hands, with its numbers and the count of writes into it before the call."""

    label: str
    arrangement: Arrangement | None
    array: Any
    before: Any
    version: int | None


@dataclass
class Watch:
    """The arrays that a candidate was handed, of those that are marked.

    Parameters
    ----------
    keeps : bool
        Whether a marked array is handed in the same memory each time, with new numbers.
    """

    keeps: bool = False
    handed: list[Handed] = field(default_factory=list)

    def hand(self, mark: Any, a: Any) -> Any:
        """Return the array to hand to the candidate, in the memory and the arrangement of its mark; remember it."""
        label = getattr(mark, "label", "")
        arrangement = getattr(mark, "arrangement", None)
        if not label:
            known = next((h for h in self.handed if h.array is mark), None)
            if known is None:
                return a
            label, arrangement = known.label, known.arrangement
        if arrangement is not None:
            a = arranged(a, arrangement)
        if self.keeps:
            kept = next((h.array for h in self.handed if h.label == label), None)
            if kept is not None and kept.shape == a.shape:
                _write(kept, a)
                return kept
        self.remember(label, arrangement, a)
        return a

    def remember(self, label: str, arrangement: Arrangement | None, a: Any) -> None:
        """Remember an array that the candidate is handed."""
        before = a.detach().clone() if _is_torch(a) else np.array(a)
        self.handed.append(Handed(label, arrangement, a, before, _version(a)))

    def same_as(self, a: Any, copy: Any) -> Any:
        """Remember a copy of an array that is handed in its place."""
        known = next((h for h in self.handed if h.array is a), None)
        if known is not None:
            self.remember(known.label, known.arrangement, copy)
        return copy

    def changed(self) -> Iterator[tuple[str, bool]]:
        """Yield the name of each array that was written into, and whether its numbers are the same again."""
        for h in self.handed:
            now = h.array.detach() if _is_torch(h.array) else h.array
            is_same = bool((now == h.before).all()) if now.shape == h.before.shape else False
            if not is_same or _version(h.array) != h.version:
                yield h.label, is_same

    def sharing(self, result: Any) -> Iterator[str]:
        """Yield the name of each array in whose memory a result lies."""
        for h in self.handed:
            if _overlaps(h.array, result):
                yield h.label


def _is_torch(a: Any) -> bool:
    return type(a).__module__.partition(".")[0] == "torch" or hasattr(a, "untyped_storage")


def _version(a: Any) -> int | None:
    """How often was written into a tensor of torch, which counts it."""
    return a._version if _is_torch(a) else None  # noqa: SLF001


def _write(a: Any, new: Any) -> None:
    """Replace the numbers of an array, as an optimizer does."""
    if _is_torch(a):
        import torch

        with torch.no_grad():
            a.copy_(new)
    else:
        a[...] = new


def _overlaps(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.size > 0 and b.size > 0 and bool(np.may_share_memory(a, b))
    if _is_torch(a) and hasattr(b, "untyped_storage"):
        start, end = _extent(a)
        other_start, other_end = _extent(b)
        return a.device == b.device and start < other_end and other_start < end
    return False


def _extent(a: Any) -> tuple[int, int]:
    """First and last address of the memory that a tensor lies in."""
    if not a.numel():
        return 0, 0
    last = sum((n - 1) * s for n, s in zip(a.shape, a.stride(), strict=True))
    return a.data_ptr(), a.data_ptr() + (last + 1) * a.element_size()
