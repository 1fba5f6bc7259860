"""The tables that ``triconv check`` and ``triconv info`` print."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import triconv
from triconv.backends import BACKENDS
from triconv.checking.selfcheck import CONTRACTIONS, ORACLES, Agreement, Result
from triconv.kernels import target
from triconv.kernels.target_file import VARIABLE

MARKS = {
    Agreement.AGREES: Text("yes", style="green"),
    Agreement.DIFFERS: Text("NO", style="bold red"),
    Agreement.IS_WRONG: Text("*", style="yellow"),
    None: Text("-", style="dim"),
}

LEGEND = (
    "loops: equal to loops by definition, bit for bit on integers, and within the rounding bound on random data.\n"
    "adjoint: <g, y> = <gx, x> = <gw, w>, exactly.\n"
    "lax, torch: jax.vjp of lax.conv_general_dilated, and torch.autograd, within the rounding bound; "
    "- cannot express the case.\n"
    "error/bound: worst |error| over 2 (n + 1) u conv(|x|, |w|), by which two rounded sums of n terms may differ;\n"
    "up to 1 it is rounding, by proof (Jeannerod and Rump 2013)."
)


def choose_backends(asked: list[str] | None) -> list[str]:
    """Return the backends to check: those asked for, else all that are installed.

    Raises
    ------
    ValueError
        If there is no backend of a name.
    ImportError
        If one is not installed; with the command that installs it.
    """
    for name in asked or ():
        if name not in BACKENDS:
            msg = f"`--backend` must be one of {', '.join(BACKENDS)}, got {name!r}"
            raise ValueError(msg)
        if not BACKENDS[name].installed():
            msg = (
                f"`--backend` must be installed here, got {name!r}; install it with: {BACKENDS[name].install_command()}"
            )
            raise ImportError(msg)
    return asked or [name for name, kind in BACKENDS.items() if kind.installed()]


def with_progress(lists: Iterator[list[Result]], total: int) -> list[Result]:
    """Collect the results behind a live progress bar (on a terminal; none in a pipe)."""
    console = Console(stderr=True)
    columns = (
        TextColumn("checking"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    results: list[Result] = []
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=total)
        for of_case in lists:
            results += of_case
            progress.update(task, advance=1, description=of_case[0].case)
    return results


def show(results: list[Result], backends: list[str], *, full: bool) -> None:
    """Print the table of cases, the table of contractions and backends, and the verdict."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(_table(results, merge=not full))
    console.print(_summary(results))
    console.print(LEGEND, style="dim", highlight=False)
    wrong_oracles = sorted(
        {
            (o, r.case, r.contraction)
            for r in results
            for o, agreement in r.checks.items()
            if agreement is Agreement.IS_WRONG
        }
    )
    for oracle, case, contraction in wrong_oracles:
        console.print(
            f"*: {oracle}'s own result is out of bounds against the loops by definition ({case}, {contraction})",
            style="yellow",
        )
    for name, kind in BACKENDS.items():
        if name not in backends and not kind.installed():
            console.print(
                f"not checked: {name} is not installed; install it with: {kind.install_command()}", markup=False
            )
    failed = [result for result in results if not result.ok]
    for result in failed:
        if result.error:
            console.print(
                f"{result.case}, {result.contraction}, {result.backend}: {result.error}", style="red", markup=False
            )
    versions = ", ".join(f"{name} {BACKENDS[name].version()}" for name in backends)
    cases = len({result.case for result in results})
    counted = f"{cases} cases, {len(results):,} results, {sum(len(r.checks) for r in results):,} comparisons"
    if failed:
        console.print(
            f"WRONG: {len(failed)} of {len(results):,} results ({counted}; {versions})",
            style="bold red",
            highlight=False,
        )
    else:
        console.print(
            f"right: triconv {triconv.__version__} on {versions} ({counted})", style="bold green", highlight=False
        )


def show_backends() -> None:
    """Print what is installed, and what installs the rest."""
    console = Console()
    table = Table(title=f"triconv {triconv.__version__}", title_justify="left")
    for heading in ("backend", "version", "devices"):
        table.add_column(heading)
    here = triconv.backends()
    for name, kind in BACKENDS.items():
        if name in here:
            table.add_row(name, here[name].version, ", ".join(here[name].devices))
        else:
            table.add_row(name, "-", Text(f"install it with: {kind.install_command()}"), style="dim")
    console.print(table)
    if of_machine := target.fitted():
        (path,) = {entry.path for entry in of_machine.values()}
        names = ", ".join(f"{library} on {kind}" for library, kind in of_machine)
        console.print(f"rates of {names}: from {path} ({VARIABLE})", markup=False, highlight=False, soft_wrap=True)


def _table(results: list[Result], *, merge: bool) -> Table:
    """Return one row per case; if its contractions or backends differ in a mark, one row for each that does."""
    table = Table(title="Every case", title_justify="left", header_style="bold")
    table.add_column("case", no_wrap=True)
    table.add_column("why it is here", overflow="fold")
    for heading in ("contraction", "backend"):
        table.add_column(heading)
    for heading in (*ORACLES, "error/bound"):
        table.add_column(heading, justify="right")
    every = {result.backend for result in results}
    for case, of_case in itertools.groupby(results, key=lambda result: result.case):
        groups: dict[object, list[Result]] = {}
        for number, result in enumerate(of_case):
            same = (result.error, *sorted(result.checks.items())) if merge else number
            groups.setdefault(same, []).append(result)
        for number, group in enumerate(groups.values()):
            marks = [MARKS[group[0].checks.get(oracle)] for oracle in ORACLES]
            if group[0].error:
                marks = [MARKS[Agreement.DIFFERS]] * len(ORACLES)
            contractions = _names((r.contraction for r in group), set(CONTRACTIONS), "all three")
            ways = _names((r.backend for r in group), every, f"all {len(every)}")
            title = ("", "") if number and merge else (case, group[0].why)
            table.add_row(*title, contractions, ways, *marks, _worst(group))
    return table


def _summary(results: list[Result]) -> Table:
    """Return one row per contraction and backend, over all cases."""
    table = Table(title="All cases", title_justify="left", header_style="bold")
    for heading in ("contraction", "backend"):
        table.add_column(heading)
    for heading in (*ORACLES, "error/bound"):
        table.add_column(heading, justify="right")
    pairs = {(result.contraction, result.backend): None for result in results}
    for contraction, backend in sorted(pairs, key=lambda pair: pair[0]):
        group = [r for r in results if (r.contraction, r.backend) == (contraction, backend)]
        cells = []
        for oracle in ORACLES:
            marks = [r.checks[oracle] for r in group if oracle in r.checks]
            right = sum(mark is Agreement.AGREES for mark in marks)
            judged = sum(mark is not Agreement.IS_WRONG for mark in marks)
            style = "dim" if not marks else "green" if right == judged else "bold red"
            cells.append(Text(f"{right}/{judged}" if marks else "-", style=style))
        table.add_row(contraction, backend, *cells, _worst(group))
    return table


def _names(names: Iterable[str], every: set[str], all_of_them: str) -> str:
    distinct = list(dict.fromkeys(names))
    return all_of_them if len(every) > 1 and set(distinct) == every else ", ".join(distinct)


def _worst(group: list[Result]) -> str:
    ratios = [r.worst for r in group if r.worst is not None]
    return f"{max(ratios):.2g}" if ratios else "-"
