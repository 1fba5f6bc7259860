"""The smallest case that still fails, and a program that shows it without triconv."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from triconv.checking.candidates import ByJAX, ByRules, ByTorch, Candidate, NotOffered, Rules, as_numpy
from triconv.checking.convolution import Data, Problem, Truth

MOST_TRIALS = 60


@dataclass(frozen=True)
class Small:
    """A failing case: its problem, integer data, what was found, and what should have been; as the user has them laid out."""

    problem: Problem
    data: Data
    found: np.ndarray
    expected: np.ndarray

    @property
    def has_shape(self) -> bool:
        """Whether the result has the right shape, at least."""
        return self.found.shape == self.expected.shape


def medium(problem: Problem, like: Callable[..., Any], params: dict[str, Any]) -> Problem | None:
    """The same problem with sizes that are quick to compute and still tell one axis from another; None if there is none."""
    groups, sizes = problem.facts.groups, _letters(problem)
    reach = [(a.kernel_size - 1) * a.dilation + a.stride for a in problem.facts.axes]
    caps = {
        ("x", "N"): 2,
        ("g", "N"): 2,
        ("x", "C"): 3 * groups,
        ("w", "I"): 3,
        ("w", "O"): 4 * groups,
        ("g", "C"): 4 * groups,
    }
    for axis, letter in enumerate(problem.call.layout.spatial):
        caps["x", letter] = caps["g", letter] = reach[axis] + 5 + axis
    capped = {place: min(size, caps.get(place, size)) for place, size in sizes.items()}
    if ("x", "C") in capped and ("w", "I") in capped:
        capped["x", "C"] = capped["w", "I"] * groups
    try:
        smaller = Problem.of(like, _shapes(problem, capped), params)
    except (ValueError, TypeError):
        return None
    return replace(smaller, conjugates=problem.conjugates, shared=problem.shared)


def smallest(
    candidate: Candidate,
    like: Callable[..., Any],
    problem: Problem,
    params: dict[str, Any],
    dtype: str,
    seed: int,
    what: str,
) -> Small | None:
    """Shrink one size at a time, as long as the result of the question `what` stays wrong; None if integers do not show it."""
    best = first = _fails(candidate, problem, dtype, seed, what)
    trials = 0
    while best is not None:
        for sizes in _smaller(best.problem):
            if (trials := trials + 1) > MOST_TRIALS:
                return best
            try:
                shapes = _shapes(best.problem, sizes)
                smaller = Problem.of(like, shapes, params)
                smaller = replace(smaller, conjugates=problem.conjugates, shared=problem.shared)
            except (ValueError, TypeError):
                continue
            found = _fails(candidate, smaller, dtype, seed, what)
            if found is not None and first is not None and found.has_shape == first.has_shape:
                best = found
                break
        else:
            return best
    return None


def _fails(candidate: Candidate, problem: Problem, dtype: str, seed: int, what: str) -> Small | None:
    from triconv.checking.check import questions

    rng = np.random.default_rng(seed)
    p = problem

    def draw(shape: tuple[int, ...]) -> np.ndarray:
        a = rng.integers(1, 4, shape) * rng.choice([-1, 1], shape)
        return (a + 1j * rng.integers(-3, 4, shape)) if dtype.startswith("complex") else a.astype(np.float64)

    shapes = {r: p.torch_shape(r, s) if r != "bias" else s for r, s in zip(p.roles, p.shapes, strict=True)}
    data = Data(
        {r: draw(s) for r, s in shapes.items()},
        draw(p.torch_shape(p.result, p.result_shape(p.result))),
        {r: draw(s) for r, s in shapes.items()},
    )
    question = next(q for q in questions(candidate, problem, dtype) if q.what == what)
    try:
        raw = question.ask(data)
    except Exception:  # noqa: BLE001 (a candidate may be made for one shape alone)
        return None
    found = None if isinstance(raw, NotOffered) else as_numpy(raw)
    if found is None:
        return None
    expected = question.answer(Truth(problem, data))
    expected = expected if question.role == "bias" else p.to_user(question.role, expected)
    if found.shape == expected.shape and not np.any(np.abs(found - expected) > 0.25):
        return None
    return Small(problem, data, found, expected)


def _letters(problem: Problem) -> dict[tuple[str, str], int]:
    """Every size that is free: batch, channels, and the spatial sizes of the operands, by tensor and letter."""
    sizes: dict[tuple[str, str], int] = {}
    layout = problem.call.layout
    for role, shape in zip(problem.roles, problem.shapes, strict=True):
        if role == "bias":
            continue
        for letter, size in zip(layout.letters(role), shape, strict=True):
            sizes[role, letter] = size
    return sizes


def _smaller(problem: Problem) -> Iterator[dict[tuple[str, str], int]]:
    """Sizes with one of them smaller: as small as may be first."""
    groups, sizes = problem.facts.groups, _letters(problem)
    shared = {"N": [("x", "N"), ("g", "N")], "C": [("x", "C"), ("w", "I")], "O": [("w", "O"), ("g", "C")]}
    for places in shared.values():
        here = [place for place in places if place in sizes]
        per_group = {("x", "C"): groups, ("w", "O"): groups, ("g", "C"): groups}
        if here:
            unit = sizes[here[0]] // per_group.get(here[0], 1)
            for new in sorted({1, 2, unit // 2, unit - 1}):
                if 0 < new < unit:
                    yield {**sizes, **{place: new * per_group.get(place, 1) for place in here}}
    for (role, letter), size in sizes.items():
        if letter in problem.call.layout.spatial:
            for new in sorted({1, 2, 3, size // 2, size - 1}):
                if 0 < new < size:
                    yield {**sizes, (role, letter): new}


def _shapes(problem: Problem, sizes: dict[tuple[str, str], int]) -> tuple[tuple[int, ...], ...]:
    shapes: list[tuple[int, ...]] = []
    for role in problem.roles:
        if role == "bias":
            of_result = sizes.get(("w", "O")) if problem.result == "g" else sizes[("w", "I")] * problem.facts.groups
            shapes.append((int(of_result or 1),))
        else:
            shapes.append(tuple(sizes[role, letter] for letter in problem.call.layout.letters(role)))
    return tuple(shapes)


def snippet(
    given: Any, candidate: Candidate, like: Callable[..., Any], params: dict[str, Any], small: Small | None, what: str
) -> str:
    """A program that shows the fault without triconv."""
    if small is None or not what.startswith(("value", "VJP", "JVP")):
        return ""
    p, dtype = small.problem, candidate.dtype
    names = list(p.names)
    of_library = {"jax": ["import jax, jax.numpy as jnp"], "torch": ["import torch"]}
    imports = ["import numpy as np", *of_library.get(candidate.backend.name, [])]
    make = {"jax": "jnp.asarray({}, jnp.{})", "torch": "torch.tensor({}, dtype=torch.{})"}.get(
        candidate.backend.name, "np.asarray({}, np.{})"
    )
    lines = [f"# {_title(given)} against the definition of {like.__name__}({_spell(params)}): {what}", *imports, ""]
    lines += [*_source(given, what, names), ""]
    user = {name: p.user(role, small.data.primals[role]) for name, role in zip(names, p.roles, strict=True)}
    lines += [f"{name} = {make.format(_literal(a), dtype)}" for name, a in user.items()]
    arguments = ", ".join(names)
    if what.startswith("VJP"):
        lines.append(f"g = {make.format(_literal(p.user(p.result, small.data.g)), dtype)}")
        n = names.index(what.removeprefix("VJP of "))
        lines += _vjp_lines(candidate, names, n)
    elif what == "value with a VJP":
        lines += _value_with_vjp_lines(candidate, names)
    elif what in ("JVP", "value with a JVP"):
        along = [p.user(role, small.data.tangents[role]) for role in p.roles]
        lines += [f"d{name} = {make.format(_literal(a), dtype)}" for name, a in zip(names, along, strict=True)]
        tangents = ", ".join(f"d{name}" for name in names)
        module = "jax" if isinstance(candidate, ByJAX) else "torch.func"
        lines.append(f"found = {module}.jvp(f, ({arguments},), ({tangents},))[{int(what == 'JVP')}]")
    else:
        lines.append(f"found = f({arguments})")
    lines += [
        f"expected = np.asarray({_literal(small.expected)})",
        "print(found)",
        "print(expected)",
        "assert np.shape(found) == expected.shape and np.allclose(np.asarray(found), expected)",
    ]
    return "\n".join(lines)


def _value_with_vjp_lines(candidate: Candidate, names: list[str]) -> list[str]:
    arguments = ", ".join(names)
    if isinstance(candidate, ByTorch):
        return [f"for a in ({arguments},): a.requires_grad_()", f"found = f({arguments}).detach()"]
    return [f"found = jax.vjp(f, {arguments})[0]"]


def _vjp_lines(candidate: Candidate, names: list[str], n: int) -> list[str]:
    arguments = ", ".join(names)
    if isinstance(candidate, ByRules):
        rule = ("input_vjp", "weight_vjp", "bias_vjp")[n]
        others = ("g, " + names[1], "g, " + names[0], "g")[n]
        if candidate.as_listed and n == 1:
            others = names[0] + ", g"
        return [f"found = {rule}({others})"]
    if isinstance(candidate, ByTorch):
        return [
            f"for a in ({arguments}): a.requires_grad_()",
            f"found = torch.autograd.grad(f({arguments}), [{arguments}], g, allow_unused=True)[{n}]",
        ]
    return [f"found = jax.vjp(f, {arguments})[1](g)[{n}]"]


def _source(given: Any, what: str, names: list[str]) -> list[str]:
    """The candidate's own source where it stands by itself, else where to find it."""
    functions = {"f": given}
    if isinstance(given, Rules):
        functions = {"f": given.forward}
        if what.startswith("VJP"):
            used = ("input_vjp", "weight_vjp", "bias_vjp")[names.index(what.removeprefix("VJP of "))]
            functions = {used: getattr(given, used)}
    lines: list[str] = []
    for name, function in functions.items():
        inner = getattr(function, "func", function)
        module, called = getattr(inner, "__module__", "?"), getattr(inner, "__qualname__", type(inner).__name__)
        try:
            source = textwrap.dedent(inspect.getsource(inspect.unwrap(inner))).rstrip()
        except (OSError, TypeError):
            source = ""
        free = getattr(getattr(inner, "__code__", None), "co_freevars", ())
        if source.startswith("def ") and not free and len(source) < 4000:
            lines += [*source.splitlines(), *([f"{name} = {inner.__name__}"] if inner.__name__ != name else [])]
        elif module not in ("__main__", "?") and called.isidentifier():
            lines.append(f"from {module} import {called} as {name}")
        else:
            lines.append(f"{name} = ...  # {module}:{called}")
    return lines


def _title(given: Any) -> str:
    inner = given.forward if isinstance(given, Rules) else getattr(given, "func", given)
    return str(getattr(inner, "__qualname__", type(inner).__name__))


def _spell(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


def _literal(a: np.ndarray) -> str:
    values = a if np.iscomplexobj(a) else np.where(np.isfinite(a), np.rint(a), 0).astype(int)
    return str(values.tolist())
