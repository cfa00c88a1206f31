"""Layers that two papers share, or that flax lacks.

A module with an attribute `row` is a layer in the ledger (`models/summary.py`), of that type.
Pooling stands here as a module only so that it has a name, and therefore a row.
Padding, stride and window are always written out; maps are [N, H, W, C] throughout.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cnn_archs.models.cpu.batch_norm import normalize
from cnn_archs.models.cpu.convolution import NHWC
from cnn_archs.models.cpu.response_norm import local_response_norm
from cnn_archs.models.cpu.step_convolution import convolve_as_traced
from cnn_archs.models.cpu.training_step import traced_step
from cnn_archs.models.network import WHOLE, Layer, Windows, kernel_macs, windows_of

T = TypeVar("T")
Initializer = Callable[..., jax.Array]


def relu(x: jax.Array) -> jax.Array:
    """Return max(x, 0) in x's shape and dtype, with the gradient of `nn.relu`.

    On a CPU bfloat16 is widened for it, to the same bits: docs/known_issues.md says why.
    """
    if x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu":
        return nn.relu(x.astype(jnp.float32)).astype(x.dtype)
    return nn.relu(x)


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "identity": lambda x: x,
    "tanh": jnp.tanh,
    "relu": relu,
    "sigmoid": nn.sigmoid,
}

INITIALIZERS: dict[str, Initializer] = {
    "glorot": nn.initializers.glorot_uniform(),  # Glorot & Bengio 2010, equation 16
    "he": nn.initializers.variance_scaling(2.0, "fan_in", "normal"),  # He et al. 2015, equation 10
}


def activation(name: str) -> Callable[[jax.Array], jax.Array]:
    """The elementwise function `name` of ACTIVATIONS; ValueError for any other name."""
    return choice("activation", name, ACTIVATIONS)


def choice(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """choices[name]; ValueError, with the names that there are, for any other."""
    if name not in choices:
        raise ValueError(f"{kind} {name!r} is not one of {', '.join(choices)}")
    return choices[name]


def scaled(width: int, factor: float, multiple: int = 1) -> int:
    """`width` times `factor`, as the nearest positive multiple of `multiple`."""
    if width <= 0 or factor <= 0:
        raise ValueError(f"a width of {width} times {factor:g}: must be more than 0")
    return multiple * max(1, round(width * factor / multiple))


def dense_pair(hidden: tuple[int, ...], devices: int) -> dict[str, str]:
    """fc6 and fc7, of `hidden` units, split as a pair: see `models.split`."""
    if hidden[0] % devices:
        raise ValueError(f"the {hidden[0]} units of fc6 do not split evenly over {devices} devices")
    return {"fc6": "outputs", "fc7": "inputs"}


def maybe_remat(
    remat: bool, module: nn.Module, block: Callable[[Any, jax.Array], jax.Array], x: jax.Array
) -> jax.Array:
    """block(module, x). With `remat` its input alone is kept for the gradient, and all that it
    computes inside is computed again there.

    Names, variables and random numbers are the same either way, and an initialization, which has
    no gradient, never does so.
    """
    return (nn.remat(block) if remat and not module.is_initializing() else block)(module, x)


class LRN(Layer):
    """`local_response_norm` with the paper's constants, as a layer."""

    kind = "lrn"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H, W, C] -> the same shape."""
        return local_response_norm(x)


class FullyConnected(Layer):
    """A dense layer over a whole map; on a larger map, the same weights as a convolution.

    The kernel is f32[H, W, C, features], with the H and W of the map at initialization. So a
    classifier that ends in these, and in a mean over what is left of the map, is at the same
    time the fully convolutional network of VGG's section 3.2.
    """

    kind = "dense"
    features: int
    kernel_init: Initializer
    bias_init: Initializer = nn.initializers.zeros
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """x: f32[N, H', W', C] -> f32[N, H'-H+1, W'-W+1, features]. ValueError if H' < H."""

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            flat = self.kernel_init(key, (math.prod(shape[:3]), shape[3]), dtype)
            return flat.reshape(shape)  # fans are those of a dense layer

        window = x.shape[1:3]
        if self.has_variable("params", "kernel"):
            window = self.get_variable("params", "kernel").shape[:2]
        kernel = self.param("kernel", init, (*window, x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", self.bias_init, (self.features,), jnp.float32)
        x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=self.dtype)
        if window == x.shape[1:3]:
            y = x.reshape(x.shape[0], 1, 1, -1) @ kernel.reshape(-1, self.features)
        elif min(a - b for a, b in zip(x.shape[1:3], window, strict=True)) < 0:
            raise ValueError(
                "the image is too small: a dense layer takes maps of "
                f"{window[0]}x{window[1]} or larger, not {x.shape[1]}x{x.shape[2]}"
            )
        else:
            y = lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=NHWC)
        return y + bias.reshape(1, 1, 1, -1)

    def windows(self) -> Windows:
        return WHOLE


class BatchNorm(Layer):
    """Batch normalization (Ioffe & Szegedy 2015), with statistics over all or groups of the batch.

    group: in training each `group` consecutive images are normalized by their own mean and
    variance, as on one device of those that a paper used; 0 is the whole batch. The running
    statistics take the mean of the groups': running <- momentum running + (1 - momentum) batch,
    with the biased variance. Parameters and statistics are float32, as is the arithmetic.
    """

    kind = "bn"
    group: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: f32[N, H, W, C] -> the same shape. ValueError where `group` does not divide N."""
        channels = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train and not self.is_initializing():
            groups = self.groups(len(x))
            if traced_step():
                return self.one_by_one(wide, groups, mean, var, scale, bias)
            # One pass over the map instead of two. Around the running mean, so that the difference
            # of the squares is not one of large numbers; it can still round to less than 0.
            split = wide.reshape(groups, -1, *channels) - mean.value.reshape(1, 1, *channels)
            m = split.mean(1)
            v = jnp.maximum(jnp.square(split).mean(1) - jnp.square(m), 0.0)
            m = m + mean.value[None]  # not +=: outside of jit m can be numpy's, still to be read
            old = self.momentum
            mean.value = old * mean.value + (1 - old) * m.mean(0)
            var.value = old * var.value + (1 - old) * v.mean(0)
        else:
            groups, m, v = 1, mean.value[None], var.value[None]
        factor = scale[None] * lax.rsqrt(v + self.epsilon)
        apart = (groups, 1, *channels)
        y = (wide.reshape(groups, -1, *channels) - m.reshape(apart)) * factor.reshape(apart)
        return (y.reshape(x.shape) + bias.reshape(1, 1, 1, -1)).astype(self.dtype)

    def one_by_one(self, x, groups, mean, var, scale, bias) -> jax.Array:
        """Normalize each group by itself; see `normalize`. mean, var: the running statistics."""
        each = [
            normalize(part.reshape(-1, x.shape[-1]), scale, bias, self.epsilon)
            for part in jnp.split(x, groups)
        ]
        ys, means, variances = zip(*each, strict=True)
        old = self.momentum
        mean.value = old * mean.value + (1 - old) * sum(means) / groups
        var.value = old * var.value + (1 - old) * sum(variances) / groups
        return jnp.concatenate(ys).reshape(x.shape).astype(self.dtype)

    def groups(self, images: int) -> int:
        """The number of groups of a batch."""
        if self.group < 1:
            return 1
        if images % self.group:
            raise ValueError(f"bn_group={self.group} does not divide the batch of {images}")
        return images // self.group


Conv = partial(nn.Conv, conv_general_dilated=convolve_as_traced)


class ConvNorm(Layer):
    """A convolution and the batch normalization of its sums."""

    kind = "conv"
    features: int
    kernel_size: tuple[int, int]
    kernel_init: Initializer
    strides: int = 1
    padding: int | tuple[tuple[int, int], tuple[int, int]] = 0
    use_bias: bool = False
    epsilon: float = 1e-5
    bn_group: int = 0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """x: f32[N, H, W, C] -> f32[N, H', W', features]."""
        x = Conv(
            self.features,
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=self.use_bias,
            kernel_init=self.kernel_init,
            dtype=self.dtype,
            name="conv",
        )(x)
        norm = BatchNorm(self.bn_group, epsilon=self.epsilon, dtype=self.dtype, name="norm")
        return norm(x, train=train)

    def windows(self) -> Windows:
        return windows_of(self.kernel_size, self.strides, self.padding)

    def macs(self, params: Mapping[str, Any], out: tuple[int, int, int]) -> int:
        return kernel_macs(params["conv"], out)
