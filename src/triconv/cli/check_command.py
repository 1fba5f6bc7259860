"""``triconv check``: somebody's function, results in a file, many targets, or triconv itself."""

from __future__ import annotations

import argparse
import os
from typing import Any

from triconv.backends import quick_xla
from triconv.cli import operator_options, parser, target_options, values
from triconv.cli.operator_options import PARAMETERS
from triconv.cli.parser import Parser, add_option, spelled

KERNELS = ("auto", "direct", "gemm", "depthwise")

TARGET, ITSELF, MESH, RESULTS, MANIFEST = "target", "itself", "mesh", "results", "manifest"
"""What is checked."""
OF_TARGET = ("like", "shape", *target_options.FILES, *PARAMETERS, *target_options.OF_ANY, *target_options.OF_OPERATOR)
APPLY = {
    TARGET: (*OF_TARGET, "spec"),
    ITSELF: ("backend", "algorithm", "full", "optimize", "seed"),
    MESH: ("mesh", "seed"),
    RESULTS: ("results", "vectors", *target_options.FILES),
    MANIFEST: ("manifest", "jobs", "junit", "json", "seed", *target_options.ISOLATION),
}
"""The options that apply to each."""
NEEDS = {
    "spec": "must come with --mesh, such as --mesh 4,2",
    "vectors": "must come with --results",
    "jobs": "must come with --manifest",
    "junit": "must come with --manifest",
    **dict.fromkeys(
        ("backend", "algorithm", "full", "optimize"), "must come without a target: it is about triconv's own check"
    ),
}
"""What an option needs that applies to one of these alone."""

EXAMPLES = """\
  triconv check
  triconv check --full --backend jax
  triconv check mine.py:conv --like conv2d --shape 2,3,8,8 --shape 4,3,3,3 --stride 2
  triconv check layers.py:conv_forward,conv_backward --like conv2d --shape 2,3,8,8 --shape 4,3,3,3 --args '[1, 0]'
  triconv check "layers.py:Conv(3, 4, 3)" --like conv2d --shape 2,3,8,8 --html report.html
  triconv check mine.py:conv --like conv1d --shape 4,3,32 --shape 2,3,3 --padding 1 --mesh 4,2 --spec b,-,a
  triconv check --manifest problems.toml --junit results.xml
  triconv check --results case_out.npz"""


def add(commands: Any) -> None:
    """Add the command."""
    check = parser.add_command(
        commands,
        "check",
        run,
        help="check a convolution of yours, or triconv itself",
        description="Check a convolution and its derivatives against the definition, and say what is wrong.\n"
        "Without a target, check triconv itself on every installed library.\n"
        "Exit status: 0 right; 1 wrong or imprecise; 2 could not be checked.",
        examples=EXAMPLES,
    )
    check.add_argument(
        "target",
        nargs="*",
        metavar=target_options.METAVAR,
        help="a function, a module, a layer, a pair forward,backward or triconv.Rules: path/to/file.py:name or "
        "package.module:name; several are checked in turn. Options may stand in [tool.triconv] of a pyproject.toml beside it",
    )
    group = check.add_argument_group("for a target")
    add_option(
        group,
        "--like",
        of=check,
        metavar="OPERATOR",
        help="the operator that it should agree with, such as conv2d, or a function FILE:NAME; without it, the derivatives are "
        "checked against the target's own values",
    )
    target_options.add_of_any(group, check)
    group = check.add_argument_group("for a target that is compared with an operator")
    target_options.add_of_operator(group, check)
    operator_options.add_parameters(group, check)
    _add_for_itself(check)
    _add_for_many(check)


def _add_for_itself(check: Parser) -> None:
    group = check.add_argument_group("without a target: triconv's own check")
    add_option(group, "--full", of=check, action="store_true", help="show every case, with the reason why it is there")
    add_option(
        group,
        "--backend",
        of=check,
        action="append",
        type=values.library,
        metavar="NAME",
        help="check this library only; give it several times for several",
    )
    add_option(
        group,
        "--algorithm",
        of=check,
        type=values.one_of(KERNELS),
        metavar="NAME",
        help="check this kernel: direct, gemm or depthwise (default: auto, what the planner picks, which for these small cases "
        "is nearly always direct; fft and vendor are checked by the test suite)",
    )
    add_option(
        group,
        "--optimize",
        of=check,
        action="store_true",
        help="let XLA optimize its machine code, as it does for you (slower: compiling is most of the time)",
    )


def _add_for_many(check: Parser) -> None:
    group = check.add_argument_group("arrays that are sharded over devices (JAX)")
    add_option(
        group,
        "--mesh",
        of=check,
        type=values.sizes,
        metavar="4,2",
        help="sizes of the mesh, whose axes are a, b, ...; devices that are not there are made of the CPU. Without a target, "
        "check triconv.jax.conv_sharded",
    )
    add_option(
        group,
        "--spec",
        of=check,
        action="append",
        metavar="a,-,b",
        help="of each array, one entry per axis: -, a, or a+b (default: -)",
    )
    group = check.add_argument_group("for results that something else computed")
    add_option(
        group,
        "--results",
        of=check,
        metavar="NPZ",
        help="results for the data of triconv vectors, under the same names; or a folder of .bin",
    )
    add_option(group, "--vectors", of=check, metavar="NPZ", help="these data (default: case.npz for case_out.npz)")
    group = check.add_argument_group("for many targets")
    add_option(
        group,
        "--manifest",
        of=check,
        metavar="TOML",
        help="check every [[problem]] of a file, each in a process of its own with a time limit (default: 300 s); with --json "
        "for all reports. Exit status: 0 all right, 1 any wrong or imprecise, 2 any unchecked and none wrong",
    )
    add_option(
        group,
        "--jobs",
        of=check,
        type=values.an_int,
        metavar="N",
        help="checks at a time (default: that of the processors)",
    )
    add_option(group, "--junit", of=check, metavar="PATH", help="write JUnit XML, which CI systems show")


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return the exit status."""
    given = parser.given(arguments)
    what = _what(given, arguments.target)
    _refuse_others(what, given, arguments.target)
    return RUN[what](arguments, given)


def _what(given: dict[str, Any], targets: list[str]) -> str:
    if "manifest" in given:
        return MANIFEST
    if "results" in given:
        return RESULTS
    if targets:
        return TARGET
    return MESH if "mesh" in given else ITSELF


def _refuse_others(what: str, given: dict[str, Any], targets: list[str]) -> None:
    """Raise for options that do not apply to what is checked."""
    alone = {
        RESULTS: "must not come with --results, whose vectors say it",
        MANIFEST: "must not come with --manifest, in which each problem has its own",
    }
    if what in alone and targets:
        msg = f"a target {alone[what]}, got {targets[0]}"
        raise ValueError(msg)
    for name in given:
        if name not in APPLY[what]:
            needs = NEEDS.get(name, "must come with a target, FILE:NAME")
            if what == MESH and name in APPLY[ITSELF]:
                needs = "must come without --mesh"
            msg = f"`{spelled(name)}` {alone.get(what, needs)}"
            raise ValueError(msg)
        if name == "spec" and "mesh" not in given:
            msg = f"`--spec` {NEEDS['spec']}"
            raise ValueError(msg)


def _itself(_: argparse.Namespace, given: dict[str, Any]) -> int:
    """Check triconv itself."""
    quick = "optimize" not in given and "XLA_FLAGS" not in os.environ
    if quick:  # before JAX is first imported; half of the time would go into optimizing code that runs once
        os.environ["XLA_FLAGS"] = quick_xla.flags(quick_xla.options())
    from triconv.cli import selfcheck_table

    return selfcheck_table.check(
        given.get("backend"),
        given.get("seed", 0),
        given.get("algorithm", "auto"),
        full=given.get("full", False),
        quick=quick,
    )


def _mesh(_: argparse.Namespace, given: dict[str, Any]) -> int:
    from triconv.cli import mesh_check

    mesh_check.with_devices(given["mesh"])  # before JAX is first imported
    return mesh_check.check_itself(given["mesh"], given.get("seed", 0))


def _target(arguments: argparse.Namespace, given: dict[str, Any]) -> int:
    """Check somebody's functions."""
    from triconv.cli import targets

    if "mesh" in given:
        from triconv.cli import mesh_check

        sizes = given["mesh"]
        mesh_check.with_devices(sizes)  # before JAX is first imported
        specs = tuple(map(mesh_check.spec_of, given.pop("spec", ())))
        given |= {"mesh": mesh_check.mesh_of(sizes), "specs": specs}
    return targets.check(arguments.target, given)


def _results(_: argparse.Namespace, given: dict[str, Any]) -> int:
    """Judge results in a file."""
    from triconv.checking import vectors
    from triconv.cli import targets

    for name in target_options.FILES:
        targets.check_path(f"--{name}", given.get(name))
    report = vectors.check_results(given["results"], given.get("vectors"))
    return targets.told(report, given)


def _manifest(_: argparse.Namespace, given: dict[str, Any]) -> int:
    """Check every problem of a manifest."""
    from triconv.cli import batch, manifest, targets

    jobs = given.get("jobs")
    if jobs is not None and jobs < 1:
        msg = f"`--jobs` must be 1 or more, got {jobs}"
        raise ValueError(msg)
    for name in ("json", "junit"):
        targets.check_path(f"--{name}", given.get(name))
    defaults: dict[str, Any] = {name: given[name] for name in ("timeout", "memory", "seed") if name in given}
    problems = manifest.read(given["manifest"], defaults)
    return batch.check(problems, given["manifest"], jobs, given.get("json"), given.get("junit"))


RUN = {TARGET: _target, ITSELF: _itself, MESH: _mesh, RESULTS: _results, MANIFEST: _manifest}
