"""The words for results that are right, but with fewer bits than their dtype has; only `wording.py` reads them."""

from __future__ import annotations

from collections.abc import Iterator

from triconv.checking.findings.findings import FewerBits, Level

LEVELS = {
    Level.FLOAT32: "in float32",
    Level.TF32: "with 11-bit products (TF32 or float16); in JAX set precision='highest', in torch "
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    Level.BFLOAT16: "with 8-bit products (bfloat16); in JAX set precision='highest', in torch leave autocast",
    Level.FLOAT8_E4M3: "with 4-bit products (float8 e4m3)",
    Level.FLOAT8_E5M2: "with 3-bit products (float8 e5m2)",
    Level.SHORT_SUMS: "with sums in fewer bits than float32 has, which lose small products beside large ones; take the sums "
    "in float32",
    Level.NARROW_SUMS: "with sums in 8 to 11 bits (accumulated in bfloat16 or float16); take the sums in float32",
    Level.CUT_OFF: "with results that are cut off (rounded toward zero): round them to nearest",
    Level.FEWER: "with fewer bits",
}
FORMATS = {
    49: "two halves of float32",
    48: "two halves of float32",
    24: "float32",
    17: "two halves of bfloat16",
    16: "two halves of bfloat16",
    11: "TF32 or float16",
    8: "bfloat16",
    4: "float8 e4m3",
    3: "float8 e5m2",
}


def fewer_bits(f: FewerBits) -> str:
    """Return a finding of fewer bits in a sentence."""
    about = [] if f.level == Level.SHORT_SUMS else [f"it has about {f.bits} bits of {f.dtype_bits}"]
    sentence = "; ".join(
        [f"right, but computed {LEVELS[f.level]}", " and ".join(list(_kept(f)) or about)]
    ).removesuffix("; ")
    return sentence if f.declared is None else f"as declared, {f.declared}: {sentence}"


def _kept(f: FewerBits) -> Iterator[str]:
    """Yield what exact data say is kept, of the operands and of the sums."""
    for bits in dict.fromkeys(bits for _, bits in f.operands):
        names = " and ".join(name for name, of in f.operands if of == bits)
        yield f"it keeps {_bits_of(bits, f.dtype_bits)} of {names}"
    if f.sums is not None:
        what = "the result is rounded to" if f.is_rounded_once else "sums are kept in"
        yield f"{what} {_bits_of(f.sums, f.dtype_bits)}"
    if f.overflows is not None:
        yield f"what is beyond {f.overflows.largest:.6g} is not finite, as in {f.overflows.dtype}"


def _bits_of(bits: int, dtype_bits: int) -> str:
    known = f" ({FORMATS[bits]})" if bits in FORMATS else ""
    return f"{bits} of {dtype_bits} bits{known}"
