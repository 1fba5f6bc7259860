"""Derivatives by hand in torch that are right in one mode of autograd and wrong in another."""

from __future__ import annotations

import pytest

import triconv

SHAPES = (2, 2, 5), (3, 2, 2)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


def product(torch, change=lambda gw: gw, tangent=1):
    """Return a convolution whose gradient of the kernel, or tangent of it, may be another one."""

    class Product(torch.autograd.Function):
        generate_vmap_rule = True

        @staticmethod
        def forward(x, w):
            return torch.conv1d(x, w)

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(*inputs)
            ctx.save_for_forward(*inputs)

        @staticmethod
        def backward(ctx, g):
            x, w = ctx.saved_tensors
            return torch.nn.grad.conv1d_input(x.shape, w, g), change(torch.nn.grad.conv1d_weight(x, w.shape, g))

        @staticmethod
        def jvp(ctx, dx, dw):
            x, w = ctx.saved_tensors
            of_x = 0 if dx is None else torch.conv1d(dx, w)
            return of_x if dw is None else of_x + torch.conv1d(x, dw) * tangent

    return Product.apply


def test_rules_that_are_right_are_right(torch):
    assert triconv.check(product(torch), triconv.conv1d, *SHAPES).ok


def test_a_gradient_that_is_another_one_where_it_is_differentiated_again(torch):
    mine = product(torch, lambda gw: gw.flip(0) if torch.is_grad_enabled() else gw)
    report = triconv.check(mine, triconv.conv1d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "other mode"), report
    assert "VJP of w: it is another one with create_graph=True, as where it is differentiated again" in report.summary


def test_a_value_that_is_wrong_without_a_gradient_alone(torch):
    def mine(x, w):
        return torch.conv1d(x, w if torch.is_grad_enabled() else w.flip(-1))

    report = triconv.check(mine, triconv.conv1d, *SHAPES)
    assert (report.verdict, report.cause) == ("wrong", "kernel flip"), report
    assert (
        "right where a VJP is asked too, and wrong where it is asked alone, as under no_grad (kernel flip)"
        in report.summary
    )
    always = triconv.check(lambda x, w: torch.conv1d(x, w.flip(-1)), triconv.conv1d, *SHAPES, framework="torch")
    assert (always.cause, "under no_grad" in always.summary) == ("kernel flip", False), always


def test_a_tangent_that_counts_half(torch):
    report = triconv.check(product(torch, tangent=0.5), triconv.conv1d, *SHAPES)
    assert "the part of the tangent of the kernel is 0.5 times what it must be" in report.summary


@pytest.mark.parametrize("n", [0, 1])
def test_an_epsilon_that_rounding_hides_is_named(torch, n):
    def mine(*arrays):
        return torch.conv1d(*(a + 1e-7 if k == n else a for k, a in enumerate(arrays)))

    report = triconv.check(mine, triconv.conv1d, *SHAPES, framework="torch")
    assert (report.verdict, report.cause) == ("wrong", "constant added"), str(report)
