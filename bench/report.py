"""Showing the results of a run: tables in Markdown, and a plot of ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .implementations import geometric_mean

Run = dict[str, Any]
TASK_NAMES = {"forward": "forward", "input_vjp": "input VJP", "weight_vjp": "weight VJP"}


def ratios(cell: dict[str, Any]) -> dict[str, float]:
    """How many times as long as triconv each of the others took."""
    (_, ours), *others = cell["implementations"].items()
    return {name: other["ms"] / ours["ms"] for name, other in others}


def tables(run: Run) -> str:
    """Return one table per library and variant, one row per workload, and the geometric means."""
    parts = [", ".join(f"{name} {value}" for name, value in run["versions"].items() if value)]
    kinds = dict.fromkeys((cell["library"], cell["variant"]) for cell in run["cells"])
    for library, variant in kinds:
        if library == "plain":
            parts.append(_plain(run))
            continue
        title = {"jax": "JAX, jitted", "numpy": "NumPy"}[library]
        if len(kinds) > 3:
            title += f", {variant}"
        cells = [cell for cell in run["cells"] if (cell["library"], cell["variant"]) == (library, variant)]
        parts.append(_table(title, cells))
        if library == "jax" and run["versions"]["platform"] != "cpu":
            parts.append(_limits(title, cells, run["ceilings"][variant]))
    return "\n\n".join(parts)


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
        measured = [ratio[other] for ratio in by.values() if other in ratio]
        lines += [
            "",
            f"{other} / triconv, {len(measured)} cells: {geometric_mean(measured):.2f} (least {min(measured):.2f})",
        ]
    return "\n".join(lines)


def _plain(run: Run) -> str:
    cells = [cell for cell in run["cells"] if cell["library"] == "plain"]
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

    first = [cell for cell in run["cells"] if cell["variant"] == run["cells"][0]["variant"]]
    libraries = [name for name in ("jax", "numpy") if any(cell["library"] == name for cell in first)]
    if not libraries or not any(cell["task"] in TASK_NAMES for cell in first):
        return
    figure, axes = plt.subplots(1, len(libraries), figsize=(6.5 * len(libraries), 8), sharey=True, squeeze=False)
    colors, marks = {"lax": "#c0392b", "torch": "#2c6fbb"}, {"forward": "o", "input_vjp": "s", "weight_vjp": "^"}
    for axis, library in zip(axes[0], libraries, strict=True):
        cells = [cell for cell in first if cell["library"] == library and cell["task"] in marks]
        names = list(dict.fromkeys(cell["workload"] for cell in cells))
        for cell in cells:
            for other, ratio in ratios(cell).items():
                axis.plot(
                    ratio,
                    names.index(cell["workload"]),
                    marks[cell["task"]],
                    color=colors[other],
                    ms=6,
                    alpha=0.75,
                    mew=0,
                )
        axis.axvline(1, color="black", lw=0.8)
        axis.set_xscale("log")
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)
        axis.grid(axis="x", alpha=0.3)
        axis.set_xlabel("times as long as triconv (right of the line: slower than triconv)")
        axis.set_title({"jax": "JAX, jitted", "numpy": "NumPy"}[library])
    handles = [plt.Line2D([], [], marker=mark, ls="", color="gray", label=TASK_NAMES[t]) for t, mark in marks.items()]
    handles += [plt.Line2D([], [], marker="o", ls="", color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), fontsize=9, frameon=False)
    figure.suptitle(
        ", ".join(f"{name} {run['versions'][name]}" for name in ("device", "jax", "torch", "numpy")), fontsize=10
    )
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
