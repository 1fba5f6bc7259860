"""A counterexample as a program that shows the fault without triconv."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import numpy as np

from triconv.checking import layer_program, wording
from triconv.checking.candidates import CandidateFunction, JaxCandidate, Rules, RulesCandidate, TorchCandidate
from triconv.checking.layers import LayerCandidate
from triconv.checking.protocol import Kind, Question, Transform
from triconv.checking.shrink import Counterexample

LONGEST_SOURCE = 4000
"""Characters of a candidate's source that the program repeats."""
RULE_NAMES = ("input_vjp", "weight_vjp", "bias_vjp")


def program(
    candidate: Any,
    wrapped: CandidateFunction,
    like: Callable[..., Any],
    params: dict[str, Any],
    small: Counterexample | None,
    question: Question,
) -> str:
    """Return the program; "" without a counterexample, and for what takes more than one call of the candidate to show."""
    if small is None or question.kind not in (Kind.VALUE, Kind.VJP, Kind.JVP):
        return ""
    p, dtype = small.problem, wrapped.dtype
    names = list(p.names)
    of_library = {"jax": ["import jax, jax.numpy as jnp"], "torch": ["import torch"]}
    imports = ["import numpy as np", *of_library.get(wrapped.backend.name, [])]
    make = {"jax": "jnp.asarray({}, jnp.{})", "torch": "torch.tensor({}, dtype=torch.{})"}.get(
        wrapped.backend.name, "np.asarray({}, np.{})"
    )
    title = f"# {_title(candidate)} against the definition of {like.__name__}({_spell(params)}): {wording.question(question)}"
    layer = wrapped if isinstance(wrapped, LayerCandidate) else None
    source = layer_program.source(layer) if layer is not None else _source(candidate, question, names)
    lines = [title, *imports, "", *source, ""]
    user = {name: p.user(role, small.arrays.primals[role]) for name, role in zip(names, p.roles, strict=True)}
    lines += [f"{name} = {make.format(_literal(a), dtype)}" for name, a in user.items()]
    if layer is not None and question.kind == Kind.VALUE:
        lines += layer_program.call(layer, names, None)
    elif question.kind == Kind.VJP:
        lines.append(f"g = {make.format(_literal(p.user(p.result, small.arrays.g)), dtype)}")
        n = _position(question, names)
        lines += layer_program.call(layer, names, n) if layer is not None else _vjp_lines(wrapped, names, n)
    elif question.transform == Transform.VJP:
        lines += _value_with_vjp_lines(wrapped, names)
    elif question.transform == Transform.JVP:
        along = [p.user(role, small.arrays.tangents[role]) for role in p.roles]
        lines += [f"d{name} = {make.format(_literal(a), dtype)}" for name, a in zip(names, along, strict=True)]
        arguments, tangents = ", ".join(names), ", ".join(f"d{name}" for name in names)
        module = "jax" if isinstance(wrapped, JaxCandidate) else "torch.func"
        part = int(question.kind == Kind.JVP)  # of the value and the tangent
        lines.append(f"found = {module}.jvp(f, ({arguments},), ({tangents},))[{part}]")
    else:
        lines.append(f"found = f({', '.join(names)})")
    lines += [
        f"expected = np.asarray({_literal(small.expected)})",
        "print(found)",
        "print(expected)",
        "assert np.shape(found) == expected.shape and np.allclose(np.asarray(found), expected)",
    ]
    return "\n".join(lines)


def _position(question: Question, names: list[str]) -> int:
    assert question.name is not None
    return names.index(question.name)


def _value_with_vjp_lines(candidate: CandidateFunction, names: list[str]) -> list[str]:
    arguments = ", ".join(names)
    if isinstance(candidate, TorchCandidate):
        return [f"for a in ({arguments},): a.requires_grad_()", f"found = f({arguments}).detach()"]
    return [f"found = jax.vjp(f, {arguments})[0]"]


def _vjp_lines(candidate: CandidateFunction, names: list[str], n: int) -> list[str]:
    arguments = ", ".join(names)
    if isinstance(candidate, RulesCandidate):
        rule = RULE_NAMES[n]
        others = ("g, " + names[1], "g, " + names[0], "g")[n]
        if candidate.is_notebook and n == 1:
            others = names[0] + ", g"
        return [f"found = {rule}({others})"]
    if isinstance(candidate, TorchCandidate):
        return [
            f"for a in ({arguments}): a.requires_grad_()",
            f"found = torch.autograd.grad(f({arguments}), [{arguments}], g, allow_unused=True)[{n}]",
        ]
    return [f"found = jax.vjp(f, {arguments})[1](g)[{n}]"]


def _source(candidate: Any, question: Question, names: list[str]) -> list[str]:
    """Return the candidate's own source where it stands by itself, else where to find it."""
    functions = {"f": candidate}
    if isinstance(candidate, Rules):
        functions = {"f": candidate.forward}
        if question.kind == Kind.VJP:
            rule = RULE_NAMES[_position(question, names)]
            functions = {rule: getattr(candidate, rule)}
    lines: list[str] = []
    for name, function in functions.items():
        inner = getattr(function, "func", function)
        module, name_there = getattr(inner, "__module__", "?"), getattr(inner, "__qualname__", type(inner).__name__)
        try:
            source = textwrap.dedent(inspect.getsource(inspect.unwrap(inner))).rstrip()
        except (OSError, TypeError):
            source = ""
        free = getattr(getattr(inner, "__code__", None), "co_freevars", ())
        if source.startswith("def ") and not free and len(source) < LONGEST_SOURCE:
            lines += [*source.splitlines(), *([f"{name} = {inner.__name__}"] if inner.__name__ != name else [])]
        elif module not in ("__main__", "?") and name_there.isidentifier():
            lines.append(f"from {module} import {name_there} as {name}")
        else:
            lines.append(f"{name} = ...  # {module}:{name_there}")
    return lines


def _title(candidate: Any) -> str:
    inner = candidate.forward if isinstance(candidate, Rules) else getattr(candidate, "func", candidate)
    return str(getattr(inner, "__qualname__", type(inner).__name__))


def _spell(params: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in params.items())


def _literal(a: np.ndarray) -> str:
    values = a if np.iscomplexobj(a) else np.where(np.isfinite(a), np.rint(a), 0).astype(int)
    return str(values.tolist())
