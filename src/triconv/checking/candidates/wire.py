"""What a candidate's process and the checker send each other.

A question goes to the candidate as a pickle. An answer comes back as JSON and the bytes of its arrays, never as a pickle: what
the candidate's process sends can make numbers, strings and the checker's own records, and can run nothing.
"""

from __future__ import annotations

import dataclasses
import json
import struct
from collections.abc import Callable
from enum import Enum
from typing import IO, Any

import numpy as np

from triconv.checking.candidates.candidate import OwnArray, as_numpy, no_array
from triconv.checking.findings import (
    arrangement_findings,
    causes,
    diagnosis_data,
    evidence,
    exception_text,
    findings,
    memory_findings,
    protocol,
    unanswered,
)

LENGTHS = struct.Struct("<QQ")
"""Lengths of the JSON and of the bytes of all arrays, in front of an answer."""
NUMBER_AND_LENGTH = struct.Struct("<QQ")
"""Number of a question, and length of its pickle, in front of it."""
NUMBER = struct.Struct("<Q")
"""Number of the question, in front of its answer."""
LONGEST_JSON = 2**26
"""Bytes of JSON that an answer may have: more is no answer of a candidate."""
STEP = 2**20
"""Bytes that are read at a time, so that memory is taken only for what has come."""
KINDS = "biufc"
"""Kinds of NumPy's dtypes that an answer may have."""

RECORDS: dict[str, type[Any]] = {
    name: thing
    for module in (
        *(protocol, exception_text, evidence, findings, unanswered, arrangement_findings, memory_findings),
        *(causes, diagnosis_data),
    )
    for name, thing in vars(module).items()
    if isinstance(thing, type) and (dataclasses.is_dataclass(thing) or issubclass(thing, Enum))
}
"""Classes of the records and words of a report that may stand in an answer, by their names."""


class RemoteArray:
    """An array of a dtype that NumPy does not have by itself: its numbers in a wider one.

    Parameters
    ----------
    values : numpy.ndarray
        The numbers.
    dtype : str
        Name of the dtype that the array had.
    """

    def __init__(self, values: np.ndarray, dtype: str) -> None:
        self.values, self.dtype, self.shape = values, dtype, values.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.values if dtype is None else self.values.astype(dtype)

    def __getitem__(self, index: Any) -> RemoteArray:
        return RemoteArray(self.values[index], self.dtype)


class RemoteObject:
    """A result that is no array, by what a report says of it."""

    def __init__(self, no_array: unanswered.NoArray) -> None:
        self.no_array = no_array


def packed(value: Any, handle_of: Callable[[Any], Any]) -> bytes:
    """Return an answer as bytes.

    Parameters
    ----------
    value : Any
        Arrays, numbers, strings and records, in lists, tuples and dicts.
    handle_of : callable
        What stands for an object that stays in its process; None for any other object.
    """
    buffers: list[bytes] = []

    def plain(a: Any) -> Any:
        if (handle := handle_of(a)) is not None:
            return {"handle": plain(handle)}
        if a is None or type(a) in (bool, int, str):
            return a
        if type(a) is float:
            return {"float": a.hex()}
        if type(a) is complex:
            return {"complex": [a.real.hex(), a.imag.hex()]}
        if isinstance(a, Enum):
            return {"word": type(a).__name__, "value": a.value}
        if isinstance(a, OwnArray):
            return {"own": a.name, "array": array(np.asarray(a.array), str(np.asarray(a.array).dtype))}
        if dataclasses.is_dataclass(a) and type(a).__name__ in RECORDS:
            return {
                "record": type(a).__name__,
                "fields": {f.name: plain(getattr(a, f.name)) for f in dataclasses.fields(a) if f.init},
            }
        if isinstance(a, (list, tuple)):
            return {"tuple" if isinstance(a, tuple) else "list": [plain(part) for part in a]}
        if type(a) is dict and all(type(key) is str for key in a):
            return {"dict": {key: plain(part) for key, part in a.items()}}
        numbers = as_numpy(a)
        if numbers is None:
            return {"object": plain(no_array(a))}
        return array(numbers, str(getattr(a, "dtype", numbers.dtype)).split(".")[-1])

    def array(numbers: np.ndarray, name: str) -> Any:
        if numbers.dtype.name == "bfloat16":
            numbers = numbers.astype(np.float32)
        numbers = np.asarray(numbers, numbers.dtype.newbyteorder("<"))
        buffers.append(numbers.tobytes())
        return {"array": list(numbers.shape), "dtype": numbers.dtype.str, "name": name}

    text = json.dumps(plain(value)).encode()
    return LENGTHS.pack(len(text), sum(map(len, buffers))) + text + b"".join(buffers)


def read(stream: IO[bytes], made_of: Callable[[Any], Any]) -> Any:
    """Return the next answer of a process.

    Parameters
    ----------
    stream : binary file
        Where it comes from.
    made_of : callable
        Makes what stands here for an object that stays in its process.

    Raises
    ------
    EOFError, ValueError
        If nothing comes any more, or it is no answer.
    """
    n_text, n_bytes = LENGTHS.unpack(exactly(stream, LENGTHS.size))
    if n_text > LONGEST_JSON:
        msg = f"an answer must have at most {LONGEST_JSON} bytes of JSON, got {n_text}"
        raise ValueError(msg)
    try:
        tree = json.loads(exactly(stream, n_text))
        data, at = memoryview(exactly(stream, n_bytes)), 0

        def array(a: Any) -> np.ndarray | RemoteArray:
            nonlocal at
            dtype, shape = np.dtype(str(a["dtype"])), tuple(int(n) for n in a["array"])
            count = int(np.prod(shape, dtype=object)) if shape else 1
            if dtype.kind not in KINDS or min(shape, default=0) < 0 or at + count * dtype.itemsize > len(data):
                msg = f"an answer must be an array of numbers, got {a['dtype']} {shape}"
                raise ValueError(msg)
            numbers = np.frombuffer(data, dtype, count, at).reshape(shape).astype(dtype.newbyteorder("="))
            at += count * dtype.itemsize
            name = str(a["name"])
            return numbers if name == numbers.dtype.name else RemoteArray(numbers, name)

        def value(a: Any) -> Any:
            match a:
                case None | bool() | int() | str():
                    return a
                case {"own": name, "array": inner}:
                    return OwnArray(str(name), np.asarray(array(inner)))
                case {"array": _}:
                    return array(a)
                case {"float": text}:
                    return float.fromhex(text)
                case {"complex": [real, imag]}:
                    return complex(float.fromhex(real), float.fromhex(imag))
                case {"word": name, "value": word}:
                    return RECORDS[name](word)
                case {"record": name, "fields": fields}:
                    return RECORDS[name](**{key: value(part) for key, part in fields.items()})
                case {"list": parts}:
                    return [value(part) for part in parts]
                case {"tuple": parts}:
                    return tuple(value(part) for part in parts)
                case {"dict": parts}:
                    return {key: value(part) for key, part in parts.items()}
                case {"object": inner}:
                    return RemoteObject(value(inner))
                case {"handle": inner}:
                    return made_of(value(inner))
            msg = f"an answer must be made of arrays, numbers and records, got {type(a).__name__}"
            raise ValueError(msg)

        return value(tree)
    except (KeyError, TypeError, AttributeError, RecursionError, OverflowError) as problem:
        msg = f"an answer must be well formed: {type(problem).__name__}: {problem}"
        raise ValueError(msg) from None


def exactly(stream: IO[bytes], count: int) -> bytes:
    """Return so many bytes of a stream.

    Raises
    ------
    EOFError
        If it ends before.
    """
    parts, left = [], count
    while left:
        part = stream.read(min(left, STEP))
        if not part:
            msg = "the process ended"
            raise EOFError(msg)
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
