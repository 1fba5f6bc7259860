"""Canaries: each internal of JAX that triconv uses is where it was, and does what triconv needs.

A canary that fails names what moved and what triconv needs it for. One file of `src` uses internals, so one file changes.
"""

from __future__ import annotations

import numpy as np
import pytest

from internals import Canaries, users

pytestmark = pytest.mark.versions
HOME = "autodiff/jax_primitives.py"
canaries = Canaries()
about = canaries.about


@pytest.mark.once
def test_one_file_uses_what_is_internal_to_jax():
    assert set(users("jax")) == {HOME}


def test_every_internal_of_jax_that_is_used_has_a_canary():
    used = users("jax")[HOME]
    assert len(used) > 10
    assert used - set(canaries) == set()


def product(name="canary"):
    """A bilinear primitive, ``a * b``, registered as the contractions are; of as many axes as there are."""
    from jax.core import ShapedArray
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    primitive = Primitive(name)
    primitive.def_impl(lambda a, b, **params: a * b)
    primitive.def_abstract_eval(lambda a, b, **params: ShapedArray(a.shape, a.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(lambda a, b, **params: a * b, multiple_results=False))
    return primitive


def contexts_of_lowering(jax, run, see=lambda context: context):
    """The contexts that the lowering rule of a primitive is given, or what it sees; `run` takes the primitive as a function."""
    from jax.extend.core import Primitive
    from jax.interpreters import mlir

    contexts, primitive = [], Primitive("canary")
    primitive.def_abstract_eval(lambda a: a)

    def lowering(context, a):
        contexts.append(see(context))
        return [a]

    mlir.register_lowering(primitive, lowering, cacheable=False)
    run(primitive.bind)
    assert contexts
    return contexts


@about("jax.extend.core.Primitive", "the contractions, as operations that every transform of JAX sees")
def _(jax):
    primitive = product("triconv_canary")
    a, b = np.ones(3), np.full(3, 2.0)
    assert primitive.name == "triconv_canary"
    np.testing.assert_array_equal(primitive.bind(a, b, mode="eager"), [2, 2, 2])
    (equation,) = jax.make_jaxpr(lambda a, b: primitive.bind(a, b, mode="traced"))(a, b).eqns
    assert equation.primitive is primitive
    assert equation.params == {"mode": "traced"}
    np.testing.assert_array_equal(jax.jit(primitive.bind)(a, b), [2, 2, 2])


@about("jax.core.ShapedArray", "the shape, dtype and sharding of a contraction's result")
def _(jax):
    from jax.core import ShapedArray
    from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

    aval = jax.typeof(jax.numpy.ones((2, 3)))
    assert isinstance(aval, ShapedArray)
    assert aval.sharding.mesh.empty
    assert (ShapedArray((4,), np.dtype("f4")).shape, ShapedArray((4,), np.dtype("f4")).dtype) == ((4,), np.dtype("f4"))
    sharding = NamedSharding(AbstractMesh((2,), ("a",), (AxisType.Explicit,)), PartitionSpec(None))
    sharded = ShapedArray((4,), np.dtype("f4"), sharding=sharding, manual_axis_type=aval.manual_axis_type)
    assert not sharded.sharding.mesh.empty


@about("jax.core.ShapedArray.manual_axis_type", "the mesh axes over which an operand varies inside of jax.shard_map")
def _(jax):
    mesh = jax.make_mesh((len(jax.devices()),), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
    seen = []

    def local(x, w):
        seen.extend(jax.typeof(a).manual_axis_type.varying for a in (x, w))
        cast = jax.lax.pcast(w, ("a",), to="varying")
        seen.append(jax.typeof(cast).manual_axis_type.varying)
        seen.append(jax.make_jaxpr(lambda x: 2 * x)(x).out_avals[0].manual_axis_type.varying)
        return x * cast

    x, w = np.ones(len(jax.devices())), np.ones(1)
    mapped = jax.shard_map(local, mesh=mesh, in_specs=(jax.P("a"), jax.P()), out_specs=jax.P("a"))
    _, pullback = jax.vjp(mapped, x, w)
    assert [set(varying) for varying in seen[:4]] == [{"a"}, set(), {"a"}, {"a"}]
    # the transpose of the cast adds up over the devices
    np.testing.assert_array_equal(pullback(jax.numpy.asarray(x))[1], [len(jax.devices())])


@about("jax.interpreters.ad.defbilinear", "the derivatives of the contractions, to any order")
def _(jax):
    from jax.interpreters import ad

    primitive, dtypes = product(), []

    def first(ct, a, b, **params):
        dtypes.append(a.aval.dtype)
        return primitive.bind(ct, b, **params)

    def second(ct, a, b, **params):
        dtypes.append(b.aval.dtype)
        return primitive.bind(a, ct, **params)

    ad.defbilinear(primitive, first, second)
    f = lambda a, b: primitive.bind(a, b, mode="same")  # noqa: E731
    a, b = jax.numpy.asarray([2.0, 3.0]), jax.numpy.asarray([5.0, 7.0])
    ga, gb = jax.vjp(f, a, b)[1](jax.numpy.ones(2))
    np.testing.assert_array_equal(ga, b)
    np.testing.assert_array_equal(gb, a)
    assert set(dtypes) == {a.dtype}
    np.testing.assert_array_equal(jax.jvp(f, (a, b), (b, a))[1], b * b + a * a)
    twice = jax.grad(lambda a: jax.grad(lambda a: f(a, a).sum())(a).sum())(a)
    np.testing.assert_array_equal(twice, [2, 2])


@about("jax.interpreters.ad.deflinear2", "the derivatives of padding modes, each the transpose of another primitive")
def _(jax):
    from jax.core import ShapedArray
    from jax.extend.core import Primitive
    from jax.interpreters import ad

    primitive = Primitive("canary")
    primitive.def_impl(lambda a, factor: factor * a)
    primitive.def_abstract_eval(lambda a, factor: ShapedArray(a.shape, a.dtype))
    ad.deflinear2(primitive, lambda ct, _, **params: [primitive.bind(ct, **params)])
    f = lambda a: primitive.bind(a, factor=3.0)  # noqa: E731
    a = jax.numpy.asarray([2.0, 3.0])
    np.testing.assert_array_equal(jax.vjp(f, a)[1](a)[0], 3 * a)
    np.testing.assert_array_equal(jax.jvp(f, (a,), (a,))[1], 3 * a)


@about("jax.interpreters.batching.primitive_batchers", "vmap of a contraction, which folds the batch into a letter")
def _(jax):
    from jax.interpreters import batching

    primitive, seen = product(), []

    def batch(operands, axes, **params):
        seen.append((axes, params))
        a, b = operands
        return primitive.bind(a, jax.numpy.broadcast_to(b, a.shape), **params), axes[0]

    batching.primitive_batchers[primitive] = batch
    result = jax.vmap(lambda a, b: primitive.bind(a, b, mode="same"), (0, None))(np.ones((2, 3)), np.full(3, 2.0))
    np.testing.assert_array_equal(result, np.full((2, 3), 2.0))
    assert seen == [((0, None), {"mode": "same"})]


@about("jax.experimental.jet.jet_rules", "Taylor mode of the contractions")
def _(jax):
    from jax.experimental import jet

    primitive = product()

    def taylor(primals, series, **params):
        (a, b), ((a1,), (b1,)) = primals, series
        return a * b, [a1 * b + a * b1]

    jet.jet_rules[primitive] = taylor
    primal, (first,) = jet.jet(lambda a, b: primitive.bind(a, b), (2.0, 3.0), ([5.0], [7.0]))
    assert (primal, first) == (6, 5 * 3 + 2 * 7)


@about("jax.experimental.jet.deflinear", "Taylor mode of the padding modes")
def _(jax):
    from jax.experimental import jet
    from jax.extend.core import Primitive

    primitive = Primitive("canary")
    primitive.def_impl(lambda a: 3 * a)
    primitive.def_abstract_eval(lambda a: a)
    jet.deflinear(primitive)
    primal, (first,) = jet.jet(primitive.bind, (jax.numpy.float32(2),), ([jax.numpy.float32(5)],))
    assert (primal, first) == (6, 15)


@about("jax._src.checkify.error_checks", "jax.experimental.checkify, which finds the rule of a primitive there")
@about("jax._src.checkify.nan_error_check", "jax.experimental.checkify, to name the contraction that makes a NaN")
def _(jax):
    import functools

    from jax._src import checkify as internal
    from jax.experimental import checkify

    primitive = product("triconv_canary")
    assert isinstance(internal.error_checks, dict)
    internal.error_checks[primitive] = functools.partial(internal.nan_error_check, primitive)
    checked = checkify.checkify(lambda a, b: primitive.bind(a, b), errors=checkify.nan_checks)
    assert checked(jax.numpy.ones(1), jax.numpy.ones(1))[0].get() is None
    assert "triconv_canary" in checked(jax.numpy.zeros(1), jax.numpy.full(1, np.inf))[0].get()


@about("jax.interpreters.mlir.lower_fun", "a contraction's program, which is lowered from its kernel")
@about("jax.interpreters.mlir.register_lowering", "a contraction's program: JAX calls the rule that is registered")
def _(jax):
    primitive = product()
    text = jax.jit(lambda a, b: primitive.bind(a, b, mode="same")).lower(np.ones(3), np.ones(3)).as_text()
    assert "stablehlo.multiply" in text


@about("jax.interpreters.mlir.ModuleContext.lowering_parameters", "whether a program is exported, which has no layouts")
def _(jax):
    import jax.export

    def run(f):
        jax.jit(f).lower(np.ones(8))
        jax.export.export(jax.jit(f))(np.ones(8))

    contexts = contexts_of_lowering(jax, run)
    assert [context.module_context.lowering_parameters.for_export for context in contexts] == [False, True]


@about("jax._src.lib.mlir.ir.DictAttr.get", "the mark on a kernel's call that XLA is not to merge with what is around")
@about("jax._src.lib.mlir.ir.StringAttr.get", "the same")
def _(jax):
    from jax._src.lib.mlir import ir
    from jax.interpreters import mlir

    primitive, inner = product(), jax.jit(lambda a, b: a * b)
    lower = mlir.lower_fun(lambda a, b: inner(a, b).T, multiple_results=False)

    def lowering(context, *operands):
        results = lower(context, *operands)
        call = results[0].owner.operands[0].owner
        assert call.name == "func.call"
        call.attributes["mhlo.frontend_attributes"] = ir.DictAttr.get({"inlineable": ir.StringAttr.get("false")})
        return results

    mlir.register_lowering(primitive, lowering)
    program = jax.jit(lambda a, b: primitive.bind(a + 1, b)).lower(np.ones((3, 3)), np.ones((3, 3))).compile().as_text()
    if jax.default_backend() == "cpu":
        assert " call(" in program


@about(
    "jax._src.lib.mlir.ir.InsertionPoint.current.block.owner",
    "whether a contraction stands in the outermost function of a program, whose arrays XLA brings in order",
)
def _(jax):
    from jax._src.lib.mlir import ir

    def is_outermost(_):
        around = ir.InsertionPoint.current.block.owner
        return around.operation.name == "func.func" and around.name.value == "main"

    def run(bind):
        jax.jit(bind).lower(1.0)
        jax.jit(lambda a: jax.lax.cond(a > 0, bind, lambda a: a, a)).lower(1.0)

    assert contexts_of_lowering(jax, run, is_outermost) == [True, False]


@about("jax.interpreters.mlir.LoweringRuleContext", "the module that is compiled, which the lowering rule is told")
@about("jax.interpreters.mlir.ModuleContext", "the kind of device that a contraction is planned for")
def _(jax):
    from jax.interpreters import mlir

    def run(f):
        jax.jit(f).lower(np.ones(8))
        jax.jit(f).trace(np.ones(8)).lower(lowering_platforms=("cuda",))

    contexts = contexts_of_lowering(jax, run)
    assert all(isinstance(context, mlir.LoweringRuleContext) for context in contexts)
    assert all(isinstance(context.module_context, mlir.ModuleContext) for context in contexts)
    assert [tuple(context.module_context.platforms) for context in contexts] == [(jax.default_backend(),), ("cuda",)]


@about("jax.interpreters.mlir.ModuleContext.axis_context", "whether the compiler may partition a program, and how")
def _(jax):
    if len(jax.devices()) < 8:
        pytest.skip("needs eight devices")
    mesh = jax.make_mesh((4, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
    sharding, spec = jax.sharding.NamedSharding(mesh, jax.P("a")), jax.P("a")

    def run(f):
        jax.jit(f).lower(np.ones(8))
        jax.jit(f, in_shardings=sharding).lower(np.ones(8))
        for names in ({"a"}, {"a", "b"}):
            mapped = jax.shard_map(f, mesh=mesh, in_specs=spec, out_specs=spec, axis_names=names, check_vma=False)
            jax.jit(mapped).lower(np.ones(8))

    one, several, some, every = (context.module_context.axis_context for context in contexts_of_lowering(jax, run))
    assert (one.num_devices or 1, several.num_devices) == (1, 8)
    assert not hasattr(one, "manual_axes")
    assert not hasattr(several, "manual_axes")
    assert (set(some.manual_axes), set(every.manual_axes)) == ({"a"}, {"a", "b"})
    assert set(some.mesh.axis_names) == set(every.mesh.axis_names) == {"a", "b"}


@about("jax.extend.core.primitives", "the primitives of JAX, whose batching rules the checker need not ask for")
def _(jax):
    from jax.extend.core import primitives

    program = jax.make_jaxpr(lambda a: jax.numpy.sin(a) @ a)(np.ones((2, 2)))
    known = list(vars(primitives).values())
    assert all(any(equation.primitive is one for one in known) for equation in program.eqns)
    assert not any(product() is one for one in known)


@about("jax.config.jax_default_matmul_precision", "precision='default', which is read when a contraction is traced")
def _(jax):
    with jax.default_matmul_precision("tensorfloat32"):
        assert jax.config.jax_default_matmul_precision == "tensorfloat32"
    assert jax.config.jax_default_matmul_precision is None


@about("jax.config.jax_disable_jit", "eager primitives, which run step by step where JAX is told to")
def _(jax):
    assert jax.config.jax_disable_jit is False
    with jax.disable_jit():
        assert jax.config.jax_disable_jit is True


@pytest.mark.optimized  # Taylor mode of JAX has factorials by exp and lgamma: exact if optimized
@pytest.mark.parametrize("internal", canaries)
def test_canary(jax, internal):
    canaries.run(internal, jax)
