"""What a run says: tables in Markdown, and a plot of ratios."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .contestants import geometric_mean

Run = dict[str, Any]
TASK_NAMES = {"forward": "forward", "input_vjp": "input VJP", "weight_vjp": "weight VJP"}


def ratios(cell: dict[str, Any]) -> dict[str, float]:
    """How many times as long as triconv each of the others took."""
    (_, ours), *others = cell["contestants"].items()
    return {name: other["ms"] / ours["ms"] for name, other in others}


def tables(run: Run) -> str:
    """Return one table a library, a row a workload, and the geometric means."""
    parts = [", ".join(f"{name} {value}" for name, value in run["versions"].items() if value)]
    libraries = dict.fromkeys(cell["library"] for cell in run["cells"])
    parts += [_plain(run) if library == "plain" else _table(run, library) for library in libraries]
    return "\n\n".join(parts)


def _table(run: Run, library: str) -> str:
    cells = [cell for cell in run["cells"] if cell["library"] == library]
    tasks = list(dict.fromkeys(cell["task"] for cell in cells))
    rivals = list(dict.fromkeys(name for cell in cells for name in ratios(cell)))
    title = {"jax": "JAX, jitted", "numpy": "NumPy"}[library]
    head = [title, *(f"{rival}, {TASK_NAMES.get(task, task)}" for rival in rivals for task in tasks)]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    by = {(cell["workload"], cell["task"]): ratios(cell) for cell in cells}
    for workload in dict.fromkeys(cell["workload"] for cell in cells):
        values = [by.get((workload, task), {}).get(rival) for rival in rivals for task in tasks]
        lines.append("| " + " | ".join([workload, *map(_number, values)]) + " |")
    means = []
    for rival in rivals:
        for task in tasks:
            found = [ratio[rival] for (_, t), ratio in by.items() if t == task and rival in ratio]
            means.append(geometric_mean(found) if found else None)
    lines.append("| **geometric mean** | " + " | ".join(map(_number, means)) + " |")
    for rival in rivals:
        found = [ratio[rival] for ratio in by.values() if rival in ratio]
        lines += ["", f"{rival} / triconv, {len(found)} cells: {geometric_mean(found):.2f} (least {min(found):.2f})"]
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
    """Draw a dot a cell: how many times as long as triconv each took, on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    libraries = [name for name in ("jax", "numpy") if any(cell["library"] == name for cell in run["cells"])]
    if not libraries:
        return
    figure, axes = plt.subplots(1, len(libraries), figsize=(6.5 * len(libraries), 8), sharey=True, squeeze=False)
    colors, marks = {"lax": "#c0392b", "torch": "#2c6fbb"}, {"forward": "o", "input_vjp": "s", "weight_vjp": "^"}
    for axis, library in zip(axes[0], libraries, strict=True):
        cells = [cell for cell in run["cells"] if cell["library"] == library and cell["task"] in marks]
        names = list(dict.fromkeys(cell["workload"] for cell in cells))
        for cell in cells:
            for rival, ratio in ratios(cell).items():
                axis.plot(
                    ratio,
                    names.index(cell["workload"]),
                    marks[cell["task"]],
                    color=colors[rival],
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
    axes[0][-1].legend(handles=handles, loc="lower right", fontsize=9)
    figure.suptitle(
        ", ".join(f"{name} {run['versions'][name]}" for name in ("device", "jax", "torch", "numpy")), fontsize=10
    )
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
