"""The machine: its versions, device and memory, and which libraries are installed."""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from typing import Any

LIBRARIES = ("numpy", "jax", "jaxlib", "torch", "flax", "scipy", "onnx", "autograd")


def has(*names: str) -> bool:
    """Whether all of these libraries are installed; what needs one that is not is left out of the tables."""
    return all(importlib.util.find_spec(name) is not None for name in names)


def keep_memory() -> None:
    """Have glibc keep freed memory, for all implementations alike.

    By default glibc takes every array of 32 MiB or more from the system anew, and smaller ones sometimes. The system maps them
    page by page, which takes 0.25 ms per MiB: as long as many of the convolutions.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        trim_threshold, mmap_max, arena_max = -1, -4, -8
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)
        libc.mallopt(arena_max, 1)  # the arenas of threads return freed memory to the system regardless


def versions() -> dict[str, Any]:
    """Return the date, the device and the versions of all libraries that are installed."""
    platform_, device = _device()
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "device": device,
        "platform": platform_,
        "driver": _driver(),
        "machine": f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}",
        **{name: _version(name) for name in LIBRARIES},
    }


def line(versions: dict[str, Any]) -> str:
    """The versions in one line."""
    return ", ".join(f"{name} {value}" for name, value in versions.items() if value)


def _device() -> tuple[str, str]:
    """The platform and the name of the device."""
    if has("jax"):
        import jax

        device = jax.devices()[0]
        if device.platform != "cpu":
            return device.platform, device.device_kind
    elif has("torch"):
        import torch

        if torch.cuda.is_available():
            return "gpu", torch.cuda.get_device_name()
    return "cpu", f"{os.cpu_count()} CPU cores"


def _driver() -> str | None:
    """Version of NVIDIA's driver, if there is one."""
    try:
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
