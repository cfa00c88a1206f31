"""Checks of what single layers compute, and of which layer takes the output of which.

net: a name of SMALL. layers: paths of layers, such as `3a/5x5`. Each check returns AS_STATED, or
says what is otherwise.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from cnn_archs.claims.checks import formulas
from cnn_archs.claims.checks.formulas import Array
from cnn_archs.claims.checks.observed import Otherwise, compare, function_check, observe
from cnn_archs.claims.checks.small import SMALL
from cnn_archs.models.lenet import RBF_CENTERS

AFTER: dict[str, Callable[[Array], Array]] = {
    "relu": formulas.relu,
    "squash": formulas.squash,
    "tanh": np.tanh,
    "negated": np.negative,
    "averaged": lambda y: y.mean((1, 2)),
}


def compare_each(net: str, layers: Sequence[str], formula: Callable[[Array], Array]) -> None:
    """Raise Otherwise unless the output of each layer is `formula` of its input."""
    seen = observe(SMALL[net])
    for layer in layers:
        call = seen.call(layer)
        compare(call.y, formula(call.x), layer)


@function_check
def order(net: str, chain: Sequence[str]) -> None:
    """Check that each layer of the chain takes the output of the one before it.

    chain: paths of layers, each with a function of AFTER that its output goes through, if any, as
    in `conv1 relu`. It may begin with `image`, and end with an output of the network, as in
    `heads/logits`.
    """
    seen = observe(SMALL[net])
    given, before = None, ""
    for entry in chain:
        layer, _, function = entry.partition(" ")
        is_head, is_image = layer.startswith("heads/"), layer == "image"
        if is_head and layer[6:] not in seen.heads:
            raise Otherwise(f"there is no output {layer[6:]}")
        if given is not None:
            takes = seen.heads[layer[6:]] if is_head else seen.call(layer).x
            flat = given.reshape(len(given), -1)
            compare(takes.reshape(len(takes), -1), flat, f"the input of {layer}, {before}")
        if not is_head:
            y = seen.image if is_image else seen.call(layer).y
            given, before = AFTER[function](y) if function else y, entry


@function_check
def convolutions(
    net: str, layers: Sequence[str], window: int, stride: int, padding: int, groups: int = 1
) -> None:
    """Check that layers are convolutions, with a bias where they have one."""
    seen = observe(SMALL[net])
    for layer in layers:
        call, kernel = seen.call(layer), seen.of(layer, "kernel")
        if kernel.shape[:2] != (window, window):
            raise Otherwise(f"{layer} has kernels of {kernel.shape[0]}x{kernel.shape[1]}")
        y = formulas.convolve(call.x, kernel, stride, padding, groups)
        compare(call.y, y + seen.variables[layer].get("bias", 0.0), layer)


@function_check
def dense_layers(net: str, layers: Sequence[str]) -> None:
    """Check that each unit is the weighted sum of all inputs plus a bias."""
    seen = observe(SMALL[net])
    for layer in layers:
        call, kernel = seen.call(layer), seen.of(layer, "kernel")
        x = call.x.reshape(len(call.x), -1)
        if x.shape[1] != math.prod(kernel.shape[:-1]):
            raise Otherwise(f"{layer} has not one weight for each of {x.shape[1]} inputs")
        y = x @ kernel.reshape(-1, kernel.shape[-1]) + seen.of(layer, "bias")
        compare(call.y.reshape(len(y), -1), y, layer)


@function_check
def max_pools(
    net: str,
    layers: Sequence[str],
    window: int,
    stride: int,
    padding: int = 0,
    hang: bool = False,
) -> None:
    """Check that layers are the largest values of windows."""
    compare_each(net, layers, lambda x: formulas.max_pool(x, window, stride, padding, hang))


@function_check
def mean_pools(net: str, layers: Sequence[str], window: int = 0, stride: int = 1) -> None:
    """Check that layers are the means of windows; of the whole map, if `window` is 0."""
    compare_each(
        net,
        layers,
        lambda x: formulas.mean_pool(x, window, stride) if window else x.mean((1, 2)),
    )


@function_check
def response_norms(
    net: str, layers: Sequence[str], k: float, n: int, alpha: float, beta: float
) -> None:
    """Check that layers normalize across n neighboring maps, with the constants of the formula."""
    compare_each(net, layers, lambda x: formulas.response_norm(x, k, n, alpha, beta))


@function_check
def subsamplings(net: str, layers: Sequence[str]) -> None:
    """Check that layers add 2x2 inputs, and that a coefficient and a bias of each map follow."""
    seen = observe(SMALL[net])
    for layer in layers:
        call = seen.call(layer)
        sums = formulas.sum_pool(call.x, 2, 2)
        y = sums * seen.of(layer, "coefficient") + seen.of(layer, "bias")
        compare(call.y, y, layer)


@function_check
def table_convolution(net: str, layer: str, table: Sequence[Sequence[int]]) -> None:
    """Check that each map is a 5x5 convolution of the maps that its row of the table lists.

    The weights of the connections are in the order of their inputs, then of their outputs.
    """
    seen = observe(SMALL[net])
    call, weights = seen.call(layer), seen.of(layer, "kernel")
    connections = sorted((i, output) for output, row in enumerate(table) for i in row)
    if weights.shape[-1] != len(connections):
        raise Otherwise(f"{layer} has {weights.shape[-1]} connections, not {len(connections)}")
    y = np.zeros((*call.y.shape[:3], len(table))) + seen.of(layer, "bias")
    for number, (i, output) in enumerate(connections):
        one = formulas.convolve(call.x[..., i : i + 1], weights[:, :, number, None, None])
        y[..., output] += one[..., 0]
    compare(call.y, y, layer)


@function_check
def radial_basis(net: str, layer: str) -> None:
    """Check that each output is the sum of (x_j - w_ij)^2, for weights of -1 and +1."""
    call = observe(SMALL[net]).call(layer)
    if set(np.unique(RBF_CENTERS)) != {-1.0, 1.0}:
        raise Otherwise("the weights are not -1 and +1")
    each = [((call.x - center) ** 2).sum(-1) for center in RBF_CENTERS.astype(np.float64)]
    compare(call.y, np.stack(each, -1), layer)


@function_check
def dropouts(net: str, layers: Sequence[str], rate: float) -> None:
    """Check that a share of `rate` of the inputs becomes 0, and others are divided by 1 - rate."""
    seen = observe(SMALL[net])
    for layer in layers:
        x, y = seen.call(layer)
        compare(y, np.where(y == 0, 0.0, x / (1.0 - rate)), layer)
        share = float((y[x != 0] == 0).mean())
        uncertain = 5 * math.sqrt(rate * (1 - rate) / (x != 0).sum())
        if abs(share - rate) > uncertain:
            raise Otherwise(f"{layer} drops {100 * share:.0f} %")


@function_check
def no_dropouts(net: str, layers: Sequence[str]) -> None:
    """Check that layers return their inputs, as dropout does in a test."""
    seen = observe(SMALL[net])
    for layer in layers:
        compare(seen.call(layer).y, seen.call(layer).x, layer)


LAYER_FUNCTIONS = (
    *(order, convolutions, dense_layers, max_pools, mean_pools, response_norms, subsamplings),
    *(table_convolution, radial_basis, dropouts, no_dropouts),
)
