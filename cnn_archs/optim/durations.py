"""The length of a training: conversion of epochs to steps."""

from fractions import Fraction
from math import ceil

from cnn_archs.errors import ConfigError


def steps_per_epoch(images: int, batch_size: int) -> Fraction:
    """Return the steps in one pass over `images` training images; it need not be whole."""
    return Fraction(images, batch_size)


def epochs_to_steps(epochs: float, epoch: Fraction) -> Fraction:
    """Return the number of steps in `epochs` passes of `epoch` steps each.

    `epochs` counts as its decimal notation: 1.1 is exactly 11/10.
    """
    return Fraction(str(epochs)) * epoch


def total_steps(epochs: float, steps: int, epoch: Fraction) -> int:
    """Return the steps of a whole training: `steps`, or `epochs` in steps, rounded up.

    epoch: steps in one pass. One of `steps` and `epochs` is 0. Raises ConfigError if both are.
    """
    total = steps or ceil(epochs_to_steps(epochs, epoch))
    if total < 1:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    return total
