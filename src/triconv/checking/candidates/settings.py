"""Whether a call leaves the settings of the process as they are: of Python, NumPy, torch and JAX.

A candidate may change what it likes while it runs, if it puts it back. What it leaves changed is put back here, so that nothing
that is asked later depends on it. Where other threads of Python run, nothing is blamed or put back: what is seen to change may
be another thread's, which is about to put it back.

What is changed while modules are imported is theirs: many change filters of warnings, or variables of the environment.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import locale
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CLEAN = 1
"""Calls of each kind after which no further one is watched: a candidate that changes settings does so in its first one."""
ASKED = (
    "value",
    "vjp",
    "vjps",
    "value_and_vjps",
    "value_and_jvp",
    "jvp",
    "reverse_over_reverse",
    "forward_over_reverse",
    "vmap",
    "jit",
    "pullback",
    "vjps_of",
    "jvp_of",
    "vmap_along",
    "in_turn",
)
"""Methods of a candidate that run what the user wrote."""
OF_TORCH = (
    "backends.cudnn.enabled",
    "backends.cudnn.benchmark",
    "backends.cudnn.deterministic",
    "backends.cudnn.allow_tf32",
    "backends.cuda.matmul.allow_tf32",
    "backends.cuda.matmul.fp32_precision",
    "backends.cudnn.conv.fp32_precision",
    "backends.mkldnn.conv.fp32_precision",
    "backends.mkldnn.matmul.fp32_precision",
    "backends.cuda.matmul.allow_fp16_reduced_precision_reduction",
    "backends.cuda.matmul.allow_bf16_reduced_precision_reduction",
    "backends.opt_einsum.enabled",
)
REPLACED = ("numpy", "numpy.lib.stride_tricks", "torch", "torch.nn.functional", "jax", "jax.numpy", "jax.lax")
"""Modules whose functions a candidate may replace by its own."""
OF_COMPILERS = ("TORCHINDUCTOR_", "TRITON_")
"""Variables of the environment that torch's compiler sets for itself."""


class Setting(NamedTuple):
    """A setting, or several of one kind.

    Parameters
    ----------
    name : str
        What it is called; of several, with a place for the name of each.
    value : Any
        Its value; of several, those by their names.
    restore : callable
        Sets it to a value; of several, those by their names.
    is_many, by_identity : bool
        Whether there are several, and whether values are compared as objects.
    """

    name: str
    value: Any
    restore: Callable[[Any], Any]
    is_many: bool = False
    by_identity: bool = False


Settings = dict[str, Setting]


class Changes:
    """What a candidate leaves changed of the settings, from its first session on.

    Parameters
    ----------
    candidate : CandidateFunction
        Of which the first calls of each kind are watched.
    """

    def __init__(self, candidate: Any) -> None:
        self.names: dict[str, Setting] = {}
        self._library = candidate.backend.name
        self._start: Settings | None = None
        self._modules = 0
        self._clean: dict[str, int] = {}
        self._is_inside = False
        for name in ASKED:
            setattr(candidate, name, functools.partial(self._run, name, getattr(candidate, name)))

    def begin(self) -> None:
        """Take the settings as they are for what they are to be; what a check sets for its sessions is among them."""
        if self._start is None:
            self._start, self._modules = read(self._library), len(sys.modules)

    def _run(self, name: str, ask: Callable[..., Any], *args: Any) -> Any:
        if self._is_inside or self._clean.get(name, 0) >= CLEAN or _has_company():
            return ask(*args)
        before, modules = read(self._library, disturbing=True), len(sys.modules)
        self._is_inside = True
        try:
            return ask(*args)
        finally:
            self._is_inside = False
            changed = changes(before, read(self._library, disturbing=True))
            put_back(changed)
            self._clean[name] = 0 if changed else self._clean.get(name, 0) + 1
            if len(sys.modules) == modules:
                self.names.update(changed)

    def of(self, call: Callable[[], Any]) -> tuple[str, ...]:
        """Put back what was changed since the start, and return the names of what the candidate changed.

        Where modules were imported meanwhile, that is what `call` changes again.
        """
        if self._start is None or _has_company():
            return tuple(self.names)
        now = read(self._library)
        before = changes(self._start, now)
        if not before:
            return tuple(self.names)
        put_back(before)
        imported = len(sys.modules) != self._modules
        call()
        again = changes(self._start, read(self._library))
        put_back(again)
        if imported:
            put_back({name: s for name, s in changes(now, self._start).items() if name in before and name not in again})
        self.names.update(again if imported else {**before, **again})
        return tuple(self.names)

    def undo(self) -> None:
        """Put back what the candidate is known to change."""
        if self._start is not None and self.names and not _has_company():
            put_back({name: s for name, s in changes(self._start, read(self._library)).items() if name in self.names})


def _has_company() -> bool:
    return threading.active_count() > 1


def read(library: str, *, disturbing: bool = False) -> Settings:
    """Return the settings of Python and of a library; those that disturb what is asked later, or the others too."""
    of_library = {"torch": _of_torch, "jax": _of_jax}.get(library)
    found = [*_of_python(disturbing=disturbing), *(of_library(disturbing=disturbing) if of_library else ())]
    return {setting.name: setting for setting in found}


def changes(before: Settings, after: Settings) -> Settings:
    """Return those that differ, as they were before, each by its name."""
    return {name: setting for old in before.values() for name, setting in _changed(old, after.get(old.name))}


def _changed(old: Setting, new: Setting | None) -> Iterator[tuple[str, Setting]]:
    if new is None or old.value is new.value:
        return
    if not old.is_many:
        if _differ(old, old.value, new.value):
            yield old.name, old
        return
    for key, value in old.value.items():
        if key in new.value and _differ(old, value, new.value[key]):
            yield old.name.format(key), old._replace(value={key: value})


def put_back(changed: Settings) -> None:
    """Set settings to what they were."""
    for setting in changed.values():
        with contextlib.suppress(Exception):  # a library may refuse what it said itself
            setting.restore(setting.value)


def _differ(setting: Setting, a: Any, b: Any) -> bool:
    return a is not b and (setting.by_identity or bool(a != b))


def _of_python(*, disturbing: bool) -> Iterator[Setting]:
    if disturbing:  # of one call alone: the checker itself ignores errors around others
        yield Setting("numpy.seterr", np.geterr(), lambda old: np.seterr(**old))
    yield Setting("warnings.filters", list(warnings.filters), _set_filters)
    for name in ("stdout", "stderr"):
        yield Setting(f"sys.{name}", getattr(sys, name), functools.partial(setattr, sys, name), by_identity=True)
    if disturbing:
        return
    yield Setting("numpy.set_printoptions", _print_options(), lambda old: np.set_printoptions(**old))
    yield Setting("the working directory", Path.cwd(), os.chdir)
    yield Setting("os.environ", _environment(), _set_environment)
    yield Setting("sys.setrecursionlimit", sys.getrecursionlimit(), sys.setrecursionlimit)
    yield Setting("sys.setswitchinterval", sys.getswitchinterval(), sys.setswitchinterval)
    yield Setting("sys.path", list(sys.path), lambda old: sys.path.__setitem__(slice(None), old))
    yield Setting("gc.disable", gc.isenabled(), lambda old: gc.enable() if old else gc.disable())
    yield Setting(
        "locale.setlocale", locale.setlocale(locale.LC_ALL), functools.partial(locale.setlocale, locale.LC_ALL)
    )
    yield Setting("the level of the root logger", logging.root.level, logging.root.setLevel)
    yield Setting("logging.disable", logging.root.manager.disable, logging.disable)
    for name in REPLACED:
        module = sys.modules.get(name)
        if module is not None:
            functions = {key: value for key, value in list(vars(module).items()) if callable(value)}
            functions = {key: value for key, value in functions.items() if not isinstance(value, type)}
            yield Setting(f"the function {name}.{{}}", functions, vars(module).update, is_many=True, by_identity=True)


def _of_torch(*, disturbing: bool) -> Iterator[Setting]:
    torch: Any = sys.modules["torch"]
    yield Setting("torch.set_default_dtype", torch.get_default_dtype(), torch.set_default_dtype)
    yield Setting("torch.set_grad_enabled", torch.is_grad_enabled(), torch.set_grad_enabled)
    yield Setting("torch.set_default_device", torch.get_default_device(), torch.set_default_device)
    autocast = functools.partial(torch.set_autocast_enabled, "cpu")
    yield Setting("torch.set_autocast_enabled", torch.is_autocast_enabled("cpu"), autocast)
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    yield Setting("torch.use_deterministic_algorithms", modes, _set_deterministic)
    modes = torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()
    yield Setting("torch.autograd.set_detect_anomaly", modes, lambda old: torch.autograd.set_detect_anomaly(*old))
    yield Setting("torch.set_flush_denormal", _flushes(), torch.set_flush_denormal)
    if disturbing:
        return
    yield Setting("torch.set_num_threads", torch.get_num_threads(), torch.set_num_threads)
    with contextlib.suppress(RuntimeError):  # it refuses where what newer names of it say is another one
        precision = torch.get_float32_matmul_precision()
        yield Setting("torch.set_float32_matmul_precision", precision, torch.set_float32_matmul_precision)
    for name in OF_TORCH:
        path, _, attribute = name.rpartition(".")
        try:
            value = attrgetter(name)(torch)
        except Exception:  # noqa: BLE001 (this version has none, or refuses to say)
            continue
        yield Setting(f"torch.{name}", value, functools.partial(setattr, attrgetter(path)(torch), attribute))
    mkldnn = torch.backends.mkldnn
    yield Setting("torch.backends.mkldnn.enabled", mkldnn.is_available() and mkldnn.enabled, mkldnn.set_flags)


def _of_jax(*, disturbing: bool) -> Iterator[Setting]:
    del disturbing  # every one may
    config = sys.modules["jax"].config

    def restore(old: dict[str, Any]) -> None:
        for name, value in old.items():
            config.update(name, value)

    yield Setting("{} of jax.config", dict(config.values), restore, is_many=True)


def _set_deterministic(old: tuple[bool, bool]) -> None:
    sys.modules["torch"].use_deterministic_algorithms(old[0], warn_only=old[1])


def _flushes() -> bool:
    """Whether numbers below the normal ones are taken for zero in this thread."""
    tiny = np.finfo(np.float64).smallest_subnormal
    return bool(np.multiply(tiny, 1.0) == 0)


def _set_filters(old: list[Any]) -> None:
    """Set the filters of warnings, in the list that is there: `warnings.catch_warnings` may hold it."""
    filters: Any = warnings.filters
    filters[:] = old
    reset = getattr(warnings, "_filters_mutated_lock_held", None) or getattr(warnings, "_filters_mutated", None)
    if reset is not None:
        reset()


def _print_options() -> dict[str, Any]:
    return {name: value for name, value in np.get_printoptions().items() if name != "override_repr"}


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(OF_COMPILERS)}


def _set_environment(old: dict[str, str]) -> None:
    for name in _environment():
        if name not in old:
            del os.environ[name]
    os.environ.update(old)
