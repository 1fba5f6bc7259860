"""Which tests a run has that repeats some of each test; see conftest."""

from __future__ import annotations

from types import SimpleNamespace

import conftest


def items(count, name="test_it", **marks):
    return [SimpleNamespace(nodeid=f"{name}[{n}]", keywords=marks) for n in range(count)]


def test_a_run_that_repeats_has_a_few_cases_of_each_test(monkeypatch):
    monkeypatch.setattr(conftest, "CASES", 3)
    many, few, one = items(30), items(2, "test_few"), items(1, "test_one")
    left_out = conftest._repeated(many + few + one)
    assert [item for item in many + few + one if item not in left_out] == [many[0], many[10], many[20], *few, *one]


def test_what_depends_on_a_version_is_repeated_whole(monkeypatch):
    monkeypatch.setattr(conftest, "CASES", 3)
    assert conftest._repeated(items(30, versions=True)) == []
    assert conftest._repeated(items(30, slow=True)) == []
    assert conftest._repeated(once := items(2, once=True)) == once
