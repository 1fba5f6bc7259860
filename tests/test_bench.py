"""The parts of the benchmark that can fail without a measurement that takes long: its cells, its tables, its files."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import triconv
from triconv.backends import BACKENDS
from triconv.kernels import target, target_file

pytestmark = pytest.mark.usefixtures("bench")
THREE = ("forward", "input_vjp", "weight_vjp")


@pytest.fixture(autouse=True)
def flags():
    """Restores the flags of torch that the benchmark sets for its whole process."""
    places = []
    if BACKENDS["torch"].installed():
        import torch

        places = [torch.backends.cudnn, torch.backends.cuda.matmul]
    names = ("benchmark", "allow_tf32")
    before = [(place, name, getattr(place, name)) for place in places for name in names if hasattr(place, name)]
    yield
    for place, name, value in before:
        setattr(place, name, value)


def small(channels="first", **changes):
    from bench.workloads import Workload

    fields = {
        "name": "small",
        "source": "here",
        "x": (2, 4, 9, 8),
        "w": (6, 2, 3, 2),
        "stride": (2, 1),
        "dilation": (1, 2),
        "pad": ((1, 1), (0, 0)),
        "output_padding": (0, 0),
        "groups": 2,
    }
    return Workload(**fields | changes, channels=channels)


WORKS = {
    "plain": {},
    "padded on one side": {"pad": ((1, 0), (0, 2))},
    "transposed": {"transposed": True, "groups": 1, "w": (4, 3, 3, 2), "output_padding": (1, 0)},
}


@pytest.mark.parametrize("channels", ["first", "last"])
@pytest.mark.parametrize("changes", WORKS.values(), ids=WORKS)
def test_all_implementations_of_a_cell_agree(torch, jax, changes, channels):
    """In both layouts, of every kind but `torch.compile`: what is timed is the same contraction."""
    from bench import grid, implementations, measure

    work, variant = small(channels, **changes), implementations.PLAIN._replace(channels=channels)
    with jax.enable_x64(False):
        results = {}
        for kind in ("jax", "numpy", "torch.eager"):
            for task in THREE:
                entries = grid.entries_of(work, task, kind, variant)
                assert set(entries) == {"jax": {"triconv", "lax", "torch"}}.get(kind, {"triconv", "torch"})
                measure.check(entries, variant)
                results.setdefault(task, []).append(entries["triconv"].result()[0])
    for first, *others in results.values():
        for other in others:
            np.testing.assert_allclose(first, other, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("task", THREE)
def test_the_compiled_implementations_agree(torch, task):
    from bench import grid, implementations, measure

    entries = grid.entries_of(small(), task, "torch.compile", implementations.PLAIN)
    measure.check(entries, implementations.PLAIN)
    assert all(entry.compile_seconds > 0 for entry in entries.values())


def test_implementations_that_differ_are_an_error():
    from bench import implementations, measure

    entries = {name: implementations.called(lambda value=value: value) for name, value in (("a", 1.0), ("b", 1.1))}
    with pytest.raises(AssertionError, match="a and b differ"):
        measure.check(entries, implementations.PLAIN)


def test_the_kinds_that_are_asked_for(monkeypatch):
    from bench import grid
    from bench.implementations import Variant

    monkeypatch.setattr(grid, "has", lambda name: name != "jax")
    both = [Variant(channels="first"), Variant(channels="last")]
    assert grid.kinds(["torch"], ["first", "last"]) == [
        (kind, variant) for kind in ("torch.eager", "torch.compile") for variant in both
    ]
    assert grid.kinds(["jax", "torch.eager", "plain"], ["last"]) == [("torch.eager", both[1]), ("plain", Variant())]
    assert len(grid.kinds(["torch.eager", "numpy"], ["last"], grid.PRECISIONS)) == len(grid.PRECISIONS) + 1


def test_tables_say_the_mean_the_least_and_what_is_slow():
    from bench import report
    from bench.implementations import Variant

    def cell(workload, task, layout, theirs):
        variant = str(Variant(channels=layout))
        times = {"triconv": {"ms": 2.0}, "lax": {"ms": theirs}}
        where = {"library": "jax", "variant": variant, "layout": layout}
        return where | {"workload": workload, "task": task, "implementations": times}

    cells = [cell("a", "forward", "first", 4.0), cell("b", "weight_vjp", "first", 1.0), cell("a", "forward", "last", 8)]
    text = report.tables({"versions": {"jax": "1", "torch": None, "platform": "cpu"}, "ceilings": {}, "cells": cells})
    assert "jax 1, platform cpu" in text
    assert "| lax, JAX, jitted, channels first | 2 | 1.00 | 0.50 | 1 |" in text
    assert "| lax, JAX, jitted, channels last | 1 | 4.00 | 4.00 | 0 |" in text
    assert "under 0.95: b weight VJP 0.50" in text


@pytest.mark.parametrize("library", ["jax", "numpy"])
@pytest.mark.parametrize("changes", [*WORKS.values(), {"w": (4, 1, 3, 2), "groups": 4}], ids=[*WORKS, "depthwise"])
def test_the_bare_product_has_as_many_multiply_adds(request, changes, library):
    from bench import bounds

    if library == "jax":
        request.getfixturevalue("jax")
    for task in THREE:
        work = small(**changes)
        assert math.prod(bounds.matrices(work, task)) == work.multiply_adds
        prepared = bounds.prepared(work, task, library)
        assert set(prepared) == ({"copy"} if work.groups == 4 else {"copy", "product"})
        for one in prepared.values():
            one.wait(one.start(0))


def test_bounds_have_a_table_of_their_own():
    from bench import report
    from bench.implementations import PLAIN

    def cell(workload, torch):
        times = {"triconv": 2.0, "torch": torch, "product": 1.5, "copy": 0.1}
        where = {"library": "numpy", "variant": str(PLAIN), "layout": "first", "workload": workload, "task": "forward"}
        return where | {"implementations": {name: {"ms": ms} for name, ms in times.items()}}

    versions = {"numpy": "2", "torch": "2", "platform": "cpu"}
    text = report.tables({"versions": versions, "ceilings": {}, "cells": [cell("slow", 1.0), cell("fast", 4.0)]})
    assert "| slow forward | 0.50 | 0.75 | 0.05 |" in text
    assert "| fast forward |" not in text
    assert "product, forward" not in text


def test_a_training_step_is_measured_and_shown(jax, monkeypatch):
    """A model so small that it takes no time."""
    pytest.importorskip("flax")
    from bench import flax_models, training_steps

    class Tiny(flax_models.Model):
        @flax_models.nn.compact
        def __call__(self, x):
            return self.conv(3, (2, 2))(self.transposed(4, (2, 2), 2)(x))

    monkeypatch.setitem(flax_models.MODELS, "tiny", (Tiny, (1, 4, 4, 2)))
    monkeypatch.setattr(training_steps, "NAMES", ("tiny",))
    (row,) = training_steps.run(["tin"], ["jax"], ["first"], 0.01)
    assert row["difference"] < 1e-5
    assert all(entry["ms"] > 0 and entry["compile_s"] > 0 for entry in row["implementations"].values())
    table = training_steps.table([row, {"library": "Flax", "layout": "last", "model": "other", "failed": True}])
    assert "| Flax, channels last: tiny |" in table
    assert "| Flax, channels last: other | failed |" in table


def test_steps_that_differ_by_more_than_rounding_are_an_error():
    from bench import training_steps
    from bench.implementations import Prepared

    def entries(*gradients):
        results = [[np.float32(1), np.asarray(gradient)] for gradient in gradients]
        return {name: Prepared(None, None, lambda r=r: r) for name, r in zip("ab", results, strict=True)}

    nudged = [np.float32(1), np.array([3.0, 4.0003])]  # moves the gradient by 6e-5 of its norm
    assert training_steps.check(entries([3.0, 4.0], [3.0, 4.0]), nudged) == 0
    assert 0 < training_steps.check(entries([3.0, 4.001], [3.0, 4.0]), nudged) < 6e-4
    with pytest.raises(
        AssertionError, match=r"a and b differ by more than 6.0e-04: the losses by 0.0e\+00, the gradients by"
    ):
        training_steps.check(entries([3.0, 4.01], [3.0, 4.0]), nudged)
    with pytest.raises(AssertionError, match=r"differ by more than 1.0e-02"):  # however much is rounding
        training_steps.check(entries([3.0, 5.0], [3.0, 4.0]), [np.float32(1), np.array([3.0, 5.0])])


@pytest.mark.parametrize(
    ("name", "channels"), [("resnet18", "last"), pytest.param("convnext", "first", marks=pytest.mark.slow)]
)
def test_the_models_of_torch_are_the_same_with_triconv(torch, monkeypatch, name, channels):
    from bench import torch_models

    make, _ = torch_models.MODELS[name]
    monkeypatch.setitem(torch_models.MODELS, name, (make, (2, 3, 32, 32)))
    ours, theirs = (torch_models.step(name, conv, channels)() for conv in (triconv.conv2d, torch.nn.functional.conv2d))
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
    assert abs(ours[0] - theirs[0]) <= 1e-4 * abs(theirs[0])


def test_rates_that_are_written_are_the_rates_that_are_read(tmp_path):
    from bench import rates

    here = rates.Machine("numpy", 0.001)
    found = {
        ("numpy", here.kind): {"rates": {"matrix": 123456.0, "overhead": 1e-6}, "constants": {"small": 7, "ramp": 2.5}}
    }
    rates.write(tmp_path / "rates.toml", found, {"device": 'a "device"', "torch": None})
    names = frozenset(target.Rates._fields)
    read = target_file.read(str(tmp_path / "rates.toml"), names, target.constant_types())
    assert read["numpy", "cpu"][1:] == ({"matrix": 1.235e5, "overhead": 1e-6}, {"small": 7, "ramp": 2.5})


@pytest.mark.slow
@pytest.mark.parametrize("library", ["numpy", "jax", "torch"])
def test_every_rate_is_measured(library):
    from bench import rates

    if not BACKENDS[library].installed():
        pytest.skip(f"{library} is not installed")
    found = rates.measured(rates.Machine(library, 0.01))
    assert set(found) == set(target.Rates._fields) - {"margin", "least_gain"} - (
        {"vendor"} if library == "numpy" else set()
    )
    assert all(rate > 0 for rate in found.values())


def test_constants_are_kept_where_another_value_is_clearly_faster():
    from bench import fit

    def row(name, tried, ratio, cells=3):
        return {
            "constant": name,
            "value": 1,
            "tried": tried,
            "ratio": ratio,
            "cells": dict.fromkeys(range(cells), ratio),
        }

    rows = [row("small", 2, 1.1), row("small", 4, 1.3), row("batch", 2, 1.02), row("ramp", 2.0, 1.5, cells=1)]
    assert fit.faster([*rows, row("rates.matrix", 2.0, 2.0)]) == {"small": 4}


def test_another_implementation_begins_each_time(monkeypatch):
    from bench import implementations, measure

    monkeypatch.setattr(measure, "SPINNING", 0)
    order = []
    entries = {
        name: implementations.Prepared(lambda _, name=name: order.append(name), lambda result: result, list)
        for name in "abc"
    }
    measure.times(entries, seconds=0, min_runs=3)
    assert "".join(name for name, _ in itertools.groupby(order)) == "abcbcacab"
