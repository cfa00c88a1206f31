"""The convolutions of a training step on one CPU are torch's, as are both of their gradients."""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import lax

from cnn_archs.models.cpu.step_convolution import PART, convolve_as_traced
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.training import cpu_step

PLAIN: dict[str, Any] = dict(
    lhs_dilation=(1, 1),
    rhs_dilation=(1, 1),
    dimension_numbers=lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)),
    precision=None,
)
CASES = [  # images, (H, W, C), maps, window, strides, ((top, bottom), (left, right)), groups
    (2, (32, 32, 3), 4, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (3, (16, 16, 4), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (2 * PART, (9, 10, 2), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),  # in two parts
    (2 * PART + 1, (9, 9, 2), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (2, (8, 8, 5), 3, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (2, (4, 4, 3), 5, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (3, (2, 2, 3), 5, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (3, (1, 1, 3), 5, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
    (1, (9, 7, 3), 4, (5, 5), (1, 1), ((2, 2), (2, 2)), 1),
    (2, (11, 12, 3), 4, (7, 7), (2, 2), ((3, 3), (3, 3)), 1),
    (2, (15, 15, 3), 4, (11, 11), (4, 4), ((0, 0), (0, 0)), 1),
    (3, (5, 6, 4), 3, (1, 1), (1, 1), ((0, 0), (0, 0)), 1),
    (3, (5, 6, 4), 3, (1, 1), (2, 2), ((0, 0), (0, 0)), 1),
    (2, (5, 4, 4), 3, (1, 1), (1, 1), ((1, 1), (1, 1)), 1),
    (3, (10, 9, 4), 6, (3, 3), (2, 2), ((1, 1), (1, 1)), 1),
    (3, (7, 7, 4), 6, (3, 3), (2, 2), ((0, 0), (0, 0)), 1),
    (2, (6, 6, 4), 6, (5, 5), (1, 1), ((2, 2), (2, 2)), 2),
    (2, (2, 2, 4), 6, (3, 3), (1, 1), ((1, 1), (1, 1)), 2),
    (2, (8, 7, 3), 4, (3, 3), (1, 1), ((0, 1), (2, 0)), 1),
    (2, (8, 9, 3), 4, (1, 7), (1, 1), ((0, 0), (3, 3)), 1),
    (2, (6, 7, 3), 4, (3, 3), (2, 1), ((1, 0), (2, 3)), 1),
    (2, (4, 4, 3), 4, (5, 5), (1, 1), ((2, 2), (2, 2)), 1),  # a window larger than the map
    (2, (2, 9, 3), 4, (3, 3), (1, 1), ((1, 1), (1, 1)), 1),
]


@cache
def arguments(case):
    """(x, kernel, cotangent) of CASES[case]: whole numbers, whose sums are exact in any order."""
    images, map_, features, window, strides, padding, groups = CASES[case]
    sides = (
        (side + sum(around) - size) // stride + 1
        for side, around, size, stride in zip(map_, padding, window, strides, strict=False)
    )
    shapes = (images, *map_), (*window, map_[2] // groups, features), (images, *sides, features)
    random = np.random.default_rng(case)
    return tuple(random.integers(-4, 5, shape).astype(np.float32) for shape in shapes)


def convolution(case):
    """The convolution of CASES[case], called as flax does."""
    *_, strides, padding, groups = CASES[case]
    return partial(
        convolve_as_traced, strides=strides, padding=padding, feature_group_count=groups, **PLAIN
    )


def all_passes(given):
    """[(output, gradient of x, gradient of the kernel)] for all CASES."""
    passes = []
    for case, (x, kernel, g) in enumerate(given):
        y, vjp = jax.vjp(convolution(case), x, kernel)
        passes.append((y, *vjp(g)))
    return passes


def over_three_axes(given):
    """`all_passes` in the forms for oneDNN."""
    with training_step(onednn=True):
        return all_passes(given)


@cache
def computed(form):
    """`all_passes` as one program: plain, for oneDNN but without it, and with it."""
    given = [arguments(case) for case in range(len(CASES))]
    if form == "three axes":
        return jax.jit(over_three_axes)(given)
    return cpu_step.jit_for_cpu(all_passes, onednn=form == "onednn")(given)


def by_torch(case):
    *_, strides, padding, groups = CASES[case]
    x, kernel, g = (torch.tensor(a) for a in arguments(case))
    x.requires_grad_()
    kernel.requires_grad_()
    wide = torch.nn.functional.pad(x, (0, 0, *padding[1], *padding[0])).movedim(-1, 1)
    y = torch.nn.functional.conv2d(wide, kernel.permute(3, 2, 0, 1), None, strides, groups=groups)
    y.backward(g.movedim(-1, 1))
    assert x.grad is not None and kernel.grad is not None
    return y.detach().movedim(1, -1).numpy(), x.grad.numpy(), kernel.grad.numpy()


@pytest.fixture(params=["plain", "three axes", "onednn"])
def form(request):
    if request.param == "onednn" and not cpu_step.has_onednn():
        pytest.skip("this jaxlib has no oneDNN")
    return request.param


@pytest.mark.parametrize("case", range(len(CASES)))
def test_output_and_gradients_are_torchs(case, form):
    for ours, theirs in zip(computed(form)[case], by_torch(case), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def traced(x, kernel, **options):
    """The program of a gradient inside of a training step, as text."""
    given = dict(strides=(1, 1), padding=((1, 1), (1, 1)), **PLAIN) | options

    def inside(x, kernel):
        with training_step(onednn=True):
            return convolve_as_traced(x, kernel, **given)

    return str(jax.make_jaxpr(inside)(x, kernel))


def test_only_plain_convolutions_in_float32_have_forms_of_their_own():
    x, kernel = jnp.zeros((2, 9, 9, 8)), jnp.zeros((3, 3, 8, 8))
    narrow = (a.astype(jnp.bfloat16) for a in (x, kernel))
    assert "custom_vjp" in traced(x, kernel)
    assert "custom_vjp" in traced(x, kernel[:, :, :4], feature_group_count=2)
    for text in (
        traced(x, kernel[:, :, :1], feature_group_count=8),
        traced(x, kernel, rhs_dilation=(2, 2)),
        traced(*narrow),
        str(jax.make_jaxpr(convolution(0))(*arguments(0)[:2])),  # outside of a step
    ):
        assert "custom_vjp" not in text and "conv_general_dilated" in text
