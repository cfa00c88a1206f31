"""Layers that several papers share or that flax lacks, and helpers to build networks.

Padding, stride and window are always written out. Maps are [N, H, W, C] throughout.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from cnn_archs.models.batch_statistics import normalize_groups
from cnn_archs.models.cpu.batch_norm import normalize
from cnn_archs.models.cpu.convolution import NHWC
from cnn_archs.models.cpu.response_norm import local_response_norm
from cnn_archs.models.cpu.step_convolution import convolve_as_traced
from cnn_archs.models.cpu.training_step import traced_step
from cnn_archs.models.deconvnet import rectified_both_ways, traced_deconvnet, unchanged_back
from cnn_archs.models.network import WHOLE, Layer, Windows, kernel_macs, windows_of

T = TypeVar("T")
Initializer = Callable[..., jax.Array]


def relu(x: jax.Array) -> jax.Array:
    """Return max(x, 0) in x's shape and dtype, with the gradient of `nn.relu`.

    On a CPU bfloat16 is computed in float32, which gives the same bits; see docs/known_issues.md.
    Inside of `deconvnet` the cotangent is rectified instead.
    """
    if traced := traced_deconvnet():
        traced.rectified += 1
        return rectified_both_ways(x)
    if x.dtype == jnp.bfloat16 and jax.default_backend() == "cpu":
        return nn.relu(x.astype(jnp.float32)).astype(x.dtype)
    return nn.relu(x)


Activation = Literal["identity", "tanh", "relu", "sigmoid"]
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
    """Return the function `name` of ACTIVATIONS. Raises ValueError for an unknown name."""
    return choice("activation", name, ACTIVATIONS)


def choice(kind: str, name: str, choices: Mapping[str, T]) -> T:
    """Return choices[name]. For an unknown name, raises ValueError with the known names."""
    if name not in choices:
        raise ValueError(f"{kind} {name!r} is not one of {', '.join(choices)}")
    return choices[name]


def scaled(width: int, factor: float, multiple: int = 1) -> int:
    """Return `width` times `factor`, both positive, rounded to a multiple of `multiple` above 0."""
    return multiple * max(1, round(width * factor / multiple))


def dense_pair(hidden: tuple[int, ...], devices: int) -> dict[str, str]:
    """Split fc6 by its outputs and fc7 by its inputs, so that only fc7 needs a sum over devices.

    hidden: units of the two layers. Raises ValueError if `devices` does not divide hidden[0].
    """
    if hidden[0] % devices:
        raise ValueError(f"the {hidden[0]} units of fc6 do not split evenly over {devices} devices")
    return {"fc6": "outputs", "fc7": "inputs"}


def maybe_remat(
    remat: bool, module: nn.Module, block: Callable[[Any, jax.Array], jax.Array], x: jax.Array
) -> jax.Array:
    """Return block(module, x), rematerialized in the backward pass if `remat`.

    With `remat` only the input of the block is stored for the gradient. Names, variables and random
    numbers are the same either way. Initialization, which has no gradient, never rematerializes.
    """
    return (nn.remat(block) if remat and not module.is_initializing() else block)(module, x)


class LRN(Layer):
    """Local response normalization; see `local_response_norm`. The defaults are AlexNet's.

    alpha_over_n: whether alpha is divided by n, as in Caffe, torch and AlexNet's later code.
    """

    kind = "lrn"
    k: float = 2.0
    n: int = 5
    alpha: float = 1e-4
    beta: float = 0.75
    alpha_over_n: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalize x: f32[N, H, W, C] across its maps."""
        alpha = self.alpha / self.n if self.alpha_over_n else self.alpha
        y = local_response_norm(x, self.k, self.n, alpha, self.beta)
        return unchanged_back(x, y) if traced_deconvnet() else y


class FullyConnected(Layer):
    """A dense layer over a whole map; on a larger map, a convolution with the same weights.

    The kernel is f32[H, W, C, features], with the H and W of the map at initialization. A
    classifier that ends in such layers and a mean over the remaining map is therefore also the
    fully convolutional network of VGG's section 3.2.
    """

    kind = "dense"
    features: int
    kernel_init: Initializer
    bias_init: Initializer = nn.initializers.zeros
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H', W', C] to f32[N, H'-H+1, W'-W+1, features].

        Raises ValueError if H' < H or W' < W.
        """

        def init(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            flat = self.kernel_init(key, (math.prod(shape[:3]), shape[3]), dtype)
            return flat.reshape(shape)  # with the fans of a dense layer

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
    """Batch normalization (Ioffe & Szegedy 2015), with statistics of the batch or of groups of it.

    group: number of consecutive images that are normalized by their own mean and variance in
    training, as on each of the devices that a paper used; 0 for the whole batch. The running
    statistics are updated with the mean over the groups: running <- momentum running +
    (1 - momentum) batch, with the biased variance. Parameters, statistics and arithmetic are
    float32.
    """

    kind = "bn"
    group: int = 0
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalize x: f32[N, H, W, C].

        Raises ValueError if `group` does not divide N, and if a group has one value of each
        channel, because that minus its mean is always 0.
        """
        channels = (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        scale = self.param("scale", nn.initializers.ones, channels, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, channels, jnp.float32)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if train and not self.is_initializing():
            groups = self.groups(len(x))
            if math.prod(x.shape[:3]) == groups:
                raise ValueError(
                    "batch normalization would take the statistics of a single value, from one "
                    "image with a map of 1x1: it needs 2 images at least (data.batch_size, "
                    "data.micro_batch, model.bn_group), or larger images"
                )
            if traced_step():
                return self.one_by_one(wide, groups, mean, var, scale, bias)
            if jax.default_backend() != "cpu":
                return self.in_few_kernels(x, groups, mean, var, scale, bias)
            # The variance is a difference of squares, which takes one pass over the map. Values
            # are taken relative to the running mean, so that the squares are small; the difference
            # can still be rounded to less than 0.
            split = wide.reshape(groups, -1, *channels) - mean.value.reshape(1, 1, *channels)
            m = split.mean(1)
            v = jnp.maximum(jnp.square(split).mean(1) - jnp.square(m), 0.0)
            m = m + mean.value[None]  # not +=, which outside of jit could change an array in use
            old = self.momentum
            mean.value = old * mean.value + (1 - old) * m.mean(0)
            var.value = old * var.value + (1 - old) * v.mean(0)
        else:
            groups, m, v = 1, mean.value[None], var.value[None]
        factor = scale[None] * lax.rsqrt(v + self.epsilon)
        by_group = (groups, 1, *channels)
        y = (wide.reshape(groups, -1, *channels) - m.reshape(by_group)) * factor.reshape(by_group)
        return (y.reshape(x.shape) + bias.reshape(1, 1, 1, -1)).astype(self.dtype)

    def one_by_one(self, x, groups, mean, var, scale, bias) -> jax.Array:
        """Normalize each group with its own call of `normalize`. mean, var: running statistics."""
        each = [
            normalize(part.reshape(-1, x.shape[-1]), scale, bias, self.epsilon)
            for part in jnp.split(x, groups)
        ]
        ys, means, variances = zip(*each, strict=True)
        old = self.momentum
        mean.value = old * mean.value + (1 - old) * sum(means) / groups
        var.value = old * var.value + (1 - old) * sum(variances) / groups
        return jnp.concatenate(ys).reshape(x.shape).astype(self.dtype)

    def in_few_kernels(self, x, groups, mean, var, scale, bias) -> jax.Array:
        """Normalize all groups with `normalize_groups`. mean, var: running statistics."""
        split = x.reshape(groups, -1, x.shape[-1])
        y, m, v = normalize_groups(split, mean.value, scale, bias, self.epsilon)
        old = self.momentum
        mean.value = old * mean.value + (1 - old) * m.mean(0)
        var.value = old * var.value + (1 - old) * v.mean(0)
        return y.reshape(x.shape).astype(self.dtype)

    def groups(self, images: int) -> int:
        """Return the number of groups in a batch.

        Raises ValueError if `group` does not divide the batch.
        """
        if self.group < 1:
            return 1
        if images % self.group:
            raise ValueError(f"bn_group={self.group} does not divide the batch of {images}")
        return images // self.group


Conv = partial(nn.Conv, conv_general_dilated=convolve_as_traced)


class ConvNorm(Layer):
    """A convolution followed by batch normalization."""

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
        """Map x: f32[N, H, W, C] to f32[N, H', W', features]."""
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
