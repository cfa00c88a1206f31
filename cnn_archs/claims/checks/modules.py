"""Checks of what the modules of networks compute: inception, residual units, batch normalization.

net: a name of SMALL. module, layer: paths. Each check returns AS_STATED, or says what is otherwise.
"""

import functools
from collections.abc import Mapping, Sequence

import numpy as np

from cnn_archs.claims.checks import formulas
from cnn_archs.claims.checks.formulas import Array, relu
from cnn_archs.claims.checks.observed import Observed, Otherwise, compare, function_check, observe
from cnn_archs.claims.checks.small import SMALL

EPSILON = 1e-5  # of batch normalization in the released residual networks
LAYERS = {  # name, window, and whether it has the stride of the unit
    "basic": (("3x3a", 3, True), ("3x3b", 3, False)),
    "bottleneck": (("1x1a", 1, True), ("3x3", 3, False), ("1x1b", 1, False)),
}


@function_check
def inception_modules(net: str, modules: Sequence[str], reduced: bool) -> None:
    """Check modules of figure 2: their branches, the ReLUs, and the order of the outputs.

    reduced: whether 1x1 convolutions precede the 3x3 and the 5x5 and follow the pool (figure 2b).
    """
    seen = observe(SMALL[net])
    for module in modules:
        x, y = seen.call(module)
        conv = functools.partial(convolved_relu, seen, module)
        pool = formulas.max_pool(x, 3, 1, padding=1)
        branches = [
            conv(x, "1x1", 1),
            conv(conv(x, "3x3_reduce", 1) if reduced else x, "3x3", 3),
            conv(conv(x, "5x5_reduce", 1) if reduced else x, "5x5", 5),
            conv(pool, "pool_proj", 1) if reduced else pool,
        ]
        compare(y, np.concatenate(branches, -1), module)


def convolved_relu(seen: Observed, module: str, x: Array, name: str, window: int) -> Array:
    """Return the ReLU of the convolution `name` of a module, which keeps the size of x."""
    kernel, bias = (seen.of(f"{module}/{name}", part) for part in ("kernel", "bias"))
    return relu(formulas.convolve(x, kernel, padding=window // 2) + bias)


def normalized(seen: Observed, x: Array, layer: str, epsilon: float = EPSILON) -> Array:
    """Return the batch normalization `layer` of x by its running statistics."""
    scale, bias, mean, var = (seen.of(layer, name) for name in ("scale", "bias", "mean", "var"))
    return formulas.batch_norm(x, scale, bias, mean, var, epsilon)


def convolved(seen: Observed, x: Array, layer: str, window: int, stride: int) -> Array:
    """Return the convolution `layer` of x, which has no bias."""
    return formulas.convolve(x, seen.of(layer, "kernel"), stride, window // 2)


def without_parameters(x: Array, y: Array, stride: int) -> Array:
    """Return every `stride`-th pixel of x, followed by as many maps of zeros as y has more."""
    x = x[:, ::stride, ::stride]
    return np.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[-1] - x.shape[-1])))


@function_check
def residual_units(
    net: str, units: Sequence[str], kind: str, shortcut: str, stride: int = 1
) -> None:
    """Check relu(F(x) + shortcut(x)), F being convolutions, each with its normalization.

    ReLU stands between them. kind: of LAYERS. shortcut: `identity` (with zeros for further maps),
    `projection` (a convolution of 1x1 and its normalization) or `none`.
    """
    seen = observe(SMALL[net])
    for unit in units:
        x, found = seen.call(unit)

        def conv_norm(x: Array, name: str, window: int, stride: int = 1, unit: str = unit) -> Array:
            y = convolved(seen, x, f"{unit}/{name}/conv", window, stride)
            return normalized(seen, y, f"{unit}/{name}/norm")

        y = x
        for i, (name, window, strided) in enumerate(LAYERS[kind]):
            y = conv_norm(relu(y) if i else y, name, window, stride if strided else 1)
        if shortcut == "projection":
            y = y + conv_norm(x, "shortcut", 1, stride)
        elif shortcut == "identity":
            y = y + without_parameters(x, y, stride)
        compare(found, relu(y), unit)


@function_check
def preactivation_units(
    net: str, units: Sequence[str], kind: str, shortcut: str, stride: int = 1
) -> None:
    """Check F(x) + shortcut(x), F being normalization, ReLU and convolution, two or three times.

    kind: of LAYERS. shortcut: `identity` of x itself; where the shape changes, of the first ReLU's
    output, `padded` with maps of zeros or by `projection`, a convolution of 1x1.
    """
    seen = observe(SMALL[net])
    for unit in units:
        x, found = seen.call(unit)
        y = active = relu(normalized(seen, x, f"{unit}/bn1"))
        for i, (name, window, strided) in enumerate(LAYERS[kind], start=1):
            y = relu(normalized(seen, y, f"{unit}/bn{i}")) if i > 1 else y
            y = convolved(seen, y, f"{unit}/{name}", window, stride if strided else 1)
        if shortcut == "projection":
            y = y + convolved(seen, active, f"{unit}/shortcut", 1, stride)
        else:
            y = y + without_parameters(active if shortcut == "padded" else x, y, stride)
        compare(found, y, unit)


@function_check
def batch_norms(
    net: str, layers: Sequence[str], epsilon: float, momentum: float, group: int
) -> None:
    """Check normalization in training, by the statistics of each group of images.

    The running statistics keep the share `momentum` and take the rest from the batch: the mean over
    its groups of means, and of variances, which are divided by the number of values.
    """
    seen = observe(SMALL[net])
    for layer in layers:
        x, found = seen.call(layer)
        parts = np.split(x, len(x) // group)
        means = [part.mean((0, 1, 2)) for part in parts]
        variances = [part.var((0, 1, 2)) for part in parts]
        scale, bias = seen.of(layer, "scale"), seen.of(layer, "bias")
        statistics = zip(parts, means, variances, strict=True)
        y = [formulas.batch_norm(p, scale, bias, m, v, epsilon) for p, m, v in statistics]
        compare(found, np.concatenate(y), layer)
        for name, of_batch in (("mean", means), ("var", variances)):
            moved = momentum * seen.of(layer, name) + (1 - momentum) * np.mean(of_batch, 0)
            compare(running(seen.after, layer, name), moved, f"the running {name} of {layer}")


def running(after: Mapping[str, Mapping[str, Array]], layer: str, name: str) -> Array:
    """Return a running statistic after the step. Raises Otherwise if the layer has none."""
    if name not in after.get(layer, {}):
        raise Otherwise(f"{layer} has no running {name}")
    return after[layer][name]


@function_check
def tested_batch_norms(net: str, layers: Sequence[str], epsilon: float) -> None:
    """Check normalization in a test, by the running statistics."""
    seen = observe(SMALL[net])
    for layer in layers:
        x, found = seen.call(layer)
        compare(found, normalized(seen, x, layer, epsilon), layer)


MODULE_FUNCTIONS = (
    *(inception_modules, residual_units, preactivation_units, batch_norms, tested_batch_norms),
)
