"""Checks of a recipe: the values that an experiment's config states, and what follows from them.

experiment: an experiment as on the command line, with overrides if there are any, such as
`alexnet_imagenet --config.model.lrn=false`. images: the number of training images.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from cnn_archs import config as configs
from cnn_archs.data.transforms.boxes import Size
from cnn_archs.evaluate import views as protocols
from cnn_archs.experiment import ExperimentSettings, resolve_settings
from cnn_archs.experiment_inputs import make_crop
from cnn_archs.optim import schedules


@functools.cache
def config(experiment: str) -> Any:
    """Load the complete, locked config."""
    name, *overrides = experiment.split()
    return configs.load_config(name, [o.removeprefix("--config.") for o in overrides])


@functools.cache
def settings_of(experiment: str) -> ExperimentSettings:
    """Resolve the settings of an experiment that do not need its dataset."""
    return resolve_settings(config(experiment))


def setting(experiment: str, key: str) -> Any:
    """Return the value of the key `section.key`; tuples become lists."""
    value: Any = settings_of(experiment).config
    for part in key.split("."):
        value = value[part]
    return value


def schedule_of(experiment: str, images: int) -> schedules.Schedule:
    """Make the learning-rate schedule, with its warm-up."""
    recipe = settings_of(experiment).recipe
    return recipe.make_rules(float(recipe.steps_per_epoch(images))).schedule


def rates(
    experiment: str,
    at: Sequence[float],
    by: str,
    images: int,
    error: float = 1.0,
    relative: bool = False,
) -> list[float]:
    """List the learning rates at the steps or epochs `at`, which are counted from 0.

    by: `step` or `epoch`. error: the training error, a fraction, before the first of them, for a
    warm-up that depends on it. relative: whether to divide by the first rate.
    """
    schedule, warmup = schedule_of(experiment, images), setting(experiment, "warmup")
    memory = schedule.init()
    for _ in range(warmup["window"] if warmup["name"] == "error" else 0):
        memory = schedule.after_step(memory, jnp.float32(error))
    period = float(settings_of(experiment).recipe.steps_per_epoch(images))
    first = [schedules.first_step(t, by, period) for t in at]
    found = [float(schedule.rate(memory, jnp.int32(step))) for step in first]
    return [rate / found[0] for rate in found] if relative else found


def steps(experiment: str, images: int) -> int:
    """Count the optimizer steps of the whole training."""
    return settings_of(experiment).recipe.total_steps(images)


def epochs(experiment: str, images: int) -> float:
    """Count the passes of the whole training over the images."""
    recipe = settings_of(experiment).recipe
    return recipe.epochs or float(recipe.steps / recipe.steps_per_epoch(images))


def passes(experiment: str, protocol: str) -> tuple[list[protocols.Pass], Size]:
    """Return the passes of a test protocol over an image, and the size of a view."""
    found = settings_of(experiment)
    crop = make_crop(config(experiment), found.image_shape)
    return protocols.protocol_passes(protocol, crop, found.test_scales), crop.out


def views(experiment: str, protocol: str) -> int:
    """Count the views of an image that a test protocol shows the network."""
    return protocols.count_views(*passes(experiment, protocol))


def scales(experiment: str, protocol: str) -> list[int]:
    """List the shorter sides, in pixels, to which the protocol resizes an image."""
    return [one.scale for one in passes(experiment, protocol)[0]]
