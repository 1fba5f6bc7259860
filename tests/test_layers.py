# ruff: noqa: N803, N806, NPY002 (names and generators as people write them)
"""Layers by hand, as people write them: each right once, and broken once, through `check` and through `gradcheck`."""

from __future__ import annotations

import types

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

import triconv
from triconv.checking.candidates.layer_methods import GradientStep
from triconv.checking.candidates.layers import is_layer, is_layer_class

X, W = (2, 3, 6, 7), (4, 3, 3, 2)
"""The batch, three channels, and sizes that differ."""
ONE, OF_ONE = (2, 5, 4), (3, 2, 2, 2)
"""Of a layer without a batch, which loops over channels: a few."""


def drawn(*shape, scale=0.5):
    return np.random.default_rng(len(shape)).standard_normal(shape) * scale


def y_of(x, w, stride=1):
    windows = sliding_window_view(x, w.shape[2:], (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,kcij->nkhw", windows, w)


def gw_of(x, g, size, stride=1):
    windows = sliding_window_view(x, size, (2, 3))[:, :, ::stride, ::stride]
    return np.einsum("nchwij,nkhw->kcij", windows, g)


def gx_of(x, w, g, stride=1):
    gx = np.zeros(x.shape, g.dtype)
    products = np.einsum("nkhw,kcij->ncijhw", g, w)
    for i, j in np.ndindex(*w.shape[2:]):
        rows, columns = (slice(a, a + n * stride, stride) for a, n in zip((i, j), g.shape[2:], strict=True))
        gx[:, :, rows, columns] += products[:, :, i, j]
    return gx


def gb_of(g):
    return g.sum((0, 2, 3))


class Plain:
    """Attributes."""

    def __init__(self, w=W, stride=1, pad=0, broken=False):
        self.W, self.b = drawn(*w).astype(np.float32), np.zeros(w[0], np.float32)
        self.dW = self.db = None
        self.stride, self.pad, self.broken = stride, pad, broken

    def forward(self, x):
        self.x = np.pad(x, ((0, 0), (0, 0), (self.pad,) * 2, (self.pad,) * 2))
        return y_of(self.x, self.W, self.stride) + self.b[:, None, None]

    def backward(self, dout):
        self.dW = gw_of(self.x, dout, self.W.shape[2:], self.stride)
        self.db = gb_of(dout) / (len(dout) if self.broken else 1)
        dx, p = gx_of(self.x, self.W, dout, self.stride), self.pad
        return dx[:, :, p : dx.shape[2] - p, p : dx.shape[3] - p]


class Dicts:
    """Parameters and gradients by key, and a cache."""

    def __init__(self, broken=False):
        self.params = {"W": drawn(*W), "b": drawn(4)}
        self.grads = {}
        self.cache, self.broken = {}, broken

    def forward(self, x):
        self.cache["x"] = x
        return y_of(x, self.params["W"]) + self.params["b"].reshape(1, -1, 1, 1)

    def backward(self, dout):
        self.grads["b"] = gb_of(dout)
        self.grads["W"] = gw_of(self.cache["x"], dout, W[2:])[:, :: -1 if self.broken else 1]
        return gx_of(self.cache["x"], self.params["W"], dout)


class Parameter:
    def __init__(self, data):
        self.data, self.grad = data, np.zeros_like(data)


class Parameters:
    """Objects that hold a parameter and its gradient; gradients add up until they are set to zero."""

    def __init__(self, broken=False):
        self.weight, self.bias, self.broken = Parameter(drawn(*W)), Parameter(drawn(4)), broken

    def parameters(self):
        return [self.weight, self.bias]

    def forward(self, x):
        self.x = x
        return y_of(x, self.weight.data) + self.bias.data[:, None, None]

    def backward(self, grad_output):
        self.weight.grad += gw_of(self.x, grad_output, W[2:])
        self.bias.grad += gb_of(grad_output)
        return gx_of(self.x, self.weight.data[..., :: -1 if self.broken else 1, :], grad_output)


class UpdatesInBackward:
    """No gradient is kept: the backward takes a step."""

    def __init__(self, broken=False):
        self.kernels, self.biases, self.broken = drawn(*W), drawn(4), broken

    def forward(self, inputs):
        self.inputs = inputs
        return y_of(inputs, self.kernels) + self.biases[:, None, None]

    def backward(self, output_gradient, learning_rate):
        kernels = self.kernels.copy()
        if self.broken:
            kernels -= learning_rate * gw_of(self.inputs, output_gradient, W[2:])
        self.kernels -= learning_rate * gw_of(self.inputs, output_gradient, W[2:])
        self.biases -= learning_rate * gb_of(output_gradient)
        return gx_of(self.inputs, kernels, output_gradient)


class RateInConstructor:
    """No gradient is kept, the input's is none, and the rate is an attribute."""

    def __init__(self, broken=False):
        self.filters, self.learning_rate, self.broken = drawn(*W), 0.01, broken

    def forward(self, image):
        self.last_input = image
        return y_of(image, self.filters)

    def backprop(self, d_L_d_out):
        step = gw_of(self.last_input, d_L_d_out, W[2:])
        self.filters = self.filters - self.learning_rate * (step * 2 if self.broken else step)


class SeparateUpdate:
    """The backward remembers the cotangent, and `update` makes the gradients of it."""

    def __init__(self, broken=False):
        self.w, self.bias, self.velocity, self.broken = drawn(*W), drawn(4), np.zeros(W), broken

    def feed_forward(self, x):
        self.input = x
        return y_of(x, self.w) + self.bias[:, None, None]

    def back_propagate(self, error):
        self.error = error
        return gx_of(self.input, self.w, error)

    def update(self, lr, momentum=0.9):
        self.velocity = momentum * self.velocity + gw_of(self.input, self.error, W[2:])
        self.w -= lr * self.velocity
        self.bias -= lr * gb_of(self.error) * (0.5 if self.broken else 1)


class Lazy:
    """The parameters are made by the first forward, and inputs add up in a list."""

    def __init__(self, kernels=4, broken=False):
        self.count, self.is_built, self.inputs, self.broken = kernels, False, [], broken
        self.parameters, self.gradients, self.derived = {}, {}, {}

    def _init(self, x):
        self.parameters = {"W": np.random.randn(self.count, x.shape[1], 3, 2), "b": np.zeros((self.count, 1))}
        self.gradients = {name: np.zeros_like(a) for name, a in self.parameters.items()}
        self.derived = {"Z": []}
        self.is_built = True

    def forward(self, X, retain_derived=True):
        if not self.is_built:
            self._init(X)
        z = y_of(X, self.parameters["W"]) + self.parameters["b"].reshape(1, -1, 1, 1)
        if retain_derived:
            self.inputs.append(X)
            self.derived["Z"].append(z)
        return z

    def backward(self, dLdy, retain_grads=True):
        dX = []
        for g, x in zip(dLdy if isinstance(dLdy, list) else [dLdy], self.inputs, strict=True):
            self.gradients["W"] += gw_of(x, g, (3, 2))
            self.gradients["b"] += gb_of(g).reshape(-1, 1) * (1 + self.broken)
            dX.append(gx_of(x, self.parameters["W"], g))
        return dX[0] if len(dX) == 1 else dX


class Columns:
    """A matrix of kernels, columns that are remembered, and a bias of shape (k, 1)."""

    def __init__(self, broken=False):
        self.weights, self.biases, self.broken = drawn(4, 18), drawn(4, 1), broken
        self.columns = np.zeros((18, 1))

    def forward(self, x):
        windows = sliding_window_view(x, W[2:], (2, 3))
        self.shape, self.size = x.shape, windows.shape[2:4]
        self.columns = windows.transpose(1, 4, 5, 0, 2, 3).reshape(18, -1)
        return (self.weights @ self.columns + self.biases).reshape(4, len(x), *self.size).transpose(1, 0, 2, 3)

    def backward(self, dout):
        flat = dout.transpose(1, 0, 2, 3).reshape(4, -1)
        self.grad_weights, self.grad_biases = flat @ self.columns.T, flat.sum(1, keepdims=True)
        if self.broken:
            self.grad_weights = self.grad_weights.reshape(4, 3, 3, 2).transpose(0, 1, 3, 2).reshape(4, 18)
        dx = np.zeros(self.shape)
        columns = (self.weights.T @ flat).reshape(3, 3, 2, len(dx), *self.size)
        for i, j in np.ndindex(3, 2):
            part = columns[:, i, j].transpose(1, 0, 2, 3)
            dx[:, :, i : i + self.size[0], j : j + self.size[1]] += part
        return dx


class ReturnsAll:
    """The backward returns the input's gradient with a list of the others."""

    def __init__(self, broken=False):
        self.W, self.b, self.broken = drawn(*W), drawn(4, 1), broken

    def forward(self, X):
        self.X = X
        return y_of(X, self.W) + self.b.reshape(1, -1, 1, 1)

    def backward(self, dout):
        dX = gx_of(self.X, self.W, dout)
        if self.broken:
            dX = dX[1:-1]
        return dX, [gw_of(self.X, dout, W[2:]), gb_of(dout).reshape(-1, 1)]


class ReturnsDict:
    """`forward` returns a cache, which the backward takes; the gradients come by name."""

    def __init__(self, broken=False):
        self.W, self.b, self.broken = drawn(*W), drawn(4), broken

    def forward_pass(self, x):
        return y_of(x, self.W) + self.b[:, None, None], (x, self.W)

    def backward_pass(self, grad, cache):
        x, w = cache
        dw = gw_of(x, grad, W[2:])
        return {"db": gb_of(grad), "dW": -dw if self.broken else dw, "dx": gx_of(x, w, grad)}


class OneSample:
    """Without a batch; kernels in lists of lists, of the shape of the input in the constructor."""

    def __init__(self, input_shape, kernel_size, depth, broken=False):
        self.input_shape, self.broken = input_shape, broken
        self.kernels = [[drawn(kernel_size, kernel_size) + k - c for c in range(input_shape[0])] for k in range(depth)]
        self.bias = [0.0] * depth

    def forward(self, x):
        self.x = x
        rows = []
        for kernels, b in zip(self.kernels, self.bias, strict=True):
            rows.append(b + sum(y_of(a[None, None], k[None, None])[0, 0] for a, k in zip(x, kernels, strict=True)))
        return np.stack(rows)

    def backward(self, g, lr=0.1):
        size = self.kernels[0][0].shape
        dx = np.zeros(self.x.shape)
        self.dkernels = []
        for kernels, part in zip(self.kernels, g, strict=True):
            self.dkernels.append([gw_of(a[None, None], part[None, None], size)[0, 0] for a in self.x])
            new = np.stack([gx_of(self.x[:1][None], k[None, None], part[None, None])[0, 0] for k in kernels])
            dx = new if self.broken else dx + new
        self.dbias = [float(part.sum()) for part in g]
        return dx


class PositionBias(UpdatesInBackward):
    """A bias for each position, which a convolution does not have; without a batch."""

    def __init__(self, broken=False):
        self.kernels, self.biases, self.broken = drawn(*W), drawn(4, 4, 6), broken

    def forward(self, inputs):
        self.inputs = inputs
        return y_of(inputs[None], self.kernels)[0] + self.biases

    def backward(self, output_gradient, learning_rate):
        x, g, kernels = self.inputs[None], output_gradient[None], self.kernels
        self.kernels = kernels - learning_rate * gw_of(x, g, W[2:]) * (1 + self.broken)
        self.biases = self.biases - learning_rate * output_gradient
        return gx_of(x, kernels, g)[0]


class InnerConv1d:
    """One axis; called as a function; the parameters are one object deeper."""

    def __init__(self, stride=1, broken=False):
        self.conv = types.SimpleNamespace(W=drawn(4, 3, 3), b=drawn(4), dLdW=None, dLdb=None, A=None)
        self.stride, self.broken = stride, broken

    def __call__(self, A):
        return self.forward(A)

    def forward(self, A):
        self.conv.A = A
        return y_of(A[:, :, None], self.conv.W[:, :, None])[:, :, 0, :: self.stride] + self.conv.b[:, None]

    def backward(self, dLdZ):
        A, W = self.conv.A[:, :, None], self.conv.W[:, :, None]
        g = np.zeros((*dLdZ.shape[:2], A.shape[3] - W.shape[3] + 1))
        g[:, :, :: self.stride] = dLdZ
        if self.broken:
            g = g[:, :, ::-1]
        self.conv.dLdW = gw_of(A, g[:, :, None], (1, 3))[:, :, 0]
        self.conv.dLdb = g.sum((0, 2))
        return gx_of(A, W, g[:, :, None])[:, :, 0]


class ChannelsLast:
    """Channels last; `call` and a private gradient behind a property."""

    def __init__(self, broken=False):
        self._kernel, self._dkernel, self.broken = drawn(3, 2, 3, 4), None, broken

    @property
    def gradients(self):
        return (self._dkernel,)

    def call(self, inputs, training):
        assert training
        self._inputs = inputs.transpose(0, 3, 1, 2)
        return y_of(self._inputs, self._kernel.transpose(3, 2, 0, 1)).transpose(0, 2, 3, 1)

    def backward(self, d_out):
        g = d_out.transpose(0, 3, 1, 2)
        self._dkernel = gw_of(self._inputs, g, (3, 2)).transpose(2, 3, 1, 0)
        if self.broken:
            self._dkernel = self._dkernel[::-1]
        return gx_of(self._inputs, self._kernel.transpose(3, 2, 0, 1), g).transpose(0, 2, 3, 1)


class Getters:
    """Private parameters, getters, and no `forward` but a call."""

    def __init__(self, broken=False):
        self.__w, self.__bias, self.broken = drawn(*W), drawn(4), broken
        self.__grads = [np.zeros(W), np.zeros(4)]

    def get_params(self):
        return [self.__w, self.__bias]

    def get_grads(self):
        return self.__grads

    def __call__(self, x):
        self.__x = x
        return y_of(x, self.__w) + self.__bias[:, None, None]

    def bprop(self, x, dout):
        self.__grads[0][...] = gw_of(x, dout, W[2:])
        self.__grads[1][...] = gb_of(dout) + self.broken
        return gx_of(x, self.__w, dout)


class Everywhere:
    """The same arrays as attributes and in a list; results in attributes, nothing returned."""

    def __init__(self, broken=False):
        self.weights, self.biases, self.broken = drawn(*W), drawn(4), broken
        self.params = [self.weights, self.biases]

    def forward(self, inputs, training):
        self.inputs = inputs
        w, b = self.params
        self.output = y_of(inputs, w) + b[:, None, None]

    def backward(self, dvalues):
        self.flipped = self.weights[..., ::-1, ::-1].copy()
        self.dweights, self.dbiases = gw_of(self.inputs, dvalues, W[2:]), gb_of(dvalues)
        self.dinputs = gx_of(self.inputs, np.swapaxes(self.weights, 2, 2), dvalues)
        if self.broken:
            self.dinputs[:, :, 0] = 0


class Descent:
    def __init__(self):
        self.learning_rate, self.steps = 0.01, 0

    def update(self, w, grad):
        self.steps += 1
        return w - self.learning_rate * grad / self.steps


class WithOptimizer:
    """The parameters are made by a method, and an optimizer gets the gradients."""

    def __init__(self, broken=False):
        self.broken = broken

    def initialize(self, optimizer):
        self.W, self.w0 = drawn(*W), np.zeros((4, 1))
        self.W_opt, self.w0_opt = optimizer, Descent()

    def forward_pass(self, X, training=True):
        self.X = X
        return y_of(X, self.W) + self.w0.reshape(1, -1, 1, 1)

    def backward_pass(self, accum_grad):
        w, gw = self.W, gw_of(self.X, accum_grad, W[2:])
        self.W = self.W_opt.update(self.W, np.roll(gw, 1, 0) if self.broken else gw)
        self.w0 = self.w0_opt.update(self.w0, gb_of(accum_grad).reshape(-1, 1))
        return gx_of(self.X, w, accum_grad)


class BackwardIsTheUpdate:
    """`gradient` is the backward, and `backward` the update."""

    def __init__(self, broken=False):
        self.w, self.b, self.w_grad, self.b_grad, self.broken = drawn(*W), drawn(4), 0, 0, broken

    def forward(self, x):
        self.x = x
        return y_of(x, self.w) + self.b[:, None, None]

    def gradient(self, eta):
        self.w_grad += gw_of(self.x, eta, W[2:])
        self.b_grad += gb_of(eta)
        return gx_of(self.x, self.w, eta * (0.5 if self.broken else 1))

    def backward(self, alpha=1e-5, weight_decay=4e-4):
        self.w *= 1 - weight_decay
        self.w -= alpha * self.w_grad
        self.b -= alpha * self.b_grad


NHWC = {"layout": "NHWC,HWIO->NHWC"}
CASES = {
    "attributes": (Plain, {}, (X,), {}, triconv.conv2d),
    "stride and padding": (Plain, {"stride": 2, "pad": 1}, (X,), {"stride": 2, "padding": 1}, triconv.conv2d),
    "shapes of all arrays": (Plain, {}, (X, W, (4,)), {}, triconv.conv2d),
    "dicts": (Dicts, {}, (X,), {}, triconv.conv2d),
    "parameter objects": (Parameters, {}, (X,), {}, triconv.conv2d),
    "update in backward": (UpdatesInBackward, {}, (X,), {}, triconv.conv2d),
    "rate in the constructor": (RateInConstructor, {}, (X,), {}, triconv.conv2d),
    "separate update": (SeparateUpdate, {}, (X,), {}, triconv.conv2d),
    "lazy": (Lazy, {}, (X,), {}, triconv.conv2d),
    "columns": (Columns, {}, (X, W, (4, 1)), {}, triconv.conv2d),
    "returns all": (ReturnsAll, {}, (X,), {}, triconv.conv2d),
    "returns a dict": (ReturnsDict, {}, (X,), {}, triconv.conv2d),
    "one sample": (OneSample, {"input_shape": ONE, "kernel_size": 2, "depth": 3}, (ONE,), {}, triconv.conv2d),
    "bias of positions": (PositionBias, {}, (X[1:],), {}, triconv.conv2d),
    "one axis": (InnerConv1d, {"stride": 2}, ((2, 3, 8),), {"stride": 2}, triconv.conv1d),
    "channels last": (ChannelsLast, {}, ((2, 6, 7, 3),), NHWC, triconv.conv),
    "getters": (Getters, {}, (X,), {}, triconv.conv2d),
    "nothing returned": (Everywhere, {}, (X,), {}, triconv.conv2d),
    "optimizer": (WithOptimizer, {}, (X,), {}, triconv.conv2d),
    "backward is the update": (BackwardIsTheUpdate, {}, (X,), {}, triconv.conv2d),
}
WITHOUT_X = {"rate in the constructor"}


@pytest.fixture(autouse=True)
def _without_oracles(monkeypatch):
    """Other libraries are not asked for their gradients, which takes JAX most of the time."""
    monkeypatch.setattr("triconv.checking.operator_check.ask_oracles", lambda *_: ())


def judged(report):
    return {row.question.name: row.verdict for row in report.rows if row.what.startswith("VJP")}


@pytest.mark.parametrize("name", CASES)
def test_a_right_layer_is_right(name):
    kind, arguments, shapes, params, like = CASES[name]
    layer = kind(**arguments)
    before = repr(vars(layer))
    report = triconv.check(layer, like, *shapes, **params)
    assert report.verdict == "right", report
    found = judged(report)
    assert found.pop("x") == ("unsupported" if name in WITHOUT_X else "right")
    has_bias = like is not triconv.conv and name not in ("rate in the constructor", "bias of positions")
    assert found == {"w": "right", **({"bias": "right"} if has_bias else {})}
    assert repr(vars(layer)) == before
    report = triconv.gradcheck(layer, *shapes)
    assert report.verdict == "right", report
    assert len(judged(report)) >= 2
    assert "unsupported" not in list(judged(report).values())[1:]


@pytest.mark.parametrize("name", CASES)
def test_a_broken_layer_is_wrong_and_its_program_shows_it(name, verdict_alone):
    kind, arguments, shapes, params, like = CASES[name]
    layer = kind(**arguments, broken=True)
    if isinstance(layer, WithOptimizer):
        layer.initialize(Descent())
    if isinstance(layer, Lazy):
        layer._init(drawn(*X))
    report = triconv.check(layer, like, *shapes, **params)
    program = report.counterexample
    assert report.verdict == "wrong"
    assert triconv.gradcheck(layer, *shapes).verdict == "wrong"
    if isinstance(layer, ReturnsAll):  # a result of another shape, which fewer sizes have not
        assert not program
        return
    if "# left out: " not in program:  # an attribute that cannot be written
        with pytest.raises(AssertionError):
            exec(program, {})
    lines = ["import numpy as np", "x = " + program.split("\nx = ", 1)[1]]
    right = kind(**arguments)
    if isinstance(right, Lazy):
        right._init(drawn(*X))
    if isinstance(right, WithOptimizer):
        right.initialize(GradientStep(1.0))
    elif isinstance(right, RateInConstructor):
        right.learning_rate = 1.0
    exec("\n".join(lines), {"layer": right})


def test_the_verdict_says_which_array():
    report = triconv.check(Plain(broken=True), triconv.conv2d, X)
    assert judged(report) == {"x": "right", "w": "right", "bias": "wrong"}
    assert report.cause == "batch averaged"
    assert list(triconv.gradcheck(Dicts(), X).shapes) == ["x", "params.W", "params.b"]


def test_single_precision():
    report = triconv.check(UpdatesInBackward(), triconv.conv2d, X, dtype="float32")
    assert report.verdict == "right", report


def test_a_layer_that_was_used():
    layer = Parameters()
    for _ in range(2):
        layer.backward(np.ones_like(layer.forward(drawn(*X))))
    assert triconv.check(layer, triconv.conv2d, X).verdict == "right"


def test_arrays_are_those_of_the_user():
    layer = Plain()
    x = drawn(*X)
    assert triconv.check(layer, triconv.conv2d, x).verdict == "right"
    assert triconv.check(layer, triconv.conv2d, x, drawn(*W), drawn(4)).verdict == "right"


@pytest.mark.once
def test_arguments_are_found_by_name():
    class Swapped(Plain):
        def forward(self, x, scale):
            return super().forward(x * scale) + 0 * self.b[:, None, None]

        def backward(self, out, debug=False, lr=None):
            assert not debug
            return super().backward(out)

    report = triconv.check(Swapped(), triconv.conv2d, X, kwargs={"scale": 1.0})
    assert report.verdict == "right", report
    assert triconv.check(Swapped(), triconv.conv2d, X, args=(1.0,)).verdict == "right"
    assert "needs 'scale'" in triconv.check(Swapped(), triconv.conv2d, X).summary


class Relu:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


class Product:
    """Its forward takes all arrays."""

    def forward(self, a, b):
        self.a, self.b = a, b
        return a @ b

    def backward(self, g):
        return g @ self.b.T, self.a.T @ g


def test_layers_without_parameters():
    assert judged(triconv.gradcheck(Relu(), (3, 4))) == {"x": "right"}
    assert triconv.gradcheck(Product(), (3, 4), (4, 5)).verdict == "right"


class Masked(Plain):
    """Two arrays may be the kernel."""

    def __init__(self):
        super().__init__()
        self.mask = np.ones(W)

    def forward(self, x):
        self.x = x
        return y_of(x, self.W * self.mask) + self.b[:, None, None]


class Unclear(Plain):
    """The gradients have names that say nothing, and hide among others of the shape."""

    def backward(self, dout):
        dx = super().backward(dout)
        self.u, self.v2 = self.dW, 2 * self.dW
        self.dW = None
        return dx


def test_an_ambiguous_layer_is_asked_for_names():
    for shapes in ((X,), (X, W, (4,))):
        with pytest.raises(ValueError, match=r"W \(4, 3, 3, 2\), mask \(4, 3, 3, 2\).*parameters=\('W', 'b'\)"):
            triconv.check(Masked(), triconv.conv2d, *shapes)
        assert triconv.check(Masked(), triconv.conv2d, *shapes, parameters=("W", "b")).verdict == "right"
    with pytest.raises(ValueError, match="must name arrays of the layer, got 'weight'; its arrays: W, b, mask"):
        triconv.check(Masked(), triconv.conv2d, X, parameters=("weight", "b"))


@pytest.mark.once
def test_gradients_are_named():
    assert judged(triconv.check(Unclear(), triconv.conv2d, X))["w"] == "unsupported"
    named = triconv.check(Unclear(), triconv.conv2d, X, parameters=("W", "b"), gradients=("u", "db"))
    assert judged(named)["w"] == "right"
    other = triconv.check(Unclear(), triconv.conv2d, X, parameters=("W", "b"), gradients=("v2", "db"))
    assert judged(other)["w"] == "wrong"
    deeper = triconv.check(
        Dicts(), triconv.conv2d, X, parameters=("params.W", "params['b']"), gradients=("grads.W", "grads.b")
    )
    assert deeper.verdict == "right", deeper


def test_shapes_that_the_layer_does_not_have():
    report = triconv.check(Plain(), triconv.conv2d, X, (4, 3, 2, 2))
    assert report.verdict == "unchecked"
    assert "W (4, 3, 3, 2), b (4,)" in report.summary


# ---- classes


class Sized:
    def __init__(self, in_channels, num_filters, kernel_size, stride=2, padding="same"):
        assert padding == "VALID".lower()
        self.inner = Plain((num_filters, in_channels, *kernel_size), stride)

    def forward(self, x):
        return self.inner.forward(x)

    def backward(self, g):
        return self.inner.backward(g)


class OfArrays(Plain):
    def __init__(self, W, b, stride=1, pad=0):
        super().__init__(W.shape, stride, pad)
        self.W, self.b = W, b


class Unknown(Plain):
    def __init__(self, in_channels, quality):
        super().__init__()


@pytest.mark.once
def test_classes_are_constructed():
    for kind in (Sized, OfArrays, OneSample):
        shapes = (ONE, OF_ONE) if kind is OneSample else (X, W)
        assert triconv.check(kind, triconv.conv2d, *shapes).verdict == "right"
    assert triconv.check(OfArrays, triconv.conv2d, X, W, (4,), stride=2, padding=1).verdict == "right"
    assert triconv.check(Plain, triconv.conv2d, X, args=(W, 2), stride=2).verdict == "right"
    assert triconv.check(Plain, triconv.conv2d, X, kwargs={"w": W, "broken": True}).verdict == "wrong"
    assert triconv.gradcheck(Relu, (3, 4)).verdict == "right"


@pytest.mark.once
def test_a_class_is_constructed_for_every_geometry(plain_questions):
    report = triconv.check(Sized, triconv.conv2d, X, W, stride=2, sweep=True)
    swept = [row.verdict for row in report.rows if row.question.kind == "sweep"]
    assert len(swept) > 5
    assert set(swept) == {"right"}
    report = triconv.check(OneSample, triconv.conv2d, ONE, OF_ONE, sweep=True)
    refused = [row for row in report.rows if row.question.kind == "sweep" and row.verdict == "unsupported"]
    assert len(refused) == 1, report
    assert report.verdict == "right"


@pytest.mark.once
def test_a_layer_is_not_asked_for_what_it_was_not_made_for(plain_questions):
    for layer, shape in ((Plain(), X), (OneSample(ONE, 2, 3), ONE)):
        report = triconv.check(layer, triconv.conv2d, shape, sweep=True)
        assert report.verdict == "right", report
        swept = [row.verdict for row in report.rows if row.question.kind == "sweep"]
        assert "unsupported" in swept


def test_a_constructor_that_raises_is_reported():
    class Refuses(Plain):
        def __init__(self, in_channels):
            raise NotImplementedError(in_channels)

    report = triconv.check(Refuses, triconv.conv2d, X, W)
    assert report.verdict == "unchecked"
    assert "NotImplementedError: 3" in report.summary


def test_a_class_that_needs_more_is_refused():
    message = r"must be an instance of Unknown, such as Unknown\(in_channels=3, quality=\.\.\.\), got the class; its"
    with pytest.raises(TypeError, match=message):
        triconv.check(Unknown, triconv.conv2d, X, W)


def test_what_is_a_layer():
    assert is_layer(Plain())
    assert is_layer(Getters())
    assert is_layer_class(Plain)
    for other in (
        Plain,
        triconv.conv2d,
        np.tanh,
        Parameter(np.ones(2)),
        lambda x: x,
        triconv.Rules(np.tanh),
        np.ones(3),
    ):
        assert not is_layer(other)
    torch = pytest.importorskip("torch")
    assert not is_layer(torch.nn.Conv2d(1, 1, 1))
    assert not is_layer(torch.ones(2))
    assert not is_layer_class(torch.autograd.Function)


class ForgetsBias(Plain):
    """Its bias is there, with a gradient, but is not added."""

    def __init__(self, use_bias=None):
        super().__init__()
        if use_bias is not None:
            self.use_bias = use_bias

    def forward(self, x):
        self.x = x
        return y_of(x, self.W)


def test_a_bias_that_is_not_added_is_missed():
    report = triconv.check(ForgetsBias(), triconv.conv2d, X)
    assert (report.verdict, report.cause) == ("wrong", "bias ignored"), report
    assert triconv.check(ForgetsBias(use_bias=False), triconv.conv2d, X).ok


class InsertedZeros(Plain):
    """Counts the zeros between taps."""

    def __init__(self, in_channels, out_channels, kernel_size, dilation=0):
        super().__init__((out_channels, in_channels, *kernel_size))
        assert dilation == 0


def test_a_dilation_may_count_zeros():
    assert triconv.check(InsertedZeros, triconv.conv2d, X, W).ok
