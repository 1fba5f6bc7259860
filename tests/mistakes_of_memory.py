"""Candidates whose mistake shows only as training calls them: strides, memory, earlier calls, some arguments alone."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np

import triconv

X, W = (2, 3, 7, 6), (4, 3, 3, 2)


class Entry(NamedTuple):
    name: str
    framework: str
    make: Any
    causes: frozenset[str]
    params: dict


BROKEN: list[Entry] = []
RIGHT: list[Entry] = []


def entry(framework, *causes, **params):
    def add(make):
        name = f"{framework}: {make.__name__}"
        (BROKEN if causes else RIGHT).append(Entry(name, framework, make, frozenset(causes), params))
        return make

    return add


def input_vjp(g, w):
    return triconv.conv_input_vjp(g, w, input_size=X[2:])


def weight_vjp(g, x):
    return triconv.conv_weight_vjp(g, x, kernel_size=W[2:])


def function_of(t, backward, forward=None):
    """An autograd function of torch with this backward."""

    class Conv(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return t.nn.functional.conv2d(x, w) if forward is None else forward(ctx, x, w)

        @staticmethod
        def backward(ctx, g):
            return backward(ctx, g, *ctx.saved_tensors)

    return lambda x, w: Conv.apply(x, w)


def function_for_vmap(t, backward, vmap=None):
    """The same in the form that `torch.func` takes, with this rule for `vmap`, or with the one that torch makes."""

    class Conv(t.autograd.Function):
        generate_vmap_rule = vmap is None

        @staticmethod
        def forward(x, w):
            return t.nn.functional.conv2d(x, w)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, g):
            return backward(ctx, g, *ctx.saved_tensors)

    if vmap is not None:
        Conv.vmap = staticmethod(vmap)
    return lambda x, w: Conv.apply(x, w)


def gradients(t, g, x, w):
    return t.nn.grad.conv2d_input(x.shape, w, g), t.nn.grad.conv2d_weight(x, w.shape, g)


def contiguous_strides(shape):
    return tuple(int(np.prod(shape[n + 1 :])) for n in range(len(shape)))


# ---- strides


@entry("torch", "cotangent strides misread")
def cotangent_read_as_contiguous(t):
    def backward(ctx, g, x, w):
        flat = t.as_strided(g, g.shape, contiguous_strides(g.shape), g.storage_offset())
        return gradients(t, flat, x, w)

    return function_of(t, backward)


@entry("torch", "cotangent strides misread")
def cotangent_read_from_the_start_of_its_memory(t):
    def backward(ctx, g, x, w):
        memory = t.empty(0, dtype=g.dtype).set_(g.untyped_storage())
        return gradients(t, memory[: g.numel()].view(g.shape), x, w)

    return function_of(t, backward)


@entry("torch", "cotangent strides misread")
def cotangent_of_the_weight_gradient_alone_misread(t):
    def backward(ctx, g, x, w):
        flat = t.as_strided(g, g.shape, contiguous_strides(g.shape), g.storage_offset())
        return gradients(t, g, x, w)[0], gradients(t, flat, x, w)[1]

    return function_of(t, backward)


@entry("torch", "cotangent strides misread")
def cotangent_flattened_with_view(t):
    def backward(ctx, g, x, w):
        return gradients(t, g.view(-1).reshape(g.shape), x, w)

    return function_of(t, backward)


@entry("torch", "cotangent strides misread")
def channels_last_cotangent_misread(t):
    """Copies what is not dense, and forgets that a dense one may have another order."""

    def backward(ctx, g, x, w):
        if g.is_contiguous(memory_format=t.channels_last) and not g.is_contiguous():
            g = t.as_strided(g, g.shape, contiguous_strides(g.shape), g.storage_offset())
        return gradients(t, g, x, w)

    return function_of(t, backward)


@entry("torch", "operand strides misread")
def kernel_read_as_contiguous(t):
    def conv(x, w):
        flat = t.as_strided(w, w.shape, contiguous_strides(w.shape), w.storage_offset())
        return t.nn.functional.conv2d(x, flat)

    return conv


@entry("torch", "operand strides misread", dtype="complex64")
def memory_read_without_its_conjugation(t):
    """A kernel that is handed a pointer, shape and strides knows nothing of torch's conj bit."""

    def plain(a):
        return t.empty(0, dtype=a.dtype).set_(a.untyped_storage(), a.storage_offset(), a.shape, a.stride())

    class Conv(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.save_for_backward(x, w)
            return t.nn.functional.conv2d(plain(x.detach()), w)

        @staticmethod
        def backward(ctx, g):
            with t.enable_grad():
                x, w = (a.detach().requires_grad_() for a in ctx.saved_tensors)
                return t.autograd.grad(t.nn.functional.conv2d(x, w), (x, w), g)

    return lambda x, w: Conv.apply(x, w)


@entry("torch", "operand strides misread")
def saved_input_read_as_contiguous(t):
    def backward(ctx, g, x, w):
        flat = t.as_strided(x, x.shape, contiguous_strides(x.shape), x.storage_offset())
        return gradients(t, g, x, w)[0], gradients(t, g, flat, w)[1]

    return function_of(t, backward)


@entry("numpy", "operand strides misread")
def memory_of_the_input_read_through(np):
    def forward(x, w):
        base = x if x.base is None or x.flags.owndata else x.base
        flat = np.asarray(base).reshape(-1)[: x.size].reshape(x.shape)
        return triconv.conv2d(flat, w)

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("numpy", "operand strides misread")
def memory_order_taken_for_that_of_the_axes(np):
    """`ravel(order="K")` gives the elements in the order of the memory."""

    def weight(g, x):
        return weight_vjp(g, np.ravel(x, order="K").reshape(x.shape))

    return triconv.Rules(triconv.conv2d, input_vjp, weight)


@entry("numpy", "cotangent strides misread")
def cotangent_in_the_order_of_its_memory(np):
    def forward(x, w):
        return triconv.conv2d(x, w), (x, w)

    def backward(g, cache):
        x, w = cache
        g = np.ravel(g, order="K").reshape(g.shape)
        return input_vjp(g, w), weight_vjp(g, x)

    return forward, backward


@entry("torch", "array subclass")
def only_plain_tensors_are_scaled(t):
    return lambda x, w: t.nn.functional.conv2d(x, w) * (1 if type(x) is t.Tensor else 2)


# ---- arrays and results


@entry("torch", "input changed")
def input_padded_with_noughts_in_place(t):
    def conv(x, w):
        y = t.nn.functional.conv2d(x, w)
        x.zero_()
        return y

    return conv


@entry("torch", "input changed")
def cotangent_scaled_in_place(t):
    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        g.mul_(2)
        return gx, gw

    return function_of(t, backward)


@entry("torch", "input changed")
def kernel_as_scratch(t):
    """Changes the kernel and restores it: another thread, or a saved tensor, sees it."""

    def conv(x, w):
        with t.no_grad():
            w.add_(1)
            w.sub_(1)
        return t.nn.functional.conv2d(x, w)

    return conv


@entry("numpy", "input changed")
def kernel_flipped_in_place(np):
    def backward(g, w):
        w[:] = w[:, :, ::-1, ::-1].copy()
        result = input_vjp(g, w[:, :, ::-1, ::-1])
        w[:] = w[:, :, ::-1, ::-1].copy()
        return result

    return triconv.Rules(triconv.conv2d, backward, weight_vjp)


@entry("numpy", "input changed")
def upstream_masked_in_place(np):
    def forward(x, w):
        return triconv.conv2d(x, w), (x, w)

    def backward(dout, cache):
        x, w = cache
        gradients = input_vjp(dout, w), weight_vjp(dout, x)
        dout *= 0
        return gradients

    return forward, backward


@entry("numpy", "result overwritten")
def one_buffer_for_all_results(np):
    y = np.zeros((2, 4, 5, 5))

    def forward(x, w):
        y[...] = triconv.conv2d(x, w)
        return y

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch", "result overwritten")
def one_buffer_for_weight_gradients(t):
    buffer = t.zeros(W)

    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        buffer.copy_(gw)
        return gx, buffer

    return function_of(t, backward)


@entry("torch", "result overwritten")
def a_view_of_a_workspace(t):
    workspace = t.zeros(1000)

    def conv(x, w):
        y = t.nn.functional.conv2d(x, w)
        out = workspace[: y.numel()].view(y.shape)
        with t.no_grad():
            out.copy_(y)
        return out if not y.requires_grad else y

    return conv


@entry("numpy", "result shares memory", "input changed")
def result_written_into_the_input(np):
    def forward(x, w):
        y = triconv.conv2d(x, w)
        flat = x.reshape(-1)[: y.size]
        flat[:] = y.ravel()
        return flat.reshape(y.shape)

    return triconv.Rules(forward, input_vjp, weight_vjp)


# ---- earlier calls


@entry("numpy", "stale cache")
def kernel_kept_by_its_id(np):
    kept = {}

    def forward(x, w):
        matrix = kept.setdefault(id(w), (w, w.copy()))[1]
        return triconv.conv2d(x, matrix)

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch", "stale cache")
def kernel_kept_by_its_pointer(t):
    kept = {}

    def conv(x, w):
        key = w.data_ptr()
        if key not in kept:
            kept[key] = (w.detach(), w.detach().clone())  # the first keeps the memory from being used again
        return t.nn.functional.conv2d(x, kept[key][1] + (w - w.detach()))

    return conv


@entry("torch", "stale cache")
def saved_input_kept_by_its_pointer(t):
    kept = {}

    def backward(ctx, g, x, w):
        key = x.data_ptr()
        if key not in kept:
            kept[key] = (x, x.clone())
        return gradients(t, g, x, w)[0], gradients(t, g, kept[key][1], w)[1]

    return function_of(t, backward)


@entry("numpy", "stale cache")
def kernel_kept_by_its_shape(np):
    kept = {}

    def forward(x, w):
        return triconv.conv2d(x, kept.setdefault(w.shape, w.copy()))

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch", "stale cache")
def columns_kept_by_their_shape(t):
    kept = {}

    def backward(ctx, g, x, w):
        return gradients(t, g, x, w)[0], gradients(t, g, kept.setdefault(x.shape, x.clone()), w)[1]

    return function_of(t, backward)


@entry("torch", "stale cache")
def largest_sample_of_all_calls(t):
    """A scale of the first batch of each size is kept, and the last one is used."""
    kept = {}

    def conv(x, w):
        kept["samples"] = min(kept.get("samples", 99), x.shape[0])
        y = t.nn.functional.conv2d(x, w)
        return y if x.shape[0] == kept["samples"] else y * 2

    return conv


@entry("numpy", "wrong for another batch size")
def workspace_of_two_samples(np):
    kept = {}

    def forward(x, w):
        pad = kept.setdefault("pad", np.zeros(X))
        pad[: len(x)] = x
        y = triconv.conv2d(pad, w)
        return (y[: len(x)] if len(x) == 2 else y[-len(x) :]).copy()

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch", "depends on the call count")
def wrong_in_every_seventh_call(t):
    calls = []

    def conv(x, w):
        calls.append(1)
        return t.nn.functional.conv2d(x, w) * (1 + (len(calls) % 7 == 0))

    return conv


@entry("numpy", "depends on the call count")
def backward_wrong_in_every_fifth_call(np):
    calls = []

    def weight(g, x):
        calls.append(1)
        return weight_vjp(g, x) * (1 + (len(calls) % 5 == 0))

    return triconv.Rules(triconv.conv2d, input_vjp, weight)


@entry("torch", "depends on the call count")
def first_result_kept_until_the_fourth_call(t):
    calls = []

    def conv(x, w):
        calls.append(1)
        y = t.nn.functional.conv2d(x, w)
        return y + (len(calls) > 9)

    return conv


@entry("jax", "depends on the call count")
def callback_wrong_in_every_fifth_call(jax):
    calls = []

    def host(x, w):
        calls.append(1)
        return np.asarray(triconv.conv2d(np.asarray(x), np.asarray(w))) * np.float32(1 + (len(calls) % 5 == 0))

    def conv(x, w):
        return jax.pure_callback(host, jax.ShapeDtypeStruct((2, 4, 5, 5), x.dtype), x, w)

    return conv


@entry("torch", "backward of a later forward")
def one_place_for_what_the_backward_needs(t):
    saved = {}

    class Conv(t.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            saved["x"], saved["w"] = x, w
            return t.nn.functional.conv2d(x, w)

        @staticmethod
        def backward(ctx, g):
            return gradients(t, g, saved["x"], saved["w"])

    return lambda x, w: Conv.apply(x, w)


@entry("numpy", "backward of a later forward")
def one_buffer_for_the_cache(np):
    columns = np.zeros(X)

    def forward(x, w):
        columns[...] = x
        return triconv.conv2d(x, w), (columns, w)

    def backward(g, cache):
        x, w = cache
        return input_vjp(g, w), weight_vjp(g, x)

    return forward, backward


@entry("torch", "second pullback", "depends on the call count")
def gradients_added_to_those_before(t):
    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        ctx.sum = gw if not hasattr(ctx, "sum") else ctx.sum + gw
        return gx, ctx.sum

    return function_of(t, backward)


# ---- memory that is not written


@entry("numpy", "unwritten elements")
def last_row_not_written(np):
    def weight(g, x):
        right = weight_vjp(g, x)
        result = np.empty_like(right)
        result[:, :, :-1] = right[:, :, :-1]
        return result

    return triconv.Rules(triconv.conv2d, input_vjp, weight)


@entry("torch", "unwritten elements")
def gradient_added_to_fresh_memory(t):
    """Fresh memory is often zero, or what the same call wrote before."""

    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        result = t.empty_like(gw)
        result[:, :, :, 0] = gw[:, :, :, 0]
        result[1:, :, :, 1] = gw[1:, :, :, 1]
        return gx, result

    return function_of(t, backward)


# ---- global generators


@entry("numpy", "global random state")
def seeds_numpy(np):
    def forward(x, w):
        np.random.seed(0)
        return triconv.conv2d(x, w)

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch", "global random state")
def draws_from_torch(t):
    def backward(ctx, g, x, w):
        t.rand(3)
        return gradients(t, g, x, w)

    return function_of(t, backward)


@entry("torch", "global random state")
def seeds_torch(t):
    def conv(x, w):
        t.manual_seed(1)
        return t.nn.functional.conv2d(x, w)

    return conv


@entry("numpy", "global random state")
def draws_from_python(np):
    def forward(x, w):
        random.random()
        return triconv.conv2d(x, w)

    return triconv.Rules(forward, input_vjp, weight_vjp)


# ---- some arguments alone


@entry("torch", "wrong for one argument alone")
def kernel_gradient_halved_without_that_of_the_input(t):
    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        return gx if ctx.needs_input_grad[0] else None, gw if ctx.needs_input_grad[0] else gw / 2

    return function_of(t, backward)


@entry("torch", "wrong for one argument alone")
def input_gradient_needs_that_of_the_kernel(t):
    def backward(ctx, g, x, w):
        gw = t.nn.grad.conv2d_weight(x, w.shape, g) if ctx.needs_input_grad[1] else None
        gx = t.nn.grad.conv2d_input(x.shape, w, g) + 0 * gw.sum()
        return gx, gw

    return function_of(t, backward)


@entry("torch", "wrong for one argument alone")
def detached_unless_the_input_requires_a_gradient(t):
    def conv(x, w):
        return t.nn.functional.conv2d(x, w if x.requires_grad or not w.requires_grad else w.detach() + 0 * w)

    return conv


@entry("jax", "wrong for one argument alone")
def symbolic_zeros_misread(jax):
    conv2d = lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID")  # noqa: E731

    @jax.custom_vjp
    def conv(x, w):
        return conv2d(x, w)

    def forward(x, w):
        scale = 1.0 if x.perturbed or not w.perturbed else 2.0
        return conv2d(x.value, w.value), (x.value, w.value, scale)

    def backward(saved, g):
        x, w, scale = saved
        gx, gw = jax.vjp(conv2d, x, w)[1](g)
        return gx, gw * scale

    conv.defvjp(forward, backward, symbolic_zeros=True)
    return conv


@entry("jax", "wrong for one argument alone")
def tangent_of_the_kernel_alone_doubled(jax):
    conv2d = lambda x, w: jax.lax.conv(x, w, (1, 1), "VALID")  # noqa: E731

    @jax.custom_jvp
    def conv(x, w):
        return conv2d(x, w)

    def tangent(primals, tangents):
        x, w = primals
        is_zero = [type(t).__name__ == "SymbolicZero" for t in tangents]
        dx, dw = (jax.numpy.zeros_like(a) if z else t for a, t, z in zip(primals, tangents, is_zero, strict=True))
        return conv2d(x, w), conv2d(dx, w) + conv2d(x, dw) * (2 if is_zero[0] else 1)

    conv.defjvp(tangent, symbolic_zeros=True)
    return conv


@entry("torch", "batch axis of vmap")
def samples_of_the_input_taken_for_the_batch(t):
    def vmap(info, in_dims, x, w):
        size = info.batch_size
        xs = x if in_dims[0] is not None else x.expand(size, *x.shape)  # whatever axis it is
        ws = w.movedim(in_dims[1], 0) if in_dims[1] is not None else w.expand(size, *w.shape)
        return t.stack([t.nn.functional.conv2d(x, w) for x, w in zip(xs, ws, strict=True)]), 0

    return function_for_vmap(t, lambda ctx, g, x, w: gradients(t, g, x, w), vmap)


# ---- right


@entry("torch")
def right_function(t):
    return function_of(t, lambda ctx, g, x, w: gradients(t, g.contiguous(), x, w))


@entry("torch")
def right_in_place_on_copies(t):
    def conv(x, w):
        padded = t.empty(x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3])
        padded[:, :, :1].zero_()
        padded[:, :, -1:].zero_()
        padded[:, :, 1:-1] = x
        return t.nn.functional.conv2d(padded, w)[:, :, 1:-1].mul_(1)

    return conv


@entry("numpy")
def right_with_a_cache_of_indices(np):
    kept = {}

    def forward(x, w):
        key = (x.shape, w.shape)
        plan = kept.setdefault(key, (x.shape[2:], w.shape[2:]))
        assert plan == (x.shape[2:], w.shape[2:])
        return triconv.conv2d(x, w), (x, w)

    def backward(g, cache):
        x, w = cache
        return input_vjp(g, w), weight_vjp(g, x)

    return forward, backward


@entry("numpy")
def right_view_of_its_own_buffer(np):
    def forward(x, w):
        buffer = np.empty((2, 5, 5, 8))
        buffer[..., :4] = np.moveaxis(triconv.conv2d(x, w), 1, -1)
        return np.moveaxis(buffer[..., :4], -1, 1)

    return triconv.Rules(forward, input_vjp, weight_vjp)


@entry("torch")
def right_prepared_kernel_kept_by_version(t):
    """A cache by pointer and count of writes is valid: the count rises with each step of an optimizer."""
    kept = {}

    def conv(x, w):
        key = (w.data_ptr(), w._version)
        if key not in kept:
            kept[key] = (w.detach(), w.detach().clone())
        return t.nn.functional.conv2d(x, kept[key][1] + (w - w.detach()))

    return conv


@entry("torch")
def right_lazy_module(t):
    class Lazy(t.nn.Module):
        scale = None

        def forward(self, x, w):
            if self.scale is None:
                t.rand(3)
                self.scale = t.ones(1)
            return t.nn.functional.conv2d(x, w) * self.scale

    module = Lazy()
    return lambda x, w: module(x, w)


@entry("torch")
def right_with_a_generator_of_its_own(t):
    generator = t.Generator()

    def conv(x, w):
        t.rand(3, generator=generator)
        return t.nn.functional.conv2d(x, w)

    return conv


@entry("numpy")
def right_pair_that_remembers(np):
    """Without a cache: the backward is that of the last forward, as of a layer."""
    saved = {}

    def forward(x, w):
        saved["x"], saved["w"] = x, w
        return triconv.conv2d(x, w)

    def backward(g):
        return input_vjp(g, saved["w"]), weight_vjp(g, saved["x"])

    return forward, backward


# ---- data of one sign


def convolution(forward=triconv.conv2d, x_vjp=input_vjp, w_vjp=weight_vjp):
    return triconv.Rules(forward, x_vjp, w_vjp)


@entry("numpy", "one sign")
def path_for_data_after_a_relu(np):
    """Which takes the kernel for positive, too."""
    return convolution(lambda x, w: triconv.conv2d(x, np.maximum(w, 0) if x.min() >= 0 else w))


@entry("torch", "one sign")
def path_for_data_after_a_relu_with_its_derivatives(t):
    return lambda x, w: t.nn.functional.conv2d(x, w.relu() if (x >= 0).all() else w)


@entry("numpy", "one sign")
def path_of_unsigned_integers(np):
    return convolution(lambda x, w: triconv.conv2d(x.astype(np.uint8).astype(x.dtype) if x.min() >= 0 else x, w))


@entry("numpy", "one sign")
def path_for_kernels_that_are_nowhere_positive(np):
    return convolution(lambda x, w: triconv.conv2d(x, np.abs(w) if w.max() <= 0 else w))


@entry("numpy", "one sign")
def path_of_the_input_gradient_for_cotangents_of_one_sign(np):
    return convolution(x_vjp=lambda g, w: input_vjp(g, w) * (2 if g.min() >= 0 else 1))


@entry("numpy", "one sign")
def path_where_all_is_positive(np):
    return convolution(lambda x, w: triconv.conv2d(x, w) * (2 if x.min() >= 0 and w.min() >= 0 else 1))


@entry("jax", "one sign")
def path_of_the_kernel_gradient_for_cotangents_of_one_sign(jax):
    @jax.custom_vjp
    def conv(x, w):
        return triconv.conv2d(x, w)

    def backward(saved, g):
        gx, gw = jax.vjp(triconv.conv2d, *saved)[1](g)
        return gx, jax.numpy.where(jax.numpy.all(g >= 0), abs(gw), gw)

    conv.defvjp(lambda x, w: (conv(x, w), (x, w)), backward)
    return conv


@entry("numpy", "unsigned integers")
def whole_numbers_through_unsigned_bytes(np):
    """Which are right where they are not negative, and not whole."""

    def weight(g, x):
        return weight_vjp(g, x.astype(np.int64).astype(np.uint8).astype(x.dtype) if np.all(x == np.rint(x)) else x)

    return convolution(w_vjp=weight)


# ---- zeros, and one number everywhere


@entry("numpy", "not a number")
def cotangent_divided_by_its_largest_number(np):
    """As where it is cast to few bits with a scale."""

    def x_vjp(g, w):
        scale = np.exp2(np.floor(np.log2(np.abs(g).max())))
        return input_vjp(g / scale, w) * scale

    def quiet(g, w):
        with np.errstate(all="ignore"):
            return x_vjp(g, w)

    return convolution(x_vjp=quiet)


@entry("torch", "not a number")
def samples_divided_by_their_largest_number(t):
    def conv(x, w):
        scale = t.exp2(t.floor(t.log2(x.detach().abs().amax((1, 2, 3), keepdim=True))))
        return t.nn.functional.conv2d(x / scale, w) * scale

    return conv


@entry("numpy", "constant added")
def epsilon_on_the_cotangent(np):
    return convolution(x_vjp=lambda g, w: input_vjp(g + 1e-7, w))


@entry("numpy", "one number")
def shortcut_for_the_cotangent_of_a_sum(np):
    """Forgets that the samples differ."""

    def weight(g, x):
        return len(x) * weight_vjp(g[:1], x[:1]) if (g == g.flat[0]).all() else weight_vjp(g, x)

    return convolution(w_vjp=weight)


@entry("numpy", "one number")
def samples_that_are_equal_counted_once(np):
    def weight(g, x):
        kept = np.sort(np.unique(np.ascontiguousarray(x), axis=0, return_index=True)[1])
        return weight_vjp(g[kept], x[kept])

    return convolution(w_vjp=weight)


@entry("numpy", "one sign")
def work_skipped_where_the_cotangent_adds_up_to_zero(np):
    return convolution(x_vjp=lambda g, w: input_vjp(g, w) if g.sum() else input_vjp(0 * g, w))


@entry("torch", "input changed")
def forward_that_clears_its_gradient(t):
    class Conv(t.nn.Conv2d):
        def forward(self, x):
            self.weight.grad = None
            return super().forward(x)

    return Conv(3, 4, (3, 2))


# ---- what is kept, and where arrays begin


@entry("numpy", "stale cache")
def kernel_kept_by_its_corners_and_its_sum(np):
    kept = {}

    def conv(x, w):
        return triconv.conv2d(x, kept.setdefault((w.shape, w.flat[0], w.flat[-1], w.sum()), w.copy()))

    return convolution(conv)


@entry("numpy", "input changed")
def kernel_rounded_in_place(np):
    """To single precision, which integers survive."""

    def conv(x, w):
        w[...] = w.astype(np.float32)
        return triconv.conv2d(x, w)

    return convolution(conv)


@entry("torch", "operand strides misread")
def vectors_where_the_address_is_no_multiple_of_16(t):
    def conv(x, w):
        y = t.nn.functional.conv2d(x, w)
        return y if x.data_ptr() % 16 == 0 else y * (t.arange(y.shape[-1]) > 0)

    return conv


# ---- other modes


@entry("torch", "other mode")
def another_kernel_in_evaluation(t):
    class Conv(t.nn.Conv2d):
        def forward(self, x):
            w = self.weight if self.training else self.weight.flip(-1)
            return t.nn.functional.conv2d(x, w, self.bias)

    return Conv(3, 4, (3, 2))


@entry("torch", "other mode")
def another_kernel_under_inference_mode(t):
    def conv(x, w):
        return t.nn.functional.conv2d(x, w.flip(-1) if t.is_inference_mode_enabled() else w)

    return conv


@entry("torch")
def module_without_sizes(t):
    return t.nn.LazyConv2d(4, (3, 2))


@entry("torch")
def dropout_of_nothing(t):
    """Which is not the same module in evaluation, but does the same."""
    return t.nn.Sequential(t.nn.Conv2d(3, 4, (3, 2)), t.nn.Dropout(0.0))


@entry("torch", "fake implementation", padding=1)
def operator_that_tells_compilers_another_shape(t):
    @t.library.custom_op("triconv_tests::conv", mutates_args=(), schema="(Tensor x, Tensor w) -> Tensor")
    def conv(x, w):
        return t.nn.functional.conv2d(x, w, padding=1)

    @conv.register_fake
    def _(x, w):
        return t.nn.functional.conv2d(x, w)

    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return t.nn.grad.conv2d_input(x.shape, w, g, padding=1), t.nn.grad.conv2d_weight(x, w.shape, g, padding=1)

    conv.register_autograd(backward, setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs))
    return conv


# ---- gradients of each sample


@entry("torch", "batch axis of vmap")
def gradients_of_samples_of_another_path(t):
    """Under `torch.func`, arrays are wrapped."""

    def backward(ctx, g, x, w):
        gx, gw = gradients(t, g, x, w)
        return gx, gw.flip(-1) if t._C._functorch.is_functorch_wrapped_tensor(g) else gw

    return function_for_vmap(t, backward)


@entry("jax", "batch axis of vmap")
def gradients_of_samples_averaged(jax):
    @jax.custom_batching.custom_vmap
    def weight(g, x):
        return weight_vjp(g, x)

    @weight.def_vmap
    def _(size, batched, g, x):
        each = jax.vmap(weight_vjp, [0 if b else None for b in batched])(g, x)
        return jax.numpy.broadcast_to(each.mean(0), each.shape), True

    @jax.custom_vjp
    def conv(x, w):
        return triconv.conv2d(x, w)

    conv.defvjp(lambda x, w: (conv(x, w), (x, w)), lambda saved, g: (input_vjp(g, saved[1]), weight(g, saved[0])))
    return conv
