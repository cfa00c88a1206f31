"""Check that XLA:CPU still compiles the forms for a training step as they are meant.

In the text of a compiled program, whose fusions do not depend on how the code is optimized.
"""

import re

import jax
import jax.numpy as jnp
import pytest
from cpu_time import OPTIONS
from jax import lax

from cnn_archs import models
from cnn_archs.models.cpu.convolution import NHWC
from cnn_archs.models.cpu.step_convolution import convolve
from cnn_archs.models.cpu.training_step import training_step
from cnn_archs.optim import losses
from cnn_archs.runtime.compiler_options import supported_options
from cnn_archs.training import cpu_step, steps

FUSED = ("xla_cpu_use_fusion_emitters",)  # the one of OPTIONS that decides what is fused
SAME = ((1, 1), (1, 1))


def compiled(function, *arguments, onednn=False):
    """The text of the compiled program of `function`."""
    options = supported_options({name: OPTIONS[name] for name in FUSED})
    options |= cpu_step.ONEDNN if onednn else {}
    with cpu_step.no_persistent_cache():
        program = jax.jit(function, compiler_options=options).lower(*arguments).compile()
    return program.as_text()


def in_a_step(function):
    def inside(*arguments):
        with training_step(onednn=False):
            return function(*arguments)

    return inside


def largest_fusion(text):
    """Return the number of arrays read by the fusion that reads most of them."""
    return max(m.count("%") for m in re.findall(r" fusion\(([^)]*)\), kind=kLoop", text))


def gradient_of(units):
    """(A gradient of a residual net with so many units in its only stage, abstract arguments)."""
    net = models.create("resnet20", num_classes=3, width=0.25, blocks=(units,), widths=(16,))
    loss = losses.create("cross_entropy", smoothing=0.0)
    key = jax.random.key(0)

    def gradient(variables, images, labels):
        objective = steps.make_loss_fn(
            net, loss, 0.0, variables["batch_stats"], images, labels, key
        )
        return jax.grad(objective, has_aux=True)(variables["params"])[0]

    variables = jax.eval_shape(lambda: models.init(net, key, (8, 8, 3)))
    images = jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32)
    return gradient, (variables, images, jax.ShapeDtypeStruct((4,), jnp.int32))


@pytest.mark.slow
def test_a_unit_is_not_computed_again_in_the_units_after_it():
    """Few arrays are read at once however deep the net; where XLA is left to itself, ever more.

    Where the last line fails, XLA has learned to write a map once, and `written_once` may go.
    """
    gradient, arguments = gradient_of(4)
    assert largest_fusion(compiled(in_a_step(gradient), *arguments)) <= 12
    assert largest_fusion(compiled(gradient, *arguments)) > 25


def test_what_goes_into_a_convolution_is_not_computed_again_for_its_gradient():
    """The ReLU before it is one operation of the program; two where XLA is left to itself."""

    def gradient(convolve):
        def loss(kernel, x):
            return jnp.sum(convolve(jnp.maximum(2.0 * x + 1.0, 0.0), kernel) ** 2)

        return jax.grad(loss)

    def usual(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), SAME, dimension_numbers=NHWC)

    def ours(x, kernel):
        return convolve(x, kernel, (1, 1), SAME, False)

    arguments = jnp.zeros((3, 3, 4, 4)), jnp.zeros((2, 16, 16, 4))
    found = [compiled(gradient(f), *arguments).count(" maximum(") for f in (ours, usual)]
    assert found == [1, 2]


@pytest.mark.skipif(not cpu_step.has_onednn(), reason="this jaxlib has no oneDNN")
def test_every_pass_over_three_axes_is_onednns():
    """Over two axes not all passes would be: YNNPACK takes some of these, with 32 maps."""
    arguments = jnp.zeros((16, 16, 16, 32)), jnp.zeros((3, 3, 32, 32))

    def passes(convolve):
        def run(x, kernel):
            y, vjp = jax.vjp(convolve, x, kernel)
            return y, vjp(y)

        return compiled(run, *arguments, onednn=True)

    ours = passes(lambda x, kernel: convolve(x, kernel, (1, 1), SAME, True))
    assert ours.count('custom_call_target="__onednn$convolution"') == 3
    assert " convolution(" not in ours
    usual = passes(
        lambda x, k: lax.conv_general_dilated(x, k, (1, 1), SAME, dimension_numbers=NHWC)
    )
    assert usual.count('custom_call_target="__onednn$convolution"') < 3
    assert re.search(r" convolution\(", usual)
