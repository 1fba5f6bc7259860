"""Fresh memory of NumPy's arrays that is filled with a byte, in this context alone.

NumPy takes memory from a handler that is set for a context (NEP 49), so no other thread sees it. The handler here differs from
the current one in `malloc` alone: what frees and grows an array is NumPy's own, also long after.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import Any

import numpy as np

# of NumPy's table of functions for C, whose numbers never change
SET_HANDLER, GET_HANDLER = 304, 305
CAPSULE = b"mem_handler"

_Malloc = ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)


class _Handler(ctypes.Structure):
    """`PyDataMem_Handler`, with its functions as addresses."""

    _fields_ = (
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("ctx", ctypes.c_void_p),
        ("malloc", ctypes.c_void_p),
        ("calloc", ctypes.c_void_p),
        ("realloc", ctypes.c_void_p),
        ("free", ctypes.c_void_p),
    )


@contextlib.contextmanager
def filled(byte: int) -> Iterator[None]:
    """Within it, memory that NumPy asks for in this thread is full of this byte; nothing happens where that cannot be set.

    Parameters
    ----------
    byte : int
        What every byte is.
    """
    try:
        before = _set(_handler(byte))
    except Exception:  # noqa: BLE001 (another NumPy, or another interpreter)
        yield
        return
    try:
        yield
    finally:
        _set(before)


def _set(capsule: Any) -> Any:
    """Set the handler of this context; return the one before."""
    function = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(_table()[SET_HANDLER])
    return function(capsule)


def _table() -> Any:
    core = getattr(np, "_core", None) or np.core
    capsule = core._multiarray_umath._ARRAY_API  # noqa: SLF001 (how C finds it)
    api = ctypes.pythonapi
    get = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    return ctypes.cast(get(capsule, None), ctypes.POINTER(ctypes.c_void_p))


def _handler(byte: int) -> Any:
    """Return the handler for a byte, made once: arrays refer to it as long as they live."""
    if byte in _kept:
        return _kept[byte]
    api = ctypes.pythonapi
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", api))
    new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(("PyCapsule_New", api))
    current = ctypes.PYFUNCTYPE(ctypes.py_object)(_table()[GET_HANDLER])()
    own = _Handler.from_address(pointer(current, CAPSULE))
    malloc = _Malloc(own.malloc)

    def filling(ctx: int | None, size: int) -> int | None:
        address = malloc(ctx, size)
        if address:
            ctypes.memset(address, byte, size)
        return address

    function = _Malloc(filling)
    handler = _Handler(
        b"triconv_filled",
        own.version,
        own.ctx,
        ctypes.cast(function, ctypes.c_void_p).value,
        own.calloc,
        own.realloc,
        own.free,
    )
    capsule = new(ctypes.addressof(handler), CAPSULE, None)
    # until the process ends, for an array may be the last thing that is freed
    for kept in (function, handler, capsule):
        api.Py_IncRef(ctypes.py_object(kept))
    _alive.extend((function, handler, capsule))
    _kept[byte] = capsule
    return capsule


_kept: dict[int, Any] = {}
_alive: list[Any] = []
