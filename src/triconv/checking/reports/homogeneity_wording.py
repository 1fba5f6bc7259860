"""The words for results that are not homogeneous; only `wording.py` reads them."""

from __future__ import annotations

from triconv.checking.dtypes import RANGES
from triconv.checking.findings.findings import Look, NotHomogeneous

LOOKS = {
    Look.NEGATIVE_ZERO: "negative numbers of {names} count as zero, or negative results do, as in a ReLU",
    Look.NEGATIVE_POSITIVE: "negative numbers of {names} count as positive: absolute values",
    Look.NEGATIVE_SCALED: "negative numbers of {names} count {amount:.4g} times, as in a leaky ReLU",
    Look.UNSIGNED: "negative numbers of {names} are taken for others, as unsigned integers take them: keep the cast signed",
    Look.SATURATES: "numbers of {names} are clipped at about {amount:.6g}",
    Look.RESULT_SATURATES: "the result is clipped at {amount:.6g}",
    Look.OVERFLOWS: "it is not finite where {names} is beyond about {amount:.2g}, far inside the range of the dtype",
    Look.LARGE: "it is wrong where {names} is beyond about {amount:.2g}",
    Look.PRODUCTS: "it is wrong where all of {names} are large, and right where one is: sums overflow, as those of int32",
    Look.STEPS: "{names} or the result is rounded to steps of {amount:.4g} (fixed point)",
    Look.FLUSHED: "numbers of {names} below about {amount:.2g} count as zero",
    Look.ADDED: "a constant of about {amount:.2g} is added",
    Look.SMALL: "it is wrong where {names} is below about {amount:.2g}, as if a small number (epsilon) were added",
    Look.DEPENDS: "it changes with {names}, on which it does not depend",
    Look.TANGENTS: "it is not linear in the tangents, as a JVP must be",
    Look.OTHER: "{names} times {factor:.6g} does not give the result times {factor:.6g}",
}


def not_homogeneous(f: NotHomogeneous) -> str:
    """Return a finding of what is not homogeneous in a sentence."""
    names = " and ".join(f"the {name}" if name in ("cotangent", "tangents") else name for name in f.names)
    looks = LOOKS[f.look].format(names=names, amount=f.amount, factor=f.factor)
    if f.look in (Look.SATURATES, Look.RESULT_SATURATES):
        looks += next((f", the largest number of {r.dtype}" for r in RANGES if r.largest == f.amount), "")
    return f"{looks}; of {names} times {f.factor:.6g}, element {f.index} is {f.found:.9g}, must be {f.expected:.9g}"
