"""Convolutions that are sharded over eight devices: exact against one, and nothing travels but what must."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import triconv
from triconv.checking.candidates.collectives import traffic
from triconv.geometry import Geometry
from triconv.geometry.sharded_axis import ShardedAxis
from triconv.kernels.target import changed

pytestmark = pytest.mark.versions
QUICK = 14
MESHES = [{"a": 8}, {"a": 4, "b": 2}, {"a": 2, "b": 4}, {"a": 2, "b": 2, "c": 2}]


@pytest.fixture
def jax(eight_devices):
    return eight_devices


def mesh_of(jax, sizes):
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(jax.sharding.AxisType.Auto,) * len(sizes))


def draw(number):
    """Draw a mesh, what each of its axes shards, and a convolution whose batch, channels and groups divide."""
    rng = np.random.default_rng(number)
    sizes = MESHES[number % len(MESHES)]
    ndim = int(rng.integers(1, 3))
    spatial = "HW"[2 - ndim :]
    grouped = rng.random() < 0.3
    letters = ["n", "group" if grouped else "c", *spatial] + ([] if grouped else ["k"])
    keys = {name: str(rng.choice([*letters, *spatial, "-"])) for name in sizes}
    shared = {key: tuple(name for name in sizes if keys[name] == key) for key in letters}
    parts = {key: math.prod(sizes[name] for name in names) for key, names in shared.items()}
    n, groups = parts["n"] * int(rng.integers(1, 3)), parts.get("group", 1) * (2 if grouped else 1)
    c, k = (parts.get(key, 1) * int(rng.integers(1, 3)) for key in "ck")
    while True:
        steps = [[int(rng.integers(1, 4)) for _ in range(ndim)] for _ in range(3)]
        size = [int(rng.integers(1, 14)) for _ in range(ndim)]
        taps = [int(rng.integers(1, 5)) for _ in range(ndim)]
        pads = [(int(rng.integers(-2, 5)), int(rng.integers(-2, 5))) for _ in range(ndim)]
        params = {
            "stride": steps[0],
            "dilation": steps[1],
            "input_dilation": steps[2],
            "padding": pads,
            "groups": groups,
        }
        try:
            geometry = Geometry.of(size, taps, **params)
        except ValueError:
            continue
        if all(0 < out < 20 for out in geometry.output_size):
            break
    x, w = (n, groups * c, *size), (groups * k, c, *taps)
    x_spec = (shared["n"], shared["group" if grouped else "c"], *(shared[letter] for letter in spatial))
    w_spec = (shared["group"],) if grouped else (shared["k"], shared["c"])
    specs = [tuple(names or None for names in spec) for spec in (x_spec, w_spec)]
    return sizes, specs, x, w, params


def integers(rng, *shapes):
    return [rng.integers(-3, 4, shape).astype(np.float32) for shape in shapes]


def compare(jax, number, **more):
    """Forward and both VJPs, through autodiff and by the operators themselves, on the mesh and on one device."""
    sizes, specs, x, w, params = draw(number)
    mesh, (x_spec, w_spec) = mesh_of(jax, sizes), (jax.P(*spec) for spec in specs)
    x, w = integers(np.random.default_rng(number), x, w)
    y = triconv.conv(x, w, **params)
    (g,) = integers(np.random.default_rng(1), y.shape)
    expected = (
        y,
        triconv.conv_input_vjp(g, w, input_size=x.shape[2:], **params),
        triconv.conv_weight_vjp(g, x, kernel_size=w.shape[2:], **params),
    )

    def three(x, w, g):
        y, pullback = jax.vjp(lambda x, w: triconv.jax.conv_sharded(x, w, mesh, x_spec, w_spec, **params, **more), x, w)
        return y, *pullback(g)

    for ours, truth in zip(jax.jit(three)(x, w, g), expected, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), truth)
    g_spec = jax.P(x_spec[0], w_spec[0] if len(w_spec) > 0 else None, *x_spec[2:])
    on_mesh = [
        triconv.jax.sharded(op, mesh, *s)
        for op, s in (
            (triconv.conv_input_vjp, (g_spec, w_spec)),
            (triconv.conv_weight_vjp, (g_spec, x_spec)),
        )
    ]
    found = (
        on_mesh[0](jax.numpy.asarray(g), jax.numpy.asarray(w), input_size=x.shape[2:], **params),
        on_mesh[1](jax.numpy.asarray(g), jax.numpy.asarray(x), kernel_size=w.shape[2:], **params),
    )
    for ours, truth in zip(found, expected[1:], strict=True):
        np.testing.assert_array_equal(np.asarray(ours), truth)


@pytest.mark.parametrize("number", range(QUICK))
def test_drawn_meshes_and_geometries_are_exact(jax, number):
    compare(jax, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(QUICK, 220))
def test_two_hundred_meshes_and_geometries_are_exact(jax, number):
    compare(jax, number)


@pytest.mark.parametrize("number", [3, 5])
def test_the_interior_by_itself_is_exact(jax, number):
    compare(jax, number, overlap=True)


X, W = (8, 8, 16, 12), (8, 8, 3, 3)

# what is sharded: specs of x and w, and how many collectives each contraction has
SHARED = {
    "batch": (("a",), (), {"w": {"all-reduce": 1}}),
    "input channels": ((None, "a"), (None, "a"), {"y": {"all-reduce": 1}}),
    "output channels": ((), ("a",), {"x": {"all-reduce": 1}}),
    "batch and input channels": (("a", "b"), (None, "b"), {"y": {"all-reduce": 1}, "w": {"all-reduce": 1}}),
    "batch and output channels": (("a",), ("b",), {"x": {"all-reduce": 1}, "w": {"all-reduce": 1}}),
}
SPATIAL = {
    "positions": ((None, None, "a"), (), {"y": 2, "x": 2, "w": 2}, {"w": 1}),
    "both axes": ((None, None, "a", "b"), (), {"y": 4, "x": 4, "w": 4}, {"w": 1}),
    "batch and positions": (("a", None, None, "b"), (), {"y": 2, "x": 2, "w": 2}, {"w": 1}),
    "channels and positions": ((None, "b", "a"), (None, "b"), {"y": 2, "x": 2, "w": 2}, {"y": 1, "w": 1}),
}


def compiled(jax, conv, mesh, x_spec, w_spec, x=X, w=W, **params):
    """The three contractions, compiled for arrays that lie as the specs say."""
    place = lambda spec: jax.sharding.NamedSharding(mesh, jax.P(*spec))  # noqa: E731
    x, w = (jax.ShapeDtypeStruct(s, "float32", sharding=place(spec)) for s, spec in ((x, x_spec), (w, w_spec)))
    spec = [*(*x_spec, None, None, None, None)[: len(x.shape)]]
    spec[1] = w_spec[0] if w_spec else None
    g = jax.ShapeDtypeStruct(jax.eval_shape(conv, x, w).shape, "float32", sharding=place(spec))
    contractions = {
        "y": (lambda x, w, g: conv(x, w), spec),
        "x": (lambda x, w, g: jax.vjp(lambda x: conv(x, w), x)[1](g)[0], x_spec),
        "w": (lambda x, w, g: jax.vjp(lambda w: conv(x, w), w)[1](g)[0], w_spec),
    }
    return {
        name: traffic(jax.jit(f, out_shardings=place(spec)).lower(x, w, g).compile())
        for name, (f, spec) in contractions.items()
    }


@pytest.mark.parametrize("way", ["jit", "conv_sharded"])
@pytest.mark.parametrize("shared", SHARED)
def test_batch_and_channels_need_one_sum_over_devices_at_most(jax, shared, way):
    """Sharded inputs under jit alone, by XLA's partitioner, and by conv_sharded: one sum where there is one, no gather."""
    x_spec, w_spec, expected = SHARED[shared]
    mesh = mesh_of(jax, {"a": 4, "b": 2})
    if way == "jit":
        conv = lambda x, w: triconv.conv2d(x, w, padding=1)  # noqa: E731
    else:
        conv = lambda x, w: triconv.jax.conv_sharded(x, w, mesh, jax.P(*x_spec), jax.P(*w_spec), padding=1)  # noqa: E731
    found = compiled(jax, conv, mesh, x_spec, w_spec)
    counts = {name: {kind: sent.number for kind, sent in kinds.items()} for name, kinds in found.items()}
    assert counts == {name: expected.get(name, {}) for name in "yxw"}


@pytest.mark.parametrize("way", ["jit", "conv_sharded"])
def test_groups_need_no_collective(jax, way):
    """What XLA gathers whole for lax's grouped convolution (xla#47945)."""
    mesh = mesh_of(jax, {"a": 4, "b": 2})
    params = {"padding": 1, "groups": 8}
    if way == "jit":
        conv = lambda x, w: triconv.conv2d(x, w, **params)  # noqa: E731
    else:
        conv = lambda x, w: triconv.jax.conv_sharded(x, w, mesh, jax.P(None, "a"), jax.P("a"), **params)  # noqa: E731
    found = compiled(jax, conv, mesh, (None, "a"), ("a",), (4, 8, 16, 12), (8, 1, 3, 3))
    assert found == {"y": {}, "x": {}, "w": {}}


@pytest.mark.parametrize(
    ("op", "x", "w", "specs", "params", "expected"),
    [
        (triconv.conv_transpose2d, (8, 8, 8, 8), (8, 4, 4, 4), (("a",), ()), {"stride": 2}, {"w": {"all-reduce": 1}}),
        (triconv.conv2d, (8, 8, 9, 9), (8, 1, 3, 3), (("a",), ()), {"groups": 8}, {"w": {"all-reduce": 1}}),
        (
            triconv.conv2d,
            (8, 8, 9, 9),
            (8, 8, 3, 3),
            (("a",), ()),
            {"padding": 1, "padding_mode": "reflect"},
            {"w": {"all-reduce": 1}},
        ),
        (triconv.conv1d, (8, 8, 64), (8, 8, 31), ((None, "a"), (None, "a")), {"padding": 15}, {"y": {"all-reduce": 1}}),
    ],
)
def test_other_operators_under_jit_need_the_same_collectives(jax, op, x, w, specs, params, expected):
    mesh = mesh_of(jax, {"a": 4, "b": 2})
    found = compiled(jax, lambda x, w: op(x, w, **params), mesh, *specs, x, w)
    counts = {name: {kind: sent.number for kind, sent in kinds.items()} for name, kinds in found.items()}
    assert counts == {name: expected.get(name, {}) for name in "yxw"}


@pytest.mark.parametrize("shared", SPATIAL)
def test_only_halos_travel(jax, shared):
    """Two neighbours an axis, and of what travels every byte is one that `ShardedAxis` counts."""
    x_spec, w_spec, permutes, sums = SPATIAL[shared]
    sizes = {"a": 4, "b": 2}
    mesh = mesh_of(jax, sizes)
    conv = lambda x, w: triconv.jax.conv_sharded(x, w, mesh, jax.P(*x_spec), jax.P(*w_spec), padding=1)  # noqa: E731
    found = compiled(jax, conv, mesh, x_spec, w_spec)
    geometry = Geometry.of(X[2:], W[2:], padding=1)
    names = (*x_spec, None, None, None)[:4]
    axes = [ShardedAxis.of(axis, sizes.get(name, 1)) for axis, name in zip(geometry.axes, names[2:], strict=True)]
    local = [size // sizes.get(name, 1) for size, name in zip(X[:2], names[:2], strict=True)]
    extents, halos = [axis.input_block for axis in axes], 0
    for number, axis in enumerate(axes):
        width = sum(t.size for t in axis.transfers()) if axis.parts > 1 else 0
        halos += 4 * math.prod(local) * width * math.prod(extents) // extents[number]
        extents[number] += width
    for name, kinds in found.items():
        permute = kinds["collective-permute"]
        assert (permute.number, permute.bytes) == (permutes[name], halos), name
        assert getattr(kinds.get("all-reduce"), "number", 0) == sums.get(name, 0), name
        assert set(kinds) <= {"collective-permute", "all-reduce"}


@pytest.mark.parametrize(
    ("op", "shapes", "params", "spec"),
    [
        (
            "conv_transpose1d",
            ((2, 4, 13), (4, 3, 5)),
            {"stride": 3, "padding": 1, "output_padding": 2},
            (None, None, "a"),
        ),
        ("conv_transpose2d", ((2, 2, 8, 9), (2, 3, 4, 4)), {"stride": 2, "padding": 1}, (None, None, "a", "b")),
        ("conv1d", ((2, 2, 40), (3, 2, 4), (3,)), {"stride": 2, "dilation": 3, "padding": 4}, (None, None, ("a", "b"))),
        ("conv2d", ((2, 10, 9), (3, 2, 3, 3)), {"padding": "same"}, (None, "b", "a")),
        pytest.param(
            *("conv3d", ((1, 2, 6, 5, 8), (3, 2, 3, 3, 3)), {"padding": 1}, (None, None, "a", None, "b")),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_every_operator_has_every_derivative(jax, op, shapes, params, spec):
    """By its own spelling, with bias, unbatched, transposed, uneven last blocks; value, VJPs, JVP and second order."""
    mesh, op = mesh_of(jax, {"a": 4, "b": 2}), getattr(triconv, op)
    arrays = list(map(jax.numpy.asarray, integers(np.random.default_rng(0), *shapes)))
    tangents = list(map(jax.numpy.asarray, integers(np.random.default_rng(1), *shapes)))

    def everything(conv):
        def f(*arrays):
            return conv(*arrays, **params)

        def run(arrays, tangents):
            y, pullback = jax.vjp(f, *arrays)
            second = jax.jvp(lambda *arrays: jax.vjp(f, *arrays)[1](y), arrays, tangents)
            return y, pullback(y), jax.jvp(f, arrays, tangents), second

        return jax.jit(run)(tuple(arrays), tuple(tangents))

    ours, truth = everything(triconv.jax.sharded(op, mesh, jax.P(*spec))), everything(op)
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(truth), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize(
    ("op", "shapes", "params", "spec", "dtype"),
    [
        ("conv1d", ((4, 8, 21), (6, 8, 5), (6,)), {"stride": 2, "padding": 3}, ("b", None, "a"), "float16"),
        ("conv2d", ((3, 8, 9, 6), (5, 8, 3, 3), (5,)), {"padding": 1}, (None, "a", None, "b"), "bfloat16"),
        ("conv_transpose1d", ((2, 8, 11), (8, 3, 4), (3,)), {"stride": 3}, (None, "b", "a"), "bfloat16"),
    ],
)
def test_half_precision_with_a_bias_is_rounded_once(jax, op, shapes, params, spec, dtype):
    """Where sums go over devices too: each result is the exact number, to the nearest of its dtype; in all four arrays."""
    rng, mesh, op = np.random.default_rng(0), mesh_of(jax, {"a": 4, "b": 2}), getattr(triconv, op)
    arrays = [rng.integers(-31, 32, shape) for shape in shapes]
    y, pullback = triconv.vjp(op, *(a.astype(np.float64) for a in arrays), **params)
    g = rng.integers(-31, 32, y.shape)
    expected = [y, *pullback(g.astype(np.float64))]
    assert max(np.abs(a).max() for a in expected) > 2048  # more than either dtype has exactly

    def run(*arrays):
        y, pullback = jax.vjp(
            lambda *arrays: triconv.jax.sharded(op, mesh, jax.P(*spec))(*arrays, **params), *arrays[:-1]
        )
        return y, *pullback(arrays[-1])

    found = jax.jit(run)(*(jax.numpy.asarray(a, dtype) for a in (*arrays, g)))
    for ours, truth in zip(found, expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(
            np.asarray(ours, np.float64), np.asarray(jax.numpy.asarray(truth, dtype), np.float64)
        )


def test_a_halo_wider_than_a_block_is_exact(jax):
    """A halo that is wider than a block comes from several blocks away."""
    mesh = mesh_of(jax, {"a": 8})
    x, w = integers(np.random.default_rng(0), (1, 2, 16), (2, 2, 12))
    conv = lambda x, w: triconv.jax.conv_sharded(x, w, mesh, jax.P(None, None, "a"), padding=[(11, 0)])  # noqa: E731
    np.testing.assert_array_equal(
        np.asarray(conv(jax.numpy.asarray(x), jax.numpy.asarray(w))), triconv.conv(x, w, padding=[(11, 0)])
    )
    assert traffic(jax.jit(conv).lower(x, w).compile())["collective-permute"].number == 6


@pytest.mark.parametrize(
    ("x_spec", "w_spec", "message"),
    [
        (("a", "a"), (), "the specs must use each axis of the mesh for one letter, got 'a' for several"),
        (("d",), (), r"the spec of `x` must name axes of the mesh, \('a', 'b'\), got 'd'"),
        ((), (None, None, "a"), r"the spatial axes of `w` must be whole on every device, got \('a',\) for 'H'"),
        (
            (None, "a"),
            (None, "b"),
            r"the specs must shard one letter in one way, got \('a',\) and \('b',\) for 'I' of `w`",
        ),
        (
            (("a", "b"), None, None, None, None),
            (),
            "the spec of `x` must have at most one entry per axis, got 5 for 4 axes",
        ),
        ((None, ("a", "b")), (), "the axis 'C' of `x` must divide among the devices, got 4 for 8"),
    ],
)
def test_specs_that_make_no_sense_are_refused(jax, x_spec, w_spec, message):
    mesh = mesh_of(jax, {"a": 4, "b": 2})
    x, w = jax.numpy.ones((8, 4, 6, 6)), jax.numpy.ones((4, 4, 3, 3))
    with pytest.raises(ValueError, match=message):
        triconv.jax.conv_sharded(x, w, mesh, jax.P(*x_spec), jax.P(*w_spec))


def test_what_is_no_mesh_or_operator_is_refused(jax):
    mesh = mesh_of(jax, {"a": 8})
    with pytest.raises(TypeError, match=r"`mesh` must be a jax\.sharding\.Mesh, got str"):
        triconv.jax.sharded(triconv.conv, "a")
    with pytest.raises(TypeError, match="`operator` must be an operator of triconv, got <built-in function sum>"):
        triconv.jax.sharded(sum, mesh)
    explicit = jax.make_mesh((8,), ("a",), axis_types=(jax.sharding.AxisType.Explicit,))
    with pytest.raises(ValueError, match=r"`mesh` must have automatic axes .*, got others: a"):
        triconv.jax.sharded(triconv.conv, explicit)
    with pytest.raises(ValueError, match="`padding_mode` must be 'zeros' where arrays are sharded, got 'circular'"):
        triconv.jax.sharded(triconv.conv1d, mesh, jax.P("a"))(
            jax.numpy.ones((8, 1, 6)), jax.numpy.ones((1, 1, 3)), padding=1, padding_mode="circular"
        )


def test_every_pair_of_letters_is_drawn():
    """The draw covers batch, channels, groups and positions, alone and together."""
    seen = set()
    for number in range(220):
        _, specs, *_ = draw(number)
        used = [
            f"{role}{axis}" for role, spec in zip("xw", specs, strict=True) for axis, names in enumerate(spec) if names
        ]
        seen.update(itertools.combinations(used, 1))
        seen.update(itertools.combinations(used, 2))
    assert {("x0",), ("x1",), ("x2",), ("x3",), ("w0",), ("x0", "x2"), ("x2", "x3"), ("x0", "w0"), ("x1", "w1")} <= seen


@pytest.fixture(params=[32, 4])
def taps_per_step(request):
    with changed(taps_per_step=request.param):
        yield request.param


@pytest.mark.parametrize(
    "params",
    [
        {"padding": 1, "stride": 2},
        {"padding": [(3, 1), (0, 2)], "input_dilation": (3, 2), "stride": (2, 1)},
        {"padding": 2, "dilation": (1, 2), "groups": 2},
    ],
)
def test_under_jit_alone_it_is_exact(jax, taps_per_step, params):
    """One contraction per phase and `taps_per_step` taps, for arrays that XLA's partitioner shards."""
    jax.clear_caches()
    mesh = mesh_of(jax, {"a": 2, "b": 4})
    x, w = integers(np.random.default_rng(0), (4, 8, 7, 6), (8, 8 // params.get("groups", 1), 3, 3))
    y = triconv.conv(x, w, **params)
    truth = (
        y,
        triconv.conv_input_vjp(y, w, input_size=x.shape[2:], **params),
        triconv.conv_weight_vjp(y, x, kernel_size=w.shape[2:], **params),
    )
    x, w = (
        jax.device_put(a, jax.sharding.NamedSharding(mesh, jax.P(*spec)))
        for a, spec in ((x, ("a", "b")), (w, (None, "b" if "groups" not in params else None)))
    )

    def three(x, w):
        y, pullback = jax.vjp(lambda x, w: triconv.conv(x, w, **params), x, w)
        return y, *pullback(y)

    for ours, right in zip(jax.jit(three)(x, w), truth, strict=True):
        np.testing.assert_array_equal(np.asarray(ours), right)
