"""A candidate that torch takes to be compiled, or traced, without a compiler: what it asks of torch says yes.

Code that branches on `torch.compiler.is_compiling()` computes one thing when it is called and another when it is compiled.
Compiling takes seconds; to answer the question otherwise takes nothing. Other threads get the answers that they would get.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

NAMES = (("compiler", "is_compiling"), ("compiler", "is_dynamo_compiling"), ("jit", "is_tracing"))
"""Functions of torch, by their modules."""

_lock = threading.RLock()
_threads: list[int] = []
_replaced: list[tuple[dict[str, Any], str, Callable[..., bool]]] = []


@contextlib.contextmanager
def compiling(functions: Sequence[Any]) -> Iterator[None]:
    """Within it, what asks torch whether it is compiled hears that it is, if it asks in this thread.

    Parameters
    ----------
    functions : sequence of callable
        Code that may have imported what it asks by name.
    """
    import torch

    with _lock:
        if not _threads:
            for module, name in NAMES:
                own = vars(getattr(torch, module))
                original = own.get(name)
                if original is None:
                    continue
                for namespace in (own, *(getattr(f, "__globals__", {}) for f in functions)):
                    for key in [k for k, value in namespace.items() if value is original]:
                        _replaced.append((namespace, key, original))
                        namespace[key] = _answer(original)
        _threads.append(threading.get_ident())
    try:
        yield
    finally:
        with _lock:
            _threads.remove(threading.get_ident())
            while _replaced and not _threads:
                namespace, key, original = _replaced.pop()
                namespace[key] = original


def _answer(original: Callable[..., bool]) -> Callable[..., bool]:
    def answer(*args: Any, **kwargs: Any) -> bool:
        asks = str(sys._getframe(1).f_globals.get("__name__", ""))  # noqa: SLF001
        is_own = not asks.startswith("torch.")  # torch itself hears what is so
        return (is_own and threading.get_ident() in _threads) or original(*args, **kwargs)

    return answer
