"""The recipe of a training run: loss, learning rates, optimizer, batches and length."""

import dataclasses
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

import optax

from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.optim import durations, losses, optimizers, schedules, warmups, weight_averaging
from cnn_archs.optim.losses import Loss
from cnn_archs.optim.schedules import Schedule
from cnn_archs.optim.weight_averaging import Average

ConfigSection = Mapping[str, Any]  # `name` in a registry, and the arguments of its function


class Rules(NamedTuple):
    """The functions of a training run, created once the number of steps in an epoch is known."""

    loss: Loss
    schedule: Schedule
    optimizer: optax.GradientTransformationExtraArgs
    average: Average


def make_rules(
    steps_per_epoch: float,
    *,
    loss: ConfigSection,
    schedule: ConfigSection,
    warmup: ConfigSection,
    optimizer: ConfigSection,
    average: ConfigSection,
) -> Rules:
    """Create the functions that these sections of a config name.

    steps_per_epoch: may be a fraction. Raises ConfigError if knobs do not fit together.
    """
    with config_errors("config"):
        rates = schedules.create(steps_per_epoch=steps_per_epoch, **schedule)
        rates = warmups.add_warmup(rates, steps_per_epoch=steps_per_epoch, **warmup)
        return Rules(
            losses.create(**loss),
            rates,
            optimizers.create(schedule=rates, **optimizer),
            weight_averaging.create(steps_per_epoch=steps_per_epoch, **average),
        )


@dataclasses.dataclass(frozen=True)
class Recipe:
    """The settings of a training run, apart from the network and its images.

    make_rules: steps_per_epoch -> Rules; may raise ConfigError. batch_size: images per step.
    micro_batch: images whose gradients are computed at once; 0 means all of a batch. epochs, steps:
    the length; one of the two is 0. auxiliary: weight of each auxiliary classifier's loss.
    keeps_average: whether an average of the weights is kept. curvature_examples: number of examples
    over which the optimizer takes second derivatives before each epoch; 0 if it takes none.
    """

    make_rules: Callable[[float], Rules]
    loss: Loss
    batch_size: int
    micro_batch: int
    epochs: float
    steps: int
    auxiliary: float
    keeps_average: bool
    curvature_examples: int

    @property
    def micro_batch_size(self) -> int:
        """The number of images whose gradients are computed at once."""
        return self.micro_batch or self.batch_size

    def steps_per_epoch(self, images: int) -> Fraction:
        """Return the steps in one pass over `images` training images, which may be a fraction."""
        return durations.steps_per_epoch(images, self.batch_size)

    def total_steps(self, images: int) -> int:
        """Return the steps of the whole run on `images` training images.

        Raises ConfigError if there are none.
        """
        return durations.total_steps(self.epochs, self.steps, self.steps_per_epoch(images))


def check_batch_sizes(batch_size: int, micro_batch: int, *, bn_group: int) -> None:
    """Raise ConfigError unless micro-batches and groups for batch statistics divide the batch.

    bn_group: as in the config; 0 if the network has no batch normalization.
    """
    if micro_batch and batch_size % micro_batch:
        raise ConfigError(
            f"data.micro_batch={micro_batch} does not divide the batch, "
            f"data.batch_size={batch_size}"
        )
    at_once = micro_batch or batch_size
    if bn_group > 0 and at_once % bn_group:
        what = "data.micro_batch" if micro_batch else "data.batch_size"
        raise ConfigError(f"model.bn_group={bn_group} does not divide the batch, {what}={at_once}")
