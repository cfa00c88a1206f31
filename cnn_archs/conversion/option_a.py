"""Put the maps of option A's networks into akamaster's order, and back.

A shortcut of option A doubles the number of maps with maps of zeros. akamaster's
`pytorch_resnet_cifar10` puts half of them before the maps of the unit's input and half behind, and
this package puts all of them behind. Both compute the same function if all maps of the later stages
change their places: in the kernels, scales, biases and statistics that end a unit, in the kernels
that begin one, and in the columns of the last layer.
"""

from typing import TypeGuard

import numpy as np

from cnn_archs.models.layers import scaled
from cnn_archs.models.network import Network
from cnn_archs.models.resnet import ResNet

State = dict[str, np.ndarray]
NORM = ("weight", "bias", "running_mean", "running_var")


def has_akamasters_maps(model: Network) -> TypeGuard[ResNet]:
    """Return whether akamaster's code has this network with other places for the maps of zeros."""
    if not isinstance(model, ResNet):
        return False
    widths = [scaled(width, model.width) for width in model.widths]
    doubles = all(b == 2 * a and a % 2 == 0 for a, b in zip(widths, widths[1:], strict=False))
    printed = (model.kind, model.unit, model.shortcut, model.stem)
    return printed == ("basic", "residual", "A", "3x3") and len(widths) == 3 and doubles


def to_akamasters(model: ResNet, state: State) -> State:
    """Return a state dict of `model`, which has our order of maps, in akamaster's order."""
    return reorder(model, state, [np.argsort(order) for order in orders(model)])


def from_akamasters(model: ResNet, state: State) -> State:
    """Return a state dict of `model`, which has akamaster's order of maps, in our order."""
    return reorder(model, state, orders(model))


def orders(model: ResNet) -> list[np.ndarray]:
    """Return, for each stage, akamaster's number of each of our maps: i64[maps]."""
    width = scaled(model.widths[0], model.width)
    found = [np.arange(width)]
    for _ in model.widths[1:]:
        before = width // 2  # maps of zeros; as many follow the maps of the last stage
        zeros = np.r_[:before, before + width : 2 * width]
        found.append(np.r_[before + found[-1], zeros])
        width *= 2
    return found


def reorder(model: ResNet, state: State, stages: list[np.ndarray]) -> State:
    """Return `state` with the maps of each stage in the order `stages`, [i64[maps]]."""
    moved = dict(state)

    def move(name: str, axis: int, order: np.ndarray) -> None:
        if name in moved and moved[name].shape[axis : axis + 1] == order.shape:
            moved[name] = np.take(moved[name], order, axis)

    for stage, (units, order) in enumerate(zip(model.blocks, stages, strict=True)):
        for unit in range(units):
            name = f"layer{stage + 1}.{unit}"
            move(f"{name}.conv1.weight", 1, order if unit else stages[max(stage - 1, 0)])
            move(f"{name}.conv2.weight", 0, order)
            for leaf in NORM:
                move(f"{name}.bn2.{leaf}", 0, order)
    move("linear.weight", 1, stages[-1])
    return moved
