"""array-api-strict: the array API standard and nothing more, which proves that the kernels need nothing more."""

from __future__ import annotations

from typing import Any

import array_api_compat

from triconv.backends.base import Array, Standard


class Strict(Standard):
    """array-api-strict arrays."""

    name = "array-api-strict"
    distribution = "array-api-strict"
    module = "array_api_strict"
    converter = "array_api_strict.asarray"

    @classmethod
    def owns(cls, xp: Any) -> bool:
        """Whether an array namespace is this library's."""
        return array_api_compat.is_array_api_strict_namespace(xp)

    def devices(self) -> list[str]:
        """Its pretended devices."""
        return [device._device for device in self.xp.__array_namespace_info__().devices()]  # noqa: SLF001

    def asarray(self, obj: Any, *, device: Any = None, dtype: Any = None) -> Array:
        """As `Standard.asarray`; a device may be a name."""
        if isinstance(device, str):
            device = self.xp.Device(device)
        return super().asarray(obj, device=device, dtype=dtype)
