"""The types in public signatures, for editors and type checkers. The rules themselves are checked when a function is called."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol, SupportsIndex, TypeAlias, TypedDict, TypeVar, Unpack

from triconv.geometry.padding import PaddingName
from triconv.padding_modes import PaddingMode

__all__ = ["PaddingMode"]  # of another file, but a type in signatures as well


class AnyArray(Protocol):
    """What arrays of all libraries have in common for a type checker."""

    @property
    def shape(self) -> Any:
        """Sizes of the axes."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def dtype(self) -> Any:
        """Dtype of the elements."""


ArrayT = TypeVar("ArrayT", bound=AnyArray)
"""The first array of an operator, and its result: of one library, and nearly always with as many axes.

The others are `AnyArray`: what a type checker knows of two arrays with other dtypes or numbers of axes is next to nothing.
"""

Arrays: TypeAlias = tuple[ArrayT, *tuple[AnyArray, ...]] | list[ArrayT]
"""The arrays of an operator in a tuple or a list."""

ArrayOrNested: TypeAlias = AnyArray | complex | Sequence[Any]

Ints: TypeAlias = SupportsIndex | Sequence[SupportsIndex]
"""One int for all spatial axes, or one per axis."""

Padding: TypeAlias = Ints | Sequence[tuple[SupportsIndex, SupportsIndex] | list[int]] | PaddingName
"""Ints, one (lo, hi) pair per axis, or a name."""

Shape: TypeAlias = Sequence[SupportsIndex]
ShapeOrArray: TypeAlias = AnyArray | Shape

Algorithm: TypeAlias = Literal["auto", "direct", "gemm", "depthwise", "fft", "vendor"]
Precision: TypeAlias = Literal["highest", "default"]
Library: TypeAlias = Literal["numpy", "jax", "torch", "cupy", "array-api-strict"]


class _Geometry(TypedDict, total=False):
    stride: Ints
    padding: Padding
    dilation: Ints
    input_dilation: Ints
    groups: SupportsIndex
    layout: str | None
    algorithm: Algorithm


class ConvParameters(_Geometry, total=False):
    """The parameters of `triconv.conv`."""

    precision: Precision


class _OfSomeOperators(_Geometry, total=False):
    padding_mode: PaddingMode
    output_padding: Ints
    input_size: Ints
    kernel_size: Ints


class Parameters(_OfSomeOperators, total=False):
    """The parameters of all operators."""

    precision: Precision


class ParametersOfLike(_OfSomeOperators, total=False):
    """The parameters of what a candidate is compared with: an operator, or a convolution of lax."""

    window_strides: Sequence[int]
    lhs_dilation: Sequence[int] | None
    rhs_dilation: Sequence[int] | None
    dimension_numbers: object
    feature_group_count: int
    batch_group_count: int
    preferred_element_type: object


class _Chosen(TypedDict, total=False):
    layout: str | None
    algorithm: Algorithm
    precision: Precision


class _ChosenWithMode(_Chosen, total=False):
    padding_mode: PaddingMode


class _InputSize(ConvParameters):
    input_size: Ints


class _KernelSize(ConvParameters):
    kernel_size: Ints


# ---- the operators of `triconv.use`: as the plain ones, but they take arrays of every library, and nested lists


class BoundConv(Protocol):
    """`conv` of `triconv.use`."""

    def __call__(self, x: Any, w: Any, bias: Any = None, **params: Unpack[ConvParameters]) -> Any:
        """Run."""


class BoundInputVjp(Protocol):
    """`conv_input_vjp` of `triconv.use`."""

    def __call__(self, g: Any, w: Any, **params: Unpack[_InputSize]) -> Any:
        """Run."""


class BoundWeightVjp(Protocol):
    """`conv_weight_vjp` of `triconv.use`."""

    def __call__(self, g: Any, x: Any, **params: Unpack[_KernelSize]) -> Any:
        """Run."""


class BoundConvNd(Protocol):
    """`conv1d`, `conv2d` and `conv3d` of `triconv.use`."""

    def __call__(
        self,
        x: Any,
        w: Any,
        bias: Any = None,
        stride: Ints = 1,
        padding: Padding = 0,
        dilation: Ints = 1,
        groups: SupportsIndex = 1,
        **params: Unpack[_ChosenWithMode],
    ) -> Any:
        """Run."""


class BoundConvTransposeNd(Protocol):
    """`conv_transpose1d`, `conv_transpose2d` and `conv_transpose3d` of `triconv.use`."""

    def __call__(
        self,
        x: Any,
        w: Any,
        bias: Any = None,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: SupportsIndex = 1,
        dilation: Ints = 1,
        **params: Unpack[_Chosen],
    ) -> Any:
        """Run."""
