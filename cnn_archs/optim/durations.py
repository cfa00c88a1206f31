"""The length of a training run: conversion of epochs to steps."""

from fractions import Fraction
from math import ceil

from cnn_archs.errors import ConfigError


def steps_per_epoch(images: int, batch_size: int) -> Fraction:
    """Return the steps in one pass over `images` training images, which may be a fraction."""
    return Fraction(images, batch_size)


def epochs_to_steps(epochs: float, epoch: Fraction) -> Fraction:
    """Return the number of steps in `epochs` passes of `epoch` steps each.

    `epochs` is read by its decimal notation: 1.1 is exactly 11/10.
    """
    return Fraction(str(epochs)) * epoch


def total_steps(epochs: float, steps: int, epoch: Fraction) -> int:
    """Return the steps of a training run: `steps`, or `epochs` in steps, rounded up.

    epoch: steps in one pass. At least one of `steps` and `epochs` must be 0. Raises ConfigError if
    both are, or if the steps are too many for an int32.
    """
    total = steps or ceil(epochs_to_steps(epochs, epoch))
    if total < 1:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    if total > 2**31 - 1:
        raise ConfigError(f"--config.epochs={epochs} are {total:,} steps: at most 2,147,483,647")
    return total
