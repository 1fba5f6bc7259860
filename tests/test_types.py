"""What a type checker says of users' programs: it finds each mistake, and nothing in what is right."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy; python -m tox -e type")

# a user's configuration, but for what takes minutes to read
CONFIGURATION = """\
[mypy]
strict = true
[mypy-array_api_compat.*,array_api_strict.*,cupy.*,jax.*,torch.*]
ignore_missing_imports = true
follow_imports = skip
"""
HEAD = """\
from __future__ import annotations

import numpy as np

import triconv

rng = np.random.default_rng(0)
x, w = rng.standard_normal((2, 3, 8, 8)), rng.standard_normal((4, 3, 3, 3))
b, single = np.zeros(4), np.ones((4, 3, 3, 3), np.float32)
tc = triconv.use("numpy")


def conv(x: object, w: object) -> object: ...


"""
MISTAKES = """\
triconv.conv2d(x, w, strid=2)
triconv.conv2d(x, w, stride=1.5)
triconv.conv2d(x)
triconv.conv2d(x, w, padding_mode="refelct")
triconv.use("numpy", dtpye="float32")
triconv.nope(x, w)
triconv.conv(x, w, algorithm="ftt")
triconv.check(conv, triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3)).verdict == "rigth"
triconv.check()
triconv.conv(x, w, layout=("NHWC", "HWIO", "NHWC"))
triconv.conv2d(x, (4, 3, 3, 3))
triconv.conv_input_vjp(x, w)
triconv.conv2d(x, w, padding="smae")
triconv.conv_transpose2d(x, w, padding="same")
triconv.conv(x, w, precision="hihgest")
triconv.check(conv, triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), strid=2)
triconv.check(conv, "conv2d", (2, 3, 8, 8), (4, 3, 3, 3))
triconv.check(conv, triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), dtype="flaot32")
triconv.gradcheck(conv, (2, 3), dtpye="float32")
triconv.vjp(triconv.conv2d, x, w, strides=2)
triconv.explain(triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), paddin=1)
triconv.use("trch")
tc.conv2d(x, w, strid=2)
tc.conv_2d(x, w)
triconv.conv2d(x, w).shpae
triconv.Rules(input_vjp=conv)
triconv.halo.scael
"""
RIGHT = """\
y: np.ndarray[tuple[int, ...], np.dtype[np.float64]] = triconv.conv2d(x, w, b, 2, "same", padding_mode="reflect")
n, k, height, width = triconv.conv2d(x, w, stride=(2, 1), padding=[(1, 0), (0, 1)], dilation=np.int64(2)).shape
half = triconv.conv2d(x.astype(np.float32), single, groups=1, layout=None, algorithm="gemm", precision="default").dtype
triconv.conv2d(x[0], w, padding="VALID", stride=np.array([2, 2])).mean()
triconv.conv(x, w, bias=None, padding=((1, 1), [0, 0]), input_dilation=2, layout="NCHW,OIHW->NCHW").sum(axis=0)
triconv.conv2d(x, single, np.zeros(4, np.int32), stride=2).sum() + triconv.conv2d(x[0], w).shape[2]
gx = triconv.conv_input_vjp(y, w, input_size=(8, 8)) + x
gw = triconv.conv_weight_vjp(y, x, kernel_size=[3, 3], stride=2) * w
up = triconv.conv_transpose2d(y, w, stride=2, output_padding=(1, 0)).copy()
row = triconv.conv2d_forward([[[1], [2]]], [[[10]]])[0]
y, pullback = triconv.vjp(triconv.conv2d, x, w, stride=2)
gx, gw = pullback(np.ones_like(y))
gx, gw, gb = triconv.vjp(triconv.conv2d, x, w, b)[1](y)
gx.sum(), gw.mean(), gb[0], triconv.vjp(triconv.conv2d, x, single, b)[0].sum()
y, tangent = triconv.jvp(triconv.conv2d, (x, w), (x, w), stride=2)
report = triconv.check(conv, triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), stride=2, dtype="float32", meant=["sign"])
assert report.verdict == "right" and report or report.cause == "sign" or report.ok
rules = triconv.Rules(triconv.conv2d_forward, weight_vjp=triconv.conv2d_backward_weights)
verdicts = [row.verdict for row in triconv.check(rules, triconv.conv2d_forward, x[0, 0], x[0, 0]).rows]
triconv.check((conv, conv), conv, (2, 3), args=({"stride": 1},), precision="tf32").raise_if_failed().to_html("r.html")
triconv.gradcheck((conv, conv), (2, 3), x, seed=1, progress=print).to_json("r.json")
print(triconv.explain(triconv.conv2d, (8, 96, 56, 56), w, padding=1, groups=96, measure=True).rows[0].algorithm)
moved = triconv.use("jax", dtype="float32").conv2d([[[[1.0]]]], x, None, 1, "same", padding_mode="circular").sum()
tc.to_numpy(tc.conv(x, w, stride=2)).mean(), tc.vjp(tc.conv1d, [[[1]]], [[[2]]])[1](tc.asarray([[[3]]]))
{name: library.devices for name, library in triconv.backends().items()}
triconv.halo.ShardedAxis, triconv.__version__.split(".")
"""


@pytest.fixture(scope="module")
def reported(tmp_path_factory, pytestconfig):
    """Lines at which mypy reports an error, by program, and all that it wrote."""
    folder = tmp_path_factory.mktemp("programs")
    for name, lines in (("mistakes", MISTAKES), ("right", RIGHT)):
        (folder / f"{name}.py").write_text(HEAD + lines, encoding="utf-8")
    (folder / "mypy.ini").write_text(CONFIGURATION, encoding="utf-8")
    cache = pytestconfig.rootpath / ".mypy_cache" / "programs"
    run = subprocess.run(
        [sys.executable, "-m", "mypy", f"--cache-dir={cache}", "mistakes.py", "right.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert not run.stderr, run.stderr
    found = re.findall(r"^(\w+)\.py:(\d+): error: .*?\[([\w-]+)\]$", run.stdout, re.MULTILINE)
    first = HEAD.count("\n") + 1
    return {
        "words": run.stdout,
        **{
            name: sorted({int(line) - first for file, line, _ in found if file == name})
            for name in ("mistakes", "right")
        },
    }


def test_each_mistake_is_found(reported):
    lines = MISTAKES.splitlines()
    assert [lines[n] for n in reported["mistakes"]] == lines, reported["words"]


def test_what_is_right_is_not_reported(reported):
    lines = RIGHT.splitlines()
    assert [lines[n] for n in reported["right"]] == [], reported["words"]
