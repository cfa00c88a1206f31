"""The training step for one CPU gives the usual numbers, and is not cached with oneDNN."""

from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from cnn_archs import models
from cnn_archs.models.cpu.step_convolution import over_three_axes
from cnn_archs.optim import losses, optimizers, schedules, weight_averaging
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import cpu_step, steps

slow = pytest.mark.slow
NETWORKS = {  # name, fields, height and width of the image, micro-batch
    "resnet": ("resnet20", dict(width=1 / 4, blocks=(2, 1, 1)), 16, 0),
    "groups": ("resnet20", dict(width=1 / 4, blocks=(1, 1, 1), bn_group=4), 16, 0),
    "v2": ("resnet20_v2", dict(width=1 / 4, blocks=(1, 1, 1)), 16, 0),
    "again": ("resnet20_b", dict(width=1 / 4, blocks=(1, 1), widths=(16, 32), remat=True), 16, 0),
    "scanned": ("resnet20", dict(width=1 / 4, blocks=(3,), widths=(16,), scan_blocks=True), 16, 0),
    "parts": ("plain20", dict(width=1 / 4, blocks=(1, 1, 1), bn_group=4), 16, 4),
    "vgg": ("vgg_a_bn", dict(width=1 / 16, hidden=(8, 8)), 32, 0),
    "alexnet": ("alexnet_cifar", dict(width=1 / 16), 32, 0),
    "googlenet": ("googlenet_cifar", dict(width=1 / 16), 32, 0),
}
SLOW = ("googlenet", "again", "scanned", "v2", "vgg", "parts", "resnet")


def gradient_step(name, fields, side, micro_batch):
    """Return a step that subtracts the gradient, its state, key, images and labels."""
    net = models.create(name, num_classes=5, **fields)
    rate = schedules.create("constant", 1.0, learning_rate=1.0)
    knobs = dict(momentum=0.0, weight_decay=0.0, decayed="all", bias_rate=1.0)
    optimizer = optimizers.create("momentum", rate, **knobs)
    average = weight_averaging.create("none", 1.0)
    step = steps.make_train_step(
        net,
        losses.create("cross_entropy", smoothing=0.0),
        optimizer,
        average,
        lambda key, images: images.astype(jnp.float32) / 128 - 1,
        auxiliary=0.3,
        micro_batch=micro_batch,
    )

    def begin(key):
        return steps.init_state(net, optimizer, average, key, (side, side, 3))

    state = jax.jit(begin, compiler_options=fast_compile_options())(jax.random.key(0))
    images = np.random.default_rng(0).integers(0, 256, (8, side, side, 3)).astype(np.uint8)
    return step, (state, jax.random.key(1), images, np.arange(8) % 5)


@cache
def usual(kind):
    """Return (step, arguments, state after it) of NETWORKS[kind] without the forms for a CPU."""
    step, arguments = gradient_step(*NETWORKS[kind])
    return step, arguments, jax.jit(step)(*arguments)


def change(before, after):
    """Return the change of parameters and statistics by a step, as one vector."""
    changed = jax.tree.map(jnp.subtract, after.variables, before.variables)
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(changed)])


@pytest.mark.parametrize("onednn", [False, True])
@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=slow) if k in SLOW else k for k in NETWORKS]
)
def test_loss_gradient_and_statistics_are_those_of_the_usual_step(kind, onednn):
    if onednn and not cpu_step.has_onednn():
        pytest.skip("this jaxlib has no oneDNN")
    step, arguments, expected = usual(kind)
    found = cpu_step.jit_for_cpu(step, onednn=onednn)(*arguments)
    assert found.window.report() == pytest.approx(expected.window.report(), rel=1e-5)
    a, b = (change(arguments[0], after) for after in (found, expected))
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(b)


def test_another_shape_is_compiled_and_not_kept_either():
    """jaxlib 0.12.0.1 crashes when it writes a program with oneDNN to the cache."""
    if not cpu_step.has_onednn():
        pytest.skip("this jaxlib has no oneDNN")
    kernel = jnp.ones((3, 3, 4, 4))
    same = partial(over_three_axes, strides=(1, 1), padding=((1, 1), (1, 1)))
    run = cpu_step.jit_for_cpu(same, onednn=True)
    for images in (2, 3, 2):
        assert float(run(jnp.ones((images, 4, 4, 4)), kernel)[0, 1, 1, 0]) == 36.0
    config: Any = jax.config
    seconds = config.jax_persistent_cache_min_compile_time_secs
    with pytest.raises(RuntimeError, match="stop"), cpu_step.no_persistent_cache():
        assert config.jax_persistent_cache_min_compile_time_secs > 1e9
        raise RuntimeError("stop")
    assert config.jax_persistent_cache_min_compile_time_secs == seconds < 1e9


def test_one_cpu_is_one_device():
    devices = np.asarray(jax.devices("cpu")[:1]).reshape(1, 1)
    assert cpu_step.is_one_cpu(Mesh(devices, ("data", "model")))
    gpu: Any = SimpleNamespace(size=1, devices=np.asarray([SimpleNamespace(platform="gpu")]))
    two: Any = SimpleNamespace(size=2, devices=np.repeat(devices, 2))
    assert not cpu_step.is_one_cpu(gpu) and not cpu_step.is_one_cpu(two)
