"""A counterexample as a program that shows the fault without triconv, in a fresh interpreter."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from triconv.checking.candidates.candidate_source import Definitions
from triconv.checking.candidates.candidates import (
    CandidateFunction,
    JaxCandidate,
    Rules,
    RulesCandidate,
    TorchCandidate,
    unwrapped,
)
from triconv.checking.candidates.importable import Unspellable
from triconv.checking.candidates.isolated_candidate import RemoteTarget
from triconv.checking.candidates.layers import LayerCandidate
from triconv.checking.candidates.naming import name_of
from triconv.checking.counterexamples import layer_program, pair_program, program_data
from triconv.checking.dtypes import COMPLEX
from triconv.checking.findings.protocol import WRONG, Kind, Question, Transform
from triconv.checking.findings.user_code import is_of_library, is_users
from triconv.checking.questions.shrink import Counterexample
from triconv.checking.reports import wording
from triconv.checking.reports.report_data import ReportRow

RULE_NAMES = ("input_vjp", "weight_vjp", "bias_vjp")
ASKED = (Kind.VALUE, Kind.VJP, Kind.JVP)
WIDE = ("float64", "complex128", "int64")
LIBRARIES = {
    "jax": "import jax, jax.numpy as jnp",
    "torch": "import torch",
    "array-api-strict": "import array_api_strict",
    "cupy": "import cupy",
}
MOST_ELEMENTS = 200
"""Elements of all arrays together that a program for a function of any kind writes out."""


def program(
    candidate: Any,
    wrapped: CandidateFunction,
    like: Callable[..., Any],
    params: dict[str, Any],
    small: Counterexample | None,
    question: Question,
) -> str:
    """Return the program; "" without a counterexample, and for what takes more than one call of the candidate to show."""
    if small is None or question.kind not in ASKED:
        return ""
    if isinstance(candidate, RemoteTarget):
        return _made_there(candidate, program, wrapped, like, params, small, question)
    p = small.problem
    arrays = [p.user(role, small.arrays.primals[role]) for role in p.roles]
    g = p.user(p.result, small.arrays.g)
    tangents = [p.user(role, small.arrays.tangents[role]) for role in p.roles]
    made = _Program(candidate, wrapped, question, p.names, arrays, g, tangents)
    words = ", ".join(f"{name}={value!r}" for name, value in params.items())
    return made.text(f"the definition of {like.__name__}({words})", (small.found, small.expected), "")


def function_program(
    candidate: Any, wrapped: CandidateFunction, names: Sequence[str], rows: Sequence[ReportRow], like: str
) -> str:
    """Return the program for the first wrong row of a function that is compared with values; "" where there is none.

    Parameters
    ----------
    candidate, wrapped : Any, CandidateFunction
        The function.
    names : sequence of str
        Of its arrays.
    rows : sequence of ReportRow
        What was found; the evidence holds the point.
    like : str
        Name of the function whose values are the truth; "" for those of the function itself.
    """
    row = next((row for row in rows if row.verdict == WRONG and row.evidence is not None), None)
    if row is None or row.evidence is None or row.evidence.asked is None or row.question.kind not in ASKED:
        return ""
    e, (arrays, g, tangents) = row.evidence, row.evidence.asked
    written = [*arrays, g, *tangents, e.expected]
    is_shown = e.found.shape != e.expected.shape or not np.allclose(e.found, e.expected)
    if sum(np.size(a) for a in written) > MOST_ELEMENTS or not is_shown or wrapped.dtype in COMPLEX:
        return ""
    if isinstance(candidate, RemoteTarget):
        return _made_there(candidate, function_program, wrapped, names, rows, like)
    made = _Program(candidate, wrapped, row.question, names, arrays, g, tangents)
    results = e.found, e.expected
    if not like:
        return made.text("its own values", results, "from the function's own values, along lines through this point")
    return made.text(f"the values of {like}", results, f"from the values of {like}")


def _made_there(candidate: RemoteTarget, function: Callable[..., str], *args: Any) -> str:
    """Return the program that the candidate's process makes, after everything is judged; "" where it makes none."""
    try:
        return str(candidate.run(function, candidate, *args))
    except Exception:  # noqa: BLE001 (whatever the process does)
        return ""


class _Program:
    """The program for one question at one point."""

    def __init__(
        self,
        candidate: Any,
        wrapped: CandidateFunction,
        question: Question,
        names: Sequence[str],
        arrays: Sequence[np.ndarray],
        g: np.ndarray,
        tangents: Sequence[np.ndarray],
    ) -> None:
        self.candidate, self.wrapped, self.question = candidate, wrapped, question
        self.arrays, self.g, self.tangents = arrays, g, tangents
        self.position = list(names).index(question.name) if question.name is not None else 0
        taken = {"f", "np", "jnp", "jax", "torch", "found", "expected", "y", "cache", "backward"}
        self.names = [a if a.isidentifier() and a not in taken else f"x{n}" for n, a in enumerate(names)]
        self.ct = "g" if "g" not in self.names else "ct"
        self.library = wrapped.backend.name
        presets = {"np": np}
        for module, name in (("jax", "jax"), ("jax.numpy", "jnp"), ("torch", "torch")):
            if module.partition(".")[0] == self.library:
                presets[name] = importlib.import_module(module)
        own = {*self.names, *(f"d{name}" for name in self.names), self.ct, "found", "expected", "y", "cache"}
        self.definitions = Definitions(presets, own)
        self.f, self.rule, self.backward = "f", "", "backward"

    def text(self, against: str, results: tuple[np.ndarray, np.ndarray], how: str) -> str:
        """Return the program.

        Parameters
        ----------
        against : str
            What it was compared with.
        results : tuple of numpy.ndarray
            What was found, and the right result.
        how : str
            Where that comes from, for a comment; "" for none.
        """
        self.found, self.expected = results
        self._define()
        asked = self._asked()
        lines = [
            f"# {_title(self.candidate)} against {against}: {wording.question(self.question)}",
            *self._imports(),
            "",
            *self.definitions.lines,
            "",
            *(f"{name} = {self._make(a, n)}" for n, (name, a) in enumerate(zip(self.names, self.arrays, strict=True))),
            *asked,
            *self._on_host(),
            *([f"# {how}"] if how else []),
            *program_data.comparison(self.found, self.expected, self._np()),
        ]
        return "\n".join(lines)

    def _imports(self) -> list[str]:
        d = self.definitions
        numpy = ["import numpy as np"] if "np" not in d.displaced else ["import numpy"]
        library = LIBRARIES.get(self.library, "")
        if "jnp" in d.displaced:
            library = "import jax, jax.numpy"
        lines = ["from __future__ import annotations"] if d.has_annotations else []
        lines += numpy + [library] * bool(library) + ["import ml_dtypes"] * self._has_ml_dtypes()
        known = {*lines, "import jax", "import jax.numpy as jnp"} if self.library == "jax" else set(lines)
        others = [line for line in d.imports if line not in known]
        lines += [line for line in others if not _is_of_user(line)]
        if d.folders:
            lines += ["import sys", *(f"sys.path.insert(0, {folder!r})" for folder in d.folders)]
        lines += [line for line in others if _is_of_user(line)]
        if self.library == "jax" and self.wrapped.dtype in WIDE:
            lines.append('jax.config.update("jax_enable_x64", True)')
        return lines

    def _define(self) -> None:
        """Define what is called."""
        d, w = self.definitions, self.wrapped
        if isinstance(w, LayerCandidate):
            d.give("layer", w.layer)
        elif isinstance(self.candidate, Rules) and isinstance(w, RulesCandidate):
            rule = self._rule()
            if rule is None or hasattr(rule, "__self__"):  # a method may use what the forward remembers
                self._give(self.candidate.forward)
            if rule is not None:
                self.rule = d.give(RULE_NAMES[self.position], rule) or RULE_NAMES[self.position]
        elif self._is_pair():
            self.f = d.give("f", getattr(w, "forward", None)) or "f"
            if self.question.kind == Kind.VJP:
                self.backward = d.give("backward", getattr(w, "backward", None)) or "backward"
        elif type(self.candidate).__mro__[-2].__module__ == "torch.nn.modules.module" and self._is_functional():
            self._give_module()
        else:
            self._give(unwrapped(self.candidate))

    def _rule(self) -> Any:
        rules = self.candidate
        if self.question.kind != Kind.VJP:
            return None
        return (rules.input_vjp, rules.weight_vjp, rules.bias_vjp)[self.position]

    def _is_pair(self) -> bool:
        return type(self.wrapped).__name__ == "PairCandidate"

    def _is_functional(self) -> bool:
        """Whether a module was called with its parameters as arguments."""
        function = self.wrapped.function
        return function is not self.candidate and getattr(function, "__wrapped__", None) is not self.candidate

    def _give(self, thing: Any) -> None:
        """Define a function of the arrays alone, with its other arguments in it."""
        d, w = self.definitions, self.wrapped
        constants = getattr(w.function, "constants", {})
        parts = getattr(w.function, "parts", None)
        if not (w.args or w.keywords or constants or parts is not None):
            self.f = d.give("f", thing) or "f"
            return
        try:
            rest = iter(self.names)
            given = [
                d.expression(constants[n]) if n in constants else next(rest)
                for n in range(len(self.names) + len(constants))
            ]
            given += [*map(d.expression, w.args), *(f"{k}={d.expression(v)}" for k, v in w.keywords.items())]
        except Unspellable:
            d.lines.append("# paste your function here as f, with its arguments")
            return
        try:
            spelled = d.expression(thing)
        except (Unspellable, RecursionError):
            d.lines.append("# paste your function here as function")
            spelled = "function"
        called = self._joined(f"{spelled}({', '.join(given)})", parts)
        self.f = d.assign("f", f"lambda {', '.join(self.names)}: {called}")

    def _joined(self, call: str, parts: tuple[int, ...] | None) -> str:
        """The one array of a result that is several."""
        if parts is None:
            return call
        if len(parts) == 1:
            return f"{call}[{parts[0]}]"
        concatenate, ravel = {"torch": ("torch.cat", "torch.ravel")}.get(
            self.library, (f"{self._xp()}.concatenate", f"{self._xp()}.ravel")
        )
        return f"{concatenate}([{ravel}(a) for n, a in enumerate({call}) if n in {parts}])"

    def _give_module(self) -> None:
        d = self.definitions
        named = list(self.candidate.named_parameters())
        named.sort(key=lambda pair: -len([n for n in np.shape(pair[1]) if n != 1] or np.shape(pair[1])))
        inputs = len(self.names) - len(named)
        module = d.give("module", self.candidate)
        if inputs < 1 or not module:
            d.lines[-1:] = ["# paste your function here as f"]
            return
        of_module = ", ".join(f"{key!r}: {name}" for (key, _), name in zip(named, self.names[inputs:], strict=True))
        xs = ", ".join(self.names[:inputs])
        called = f"torch.func.functional_call({module}, {{{of_module}}}, ({xs},))"
        self.f = d.assign("f", f"lambda {', '.join(self.names)}: {called}")

    # ---- what is asked

    def _asked(self) -> list[str]:
        """Return the lines after the arrays, up to `found`."""
        arguments, kind, transform = ", ".join(self.names), self.question.kind, self.question.transform
        if kind == Kind.VJP:
            return self._vjp()
        if isinstance(self.wrapped, LayerCandidate):
            return layer_program.call(self.wrapped, self.names, None)
        is_torch = isinstance(self.wrapped, TorchCandidate)
        if transform == Transform.VJP:
            if is_torch:
                return [f"for a in ({arguments},): a.requires_grad_()", f"found = {self.f}({arguments}).detach()"]
            return [f"found = jax.vjp({self.f}, {arguments})[0]"]
        if transform == Transform.JVP:
            drawn = enumerate(zip(self.names, self.tangents, strict=True), len(self.names) + 1)  # after the cotangent
            along = [f"d{name} = {self._make(a, number)}" for number, (name, a) in drawn]
            tangents = ", ".join(f"d{name}" for name in self.names)
            module = "jax" if isinstance(self.wrapped, JaxCandidate) else "torch.func"
            part = int(kind == Kind.JVP)  # of the value and the tangent
            return [*along, f"found = {module}.jvp({self.f}, ({arguments},), ({tangents},))[{part}]"]
        if transform == Transform.JIT:
            return [f"found = jax.jit({self.f})({arguments})"]
        if self._is_pair():
            more = self._more()
            value = f"{self.f}({', '.join([arguments, *more])})"
            return [f"found = {value}", "found = found[0] if isinstance(found, tuple) else found"]
        first = "[0]" if self._has_cache() else ""
        return [f"found = {self.f}({arguments}){first}" + (".detach()" if is_torch else "")]

    def _has_cache(self) -> bool:
        """Whether a function by itself returns its result before a cache, or alone in a tuple or list."""
        w = self.wrapped
        try:
            with w.session():
                result = w.function(*w.move(self.arrays), *w.args, **w.keywords)
        except Exception:  # noqa: BLE001 (it fails in the program too)
            return False
        return isinstance(result, (tuple, list)) and len(result) > 0 and hasattr(result[0], "shape")

    def _vjp(self) -> list[str]:
        arguments, n = ", ".join(self.names), self.position
        is_notebook = isinstance(self.wrapped, RulesCandidate) and self.wrapped.is_notebook
        lines = [f"{self.ct} = {self._make(self.g, len(self.names))}" + ("[..., None]" if is_notebook else "")]
        if isinstance(self.wrapped, LayerCandidate):
            return [*lines, *layer_program.call(self.wrapped, self.names, n)]
        if isinstance(self.wrapped, RulesCandidate):
            given = [(self.ct, self.names[1]), (self.ct, self.names[0]), (self.ct,)][n]
            given = (self.names[0], self.ct) if is_notebook and n == 1 else given
            found = f"{self.rule}({', '.join(given)})"
            if is_notebook and self.expected.ndim == 3:
                found = f"np.moveaxis({found}, 0, -1)"
            forward = [f"{self.f}({arguments})"] * hasattr(self._rule(), "__self__")
            return [*lines, *forward, f"found = {found}"]
        if self._is_pair():
            try:
                with self.wrapped.session():
                    return lines + pair_program.lines(
                        self.wrapped,
                        (self.f, self.backward),
                        self.names,
                        self.arrays,
                        self.g,
                        n,
                        self.definitions.expression,
                    )
            except Exception:  # noqa: BLE001 (what the pair raises, or cannot be spelled)
                more = ", ".join([arguments, *self._more()])
                return [*lines, f"y, cache = {self.f}({more})", f"found = {self.backward}({self.ct}, cache)[{n}]"]
        if isinstance(self.wrapped, TorchCandidate):
            lines.append(f"for a in ({arguments},): a.requires_grad_()")
            if np.any(self.found):
                y = f"{self.f}({arguments})"
                return [*lines, f"found = torch.autograd.grad({y}, [{arguments}], {self.ct}, allow_unused=True)[{n}]"]
            lines.append(f"y = {self.f}({arguments})")  # which may have no graph
            gradient = f"torch.autograd.grad(y, [{arguments}], {self.ct}, materialize_grads=True)[{n}]"
            return [*lines, f"found = {gradient} if y.requires_grad else torch.zeros_like({self.names[n]})"]
        return [*lines, f"found = jax.vjp({self.f}, {arguments})[1]({self.ct})[{n}]"]

    def _more(self) -> list[str]:
        """The further arguments, as far as they can be written."""
        spell = self.definitions.expression
        try:
            return [*map(spell, self.wrapped.args), *(f"{k}={spell(v)}" for k, v in self.wrapped.keywords.items())]
        except Unspellable:
            return []

    # ---- arrays

    def _xp(self) -> str:
        if self.library == "jax":
            return "jax.numpy" if "jnp" in self.definitions.displaced else "jnp"
        return self._np()

    def _np(self) -> str:
        return "numpy" if "np" in self.definitions.displaced else "np"

    def _make(self, a: np.ndarray, number: int) -> str:
        """The array of the candidate's library, of which it is the one with this number that was drawn."""
        dtype, library, numbers = self.wrapped.dtype, self.library, program_data.spelled(a, number, self._np())
        if library == "torch":
            device = f", device={str(self.wrapped.device)!r}" if self.wrapped.device is not None else ""
            return f"torch.tensor({numbers}, dtype=torch.{dtype}{device})"
        if library in LIBRARIES and library != "jax":
            module = library.replace("-", "_")
            return f"{module}.asarray({numbers}, dtype={module}.{dtype})"
        xp = self._xp()
        return f"{xp}.asarray({numbers}, {'ml_dtypes' if self._has_ml_dtypes() else xp}.{dtype})"

    def _has_ml_dtypes(self) -> bool:
        return self.library == "numpy" and self.wrapped.dtype == "bfloat16"

    def _on_host(self) -> list[str]:
        """Where NumPy cannot read the result as it is."""
        if self.library == "cupy":
            return ["found = found.get()"]
        is_torch, is_narrow = self.library == "torch", self.wrapped.dtype == "bfloat16"
        calls = ".cpu()" * (is_torch and self.wrapped.device is not None) + ".float()" * (is_torch and is_narrow)
        return [f"found = found{calls}"] if calls else []


def _is_of_user(line: str) -> bool:
    """Whether an import statement is of a file of the user's."""
    file = getattr(sys.modules.get(line.split()[1].rstrip(",")), "__file__", None)
    return isinstance(file, str) and is_users(file) and not is_of_library(file)


def _title(candidate: Any) -> str:
    inner = candidate.forward if isinstance(candidate, Rules) else getattr(candidate, "func", candidate)
    if isinstance(inner, (tuple, list)):
        return name_of(inner)
    return str(getattr(inner, "__qualname__", type(inner).__name__)).replace("\n", " ")
