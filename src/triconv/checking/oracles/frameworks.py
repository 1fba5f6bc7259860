"""The frameworks' own convolutions, lax's and torch's, on the problem of a check and against the definition."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

import numpy as np

from triconv.backends import BACKENDS
from triconv.checking.findings.findings import OracleResult, OracleStatus
from triconv.checking.findings.protocol import Kind, Question, Role, Transform
from triconv.checking.oracles import runners
from triconv.checking.oracles.cases import Case
from triconv.checking.oracles.convolution import ConvolutionProblem

QUESTIONS = (
    Question(Kind.VALUE, Role.G),
    Question(Kind.VJP, Role.X, "x", 1, Transform.VJP),
    Question(Kind.VJP, Role.W, "w", 1, Transform.VJP),
)


def ask_oracles(problem: ConvolutionProblem, seed: int, libraries: tuple[str, ...]) -> Iterator[OracleResult]:
    """Yield what the oracles of these libraries compute for integers, compared with the definition."""
    if problem.call.contraction != "conv" or problem.model.mode != "zeros":
        return
    case = _case(problem)
    rng = np.random.default_rng(seed)
    x, w, g = (rng.integers(-3, 4, shape).astype(np.float32) for shape in (case.x, case.w, case.g))
    operands = {"x": x, "w": w, "g": g}
    right = [problem.model.derivative(r, {o: a for o, a in operands.items() if o != r}) for r in "gxw"]
    for name, (library, oracle) in runners.ORACLES.items():
        if library not in libraries or not BACKENDS[library].installed():
            continue
        importlib.import_module(library)
        results = oracle(case, x, w, g)
        if results is None:
            yield OracleResult(name, OracleStatus.CANNOT_EXPRESS)
            continue
        pairs = zip(QUESTIONS, results, right, strict=True)
        wrong = tuple(question for question, a, b in pairs if not np.array_equal(a, b))
        yield OracleResult(name, OracleStatus.WRONG if wrong else OracleStatus.AGREES, wrong)


def _case(problem: ConvolutionProblem) -> Case:
    axes = problem.model.axes
    shapes = {r: problem.torch_shape(r, problem.result_shape(r)) for r in problem.operands}
    return Case(
        name="",
        why="",
        x=shapes["x"],
        w=shapes["w"],
        stride=tuple(a.stride for a in axes),
        dilation=tuple(a.dilation for a in axes),
        input_dilation=tuple(a.input_dilation for a in axes),
        padding=tuple((a.pad_lo, a.pad_hi) for a in axes),
        groups=problem.model.groups,
    )
