"""Checks of a recipe: what an experiment's config says, and what follows from it.

experiment: as on the command line, with overrides behind it where there are any,
`alexnet_imagenet --config.model.lrn=false`. images: how many there are to train on.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from cnn_archs import config as configs
from cnn_archs.data.transforms import crops
from cnn_archs.evaluate import views as protocols
from cnn_archs.experiment import Outline, crop_of, outline
from cnn_archs.optim import schedules


@functools.cache
def config(experiment: str) -> Any:
    """The config, complete and locked."""
    name, *overrides = experiment.split()
    return configs.load(name, [o.removeprefix("--config.") for o in overrides])


@functools.cache
def outlined(experiment: str) -> Outline:
    """The outline of the config."""
    return outline(config(experiment))


def setting(experiment: str, key: str) -> Any:
    """The value of `section.key`; a tuple as a list."""
    value: Any = outlined(experiment).config
    for part in key.split("."):
        value = value[part]
    return value


def schedule_of(experiment: str, images: int) -> schedules.Schedule:
    """Its learning rates, warm-up included."""
    recipe = outlined(experiment).recipe
    return recipe.make_rules(float(recipe.steps_per_epoch(images))).schedule


def rates(
    experiment: str,
    at: Sequence[float],
    by: str,
    images: int,
    error: float = 1.0,
    relative: bool = False,
) -> list[float]:
    """The learning rates at these steps or epochs, as `by` says: step, epoch; both from 0.

    error: the training error, a fraction, of all steps before the first of them, where a warm-up
    goes by it. relative: in parts of the first.
    """
    schedule, warmup = schedule_of(experiment, images), setting(experiment, "warmup")
    memory = schedule.init()
    for _ in range(warmup["window"] if warmup["name"] == "error" else 0):
        memory = schedule.after_step(memory, jnp.float32(error))
    period = float(outlined(experiment).recipe.steps_per_epoch(images))
    first = [schedules.first_step(t, by, period) for t in at]
    found = [float(schedule.rate(memory, jnp.int32(step))) for step in first]
    return [rate / found[0] for rate in found] if relative else found


def steps(experiment: str, images: int) -> int:
    """Updates of the whole training."""
    return outlined(experiment).recipe.total_steps(images)


def epochs(experiment: str, images: int) -> float:
    """Passes over the images of the whole training."""
    recipe = outlined(experiment).recipe
    return recipe.epochs or float(recipe.steps / recipe.steps_per_epoch(images))


def passes(experiment: str, protocol: str) -> tuple[list[protocols.Pass], crops.Size]:
    found = outlined(experiment)
    crop = crop_of(config(experiment), found.image_shape)
    return protocols.passes(protocol, crop, found.test_scales), crop.out


def views(experiment: str, protocol: str) -> int:
    """How many views of an image a test protocol shows the experiment's network."""
    return protocols.count(*passes(experiment, protocol))


def scales(experiment: str, protocol: str) -> list[int]:
    """The shorter sides to which the protocol resizes an image, in pixels."""
    return [one.scale for one in passes(experiment, protocol)[0]]


def update(experiment: str, weight: float, gradients: Sequence[float]) -> list[float]:
    """[velocity, weight] of one weight after updates with these gradients."""
    recipe = outlined(experiment).recipe
    optimizer = recipe.make_rules(float(recipe.steps_per_epoch(1))).optimizer
    params = {"layer": {"kernel": jnp.float32(weight)}}
    state, moved = optimizer.init(params), params
    for gradient in gradients:
        gradients_of = {"layer": {"kernel": jnp.float32(gradient)}}
        moved, state = optimizer.update(gradients_of, state, params, error=jnp.float32(1.0))
        params = {"layer": {"kernel": params["layer"]["kernel"] + moved["layer"]["kernel"]}}
    return [float(moved["layer"]["kernel"]), float(params["layer"]["kernel"])]
