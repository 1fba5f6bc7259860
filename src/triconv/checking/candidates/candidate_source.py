"""How a fresh interpreter gets what was checked: by importing it from its file, else by its pasted source with all it uses."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import inspect
import math
import sys
import types
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from triconv.backends import to_numpy
from triconv.checking.candidates import source_text
from triconv.checking.candidates.importable import Unspellable, folder_of, module_with
from triconv.checking.candidates.source_scope import (
    Scope,
    aliases,
    is_class_of_users,
    is_function_of_users,
    places,
    scope_of,
    scope_of_class,
    wrappers,
)
from triconv.checking.candidates.source_text import Source

LONGEST_SOURCE = 20_000
"""Characters of pasted source."""
MOST_ELEMENTS = 100
"""Elements of an array that is pasted."""
PLAIN = (bool, int, str, bytes, complex, type(None), type(Ellipsis), slice, range)
WRAPPERS = {"PjitFunction": "jit", "custom_vjp": "custom_vjp", "custom_jvp": "custom_jvp"}
"""Types of JAX's objects around a function, and what makes them."""


class NamedExpression(NamedTuple):
    """What a target of the command line names, and how it does: an expression in a module."""

    thing: Any
    module: str
    expression: str


_target: ContextVar[NamedExpression | None] = ContextVar("target", default=None)


@contextlib.contextmanager
def named(thing: Any, module: str, expression: str) -> Iterator[None]:
    """Within it, a thing is known to be what an expression in a module gives."""
    token = _target.set(NamedExpression(thing, module, expression))
    try:
        yield
    finally:
        _target.reset(token)


class Definitions:
    """Lines that define things, each once and after what it needs.

    Parameters
    ----------
    presets : dict of str to Any
        Names that the program binds by itself, and to what.
    reserved : set of str
        Names that the program gives to its arrays, which nothing pasted may need.
    """

    def __init__(self, presets: dict[str, Any], reserved: set[str]) -> None:
        self.values = dict(presets)
        self.presets, self.reserved = presets, reserved
        self.folders: list[str] = []
        self.imports: list[str] = []
        self.lines: list[str] = []
        self.displaced: set[str] = set()
        self.has_annotations = False

    def give(self, name: str, thing: Any) -> str:
        """Define a name, or a longer one where it is taken; return it, or leave a comment and return ""."""
        try:
            with self._all_or_nothing():
                return self._bind(name, thing)
        except (Unspellable, RecursionError):
            self.lines.append(f"# paste your function here as {name}")
            return ""

    def assign(self, name: str, spelled: str) -> str:
        """Bind a name, or a longer one where it is taken, to what an expression gives; return it."""
        while name in self.values:
            name += "_"
        self.lines.append(f"{name} = {spelled}")
        self.values[name] = object()
        return name

    def _bind(self, name: str, thing: Any) -> str:
        spelled = self.expression(thing)
        if spelled == name:
            return name
        while name in self.values:
            name += "_"
        if spelled.startswith("(lambda") and "\n" not in spelled and source_text.of_text(spelled[1:-1]) is not None:
            spelled = spelled[1:-1]
        self.lines.append(f"{name} = {spelled}")
        self.values[name] = thing
        return name

    def expression(self, thing: Any) -> str:
        """Return an expression for a thing, after defining what it needs; raise `Unspellable` where there is none."""
        target = _target.get()
        if target is not None and thing is target.thing:
            with contextlib.suppress(Unspellable), self._all_or_nothing():
                return self._of_target(target)
        if (value := self._value(thing)) is not None:
            return value
        for name, known in self.values.items():
            if known is thing:
                return name
        if isinstance(thing, functools.partial):
            self._import("import functools")
            words = [
                *map(self.expression, thing.args),
                *(f"{k}={self.expression(v)}" for k, v in thing.keywords.items()),
            ]
            return f"functools.partial({', '.join([self.expression(thing.func), *words])})"
        if isinstance(thing, types.MethodType) and getattr(thing.__self__, thing.__name__, None) == thing:
            return f"{self.expression(thing.__self__)}.{thing.__name__}"
        for module, path in places(thing):
            with contextlib.suppress(Unspellable), self._all_or_nothing():
                return self._from(module, path)
        if isinstance(thing, types.ModuleType):
            raise Unspellable
        return self._pasted(thing)

    # ---- values

    def _value(self, thing: Any) -> str | None:
        """The literal of a plain value, or of numbers in an array; None of anything else."""
        if type(thing) is float:
            return repr(thing) if math.isfinite(thing) else f"float({str(thing)!r})"
        if type(thing) in PLAIN:
            return repr(thing)
        if type(thing) in (tuple, list):
            parts = [self.expression(part) for part in thing]
            return f"[{', '.join(parts)}]" if type(thing) is list else f"({', '.join(parts)}{',' * (len(parts) == 1)})"
        if type(thing) is dict:
            return f"{{{', '.join(f'{self.expression(k)}: {self.expression(v)}' for k, v in thing.items())}}}"
        library = type(thing).__module__.partition(".")[0]
        if library not in ("numpy", "torch", "jax", "jaxlib") or not hasattr(thing, "dtype") or inspect.isclass(thing):
            return None
        return self._array(thing, "jax.numpy" if library == "jaxlib" else library)

    def _array(self, array: Any, library: str) -> str | None:
        try:
            values = to_numpy(array)
        except Exception:  # noqa: BLE001 (a value that is traced has no numbers)
            raise Unspellable from None
        if values.dtype.kind not in "biufc" or values.size > MOST_ELEMENTS or not np.all(np.isfinite(values)):
            raise Unspellable
        module = sys.modules[library]
        known = next((name for name, value in self.values.items() if value is module), None)
        if known is None:
            self._import(f"import {library}")
        library, is_torch = known or library, library == "torch"
        make = "tensor" if is_torch else "asarray"
        dtype = str(array.dtype).rpartition(".")[2]
        if dtype == "bool" and not is_torch:
            dtype = "bool_"
        return f"{library}.{make}({values.tolist()}, dtype={library}.{dtype})"

    # ---- names from modules

    def _of_target(self, target: NamedExpression) -> str:
        module = sys.modules.get(target.module)
        if module is None:
            raise Unspellable
        for node in ast.walk(ast.parse(target.expression)):
            if isinstance(node, ast.Name) and node.id in vars(module):
                self._from(module, node.id, is_renamed=False)
        return target.expression

    def _from(self, module: types.ModuleType, path: str, *, is_renamed: bool = True) -> str:
        """Import a name of a module, or of a class in it; under another name where that one is taken."""
        root, _, rest = path.partition(".")
        value = vars(module)[root]
        self._find(module)
        name = root
        while self._is_taken(name, value):
            if not is_renamed:
                raise Unspellable
            name += "_"
        if name not in self.values:
            self.values[name] = value
            self._import(f"from {module.__name__} import {root}" + (f" as {name}" if name != root else ""))
        return f"{name}.{rest}" if rest else name

    def _is_taken(self, name: str, value: Any) -> bool:
        return name in self.reserved or (name in self.values and self.values[name] is not value)

    def _import(self, line: str) -> None:
        if line not in self.imports:
            self.imports.append(line)

    def _find(self, module: types.ModuleType) -> None:
        """Put the folder that a module is imported from on the path, where it needs one."""
        folder = folder_of(module)
        if folder and folder not in self.folders:
            self.folders.append(folder)

    # ---- pasted source

    def _pasted(self, thing: Any) -> str:
        if inspect.isclass(thing):
            return self._paste(source_text.of_definition(thing), thing, scope_of_class(thing))
        inner = inspect.unwrap(thing) if callable(thing) else thing
        if not inspect.isfunction(inner):
            return self._instance(thing)
        if inner.__name__ == "<lambda>":
            source = source_text.of_lambda(inner)
            if source is None:
                raise Unspellable
            self._need_all(source, scope_of(inner))
            spelled = source.text if source.text.startswith("(") else f"({source.text})"
            return spelled if thing is inner else self._wrapped(thing)
        source = source_text.of_definition(inner)
        if source is None:
            raise Unspellable
        decorators = ast.parse(source.text).body[0].decorator_list  # type: ignore[attr-defined]
        if thing is inner:
            return self._paste(_undecorated(source) if decorators else source, thing, scope_of(inner))
        if wrappers(thing) > len(decorators):
            return self._wrapped(thing)
        name = self._paste(source, thing, scope_of(inner))
        self._derivatives(thing, name, scope_of(inner).text)
        return name

    def _paste(self, source: Source | None, thing: Any, scope: Scope) -> str:
        """Paste a definition, after what it needs; return its name."""
        if source is None or self._is_taken(source.defined, thing):
            raise Unspellable
        name = source.defined
        self.values[name] = thing
        self._need_all(source, scope)
        self.has_annotations |= source.has_annotations
        self.lines += source.text.splitlines()
        if sum(map(len, self.lines)) > LONGEST_SOURCE:
            raise Unspellable
        return name

    def _need_all(self, source: Source, scope: Scope) -> None:
        for name in source.names:
            self._need(name, scope)

    def _need(self, name: str, scope: Scope) -> None:
        """Define a name that pasted source uses."""
        if name not in scope.inner and name not in scope.module:
            lines = source_text.imports(scope.text, name) or [f"import {name}"] * (name in sys.modules)
            if not lines:
                raise Unspellable
            for line in lines:
                self._import(line)
            return
        value = scope.inner[name] if name in scope.inner else scope.module[name]
        if name in self.presets and self.values[name] is not value:
            if name not in ("np", "jnp"):
                raise Unspellable
            self.displaced.add(name)
            del self.values[name]
        if self._is_taken(name, value):
            raise Unspellable
        if name in self.values:
            return
        if isinstance(value, types.ModuleType):
            self._find(value)
        lines = [line for line in source_text.imports(scope.text, name) if self._can_be_imported(line, value)]
        if lines or isinstance(value, types.ModuleType):
            self.values[name] = value
            for line in lines or [f"import {value.__name__}" + (f" as {name}" if value.__name__ != name else "")]:
                self._import(line)
            return
        try:
            with self._all_or_nothing():
                if self._bind(name, value) != name:
                    raise Unspellable  # noqa: TRY301
        except Unspellable:
            if name in scope.inner:
                raise
            self._paste_bindings(name, value, scope)

    def _can_be_imported(self, line: str, value: Any) -> bool:
        """Whether an import statement of the user's gives this value elsewhere too, with the folders that it needs."""
        module = module_with(line, value)
        if module is None:
            return False
        try:
            self._find(module)
        except Unspellable:
            return False
        return True

    def _paste_bindings(self, name: str, value: Any, scope: Scope) -> None:
        """Paste the statements of a module that bind a name."""
        sources = source_text.bindings(scope.text, name)
        if not sources:
            raise Unspellable
        self.values[name] = value
        for source in sources:
            self._need_all(source, scope)
            self.has_annotations |= source.has_annotations
            self.lines += source.text.splitlines()

    def _wrapped(self, thing: Any) -> str:
        """Call what makes an object of JAX around a function, such as ``jax.jit``."""
        kind = WRAPPERS.get(type(thing).__name__)
        if kind is None or not type(thing).__module__.startswith("jax"):
            raise Unspellable
        self._import("import jax")
        inner = self.expression(thing.__wrapped__)
        if kind == "jit":
            return f"jax.jit({inner})"
        name = next(iter(aliases(thing)), "rule")
        if self.values.get(name) is not thing.__wrapped__ and self._is_taken(name, thing):
            raise Unspellable
        self.values[name] = thing
        options = f", nondiff_argnums={thing.nondiff_argnums!r}" if thing.nondiff_argnums else ""
        self.lines.append(f"{name} = jax.{kind}({inner}{options})")
        self._derivatives(thing, name, "")
        return name

    def _derivatives(self, thing: Any, name: str, text: str) -> None:
        """Give what was pasted the derivatives that it had: by its attributes, else by the statements of its module."""
        parts = [getattr(thing, part, None) for part in ("fwd", "bwd")], [getattr(thing, "jvp", None)]
        for functions, method in zip(parts, ("defvjp", "defjvp"), strict=True):
            if all(map(is_function_of_users, functions)):
                spelled = ", ".join(map(self.expression, functions))
                self.lines.append(f"{name}.{method}({spelled})")
                return
        scope = scope_of(inspect.unwrap(thing))
        for source in source_text.bindings(text, name):
            if source.defined != name and not source.text.startswith(f"{name} ="):
                self._need_all(source, scope)
                self.lines += source.text.splitlines()

    def _instance(self, thing: Any) -> str:
        """Make an object as it is now, else by the statement of the script that made it."""
        with contextlib.suppress(Unspellable), self._all_or_nothing():
            return self._by_state(thing, is_whole=True)
        main = sys.modules["__main__"]
        text = source_text.text_of_module(main)
        for name in [name for name, value in vars(main).items() if value is thing and name.isidentifier()]:
            with contextlib.suppress(Unspellable), self._all_or_nothing():
                self._paste_bindings(name, thing, Scope({}, vars(main), text))
                return name
        return self._by_state(thing, is_whole=False)

    def _by_state(self, thing: Any, *, is_whole: bool) -> str:
        """Make an instance of a user's class with the attributes that it has now; `is_whole` if none may be left out."""
        kind = type(thing)
        if not hasattr(thing, "__dict__") or not all(map(is_class_of_users, kind.__mro__[:-1])):
            raise Unspellable
        made = self.expression(kind)
        name = "layer"
        while self._is_taken(name, thing):
            name += "_"
        self.values[name] = thing
        lines = [f"{name} = {made}.__new__({made})"]
        for attribute, value in vars(thing).items():
            try:
                with self._all_or_nothing():
                    lines.append(f"{name}.{attribute} = {self.expression(value)}")
            except Unspellable:
                if is_whole:
                    raise
                lines.append(f"# left out: {name}.{attribute}, of type {type(value).__name__}")
        self.lines += lines
        return name

    @contextlib.contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Leave no lines of what cannot be defined."""
        before = {key: copy.copy(value) for key, value in vars(self).items()}
        try:
            yield
        except BaseException:
            vars(self).update(before)
            raise


def _undecorated(source: Source) -> Source | None:
    """The definition alone: a decorator either gave the function back, or is not in what was checked."""
    node: Any = ast.parse(source.text).body[0]
    return source_text.of_text("\n".join(source.text.splitlines()[node.lineno - 1 :]))
