"""The command line: ``triconv check``, ``triconv explain``, ``triconv info``."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from triconv.operators.registry import parameter_names

RIGHT, WRONG, UNCHECKED = 0, 1, 2

QUICK_XLA = "--xla_backend_optimization_level=0"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Its words; by default those of the process.

    Returns
    -------
    int
        0 right, 1 wrong, 2 could not be checked.
    """
    arguments = _parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (ValueError, TypeError, ImportError) as problem:
        from triconv.checking.text_report import without_escapes

        print(without_escapes(f"triconv: {problem}"), file=sys.stderr)
    except SystemExit as problem:  # of somebody's function
        print(f"triconv: what was run raised SystemExit: {problem.code}", file=sys.stderr)
    except Exception:  # noqa: BLE001 (Python's own status is 1, which says that a function is wrong)
        traceback.print_exc()
    return UNCHECKED


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(UNCHECKED, f"triconv: {message}\n")


def _parser() -> argparse.ArgumentParser:
    from triconv import __version__

    parser = _Parser(prog="triconv", description="A differentiable reference for convolution.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"triconv {__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    check = commands.add_parser(
        "check",
        help="check a convolution of yours, or triconv itself",
        description="Check a convolution and its derivatives against the definition, and say what is wrong. Without a target, "
        "check triconv itself, on every backend installed, against loops by definition, the adjoint identity, jax.vjp of "
        "lax.conv_general_dilated and torch.autograd. Exit status: 0 right, 1 wrong or imprecise, 2 could not be checked.",
    )
    check.add_argument(
        "target",
        nargs="*",
        metavar="FILE:NAME",
        help="a function, a module, a layer, a pair forward,backward or triconv.Rules: path/to/file.py:name or "
        "package.module:name; several are checked in turn. Options may stand in [tool.triconv] of a pyproject.toml beside it",
    )
    of_target = check.add_argument_group("for a target")
    of_target.add_argument(
        "--like",
        metavar="OPERATOR",
        help="the operator that it should agree with, such as conv2d, or a function FILE:NAME; without it, the derivatives are "
        "checked against the target's own values",
    )
    _add_target_options(of_target)
    _add_parameters(of_target)
    itself = check.add_argument_group("without a target")
    itself.add_argument(
        "--backend",
        action="append",
        metavar="NAME",
        help="check this backend only (several: give it several times)",
    )
    check.add_argument("--seed", type=int, default=0, help="of the random data (default: %(default)s)")
    itself.add_argument(
        "--algorithm",
        choices=("auto", "direct", "gemm", "depthwise"),
        default="auto",
        help="check this kernel; by default what the planner picks, which for these small cases is nearly always direct. "
        "(The error of fft is bounded norm by norm, and vendor is not triconv's own: the test suite checks them.)",
    )
    itself.add_argument("--full", action="store_true", help="one row per case, contraction and backend")
    itself.add_argument(
        "--optimize",
        action="store_true",
        help="let XLA optimize its machine code, as it does for you (slower: compiling is most of the time)",
    )
    sharded = check.add_argument_group("arrays that are sharded over devices (JAX)")
    sharded.add_argument(
        "--mesh",
        type=_ints,
        metavar="4,2",
        help="sizes of the mesh, whose axes are a, b, ...; devices that are not there are made of the CPU. Without a target, "
        "check triconv.jax.conv_sharded",
    )
    sharded.add_argument(
        "--spec", action="append", metavar="a,-,b", help="of each array, one entry per axis: -, a, or a+b (default: -)"
    )
    recorded = check.add_argument_group("for results that something else computed")
    recorded.add_argument(
        "--results",
        metavar="NPZ",
        help="results for the data of triconv vectors, under the same names; or a folder of .bin",
    )
    recorded.add_argument("--vectors", metavar="NPZ", help="these data (default: case.npz for case_out.npz)")
    many = check.add_argument_group("for many targets")
    many.add_argument(
        "--manifest",
        metavar="TOML",
        help="check every [[problem]] of a file, each in a process of its own with a time limit (default: 300 s); with --json "
        "for all reports. Exit status: 0 all right, 1 any wrong or imprecise, 2 any unchecked and none wrong",
    )
    many.add_argument("--jobs", type=int, metavar="N", help="checks at a time (default: that of the processors)")
    many.add_argument("--junit", metavar="PATH", help="write JUnit XML, which CI systems show")
    check.set_defaults(run=_check)

    gradcheck = commands.add_parser(
        "gradcheck",
        help="check the derivatives of any function against its own values",
        description="Check the derivatives of any function against its own values: exactly where it is a polynomial on a "
        "piece, else numerically. Exit status: 0 right, 1 wrong, 2 could not be checked.",
    )
    gradcheck.add_argument("target", nargs="+", metavar="FILE:NAME", help="as for check")
    _add_target_options(gradcheck)
    gradcheck.add_argument("--seed", type=int, help="of the random data (default: 0)")
    gradcheck.set_defaults(run=_gradcheck)

    vectors = commands.add_parser(
        "vectors",
        help="write data and right results, so that a convolution is checked where there is no Python",
        description="Write data, the right results and the bounds of their rounding as .npz, or as a folder of numbers that "
        "any language reads, and a JSON that describes them. triconv check --results judges what a convolution made of them.",
    )
    vectors.add_argument("--like", required=True, metavar="OPERATOR", help="an operator of triconv, such as conv2d")
    vectors.add_argument("--shape", action="append", type=_ints, required=True, metavar="N,C,H,W", help="of each array")
    vectors.add_argument("--dtype", default="float32", help="of the arrays (default: %(default)s)")
    vectors.add_argument("--seed", type=int, default=0, help="of the random data (default: %(default)s)")
    vectors.add_argument(
        "--out", required=True, metavar="NPZ", help="the file, such as case.npz, or a folder, such as case"
    )
    _add_parameters(vectors)
    vectors.set_defaults(run=_vectors)

    explain = commands.add_parser(
        "explain",
        help="tell which kernel computes a convolution, and what it costs",
        description="Tell which kernel computes a call and its derivatives, why, and what it costs.",
    )
    _add_call(explain)
    explain.add_argument("--algorithm")
    explain.add_argument("--backend", default="numpy", help="the library that computes it: numpy, jax, torch, ...")
    explain.add_argument("--measure", action="store_true", help="run the candidates and tell their times")
    explain.set_defaults(run=_explain)

    show = commands.add_parser(
        "show",
        help="show which inputs, outputs and taps of a convolution meet",
        description="Show which inputs, outputs and taps of a call meet, as a table per axis, and write out the sums behind "
        "elements of its result and its gradients. Example: triconv show conv1d --shape 1,1,6 --shape 1,1,3 --stride 2 "
        "--padding 1 --element 'gx[3]'",
    )
    _add_call(show)
    show.add_argument(
        "--element", action="append", metavar="gx[3]", help="write out the sum behind this element of y, gx, gw or gb"
    )
    show.add_argument("--html", metavar="PATH", help="write it as one HTML file, with pictures")
    show.set_defaults(run=_show)

    info = commands.add_parser(
        "info",
        help="tell which array libraries are here",
        description="Tell which array libraries are here, their versions and devices, and what installs the others.",
    )
    info.set_defaults(run=_info)
    return parser


def _add_call(parser: Any) -> None:
    """Add a call of an operator: its name, the shapes of its arrays, and its parameters."""
    parser.add_argument("operator", help="an operator of triconv, such as conv2d")
    parser.add_argument(
        "--shape", action="append", type=_ints, required=True, metavar="N,C,H,W", help="of each array, in their order"
    )
    _add_parameters(parser)


TEXTS = ("layout", "padding_mode")
"""Parameters that are taken as they are written; the others but `padding` are numbers."""
PARAMETERS = tuple(name for name in parameter_names() if name not in ("algorithm", "precision"))
"""Those of the operators that have an option each."""


ISOLATION = ("isolate", "timeout", "memory")
OPTIONS = (
    "framework",
    "dtype",
    "precision",
    "pass_params",
    "seed",
    "args",
    "kwargs",
    "parameters",
    "gradients",
    "sweep",
    "sizes",
    "meant",
    "device",
    *ISOLATION,
)
"""Options of `triconv.check` that are options of the command."""


def _add_target_options(parser: Any) -> None:
    """Add the options for somebody's function, whatever it is compared with."""
    parser.add_argument("--shape", action="append", type=_ints, metavar="N,C,H,W", help="of each array, in their order")
    parser.add_argument(
        "--args", metavar="JSON", help="arguments after the arrays, such as '{\"stride\": 1, \"pad\": 1}' or '[1, 1]'"
    )
    parser.add_argument("--kwargs", metavar="JSON", help="arguments by name, such as '{\"stride\": 1}'")
    parser.add_argument(
        "--parameters", type=_words, metavar="W,b", help="attributes of a layer that are its parameters"
    )
    parser.add_argument(
        "--gradients", type=_words, metavar="dW,db", help="attributes of a layer that are their gradients"
    )
    parser.add_argument(
        "--framework", help="whose arrays it takes, if that is not to be found out: numpy, jax, torch, ..."
    )
    parser.add_argument(
        "--dtype", help="of the arrays (default: float64 for NumPy, else float32; float64 without --like)"
    )
    parser.add_argument("--precision", help="declare products of fewer bits: tf32, bfloat16, float16 or float32")
    parser.add_argument("--pass-params", action="store_true", default=None, help="hand it the parameters as keywords")
    parser.add_argument(
        "--sweep", action="store_true", default=None, help="check more geometries, at which code often breaks"
    )
    parser.add_argument(
        "--sizes", choices=["stress"], help="check sizes next to multiples of 16 to 128 too, and large ones"
    )
    parser.add_argument(
        "--meant", type=_words, metavar="CAUSE,...", help="departures on purpose, such as 'batch averaged'"
    )
    parser.add_argument("--device", help="where the arrays are, such as cpu or cuda")
    parser.add_argument(
        "--isolate",
        action="store_true",
        default=None,
        help="run it in a process of its own, which sees neither the right answers nor the checker",
    )
    parser.add_argument(
        "--timeout", type=float, metavar="S", help="seconds after which that process is ended (with --isolate)"
    )
    parser.add_argument(
        "--memory", type=float, metavar="GIB", help="GiB of address space that it may take (with --isolate, on Linux)"
    )
    parser.add_argument("--html", metavar="PATH", help="write the report as one HTML file")
    parser.add_argument("--json", metavar="PATH", help="write the report as JSON")


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _add_parameters(parser: Any) -> None:
    """Add the parameters that the operators take."""
    helps = {
        "padding": "an int, one int per axis, lo:hi pairs such as 1:2,0:1, or a name such as same",
        "layout": "the axes of the input, the kernel and the result, such as NHWC,HWIO,NHWC",
    }
    for name in PARAMETERS:
        kind = _padding if name == "padding" else str if name in TEXTS else _ints
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=helps.get(name))


def _ints(text: str) -> Any:
    try:
        numbers = tuple(int(word) for word in text.split(",") if word or not text.endswith(","))
    except ValueError:
        msg = f"must be ints such as 2,3,8,8, got {text!r}"
        raise argparse.ArgumentTypeError(msg) from None
    return numbers if len(numbers) > 1 or text.endswith(",") else numbers[0]


def _padding(text: str) -> Any:
    if ":" in text:
        return [_ints(pair.replace(":", ",")) for pair in text.split(",")]
    return text if text.replace("_", "").isalpha() else _ints(text)


def _check(arguments: argparse.Namespace) -> int:
    if arguments.spec and arguments.mesh is None:
        msg = "`--spec` must come with --mesh, such as --mesh 4,2"
        raise ValueError(msg)
    if arguments.manifest is not None:
        return _check_manifest(arguments)
    if arguments.results is not None:
        return _check_results(arguments)
    if arguments.vectors is not None:
        msg = "`--vectors` must come with --results"
        raise ValueError(msg)
    for name in ("jobs", "junit"):
        if getattr(arguments, name) is not None:
            msg = f"`--{name}` must come with --manifest"
            raise ValueError(msg)
    if arguments.mesh is not None:
        from triconv.cli import mesh_check

        sizes = arguments.mesh if isinstance(arguments.mesh, tuple) else (arguments.mesh,)
        mesh_check.with_devices(sizes)  # before JAX is first imported
        if not arguments.target:
            return mesh_check.check_itself(sizes, arguments.seed)
        specs = tuple(map(mesh_check.spec_of, arguments.spec or ()))
        return _check_target(arguments, {"mesh": mesh_check.mesh_of(sizes), "specs": specs})
    if arguments.target:
        _refuse(
            arguments, ("backend", "full", "optimize"), "must come without a target: it is about triconv's own check"
        )
        return _check_target(arguments)
    for_target = [
        name
        for name in ("like", "shape", "html", "json", *PARAMETERS, *OPTIONS)
        if name != "seed" and getattr(arguments, name) is not None
    ]
    if for_target:
        msg = f"`--{for_target[0]}` must come with a target, FILE:NAME"
        raise ValueError(msg)
    quick = not arguments.optimize and "XLA_FLAGS" not in os.environ
    if quick:  # before JAX is first imported; half of the time would go into optimizing code that runs once
        os.environ["XLA_FLAGS"] = QUICK_XLA
    from triconv.checking import selfcheck
    from triconv.cli import selfcheck_table

    backends = selfcheck_table.choose_backends(arguments.backend)
    results = selfcheck_table.with_progress(
        selfcheck.run(backends, arguments.seed, arguments.algorithm), selfcheck.count()
    )
    selfcheck_table.show(results, backends, full=arguments.full)
    if quick and "jax" in backends:
        print("XLA's machine code was not optimized, to start sooner; --optimize checks it as your programs have it")
    return RIGHT if all(result.ok for result in results) else WRONG


def _check_target(arguments: argparse.Namespace, sharding: dict[str, Any] | None = None) -> int:
    """Check somebody's functions."""
    from triconv.cli import targets

    names = ("like", "shape", "html", "json", *PARAMETERS, *OPTIONS)
    given = {name: value for name in names if (value := getattr(arguments, name, None)) is not None}
    return targets.check(arguments.target, given | (sharding or {}), PARAMETERS, (*OPTIONS, *(sharding or {})))


def _check_results(arguments: argparse.Namespace) -> int:
    """Judge results in a file."""
    from triconv.checking import vectors
    from triconv.cli import targets

    for name in ("target", "like", "shape", "mesh", "manifest", "backend", "full", *PARAMETERS, *OPTIONS):
        if name != "seed" and getattr(arguments, name) not in (None, [], False):
            msg = f"`--{name}` must not come with --results, whose vectors say it"
            raise ValueError(msg)
    for name in ("html", "json"):
        targets.check_path(f"--{name}", getattr(arguments, name))
    report = vectors.check_results(arguments.results, arguments.vectors)
    return targets.told(report, vars(arguments))


def _vectors(arguments: argparse.Namespace) -> int:
    """Write test vectors."""
    from triconv.checking import vectors
    from triconv.cli import targets
    from triconv.operators.registry import OPERATORS

    like = targets.operator_named(arguments.like)
    if like not in OPERATORS.values():
        msg = f"`--like` must be an operator of triconv, got {arguments.like}"
        raise ValueError(msg)
    params = {name: value for name in PARAMETERS if (value := getattr(arguments, name)) is not None}
    shapes = [shape if isinstance(shape, tuple) else (shape,) for shape in arguments.shape]
    if any(size < 0 for shape in shapes for size in shape):
        msg = f"`--shape` must be sizes from 0 on, got {', '.join(map(str, shapes))}"
        raise ValueError(msg)
    path = vectors.write(like, *shapes, out=arguments.out, dtype=arguments.dtype, seed=arguments.seed, **params)
    print(f"written: {arguments.out}, described in {path}")
    return RIGHT


def _check_manifest(arguments: argparse.Namespace) -> int:
    """Check every problem of a manifest."""
    from triconv.cli import batch, manifest, targets

    keys = ("timeout", "memory")
    for name in ("target", "like", "shape", "html", "mesh", "backend", "full", "optimize", *PARAMETERS, *OPTIONS):
        if name not in (*keys, "seed", "isolate") and getattr(arguments, name) not in (None, [], False):
            msg = f"`--{name}` must not come with --manifest, in which each problem has its own"
            raise ValueError(msg)
    if arguments.jobs is not None and arguments.jobs < 1:
        msg = f"`--jobs` must be 1 or more, got {arguments.jobs}"
        raise ValueError(msg)
    for name in ("json", "junit"):
        targets.check_path(f"--{name}", getattr(arguments, name))
    defaults = {name: value for name in keys if (value := getattr(arguments, name)) is not None}
    for name, value in defaults.items():
        if not 0 < value <= manifest.MOST:
            msg = f"`--{name}` must be positive, and at most 1e7, got {value:g}"
            raise ValueError(msg)
    problems = manifest.read(arguments.manifest, defaults)
    return batch.check(problems, arguments.manifest, arguments.jobs, arguments.json, arguments.junit)


def _gradcheck(arguments: argparse.Namespace) -> int:
    return _check_target(arguments)


def _refuse(arguments: argparse.Namespace, names: tuple[str, ...], rule: str) -> None:
    for name in names:
        if getattr(arguments, name):
            msg = f"`--{name}` {rule}"
            raise ValueError(msg)


def _explain(arguments: argparse.Namespace) -> int:
    import triconv

    op, shapes, params = _call(arguments, ("algorithm", "measure"))
    bound = triconv.use(arguments.backend)
    arrays = [bound.xp.zeros(shape, dtype=bound.xp.float32) for shape in shapes]
    print(triconv.explain(op, *arrays, **params))
    return RIGHT


def _show(arguments: argparse.Namespace) -> int:
    import triconv
    from triconv.cli import targets

    targets.check_path("--html", arguments.html)
    op, shapes, params = _call(arguments)
    tables = triconv.show(op, *shapes, element=tuple(arguments.element or ()), **params)
    print(tables)
    if arguments.html is not None:
        try:
            tables.to_html(arguments.html)
        except OSError as problem:
            msg = f"`--html` could not be written: {problem}"
            raise ValueError(msg) from None
        print(f"\nwritten: {arguments.html}")
    return RIGHT


def _call(
    arguments: argparse.Namespace, others: tuple[str, ...] = ()
) -> tuple[Any, list[tuple[int, ...]], dict[str, Any]]:
    """The operator, the shapes and the parameters of a command about a call, with `others` among the parameters."""
    from triconv.operators.registry import OPERATORS

    if arguments.operator not in OPERATORS:
        msg = f"`operator` must be one of {', '.join(OPERATORS)}, got {arguments.operator!r}"
        raise ValueError(msg)
    shapes = [shape if isinstance(shape, tuple) else (shape,) for shape in arguments.shape]
    if any(size < 0 for shape in shapes for size in shape):
        msg = f"`--shape` must be sizes from 0 on, got {', '.join(map(str, shapes))}"
        raise ValueError(msg)
    params = {name: value for name in (*PARAMETERS, *others) if (value := getattr(arguments, name)) is not None}
    return OPERATORS[arguments.operator], shapes, params


def _info(_: argparse.Namespace) -> int:
    from triconv.cli import selfcheck_table

    selfcheck_table.show_backends()
    return RIGHT
