"""Make a training step of a network with abstract arguments, to trace or compile it only."""

from typing import Any

import jax.numpy as jnp

from cnn_archs.optim import losses, optimizers, schedules, weight_averaging
from cnn_archs.training import steps


def abstract_step(
    net: Any, image: tuple[int, int, int], batch: int, average: str = "none", **average_knobs: Any
) -> tuple[Any, tuple[Any, ...]]:
    """Make a step with momentum and weight decay -> (step, its abstract arguments).

    image: (H, W, C). The arguments are the state, a key, u8[batch, H, W, C] and i32[batch].
    """
    schedule = schedules.create("constant", steps_per_epoch=1.0, learning_rate=0.1)
    knobs: Any = dict(momentum=0.9, weight_decay=1e-4, decayed="all", bias_rate=1.0)
    optimizer = optimizers.create("momentum", schedule, **knobs)
    averaged = weight_averaging.create(average, steps_per_epoch=1.0, **average_knobs)
    step = steps.make_train_step(
        net,
        losses.create("cross_entropy", smoothing=0.0),
        optimizer,
        averaged,
        lambda key, images: images.astype(jnp.float32) / 255,
        auxiliary=0.3,
        micro_batch=0,
    )
    arguments = steps.abstract_arguments(
        lambda key: steps.init_state(net, optimizer, averaged, key, image), image, batch
    )
    return step, arguments
