"""Showing the results of a run: tables in Markdown, and a plot of ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import bounds, machine
from .implementations import PLAIN, geometric_mean

Run = dict[str, Any]
TASK_NAMES = {"forward": "forward", "input_vjp": "input VJP", "weight_vjp": "weight VJP"}
LIBRARY_NAMES = {
    "jax": "JAX, jitted",
    "numpy": "NumPy",
    "torch.eager": "torch tensors, eager",
    "torch.compile": "torch tensors, compiled",
}
SLOW = 0.95  # cells below it are listed


def ratios(cell: dict[str, Any]) -> dict[str, float]:
    """How many times as long as triconv each of the others took."""
    return {name: ratio for name, ratio in _with_bounds(cell).items() if name not in bounds.NAMES}


def _with_bounds(cell: dict[str, Any]) -> dict[str, float]:
    (_, ours), *others = cell["implementations"].items()
    return {name: other["ms"] / ours["ms"] for name, other in others}


def tables(run: Run) -> str:
    """Return a summary, and one table per library and variant: one row per workload, and the geometric means."""
    kinds = dict.fromkeys((cell["library"], cell["variant"]) for cell in run["cells"])
    compared = [cell for cell in run["cells"] if ratios(cell)]  # with nothing else installed, there is nothing to show
    of = {kind: [c for c in compared if (c["library"], c["variant"]) == kind] for kind in kinds}
    parts = [machine.line(run["versions"])]
    if summarized := {_title(*kind): cells for kind, cells in of.items() if kind[0] != "plain"}:
        parts.append(_summary(summarized))
    for (library, variant), cells in of.items():
        if not cells:
            continue
        if library == "plain":
            parts.append(_plain(cells))
            continue
        title = _title(library, variant)
        parts.append(_table(title, cells))
        if any(set(bounds.NAMES) & set(cell["implementations"]) for cell in cells):
            parts.append(_bounds(title, cells))
        if library == "jax" and run["versions"]["platform"] != "cpu":
            parts.append(_limits(title, cells, run["ceilings"][variant]))
    return "\n\n".join(parts)


def _title(library: str, variant: str) -> str:
    """The library and the variant; of the plain one, the layout alone."""
    return f"{LIBRARY_NAMES[library]}, {variant.removeprefix(f'{PLAIN.dtype}, {PLAIN.precision} precision, ')}"


def _summary(tables: dict[str, list[dict[str, Any]]]) -> str:
    """One row per library and variant and other implementation: the geometric mean, the least cell, and how many are slow."""
    head = ["times as long as triconv", "cells", "geometric mean", "least", f"under {SLOW}"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for title, cells in tables.items():
        for other in dict.fromkeys(name for cell in cells for name in ratios(cell)):
            measured = [ratio[other] for cell in cells if other in (ratio := ratios(cell))]
            slow = sum(ratio < SLOW for ratio in measured)
            numbers = [f"{geometric_mean(measured):.2f}", f"{min(measured):.2f}", str(slow)]
            lines.append(f"| {other}, {title} | " + " | ".join([str(len(measured)), *numbers]) + " |")
    return "\n".join(lines)


def _limits(title: str, cells: list[dict[str, Any]], ceilings: dict[str, float]) -> str:
    """Multiply-adds and bytes per second of triconv, beside the limits of the device."""
    tasks = list(dict.fromkeys(cell["task"] for cell in cells if cell["task"] in TASK_NAMES))
    head = [
        f"triconv, {title}",
        *(f"{TASK_NAMES[task]}, {unit}" for task in tasks for unit in ("TFLOP/s", "GB/s", "of the limit")),
    ]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    by = {(cell["workload"], cell["task"]): cell for cell in cells}
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        row = [workload]
        for task in tasks:
            if (cell := by.get((workload, task))) is None:
                row += [""] * 3
                continue
            seconds = next(iter(cell["implementations"].values()))["ms"] / 1e3
            done, moved = cell["multiply_adds"] / seconds, cell["bytes"] / seconds
            limit = max(done / ceilings["multiply_adds"], moved / ceilings["bytes"])
            row += [_number(2 * done / 1e12), _number(moved / 1e9), f"{limit:.0%}"]
        lines.append("| " + " | ".join(row) + " |")
    product, copy = 2 * ceilings["multiply_adds"] / 1e12, ceilings["bytes"] / 1e9
    return "\n".join([*lines, "", f"limits: {product:.1f} TFLOP/s (a large product), {copy:,.0f} GB/s (a large copy)"])


def _table(title: str, cells: list[dict[str, Any]]) -> str:
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    compared = list(dict.fromkeys(name for cell in cells for name in ratios(cell)))
    head = [title, *(f"{other}, {TASK_NAMES.get(task, task)}" for other in compared for task in tasks)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    by = {(cell["workload"], cell["task"]): ratios(cell) for cell in cells}
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        values = [by.get((workload, task), {}).get(other) for other in compared for task in tasks]
        lines.append("| " + " | ".join([workload, *map(_number, values)]) + " |")
    means = []
    for other in compared:
        for task in tasks:
            measured = [ratio[other] for (_, t), ratio in by.items() if t == task and other in ratio]
            means.append(geometric_mean(measured) if measured else None)
    lines.append("| **geometric mean** | " + " | ".join(map(_number, means)) + " |")
    for other in compared:
        measured = {
            f"{workload} {TASK_NAMES.get(task, task)}": ratio[other]
            for (workload, task), ratio in by.items()
            if other in ratio
        }
        slow = sorted((value, name) for name, value in measured.items() if value < SLOW)
        mean = geometric_mean(list(measured.values()))
        least = f"least {min(measured.values()):.2f}; under {SLOW}: {len(slow)}"
        lines += ["", f"{other} / triconv, {len(measured)} cells: {mean:.2f} ({least})"]
        if slow:
            lines += ["", f"under {SLOW}: " + ", ".join(f"{name} {value:.2f}" for value, name in slow)]
    return "\n".join(lines)


def _bounds(title: str, cells: list[dict[str, Any]]) -> str:
    """What bounds each cell in which torch is faster: how many times as long as triconv torch and each bound take."""
    names = ("torch", *bounds.NAMES)
    lines = ["| " + " | ".join([title, *names]) + " |", "|---" + "|---:" * len(names) + "|"]
    slow = [cell for cell in cells if ratios(cell).get("torch", SLOW) < SLOW]
    for cell in sorted(slow, key=lambda cell: ratios(cell)["torch"]):
        took = _with_bounds(cell)
        row = [f"{cell['workload']} {TASK_NAMES[cell['task']]}", *(_number(took.get(name)) for name in names)]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _plain(cells: list[dict[str, Any]]) -> str:
    lines = ["| others in NumPy | task | times as long |", "|---|---|---:|"]
    for cell in cells:
        for name, ratio in ratios(cell).items():
            task = TASK_NAMES.get(cell["task"], cell["task"])
            lines.append(f"| {name}, {cell['workload']} | {task} | {_number(ratio)} |")
    mean = geometric_mean([ratio for cell in cells for ratio in ratios(cell).values()])
    return "\n".join([*lines, f"| **geometric mean** | | {_number(mean)} |"])


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def plot(run: Run, path: Path) -> None:
    """Draw one dot per cell: how many times as long as triconv each implementation took, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    plain = [cell for cell in run["cells"] if cell["variant"].startswith(f"{PLAIN.dtype}, {PLAIN.precision}")]
    drawn = [cell for cell in plain if cell["library"] in LIBRARY_NAMES and cell["task"] in TASK_NAMES]
    if not drawn:
        return
    libraries = [name for name in LIBRARY_NAMES if any(cell["library"] == name for cell in drawn)]
    layouts = list(dict.fromkeys(cell["layout"] for cell in drawn))
    names = list(dict.fromkeys(cell["workload"] for cell in drawn))
    rows, columns = len(layouts), len(libraries)
    size = (6.5 * columns, (1 + 0.35 * len(names)) * rows + 1)
    figure, axes = plt.subplots(rows, columns, figsize=size, sharex="col", sharey=True, squeeze=False)
    colors, marks = {"lax": "#c0392b", "torch": "#2c6fbb"}, {"forward": "o", "input_vjp": "s", "weight_vjp": "^"}
    for row, layout in enumerate(layouts):
        for column, library in enumerate(libraries):
            axis = axes[row, column]
            for cell in (cell for cell in drawn if (cell["library"], cell["layout"]) == (library, layout)):
                for other, ratio in ratios(cell).items():
                    place, mark = names.index(cell["workload"]), marks[cell["task"]]
                    axis.plot(ratio, place, mark, color=colors[other], ms=6, alpha=0.75, mew=0)
            axis.axvline(1, color="black", lw=0.8)
            axis.set_xscale("log")
            axis.set_yticks(range(len(names)), names)
            axis.set_ylim(len(names) - 0.5, -0.5)
            axis.grid(axis="x", alpha=0.3)
            axis.set_title(f"{LIBRARY_NAMES[library]}, channels {layout}")
    for axis in axes[-1]:
        axis.set_xlabel("times as long as triconv (right of the line: slower than triconv)")
    handles = [plt.Line2D([], [], marker=mark, ls="", color="gray", label=TASK_NAMES[t]) for t, mark in marks.items()]
    handles += [plt.Line2D([], [], marker="o", ls="", color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=9, frameon=False)
    figure.suptitle(
        ", ".join(
            f"{name} {run['versions'][name]}" for name in ("device", "jax", "torch", "numpy") if run["versions"][name]
        ),
        fontsize=10,
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
