"""A function of arrays with one array as its result: constants are put in their places, and results are joined."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from array_api_compat import array_namespace, is_array_api_obj


def joined(function: Callable[..., Any], constants: dict[int, Any]) -> Callable[..., Any]:
    """Return a function of the other arguments alone, whose result is one array.

    Parameters
    ----------
    function : callable
        The function.
    constants : dict of int to Any
        Arguments by their positions.

    Returns
    -------
    callable
        Of a tuple, list or dict, the floating arrays in it, flattened and one after the other. Its attributes are `constants`,
        and after a call with a tuple or list as its result, `parts`, the positions of these arrays.
    """

    @functools.wraps(function, updated=())
    def run(*arrays: Any, **keywords: Any) -> Any:
        rest = iter(arrays)
        places = range(len(arrays) + len(constants))
        result = function(*(constants[n] if n in constants else next(rest) for n in places), **keywords)
        if not isinstance(result, (tuple, list, dict)):
            return result
        if not isinstance(result, dict):
            run.parts = tuple(n for n, a in enumerate(result) if is_array_api_obj(a) and _is_floating(a))  # type: ignore[attr-defined]
        parts = [a for a in _leaves(result) if is_array_api_obj(a) and _is_floating(a)]
        if not parts:
            return result
        xp = array_namespace(*parts)
        return parts[0] if len(parts) == 1 else xp.concat([xp.reshape(a, (-1,)) for a in parts])

    run.constants = constants  # type: ignore[attr-defined]
    return run


def _leaves(tree: Any) -> Iterator[Any]:
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, (tuple, list)):
        yield tree
        return
    for part in tree:
        yield from _leaves(part)


def _is_floating(a: Any) -> bool:
    return bool(array_namespace(a).isdtype(a.dtype, ("real floating", "complex floating")))
