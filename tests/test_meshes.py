"""Meshes of eight devices: automatic and explicit axes and `shard_map`, against one device, exactly, on integers."""

from __future__ import annotations

import numpy as np
import pytest

import triconv
from triconv.kernels.target import changed

pytestmark = pytest.mark.versions
X, W = (8, 4, 6), (8, 4, 3)


@pytest.fixture
def jax(eight_devices):
    return eight_devices


def arrays(jax):
    rng = np.random.default_rng(0)
    return [jax.numpy.asarray(rng.integers(-3, 4, shape).astype(np.float32)) for shape in (X, W)]


def conv(x, w, **kwargs):
    return triconv.jax.conv_general_dilated(x, w, (1,), "SAME", **kwargs)


def loss(x, w):
    return (conv(x, w) ** 2).sum()


def mesh(jax, kind):
    return jax.make_mesh((4, 2), ("a", "b"), axis_types=(getattr(jax.sharding.AxisType, kind),) * 2)


def put(jax, mesh, array, spec):
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.P(*spec)))


def assert_same(left, right, jax):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_sums_the_gradient_of_what_is_replicated(jax, check_vma, eager):
    """As lax: with the check on, over the devices; with it off, what each device has."""
    x, w = arrays(jax)
    spec, whole = jax.P("a"), jax.P()

    def gradients(conv):
        def on_each(x, w):
            return jax.grad(lambda x, w: jax.lax.psum((conv(x, w) ** 2).sum(), "a"), (0, 1))(x, w)

        f = jax.shard_map(
            on_each, mesh=mesh(jax, "Auto"), in_specs=(spec, whole), out_specs=(spec, whole), check_vma=check_vma
        )
        return (f if eager else jax.jit(f))(x, w)

    ours = gradients(conv)
    assert_same(ours, gradients(lambda x, w: jax.lax.conv_general_dilated(x, w, (1,), "SAME")), jax)
    if check_vma:
        assert_same(ours, jax.grad(loss, (0, 1))(x, w), jax)


@pytest.fixture
def small_blocks():
    with changed(sample_bytes=200, unfold_bytes=200):
        yield


@pytest.mark.parametrize("check_vma", [True, False])
def test_loops_inside_shard_map_are_exact(jax, small_blocks, check_vma):
    """What a loop starts from varies over the mesh as what it computes does: rows of a sample, and sums over blocks."""
    x, w = arrays(jax)
    spec, whole = jax.P("a"), jax.P()

    def on_each(x, w):
        y = triconv.conv(x, w, padding="same", algorithm="gemm")
        gw = triconv.conv_weight_vjp(y, x, kernel_size=w.shape[2:], padding="same", algorithm="gemm")
        return y, jax.lax.psum(gw, "a")

    f = jax.jit(
        jax.shard_map(
            on_each, mesh=mesh(jax, "Auto"), in_specs=(spec, whole), out_specs=(spec, whole), check_vma=check_vma
        )
    )
    y, gw = f(x, w)
    expected = triconv.conv(x, w, padding="same", algorithm="direct")
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(
        gw, triconv.conv_weight_vjp(expected, x, kernel_size=w.shape[2:], padding="same", algorithm="direct")
    )
    assert f.lower(x, w).as_text().count("stablehlo.while") >= 2


@pytest.mark.parametrize("varying", ["x", "w", "both"])
def test_every_derivative_inside_shard_map_is_exact(jax, varying):
    """Whichever operand varies: value, JVP, both VJPs, second order, vmap."""
    x, w = arrays(jax)
    specs = [jax.P("a") if varying in (name, "both") else jax.P() for name in "xw"]
    xs, ws = jax.numpy.stack([x, -x, 2 * x, x]), jax.numpy.stack([w, 2 * w, -w, w])
    given = (xs if varying != "w" else x, ws if varying != "x" else w)

    def everything(x, w):
        g = conv(x, w)
        first = jax.vjp(conv, x, w)[1](g)
        second = jax.vjp(lambda x, w: jax.vjp(conv, x, w)[1](g), x, w)[1](first)
        batched = jax.vmap(conv, (None, 0))(x, jax.numpy.stack([w, -w]))
        return g, jax.jvp(conv, (x, w), (x, w)), first, second, batched

    def on_each(x, w):
        x, w = (a[0] if spec else a for a, spec in zip((x, w), specs, strict=True))
        x, w = (jax.lax.pcast(a, "a", to="varying") if not spec else a for a, spec in zip((x, w), specs, strict=True))
        return jax.tree.map(lambda a: a[None], everything(x, w))

    f = jax.shard_map(on_each, mesh=mesh(jax, "Auto"), in_specs=tuple(specs), out_specs=jax.P("a"))
    expected = jax.vmap(everything, tuple(0 if spec else None for spec in specs))(*given)
    assert_same(jax.jit(f)(*given), expected, jax)


def test_a_result_inside_shard_map_varies_as_its_operands_do(jax):
    """A result of operands that do not vary does not either, and says so."""
    x, w = arrays(jax)

    def on_each(x, w):
        assert conv(x, w).aval.manual_axis_type.varying == {"a"}
        assert conv(w, w).aval.manual_axis_type.varying == frozenset()
        return conv(x, w), conv(w, w)

    f = jax.shard_map(on_each, mesh=mesh(jax, "Auto"), in_specs=(jax.P("a"), jax.P()), out_specs=(jax.P("a"), jax.P()))
    assert_same(jax.jit(f)(x, w), (conv(x, w), conv(w, w)), jax)


@pytest.mark.parametrize(
    ("x_spec", "w_spec"),
    [
        (("a",), ()),
        ((("a", "b"),), ()),
        ((None, None, "b"), ()),
        ((None, "b"), (None, "b")),
        (("a",), ("b",)),
        ((), ()),
    ],
)
def test_automatic_axes_change_no_value_and_no_gradient(jax, x_spec, w_spec):
    x, w = arrays(jax)
    expected = jax.value_and_grad(loss, (0, 1))(x, w)
    where = mesh(jax, "Auto")
    placed = put(jax, where, x, x_spec), put(jax, where, w, w_spec)
    assert_same(jax.jit(jax.value_and_grad(loss, (0, 1)))(*placed), expected, jax)
    assert_same(jax.value_and_grad(loss, (0, 1))(*placed), expected, jax)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("x_spec", [("a",), (("a", "b"),), (None, None, "b"), ("a", None, "b")])
def test_explicit_axes_keep_the_sharding_of_the_first_operand(jax, x_spec, eager):
    """The result keeps to the batch and positions of x, a cotangent to what it is one of; as lax where lax is right."""
    x, w = arrays(jax)
    where = mesh(jax, "Explicit")
    xs, ws = put(jax, where, x, x_spec), put(jax, where, w, ())
    run = (lambda f: f) if eager else jax.jit
    with jax.set_mesh(where):
        y = run(conv)(xs, ws)
        gx, gw = run(jax.grad(loss, (0, 1)))(xs, ws)
        tangent = run(lambda x, w: jax.jvp(conv, (x, w), (x, w))[1])(xs, ws)
        assert jax.typeof(y) == jax.typeof(jax.lax.conv_general_dilated(xs, ws, (1,), "SAME"))
    assert_same((y, gx, gw, tangent), (conv(x, w), *jax.grad(loss, (0, 1))(x, w), 2 * conv(x, w)), jax)
    assert jax.typeof(gx) == jax.typeof(xs)
    assert jax.typeof(gw) == jax.typeof(ws)
    assert jax.typeof(tangent) == jax.typeof(y)


def test_explicit_axes_go_through_vmap_and_second_order(jax):
    x, w = arrays(jax)
    where = mesh(jax, "Explicit")
    xs, ws = put(jax, where, x, ("a",)), put(jax, where, w, ())
    with jax.set_mesh(where):
        stacked = jax.jit(jax.vmap(conv, (None, 0)))(xs, jax.numpy.stack([ws, -ws]))
        second = jax.jit(jax.jacfwd(jax.grad(loss, 1), 1))(xs, ws)
    assert_same(stacked, jax.numpy.stack([conv(x, w), -conv(x, w)]), jax)
    assert_same(second, jax.jacfwd(jax.grad(loss, 1), 1)(x, w), jax)


@pytest.mark.parametrize("spec", [("a",), ("a", "b"), (), (None, "b")])
def test_out_sharding_is_that_of_the_result(jax, spec):
    x, w = arrays(jax)
    where = mesh(jax, "Explicit")
    xs, ws = put(jax, where, x, ("a",)), put(jax, where, w, ("b",))
    with jax.set_mesh(where):
        y = jax.jit(lambda x, w: conv(x, w, out_sharding=jax.P(*spec)))(xs, ws)
        gw = jax.jit(jax.grad(lambda w: (conv(xs, w, out_sharding=jax.P(*spec)) ** 2).sum()))(ws)
        theirs = jax.lax.conv_general_dilated(xs, ws, (1,), "SAME", out_sharding=jax.P(*spec))
    assert jax.typeof(y) == jax.typeof(theirs)
    assert_same((y, gw), (conv(x, w), jax.grad(loss, 1)(x, w)), jax)


@pytest.mark.parametrize(("x_spec", "w_spec"), [((None, "b"), ()), (("a",), ("b",)), (("a",), (None, "b"))])
def test_explicit_axes_that_leave_the_result_open_are_refused(jax, x_spec, w_spec):
    x, w = arrays(jax)
    where = mesh(jax, "Explicit")
    xs, ws = put(jax, where, x, x_spec), put(jax, where, w, w_spec)
    with jax.set_mesh(where):
        with pytest.raises(Exception, match="out_sharding"):
            jax.lax.conv_general_dilated(xs, ws, (1,), "SAME")
        with pytest.raises(
            TypeError, match="the sharding of the result must be given unless only the batch or positions"
        ):
            conv(xs, ws)
        y = jax.sharding.auto_axes(conv, out_sharding=jax.P("a"))(xs, ws)
    assert_same(y, conv(x, w), jax)


def test_explicit_axes_that_do_not_divide_are_refused(jax):
    x, w = arrays(jax)
    where = mesh(jax, "Explicit")
    xs, ws = put(jax, where, x, (None, None, "b")), put(jax, where, w, ())
    with pytest.raises(TypeError, match="positions of the result must divide among the devices, got 5 for 2 in axis W"):
        triconv.conv1d(xs, ws, padding=[(0, 1)])


def test_an_out_sharding_that_makes_no_sense_is_refused(jax):
    x, w = arrays(jax)
    with pytest.raises(ValueError, match=r"`out_sharding` must be a NamedSharding outside of jax.set_mesh"):
        conv(x, w, out_sharding=jax.P("a"))
    with pytest.raises(TypeError, match="`out_sharding` must be a NamedSharding or a PartitionSpec, got str"):
        conv(x, w, out_sharding="a")
    with jax.set_mesh(mesh(jax, "Auto")):
        with pytest.raises(ValueError, match="`out_sharding` must name explicit axes of the mesh, got 'a'"):
            conv(x, w, out_sharding=jax.P("a"))
        assert_same(conv(x, w, out_sharding=jax.P()), conv(x, w), jax)


def test_every_operator_takes_explicit_axes(jax):
    """With bias, with `triconv.vjp` and `triconv.jvp`, transposed, and a padding mode."""
    x, w = arrays(jax)
    bias = jax.numpy.arange(8.0, dtype=np.float32)
    where = mesh(jax, "Explicit")
    xs, ws, bs = put(jax, where, x, ("a",)), put(jax, where, w, ()), put(jax, where, bias, ())
    y, pullback = triconv.vjp(triconv.conv1d, xs, ws, bs, padding=1, padding_mode="circular")
    expected, theirs = triconv.vjp(triconv.conv1d, x, w, bias, padding=1, padding_mode="circular")
    assert_same((y, pullback(y)), (expected, theirs(expected)), jax)
    assert [*map(jax.typeof, pullback(y))] == [*map(jax.typeof, (xs, ws, bs))]
    tangent = triconv.jvp(triconv.conv_transpose1d, (xs, ws[:4]), (xs, ws[:4]))[1]
    assert_same(tangent, 2 * triconv.conv_transpose1d(x, w[:4]), jax)
    with pytest.raises(TypeError, match="the sharding of the result must be given"):
        triconv.conv_weight_vjp(y, put(jax, where, x, ()), kernel_size=3, padding=1)


LAYERS = {
    "dense": ((8, 8, 16, 12), (8, 8, 3, 3), {"padding": 1}),
    "strided": ((8, 8, 16, 12), (8, 8, 3, 3), {"padding": 1, "stride": 2}),
    "grouped": ((8, 8, 16, 12), (8, 2, 3, 3), {"padding": 1, "groups": 4}),
    "depthwise": ((8, 8, 16, 12), (8, 1, 3, 3), {"padding": 1, "groups": 8}),
}


def contractions(jax, **params):
    def f(x, w, g):
        y, pullback = jax.vjp(lambda x, w: triconv.conv(x, w, **params), x, w)
        return y, *pullback(g)

    return f


@pytest.mark.covering(1)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("spec", [("a",), ("b",), (None, None, "a"), (None, None, None, "b")])
def test_axes_of_a_mesh_that_shard_nothing_change_no_value(jax, spec, layer):
    """Devices that have the same part count once; of lax's, XLA's partitioner adds up some that many times too often."""
    x, w, params = LAYERS[layer]
    f = contractions(jax, **params)
    rng = np.random.default_rng(0)
    x, w = (jax.numpy.asarray(rng.integers(-3, 4, shape).astype(np.float32)) for shape in (x, w))
    g = triconv.conv(x, w, **params)
    where = mesh(jax, "Auto")
    specs = (spec, ("a",) if spec == (None, None, None, "b") else (), spec)
    placed = [put(jax, where, array, s) for array, s in zip((x, w, g), specs, strict=True)]
    assert_same(jax.jit(f)(*placed), f(x, w, g), jax)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("shared", ["batch", "channels"])
def test_no_unfolded_windows_stand_in_memory(jax, shared, layer):
    """Temporary memory on a device where batch or channels are sharded is of the order of its part of the arrays."""
    _, w, params = LAYERS[layer]
    x, grouped = (16, 32, 28, 28), params.get("groups", 1) > 1
    w = (32, {"dense": 32, "strided": 32, "grouped": 8, "depthwise": 1}[layer], 3, 3)
    params = params | ({"groups": 32 // w[1]} if grouped else {})
    x_spec = ("a",) if shared == "batch" else (None, "a")
    w_spec = () if shared == "batch" else ("a",) if grouped else (None, "a")
    g_spec = x_spec if shared == "batch" or grouped else ()
    where = mesh(jax, "Auto")
    place = lambda spec: jax.sharding.NamedSharding(where, jax.P(*spec))  # noqa: E731
    g = jax.eval_shape(lambda x, w: triconv.conv(x, w, **params), *(jax.ShapeDtypeStruct(s, "float32") for s in (x, w)))
    given = [
        jax.ShapeDtypeStruct(shape, "float32", sharding=place(spec))
        for shape, spec in ((x, x_spec), (w, w_spec), (g.shape, g_spec))
    ]
    f = contractions(jax, **params)
    whole = 4 * (np.prod(x) + np.prod(g.shape))
    for number, spec in enumerate((g_spec, x_spec, w_spec)):
        one = lambda x, w, g, number=number: f(x, w, g)[number]  # noqa: E731
        compiled = jax.jit(one, out_shardings=place(spec)).lower(*given).compile()
        share = whole / (4 if g_spec else 1)  # a result that is whole on each device is so before it is summed
        assert compiled.memory_analysis().temp_size_in_bytes < 2.1 * share, number
