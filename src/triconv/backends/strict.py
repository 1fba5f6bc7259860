"""array-api-strict: the standard and nothing else, to prove that the kernels need no more."""

from __future__ import annotations

from triconv.backends.standard import Standard


class Strict(Standard):
    """array-api-strict arrays."""

    name = "array-api-strict"
    distribution = "array-api-strict"
    module = "array_api_strict"

    def devices(self) -> list[str]:
        """Its make-believe devices."""
        return [str(device) for device in self.xp.__array_namespace_info__().devices()]
