"""The source of functions and classes, with what is needed to run it: names, imports, and other statements that bind a name."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
import linecache
import symtable
import textwrap
from collections.abc import Iterator
from typing import Any, NamedTuple


class Source(NamedTuple):
    """Source that defines something, and the names from outside of it that it uses."""

    text: str
    names: tuple[str, ...]
    has_annotations: bool
    """Whether annotations use names, which are left undefined: they must not be evaluated."""

    @property
    def defined(self) -> str:
        """What it defines or evaluates: the name of a function or class; "" for anything else."""
        (first, *_) = ast.parse(self.text).body
        return first.name if isinstance(first, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else ""


def of_text(text: str) -> Source | None:
    """Return source with the names that it needs; None if it is none."""
    try:
        tree = ast.parse(text)
        plain = ast.unparse(_WithoutAnnotations().visit(ast.parse(text)))
        table = symtable.symtable(plain, "<source>", "exec")
    except (SyntaxError, ValueError):
        return None
    used = dict.fromkeys(_names_in(table, is_top=True))
    names = tuple(name for name in used if not hasattr(builtins, name) and name not in ("__class__", "__name__"))
    return Source(text, names, any(map(_is_annotated, ast.walk(tree))))


def of_definition(thing: Any) -> Source | None:
    """Return the source of a function by ``def``, with its decorators, or of a class; None where there is none."""
    try:
        text = textwrap.dedent(inspect.getsource(thing)).rstrip()
    except (OSError, TypeError, IndentationError):
        text = _of_class_in_notebook(thing) if inspect.isclass(thing) else ""
    source = of_text(text)
    return source if source is not None and source.text and source.defined else None


def of_lambda(function: Any) -> Source | None:
    """Return the source of the expression of a lambda; None if it cannot be told from others in its lines."""
    text, tree = _file_of(function)
    code = function.__code__
    spans = [
        (line, column, end, last)
        for line, end, column, last in code.co_positions()
        if None not in (line, end, column, last) and (column, last) != (0, 0)
    ]
    fitting = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Lambda)
        and [a.arg for a in (*node.args.posonlyargs, *node.args.args)] == list(code.co_varnames[: code.co_argcount])
        and all(_is_inside(span, node.body) for span in spans)
    ]
    if not fitting or not spans:
        return None
    inner = min(fitting, key=lambda node: len(ast.get_source_segment(text, node) or ""))
    segment = ast.get_source_segment(text, inner) or ""
    # what stood in brackets over several lines needs brackets here too
    return of_text(segment if "\n" not in segment else f"({segment})")


def bindings(module_text: str, name: str) -> list[Source]:
    """Return the statements of a module that bind a name, in order, and those that call a method of what it is bound to.

    The second are such as ``f.defvjp(forward, backward)``, and functions decorated with ``@f.defjvp``.
    """
    tree = _parsed(module_text)
    found = [node for node in tree.body if name in _bound(node) or _root_of_call(node) == name]
    segments = (_segment(module_text, node) for node in found)
    return [source for segment in segments if (source := of_text(segment)) is not None]


def imports(module_text: str, name: str) -> list[str]:
    """Return the import statements that bind a name: those of the module, else of any function in it."""
    tree = _parsed(module_text)
    for nodes in (tree.body, ast.walk(tree)):
        lines = dict.fromkeys(line for node in nodes for line in _import_lines(node, name))
        if lines:
            return list(lines)
    return []


def text_of_module(thing: Any) -> str:
    """Return the text of the file or of the notebook's cell that holds a function."""
    try:
        return "".join(inspect.findsource(thing)[0])
    except (OSError, TypeError, IndexError):
        return ""


def _file_of(function: Any) -> tuple[str, ast.AST]:
    lines = linecache.getlines(function.__code__.co_filename) or text_of_module(function).splitlines(keepends=True)
    text = "".join(lines)
    return text, _parsed(text)


@functools.lru_cache(maxsize=64)
def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _is_inside(span: tuple[Any, ...], node: ast.expr) -> bool:
    line, column, end, last = span
    return (node.lineno, node.col_offset) <= (line, column) and (end, last) <= (node.end_lineno, node.end_col_offset)


def _of_class_in_notebook(cls: Any) -> str:
    """The source of a class without a file: a method of it knows its cell."""
    for method in vars(cls).values():
        function = (
            inspect.unwrap(getattr(method, "__func__", method))
            if callable(method)
            else getattr(method, "__func__", None)
        )
        if inspect.isfunction(function):
            text = text_of_module(function)
            nodes = [n for n in ast.walk(_parsed(text)) if isinstance(n, ast.ClassDef) and n.name == cls.__name__]
            if nodes:
                return textwrap.dedent(_segment(text, nodes[-1]))
    return ""


def _segment(text: str, node: ast.stmt) -> str:
    """The whole lines of a statement, with its decorators."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join(text.splitlines()[first - 1 : node.end_lineno])


def _bound(node: ast.stmt) -> Iterator[str]:
    """Names that a statement binds by itself."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
            yield from (part.id for part in ast.walk(target) if isinstance(part, ast.Name))


def _root_of_call(node: ast.stmt) -> str:
    """The name whose method a statement calls, or decorates with."""
    decorators = getattr(node, "decorator_list", [])
    calls = decorators or ([node.value] if isinstance(node, ast.Expr) else [])
    for call in calls:
        inner = call.func if isinstance(call, ast.Call) else call
        if isinstance(inner, ast.Attribute) and isinstance(inner.value, ast.Name) and inner.attr.startswith("def"):
            return inner.value.id
    return ""


def _import_lines(node: ast.AST, name: str) -> Iterator[str]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if (alias.asname or alias.name.partition(".")[0]) == name:
                yield ast.unparse(ast.Import([alias]))
    elif isinstance(node, ast.ImportFrom) and not node.level and node.module != "__future__":
        for alias in node.names:
            if (alias.asname or alias.name) == name:
                yield ast.unparse(ast.ImportFrom(node.module, [alias], 0))


def _names_in(table: symtable.SymbolTable, *, is_top: bool = False) -> Iterator[str]:
    """Names that a piece of source needs from outside."""
    for symbol in table.get_symbols():
        bound_here = is_top and (symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace())
        if (is_top and symbol.is_referenced() and not bound_here) or (not is_top and symbol.is_global()):
            yield symbol.get_name()
    own = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()} if is_top else set()
    for child in table.get_children():
        yield from (name for name in _names_in(child) if name not in own)


def _is_annotated(node: ast.AST) -> bool:
    parts = [getattr(node, "annotation", None), getattr(node, "returns", None)]
    names = (n.id for part in parts if isinstance(part, ast.AST) for n in ast.walk(part) if isinstance(n, ast.Name))
    return any(not hasattr(builtins, name) for name in names)


class _WithoutAnnotations(ast.NodeTransformer):
    """Leaves annotations out: they are not evaluated."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        node.annotation = ast.Constant("")
        return node
