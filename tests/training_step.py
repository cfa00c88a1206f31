"""A training step of any network, of which only shapes are wanted: for tests that never run it."""

from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.train import averages, losses, optimizers, schedules, steps


def abstract_step(net: Any, image: tuple[int, int, int], batch: int) -> tuple[Any, tuple[Any, ...]]:
    """(step, its abstract state, key, images and labels), with momentum, decay and an average."""
    schedule = schedules.create("constant", steps_per_epoch=1.0, learning_rate=0.1)
    knobs: Any = dict(momentum=0.9, weight_decay=1e-4, decayed="all", bias_rate=1.0)
    optimizer = optimizers.create("momentum", schedule, **knobs)
    average = averages.create("ema", steps_per_epoch=1.0, decay=0.9)
    step = steps.train_step_of(
        net,
        losses.create("cross_entropy", smoothing=0.1),
        optimizer,
        average,
        lambda key, images: images.astype(jnp.float32) / 255,
        auxiliary=0.3,
        micro_batch=0,
    )
    key = jax.eval_shape(lambda: jax.random.key(0))
    state = jax.eval_shape(lambda k: steps.init_state(net, optimizer, average, k, image), key)
    images = jax.ShapeDtypeStruct((batch, *image), jnp.uint8)
    return step, (state, key, images, jax.ShapeDtypeStruct((batch,), jnp.int32))
