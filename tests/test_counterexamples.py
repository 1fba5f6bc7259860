"""The program at the end of a report runs in a fresh interpreter and fails there, however the candidate was written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import triconv
from triconv.checking.candidates import candidate_source
from triconv.checking.candidates.candidate_source import Definitions
from triconv.cli import main

SOURCE = Path(triconv.__file__).parents[1]
PASTE = "# paste your function here as f"
SHAPES = "(1, 2, 4, 3), (2, 2, 2, 2)"
WORDS = ["--like", "conv2d", "--shape", "2,3,5,5", "--shape", "4,3,3,2"]

# what is broken there is the kernel, which is flipped, or one gradient
FILE = """
from __future__ import annotations

import functools
import numpy as np
from numpy.lib import stride_tricks as tricks
from helpers import product

Array = np.ndarray

def conv(x: Array, w: Array) -> Array:
    return product(tricks.sliding_window_view(x, w.shape[2:], (2, 3)), w[:, :, ::-1])

class Layer:
    def __init__(self, sign):
        self.sign = sign

    def __call__(self, x, w):
        return self.sign * conv(x, w)

layer = Layer(1)
turned = functools.partial(conv)
by_lambda = lambda x, w: -conv(x, w)
"""
HELPERS = """
import numpy as np

def product(windows, w):
    return np.einsum("nchwij,kcij->nkhw", windows, w)
"""
PASTED = """
from __future__ import annotations

import functools, json, math, sys, threading
from typing import Any

import numpy as np
import numpy.linalg
from numpy.lib.stride_tricks import sliding_window_view as windows_of

import mine
import triconv

STEP, SIGNS = -1, {"minus": [-1.0], "inf": math.inf}
WEIGHTS = np.arange(1.0, 3)
LOCK = threading.Lock()

def flipped(w):
    return w[:, :, ::STEP] if w.shape[2] != 1 else -w

def conv(x: Unknown, w: "Any") -> Any:
    return np.einsum("nchwij,kcij->nkhw", windows_of(x, w.shape[2:], (2, 3)), flipped(w))

def recursive(x, w, again=2):
    return recursive(x, w, again - 1) if again else conv(x, w)

def scaled(x, w):
    return conv(x, w) * SIGNS["minus"][0] * WEIGHTS[1]

def with_default(x, w, step=STEP):
    return conv(x, w)[..., ::step]

def of_closure(k, other):
    def inner(x, w):
        return other(x, w) * k
    return inner

def of_lock(lock):
    return lambda x, w: conv(x, w) if lock is not None else None

def decorated(function):
    @functools.wraps(function)
    def run(*arrays):
        return 2 * function(*arrays)
    return run

@decorated
def doubled(x, w):
    return conv(x, w)

class Base:
    sign = 1

class Layer(Base):
    def __init__(self, sign, bias):
        self.factor, self.bias, self.saved = sign, bias, None

    def forward(self, x, w):
        self.saved = x, w
        return self.factor * conv(x, w)

    def __call__(self, x, w):
        return self.forward(x, w)

    @staticmethod
    def plain(x, w):
        return -conv(x, w)


def right(x, w):
    return np.einsum("nchwij,kcij->nkhw", windows_of(x, w.shape[2:], (2, 3)), w)

def minus_weight_vjp(g, x):
    size = tuple(a - b + 1 for a, b in zip(x.shape[2:], g.shape[2:]))
    return -triconv.conv_weight_vjp(g, x, kernel_size=size)

class Remembers:
    def forward(self, x, w):
        self.saved = x, w
        return right(x, w)

    def weight_vjp(self, g, _):
        return minus_weight_vjp(g, self.saved[0])

remembers = Remembers()

def two_steps(x, w, params, sign=1):
    return conv(x, w) * params["scale"] * sign

layer = Layer(1, np.zeros(200))
rows = 0
candidates = {
    "function": conv,
    "helper": scaled,
    "recursion": recursive,
    "default": with_default,
    "lambda": lambda x, w: conv(x, w) + 1,
    "two lambdas in a line": (lambda f: (lambda x, w: f(x, w), lambda x, w: f(x, w) + 2)[1])(conv),
    "partial": functools.partial(two_steps, params={"scale": 3}),
    "closure": of_closure(3, scaled),
    "decorated": doubled,
    "method": Layer(2, 0).forward,
    "method of a name": layer.forward,
    "static method": Layer.plain,
    "instance": Layer(2, np.ones(2)),
    "Rules": triconv.Rules(right, weight_vjp=minus_weight_vjp),
    "Rules of lambdas": triconv.Rules(lambda x, w: right(x, w), weight_vjp=lambda g, x: minus_weight_vjp(g, x)),
    "Rules of an instance": triconv.Rules(remembers.forward, weight_vjp=remembers.weight_vjp),
    "in a file": mine.conv,
    "lambda in a file": mine.by_lambda,
    "partial in a file": mine.turned,
    "instance in a file": mine.layer,
    "method of an instance in a file": mine.layer.__call__,
    "closure of a function in a file": of_closure(2, mine.conv),
    "no source": eval("lambda x, w: conv(x, w)"),
    "a lock": of_lock(threading.Lock()),
    "a lock of the script": of_lock(LOCK),
}
programs = {name: triconv.check(c, triconv.conv2d, SHAPES).counterexample for name, c in candidates.items()}
print(json.dumps(programs))
"""
# a program is of the first wrong row: no other library is asked, nothing as training asks it, and no cause is looked for
NO_MORE_THAN_ROWS = """
import triconv
from triconv.checking import operator_check as _check
from triconv.checking.findings.causes import Cause as _Cause, Hypothesis as _Hypothesis
from triconv.checking.findings.diagnosis_data import Diagnosis as _Diagnosis
from triconv.checking.verdicts import wrong_result as _wrong
_check.ask_oracles = lambda *_: ()
_check.training_rows.with_rows = lambda wrapped, context, rows, *_, **__: rows
_wrong.diagnose = lambda *_, **__: _Diagnosis(_Cause.NONE, _Hypothesis.UNEXPLAINED)
"""
CANNOT_RUN = {"no source", "a lock"}

# runs each program as the main module of a fresh interpreter would, and says how it ended
RUNNER = """
import json, sys
endings = {}
for name, program in json.load(sys.stdin).items():
    path = list(sys.path)
    try:
        exec(compile(program, "<program>", "exec"), {"__name__": "__main__"})
        endings[name] = "no error"
    except BaseException as problem:
        endings[name] = type(problem).__name__ if isinstance(problem, AssertionError) else repr(problem)
    sys.path[:] = path
sys.stderr.write(json.dumps(endings))
"""


def python(*words, stdin="", path=()):
    """Run Python where nothing but the libraries can be imported, and the folders of `path`."""
    more = {"PYTHONPATH": os.pathsep.join(map(str, path)), "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, *words],
        input=stdin,
        capture_output=True,
        text=True,
        cwd="/",
        env={**os.environ, **more},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run


def endings(programs, *, triconv_too=False):
    """Return how each program ends."""
    run = python("-c", RUNNER, stdin=json.dumps(programs), path=[SOURCE] * triconv_too)
    return json.loads(run.stderr.splitlines()[-1])


def written(folder, script):
    """Return the programs that a script prints, with the files that it imports beside it."""
    (folder / "mine.py").write_text(FILE)
    (folder / "helpers.py").write_text(HELPERS)
    path = folder / "script.py"
    path.write_text(script.replace("SHAPES", SHAPES).replace("\nimport triconv\n", NO_MORE_THAN_ROWS, 1))
    return json.loads(python(str(path), path=[SOURCE]).stdout.splitlines()[-1])


@pytest.mark.once
def test_numpy_in_a_script(tmp_path):
    programs = written(tmp_path, PASTED)
    for name, program in programs.items():
        assert program, name
        assert "= ..." not in program, program
        assert (PASTE in program) == (name in CANNOT_RUN), program
    runnable = {name: program for name, program in programs.items() if name not in CANNOT_RUN}
    found = endings(runnable, triconv_too=True)  # the rules themselves call triconv
    assert found == dict.fromkeys(runnable, "AssertionError"), "\n\n".join(
        runnable[name] for name, end in found.items() if end != "AssertionError"
    )
    alone = {name: program for name, program in runnable.items() if "Rules" not in name}
    assert not any("triconv" in program for program in alone.values())
    # what is in a file is imported from there
    assert f"sys.path.insert(0, {str(tmp_path)!r})\nfrom mine import conv\n" in programs["in a file"]
    assert "from mine import layer\n" in programs["instance in a file"]
    assert "def conv" not in programs["closure of a function in a file"]
    assert "flipped" in programs["function"]
    assert "WEIGHTS" not in programs["function"]
    run = subprocess.run(
        [sys.executable, "-c", programs["function"]], capture_output=True, text=True, cwd="/", check=False
    )
    assert run.stderr.rstrip().endswith("AssertionError")


JAX = """
import functools, json
import jax
import jax.numpy as np
from jax import lax
import triconv

def by_lax(x, w):
    return lax.conv(x, w, (1, 1), "VALID")

@jax.custom_vjp
def conv(x, w):
    return by_lax(x, w)

def forward(x, w):
    return conv(x, w), (x, w)

def backward(saved, g):
    gx, gw = jax.vjp(by_lax, *saved)[1](g)
    return gx, np.negative(gw)

conv.defvjp(forward, backward)

@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def scaled(x, w, k):
    return by_lax(x, w) * k

scaled.defvjp(lambda x, w, k: (by_lax(x, w) * k, (x, w)), lambda k, saved, g: backward(saved, g))

@jax.jit
def compiled(x, w):
    return scaled(x, w, 1)

def local():
    def conv(x, w):
        return by_lax(x, w)
    conv = jax.custom_vjp(conv)
    def forward(x, w):
        return conv(x, w), (x, w)
    conv.defvjp(forward, lambda saved, g: backward(saved, g))
    return conv

@jax.custom_jvp
def squared(x):
    return x * x

@squared.defjvp
def squared_jvp(primals, tangents):
    return squared(*primals), 3 * primals[0] * tangents[0]

candidates = {"custom_vjp": conv, "jit": compiled, "local": local()}
programs = {name: triconv.check(c, triconv.conv2d, SHAPES).counterexample for name, c in candidates.items()}
programs["custom_jvp"] = triconv.gradcheck(squared, (2, 2)).counterexample
programs["tuple"] = triconv.gradcheck(lambda x, y: (squared(x), y), (2, 2), (3,)).counterexample
print(json.dumps(programs))
"""
TORCH = """
import json
import torch
import torch.nn.functional as F
import triconv

class Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return F.conv2d(x, w)

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return -torch.nn.grad.conv2d_input(x.shape, w, g), torch.nn.grad.conv2d_weight(x, w.shape, g)

class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x ** 3

    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.saved_tensors[0] ** 2

def local():
    class Inner(Conv):
        pass
    return Inner.apply

def detached(x, w):
    return F.conv2d(x.detach(), w.detach())

def two_outputs(x, g):
    return Cube.apply(x), g

candidates = {"apply": Conv.apply, "local": local(), "detached": detached}
programs = {name: triconv.check(c, triconv.conv2d, SHAPES).counterexample for name, c in candidates.items()}
programs["gradcheck"] = triconv.gradcheck(Cube.apply, (2, 3)).counterexample
programs["tuple"] = triconv.gradcheck(two_outputs, (2, 3), (2,)).counterexample
programs["bfloat16"] = triconv.check(lambda x, w: -F.conv2d(x, w), triconv.conv2d, SHAPES, dtype="bfloat16").counterexample
print(json.dumps(programs))
"""


@pytest.mark.once
@pytest.mark.parametrize(("name", "script"), [("jax", JAX), ("torch", TORCH)])
def test_jax_and_torch_in_a_script(tmp_path, name, script, request):
    request.getfixturevalue(name)
    programs = written(tmp_path, script)
    for program in programs.values():
        assert program
        assert "paste" not in program, program
        assert "triconv" not in program
    found = endings(programs)
    assert found == dict.fromkeys(programs, "AssertionError"), "\n\n".join(
        f"# {end}\n{programs[key]}" for key, end in found.items() if end != "AssertionError"
    )


TARGETS = """
import threading

import numpy as np

def conv(x, w):
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))
    return np.einsum("nchwij,kcij->nkhw", windows, w[:, :, ::-1])

class Layer:
    def __init__(self, sign):
        self.sign, self.lock = sign, threading.Lock()

    def run(self, x, w):
        return self.sign * conv(x, w)
"""


def test_targets_of_the_command_line(tmp_path, capsys):
    file = tmp_path / "three_targets.py"
    file.write_text(TARGETS)
    programs = {}
    for target in ("conv", "Layer(-1).run", "lambda x, w: conv(x, w) * 2"):
        assert main.main(["check", f"{file}:{target}", *WORDS, "--json", str(tmp_path / "r.json")]) == 1
        programs[target] = json.loads((tmp_path / "r.json").read_text())["counterexample"]
    capsys.readouterr()
    assert endings(programs) == dict.fromkeys(programs, "AssertionError")
    assert "from three_targets import Layer\n\nf = Layer(-1).run\n" in programs["Layer(-1).run"]


def test_a_torch_function_as_target(tmp_path, capsys, torch):
    file = tmp_path / "torch_target.py"
    file.write_text(TORCH.partition("candidates =")[0].replace("import triconv", ""))
    assert main.main(["check", f"{file}:Conv.apply", *WORDS, "--json", str(tmp_path / "r.json")]) == 1
    capsys.readouterr()
    program = json.loads((tmp_path / "r.json").read_text())["counterexample"]
    assert "from torch_target import Conv\n\nf = Conv.apply\n" in program
    assert endings({"apply": program}) == {"apply": "AssertionError"}


PAIR = """
import json
import numpy as np
import triconv

def windows_of(x, w):
    return np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], (2, 3))

def forward(x, w, options):
    return np.einsum("nchwij,kcij->nkhw", windows_of(x, w), w) * options["scale"], (x, w)

def backward(dout, cache):
    x, w = cache
    padded = np.pad(dout, [(0, 0), (0, 0), *((k - 1, k - 1) for k in w.shape[2:])])
    dx = np.einsum("nkhwij,kcij->nchw", windows_of(padded, w), w[:, :, ::-1, ::-1])
    return dx, 2 * np.einsum("nchwij,nkhw->kcij", windows_of(x, w), dout)

def two(x, w):
    y, cache = forward(x, w, {"scale": 1})
    return y, *cache

def by_name(x, w, dout):
    dx, dw = backward(dout, (x, w))
    return {"dw": dw, "dx": dx}

candidates = {"cache": (forward, backward), "dict": (lambda x, w: right(x, w), by_name)}
def right(x, w):
    return forward(x, w, {"scale": 1})[0]
more = {"cache": {"args": {"scale": 1}}, "dict": {}}
programs = {n: triconv.check(c, triconv.conv2d, SHAPES, **more[n]).counterexample for n, c in candidates.items()}
programs["gradcheck"] = triconv.gradcheck((forward, backward), (1, 2, 3, 3), (2, 2, 2, 1), args={"scale": 1}).counterexample
print(json.dumps(programs))
"""


def test_pairs(tmp_path):
    programs = written(tmp_path, PAIR)
    assert "y, cache = f(x, w, {'scale': 1})\nfound = backward(g, cache)[1]\n" in programs["cache"]
    assert endings(programs) == dict.fromkeys(programs, "AssertionError")


@pytest.mark.once
def test_long_data_are_drawn_and_some_wrong_elements_compared():
    def batch(x, w):
        y = np.array(triconv.conv1d(x, w))
        y[300:] *= 2
        return y

    def last_tile(x, w):
        y = np.array(triconv.conv(x, w, layout="NHC,HIO->NHC"))
        y[:, 256:] += 1j
        return y

    given = [
        (batch, triconv.conv1d, ((301, 1, 1), (1, 1, 1)), {}),
        (last_tile, triconv.conv, ((2, 300, 2), (3, 2, 2)), {"layout": "NHC,HIO->NHC", "dtype": "complex128"}),
    ]
    programs = {
        f.__name__: triconv.check(triconv.Rules(f), like, *shapes, **p).counterexample for f, like, shapes, p in given
    }
    for program in programs.values():
        assert "np.random.RandomState(0).choice([-3, -2, -1, 1, 2, 3], " in program
        assert len(program) < 2000
    assert endings(programs, triconv_too=True) == dict.fromkeys(programs, "AssertionError")
    right = {
        "batch": programs["batch"].replace("*= 2", "*= 1"),
        "last_tile": programs["last_tile"].replace("+= 1j", "+= 0j"),
    }
    assert endings(right, triconv_too=True) == dict.fromkeys(right, "no error")


def test_gradcheck_says_where_the_expected_comes_from(jax):
    @jax.custom_jvp
    def sine(x):
        return jax.numpy.sin(x)

    sine.defjvp(lambda primals, tangents: (sine(*primals), tangents[0]))
    report = triconv.gradcheck(sine, (2, 2))
    assert "# from the function's own values, along lines through this point\nexpected = " in report.counterexample
    assert 'jax.config.update("jax_enable_x64", True)' in report.counterexample
    assert triconv.gradcheck(sine, (20, 20)).counterexample == ""
    assert triconv.gradcheck(jax.numpy.sin, (2, 2)).counterexample == ""


@pytest.mark.once
def test_the_notebooks_rules_have_its_layout():
    def backward(matrix, upstream):
        return triconv.conv2d_backward_weights(matrix, upstream)[::-1]

    rules = triconv.Rules(triconv.conv2d_forward, triconv.conv2d_backward, backward)
    program = triconv.check(rules, triconv.conv2d_forward, (6, 7, 3), (3, 2, 3)).counterexample
    assert endings({"rule": program}, triconv_too=True) == {"rule": "AssertionError"}
    right = program.replace("[::-1]", "")
    assert endings({"rule": right}, triconv_too=True) == {"rule": "no error"}


def test_names_that_the_program_needs_itself():
    """A name that is taken is imported as another, or the program says so; it never means two things."""

    def needs(names):
        definitions = Definitions({"np": np}, {"x", "g"})
        return definitions.give("f", names), "\n".join(definitions.lines)

    g, np_ = 3, np
    assert needs(lambda x: x * g) == ("", PASTE)
    assert needs(lambda x: np_.sin(x))[0]
    other = candidate_source.Definitions({"np": json}, set())
    assert other.give("f", lambda x: np.sin(x))
    assert "np" in other.displaced
