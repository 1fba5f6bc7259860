"""Every JAX transform: the same program with lax's convolution and with ours, equal bit for bit on integers."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import triconv

pytestmark = pytest.mark.versions
PARAMS = {"window_strides": (2, 1), "padding": [(1, 2), (0, -1)], "rhs_dilation": (1, 2), "feature_group_count": 2}
X, W = (2, 4, 6, 7), (6, 2, 3, 2)


def arrays(jax):
    rng = np.random.default_rng(0)
    return [jax.numpy.asarray(rng.integers(-3, 4, shape).astype(np.float32)) for shape in (X, W)]


def convolutions(jax):
    """Ours and theirs."""
    return [functools.partial(f, **PARAMS) for f in (triconv.jax.conv_general_dilated, jax.lax.conv_general_dilated)]


def assert_same(left, right, jax):
    for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(a, b)


PROGRAMS = {}


def program(function):
    PROGRAMS[function.__name__] = function
    return function


def loss(conv):
    return lambda x, w: (conv(x, w) ** 2).sum()


@program
def jit(jax, conv, x, w):
    return jax.jit(conv)(x, w)


@program
def grad(jax, conv, x, w):
    return jax.grad(loss(conv), (0, 1))(x, w)


@program
def value_and_grad(jax, conv, x, w):
    return jax.jit(jax.value_and_grad(loss(conv), (0, 1)))(x, w)


@program
def jvp(jax, conv, x, w):
    return jax.jvp(conv, (x, w), (-x, 2 * w))


@program
def vjp(jax, conv, x, w):
    y, pullback = jax.vjp(conv, x, w)
    return y, pullback(y)


@program
def linearize(jax, conv, x, w):
    y, tangent = jax.linearize(conv, x, w)
    return y, tangent(-x, 2 * w), tangent(x, w)


@program
def linear_transpose(jax, conv, x, w):
    return jax.linear_transpose(lambda x: conv(x, w), x)(conv(x, w))


@program
def jacfwd_jacrev(jax, conv, x, w):
    f = jax.jit(lambda s: conv(x * s, w * s * s).sum(0))
    s = jax.numpy.float32(2)
    return jax.jacfwd(f)(s), jax.jacrev(f)(s)


@program
def jacrev_of_array(jax, conv, x, w):
    return jax.jit(jax.jacrev(lambda w: conv(x, w)[0, :, 0, 0]))(w)


@program
def hessian(jax, conv, x, w):
    return jax.jit(jax.hessian(lambda w: loss(conv)(x[:1], w)))(w)


@program
def second_order_mixed(jax, conv, x, w):
    return jax.jit(jax.jacrev(jax.grad(loss(conv), 1), 0))(x[:1, :, :3, :4], w)


@program
def third_order(jax, conv, x, w):
    return jax.grad(jax.grad(jax.grad(lambda s: loss(conv)(x * s, w * s))))(jax.numpy.float32(1))


@program
def forward_over_forward(jax, conv, x, w):
    return jax.jacfwd(jax.jacfwd(lambda s, t: loss(conv)(x * s, w * t)), 1)(jax.numpy.float32(1), jax.numpy.float32(2))


@program
def vmap_in_every_position(jax, conv, x, w):
    results = []
    for bx in (None, 0, 2, 4, -1):
        for bw in (None, 0, 1, 3, -2):
            if (bx, bw) != (None, None):
                xs = x if bx is None else jax.numpy.stack([x, -x, 2 * x], bx)
                ws = w if bw is None else jax.numpy.stack([w, 2 * w, -w], bw)
                results.append(jax.vmap(conv, (bx, bw), out_axes=1)(xs, ws))
    return results


@program
def per_sample_gradients(jax, conv, x, w):
    return jax.jit(jax.vmap(jax.grad(loss(conv), (0, 1)), (0, None)))(x[:, None], w)


@program
def vmap_with_spmd_axis_name(jax, conv, x, w):
    mesh = jax.make_mesh((2,), ("batch",), axis_types=(jax.sharding.AxisType.Auto,))
    with jax.set_mesh(mesh):
        return jax.jit(jax.vmap(jax.grad(loss(conv), 1), (0, None), spmd_axis_name="batch"))(x[:, None], w)


@program
def vmap_of_hessian_vector(jax, conv, x, w):
    def product(x, v):
        return jax.jvp(lambda w: jax.grad(loss(conv), 1)(x, w), (w,), (v,))[1]

    return jax.jit(jax.vmap(product))(jax.numpy.stack([x, 2 * x]), jax.numpy.stack([w, -w]))


@program
def checkpoint(jax, conv, x, w):
    f = jax.checkpoint(lambda x, w: jax.numpy.sin(conv(x, w)).astype(int).sum() + conv(x, w).sum())
    return jax.jit(jax.grad(f, (0, 1)))(x, w)


@program
def checkpoint_with_a_policy(jax, conv, x, w):
    from jax.ad_checkpoint import checkpoint_name as name

    policies = jax.checkpoint_policies
    f = jax.checkpoint(lambda x, w: (name(conv(x, w), "y") ** 2).sum(), policy=policies.save_only_these_names("y"))
    return jax.grad(f, (0, 1))(x, w)


@program
def scan(jax, conv, x, w):
    def step(carry, w):
        return carry + conv(x, w), carry.sum()

    def f(ws):
        return jax.lax.scan(step, 0 * conv(x, w), ws)[0].sum()

    return jax.jit(jax.value_and_grad(f))(jax.numpy.stack([w, 2 * w, -w]))


@program
def while_loop(jax, conv, x, w):
    def f(w):
        return jax.lax.while_loop(lambda c: c[0] < 3, lambda c: (c[0] + 1, c[1] + conv(x, w)), (0, conv(x, w)))[1]

    return f(w), jax.jvp(f, (w,), (2 * w,))


@program
def cond(jax, conv, x, w):
    def f(flag, w):
        return jax.lax.cond(flag, lambda w: loss(conv)(x, w), lambda w: loss(conv)(2 * x, w), w)

    return jax.jit(jax.vmap(jax.grad(f, 1), (0, None)))(jax.numpy.asarray([True, False]), w)


@program
def custom_vjp_around(jax, conv, x, w):
    @jax.custom_vjp
    def f(x, w):
        return conv(x, w)

    def forward(x, w):
        return jax.vjp(conv, x, w)

    def backward(pullback, g):
        return tuple(2 * ct for ct in pullback(g))

    f.defvjp(forward, backward)
    return jax.grad(loss(f), (0, 1))(x, w)


@program
def custom_jvp_around(jax, conv, x, w):
    f = jax.custom_jvp(conv)
    f.defjvp(lambda primals, tangents: jax.jvp(conv, primals, tangents))
    return jax.grad(loss(f), (0, 1))(x, w)


@program
def eval_shape(jax, conv, x, w):
    shape = jax.eval_shape(jax.grad(loss(conv), 1), x, w)
    return jax.numpy.zeros(shape.shape, shape.dtype)


@program
def make_jaxpr_and_eval(jax, conv, x, w):
    closed = jax.make_jaxpr(jax.grad(loss(conv), (0, 1)))(x, w)
    return jax.core.eval_jaxpr(closed.jaxpr, closed.consts, x, w)


@program
def ahead_of_time(jax, conv, x, w):
    return jax.jit(jax.grad(loss(conv), (0, 1))).lower(x, w).compile()(x, w)


@program
def export_and_reload(jax, conv, x, w):
    exported = jax.export.export(jax.jit(jax.value_and_grad(loss(conv), 1)))(x, w)
    return jax.export.deserialize(exported.serialize()).call(x, w)


@program
def export_and_differentiate(jax, conv, x, w):
    exported = jax.export.export(jax.jit(loss(conv)))(x, w)
    reloaded = jax.export.deserialize(exported.serialize(vjp_order=1))
    return jax.grad(reloaded.call, (0, 1))(x, w)


@program
def export_with_a_symbolic_batch(jax, conv, x, w):
    (n,) = jax.export.symbolic_shape("n")
    exported = jax.export.export(jax.jit(jax.grad(loss(conv), 1)))(jax.ShapeDtypeStruct((n, *X[1:]), x.dtype), w)
    return exported.call(x, w), exported.call(x[:1], w)


@program
def donation(jax, conv, x, w):
    step = jax.jit(lambda w, x: w - jax.grad(loss(conv), 1)(x, w), donate_argnums=0)
    return step(w.copy(), x)


@program
def disabled_jit(jax, conv, x, w):
    with jax.disable_jit():
        return jax.grad(loss(conv), (0, 1))(x, w)


@program
def hoisted_constants_and_dead_code(jax, conv, x, w):
    return jax.jit(lambda x: jax.vjp(conv, x, w)[1](conv(x, w))[0])(x)


@program
def taylor_mode(jax, conv, x, w):
    from jax.experimental.jet import jet

    first = jet(conv, (x, w), ((-x, x), (2 * w, -w)))
    return first, jax.jit(lambda x, w: jet(lambda x: conv(x, w), (x,), ((2 * x, -x),)))(x, w)


@program
def taylor_mode_of_the_gradient(jax, conv, x, w):
    from jax.experimental.jet import jet

    return jet(lambda x: jax.vjp(lambda x, w: conv(x, w), x, w)[1](conv(x, w)), (x,), ((x, -x),))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_the_same_with_laxs_convolution(jax, name):
    import jax.export

    x, w = arrays(jax)
    ours, theirs = (PROGRAMS[name](jax, conv, x, w) for conv in convolutions(jax))
    assert_same(ours, theirs, jax)


def test_debug_nans_names_the_convolution(jax):
    x, w = arrays(jax)
    with jax.debug_nans(True), pytest.raises(FloatingPointError):
        triconv.jax.conv_general_dilated(x * np.nan, w, **PARAMS)


@pytest.mark.parametrize("jit", [True, False])
def test_checkify_sees_a_nan_that_a_convolution_makes(jax, jit):
    from jax.experimental import checkify

    x, w = arrays(jax)
    conv, _ = convolutions(jax)
    infinite, right = x.at[0, 0, 3, 3].set(np.inf), (x, w)
    run = jax.jit if jit else lambda f: f
    check = run(checkify.checkify(conv, errors=checkify.float_checks))
    assert check(*right)[0].get() is None
    assert "nan generated by primitive: triconv_conv." in check(infinite, 0 * w)[0].get()
    gradient = run(checkify.checkify(jax.grad(loss(conv), 1), errors=checkify.float_checks))
    assert gradient(*right)[0].get() is None
    assert "nan generated by primitive: triconv_conv" in gradient(infinite, w)[0].get()


def test_taylor_mode_goes_through_a_padding_mode(jax):
    from jax.experimental.jet import jet

    x, w = (jax.numpy.asarray(np.arange(6, dtype=np.float32).reshape(shape)) for shape in ((1, 1, 6), (1, 2, 3)))
    x = jax.numpy.concatenate([x, -x], 1)
    conv = functools.partial(triconv.conv1d, padding=1, padding_mode="circular")
    _, (first, second) = jet(lambda x: conv(x, w), (x,), ((2 * x, 3 * x),))
    np.testing.assert_array_equal(first, conv(2 * x, w))
    np.testing.assert_array_equal(second, conv(3 * x, w))


def equations(jaxpr):
    """All equations, those of nested programs too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from equations(inner)


def test_the_derivative_of_a_weight_vjp_by_its_input_is_an_input_vjp(jax):
    """Not a convolution with an image-sized kernel, which is what lax makes of it."""
    x, w = arrays(jax)
    g = triconv.jax.conv_general_dilated(x, w, **PARAMS)

    def second(x, v):
        def weight_vjp(x):
            return jax.vjp(lambda w: triconv.jax.conv_general_dilated(x, w, **PARAMS), w)[1](g)[0]

        return jax.vjp(weight_vjp, x)[1](v)[0]

    jaxpr = jax.make_jaxpr(second)(x, w).jaxpr
    found = [equation for equation in equations(jaxpr) if equation.primitive.name.startswith(("conv", "triconv"))]
    names = {equation.primitive.name for equation in found}
    assert "triconv_conv_input_vjp" in names
    assert "conv_general_dilated" not in names
    (geometry,) = {equation.params["geometry"] for equation in found if "geometry" in equation.params}
    assert geometry.kernel_size == W[2:]
