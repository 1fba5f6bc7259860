"""What ``triconv check`` prints of triconv itself: a summary, what failed, the verdict; with ``--full`` every case."""

from __future__ import annotations

import itertools
import platform
import time
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import triconv
from triconv.backends import BACKENDS
from triconv.checking import selfcheck
from triconv.checking.findings.protocol import EXIT_STATUS, RIGHT, WRONG
from triconv.checking.selfcheck import CONTRACTIONS, ORACLES, Agreement, Result
from triconv.cli import output

MARKS = {
    Agreement.AGREES: Text("yes", style="green"),
    Agreement.DIFFERS: Text("NO", style="bold red"),
    Agreement.IS_WRONG: Text("*", style="yellow"),
    None: Text("-", style="dim"),
}
WORDS = dict(zip(CONTRACTIONS, ("forward", "input VJP", "weight VJP"), strict=True))
MOST_FAILURES = 10
"""Results that failed, and oracles that are wrong, of which a summary shows a line each."""
NAME = 30
"""Columns of a case's name."""
WIDE = 110
"""Columns from which the reason of a case stands beside it."""

LEGEND = (
    "loops: on integers, equal to loops by definition; else within the bound.\n"
    "adjoint: <g, y> = <gx, x> = <gw, w>, exactly.\n"
    "lax: within the bound of jax.vjp of lax.conv_general_dilated.\n"
    "torch: within the bound of torch.autograd.\n"
    "error/bound: worst |error| over 2 (n + 1) u conv(|x|, |w|), by which two\n"
    "rounded sums of n terms may differ; up to 1 it is rounding, by proof\n"
    "(Jeannerod and Rump 2013)."
)
MARKS_LEGEND = "-: the oracle cannot express the case. *: the oracle itself is out of bounds."
NOT_OPTIMIZED = "XLA did not optimize its machine code, to start sooner; --optimize checks it as your programs have it."


def choose_backends(asked: list[str] | None) -> list[str]:
    """Return the backends to check: those asked for, else all that are installed.

    Raises
    ------
    ImportError
        If one is not installed; with the command that installs it.
    """
    for name in asked or ():
        if not BACKENDS[name].installed():
            msg = (
                f"`--backend` must be installed here, got {name!r}; install it with: {BACKENDS[name].install_command()}"
            )
            raise ImportError(msg)
    return asked or [name for name, kind in BACKENDS.items() if kind.installed()]


def check(asked: list[str] | None, seed: int, algorithm: str, *, full: bool, quick: bool) -> int:
    """Check triconv itself, print what came out, and return the exit status.

    Parameters
    ----------
    asked : list of str, optional
        Backends; by default all that are installed.
    seed : int
        Of the data.
    algorithm : str
        The kernel.
    full : bool
        Whether to print every case.
    quick : bool
        Whether XLA was told not to optimize.
    """
    backends = choose_backends(asked)
    started = time.monotonic()
    results = with_progress(selfcheck.run(backends, seed, algorithm), selfcheck.count())
    seconds = time.monotonic() - started
    console = output.console()
    if full:
        show_cases(results, console)
    show(results, console)
    notes = [NOT_OPTIMIZED] if quick and "jax" in backends else []
    notes += _missing(backends)
    for note in notes:
        console.print(note, style="dim", markup=False, highlight=False)
    console.print(
        f"seed {seed}, {seconds:.1f} s, Python {platform.python_version()}, {platform.system()} {platform.machine()}",
        style="dim",
        highlight=False,
    )
    return show_verdict(results, backends, console)


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


def show(results: Sequence[Result], console: Console) -> None:
    """Print the summary, its legend, and what failed."""
    cases = len({result.case for result in results})
    title = f"triconv {triconv.__version__} checks itself: {cases} cases, each forward, input VJP and weight VJP"
    console.print(title, style="bold", highlight=False)
    console.print(_summary(results))
    console.print(LEGEND, style="dim", highlight=False)
    failed = [result for result in results if not result.ok]
    wrong = dict.fromkeys(
        f"*: {oracle}'s own result is out of bounds of the loops by definition, and not used: {result.case}, "
        f"{WORDS[result.contraction]}"
        for result in results
        for oracle, agreement in result.checks.items()
        if agreement is Agreement.IS_WRONG
    )
    _lines(list(wrong), "yellow", console)
    _lines([_failure(result) for result in failed], "red", console)


def show_verdict(results: Sequence[Result], backends: Sequence[str], console: Console) -> int:
    """Print the verdict and return the exit status."""
    failed = sum(not result.ok for result in results)
    versions = ", ".join(f"{name} {BACKENDS[name].version()}" for name in backends)
    counted = f"{len(results):,} results, {sum(len(r.checks) for r in results):,} comparisons"
    if failed:
        words = f"WRONG: triconv {triconv.__version__} on {versions}: {failed:,} of {counted}"
    else:
        words = f"right: triconv {triconv.__version__} on {versions}: {counted}"
    console.print(words, style="bold red" if failed else "bold green", highlight=False)
    return EXIT_STATUS[WRONG if failed else RIGHT]


def show_cases(results: Sequence[Result], console: Console) -> None:
    """Print a row per case; if its contractions or backends differ in a mark, one row for each that does.

    The reason why a case is there stands beside it, or below it where there is no room.
    """
    every = {result.backend for result in results}
    _row(Text("case"), [Text(name) for name in ORACLES], "error", "why it is here", console, style="bold")
    for case, of_case in itertools.groupby(results, key=lambda result: result.case):
        groups: dict[object, list[Result]] = {}
        for result in of_case:
            groups.setdefault((result.error, *sorted(result.checks.items())), []).append(result)
        first, *_ = groups.values()
        if len(groups) > 1:
            _row(Text(case), [], "", first[0].why, console)
        for group in groups.values():
            marks = [MARKS[Agreement.DIFFERS if group[0].error else group[0].checks.get(oracle)] for oracle in ORACLES]
            if len(groups) == 1:
                _row(Text(case), marks, _worst(group), first[0].why, console)
                continue
            contractions = _names((WORDS[r.contraction] for r in group), set(WORDS.values()))
            ways = _names((r.backend for r in group), every)
            _row(Text(f"  {', '.join(filter(None, (contractions, ways)))}"), marks, _worst(group), "", console)
    console.print(MARKS_LEGEND, style="dim", highlight=False)
    console.print()


def _row(name: Text, marks: Sequence[Text], worst: str, why: str, console: Console, style: str = "") -> None:
    """Print a row in columns, with the reason at its end or in a line of its own."""
    row = name.copy()
    if row.cell_len > NAME:
        console.print(row, style=style)
        row = Text()
    row.pad_right(NAME - row.cell_len)
    for heading, mark in zip(ORACLES, marks, strict=False):
        row.append(" " * (1 + len(heading) - mark.cell_len)).append_text(mark)
    row.append(f" {worst:>5}" if worst else "")
    is_wide = console.width >= WIDE
    if why and is_wide:
        row.pad_right(NAME + sum(1 + len(heading) for heading in ORACLES) + 8 - row.cell_len)
        row.append(why)
    row.rstrip()
    console.print(row, style=style)
    if why and not is_wide and marks != [Text(name) for name in ORACLES]:
        console.print(Padding(Text(why, "dim"), (0, 0, 0, 4)))


def _lines(lines: Sequence[str], style: str, console: Console) -> None:
    for line in lines[:MOST_FAILURES]:
        console.print(line, style=style, markup=False, highlight=False, no_wrap=True, overflow="ellipsis")
    if len(lines) > MOST_FAILURES:
        console.print(f"... and {len(lines) - MOST_FAILURES:,} more: --full shows every case", style=style)


def _failure(result: Result) -> str:
    where = f"{result.case}, {WORDS[result.contraction]}, {result.backend}"
    if result.error:
        return f"{where}: {result.error}"
    differs = [oracle for oracle, agreement in result.checks.items() if agreement is Agreement.DIFFERS]
    return f"{where}: differs from {' and '.join(differs)}"


def _missing(backends: Sequence[str]) -> list[str]:
    """Return a line for each library that is not installed, with the command that installs it."""
    return [
        f"{name} is not installed; install it with: {kind.install_command()}"
        for name, kind in BACKENDS.items()
        if name not in backends and not kind.installed()
    ]


def _summary(results: Sequence[Result]) -> Table:
    """Return one row per backend, over all cases; where a contraction of it fails, one row per contraction."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("library")
    for heading in (*ORACLES, "error/bound"):
        table.add_column(heading, justify="right", no_wrap=True)
    for backend in dict.fromkeys(result.backend for result in results):
        of_backend = [result for result in results if result.backend == backend]
        if all(result.ok for result in of_backend):
            table.add_row(backend, *_counts(of_backend), _worst(of_backend))
            continue
        for contraction in CONTRACTIONS:
            group = [result for result in of_backend if result.contraction == contraction]
            table.add_row(f"{backend}, {WORDS[contraction]}", *_counts(group), _worst(group))
    return table


def _counts(group: Sequence[Result]) -> list[Text]:
    """Return per oracle how many of the results agree with it, of how many."""
    cells = []
    for oracle in ORACLES:
        marks = [r.checks[oracle] for r in group if oracle in r.checks]
        right = sum(mark is Agreement.AGREES for mark in marks)
        judged = sum(mark is not Agreement.IS_WRONG for mark in marks)
        style = "dim" if not marks else "green" if right == judged else "bold red"
        cells.append(Text(f"{right}/{judged}" if marks else "-", style=style))
    return cells


def _names(names: Iterable[str], every: set[str]) -> str:
    """Return the names, or nothing if they are all there are."""
    distinct = list(dict.fromkeys(names))
    return "" if set(distinct) == every else ", ".join(distinct)


def _worst(group: Sequence[Result]) -> str:
    ratios = [r.worst for r in group if r.worst is not None]
    if not ratios:
        return "-"
    worst = max(ratios)
    return f"{worst:.2f}" if worst < 100 else f"{worst:.0e}"
