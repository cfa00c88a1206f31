"""How long a training is: from passes over the images to steps, and back."""

from fractions import Fraction
from math import ceil

from cnn_archs.errors import ConfigError


def steps_per_epoch(images: int, batch_size: int) -> Fraction:
    """Return the steps in one pass over so many training images, which need not be whole."""
    return Fraction(images, batch_size)


def epochs_to_steps(epochs: float, epoch: Fraction) -> Fraction:
    """Return how many steps `epochs` passes of `epoch` steps each are.

    A number of epochs counts as it is written: 1.1 is 11/10, and no binary fraction near it.
    """
    return Fraction(str(epochs)) * epoch


def total_steps(epochs: float, steps: int, epoch: Fraction) -> int:
    """Return the steps of a whole training: `steps`, or those that `epochs` passes begin.

    One of the two is 0. ConfigError where both are.
    """
    total = steps or ceil(epochs_to_steps(epochs, epoch))
    if total < 1:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    return total
