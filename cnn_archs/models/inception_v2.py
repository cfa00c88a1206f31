"""BN-Inception, or Inception-v2 (Ioffe & Szegedy 2015, "Batch normalization", figure 5).

           outputs     1x1  3x3         double 3x3  pool
    conv1  112x112x64  7x7/2
    pool1  56x56x64    3x3/2
    conv2  56x56x192   1x1 of 64, 3x3 of 192
    pool2  28x28x192   3x3/2
    3a     28x28x256    64   64 ->  64   64 ->  96  mean, 32
    3b     28x28x320    64   64 ->  96   64 ->  96  mean, 64
    3c     14x14x576     -  128 -> 160   64 ->  96  maximum, stride 2
    4a     14x14x576   224   64 ->  96   96 -> 128  mean, 128
    4b     14x14x576   192   96 -> 128   96 -> 128  mean, 128
    4c     14x14x608   160  128 -> 160  128 -> 160  mean, 128
    4d     14x14x608    96  128 -> 192  160 -> 192  mean, 128
    4e     7x7x1056      -  128 -> 192  192 -> 256  maximum, stride 2
    5a     7x7x1024    352  192 -> 320  160 -> 224  mean, 128
    5b     7x7x1024    352  192 -> 320  192 -> 224  maximum, 128
    pool5  1x1x1024    mean, then a dense layer of 1000

Every convolution has batch normalization, and then a ReLU. Both 3x3 of a double 3x3 have the width
of their column. In 3c and 4e the last convolution of a branch has stride 2, and so does the pool,
whose maps are passed on. The network has 11,285,224 parameters. With `stem="separable"` its first
convolution is separable with depth multiplier 8, as the appendix says of the authors' own, without
a table of it; that has 11,278,528.

The paper does not give these: padding, which is as in GoogLeNet here (half of the window, and pools
of stride 2 whose last window may extend beyond the edge; a map of odd size is padded before such a
pool, so that it gives as many outputs as the convolutions beside it); epsilon, which is 1e-5; and
the weights at the start, which are He et al.'s. Mean pools leave the padding out, as in the
authors' later releases.

Deviations: figure 5 prints 576 maps of 4c and 4d and 1024 of 4e, but their branches add up to 608,
            608 and 1056, which hold here. It prints the sizes of 3c and 4e before their stride.
"""

from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.branches import InnerAvgPool, Module, classify, parse_patch, run_layers
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.layers import INITIALIZERS, Conv, ConvNorm, activation, choice, scaled
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool


def keep(
    one: int, three: tuple[int, int], double: tuple[int, int], pool: Any, project: int
) -> Module:
    """Return a module that keeps the size of its maps. three, double: (reduction, width)."""
    return {
        "1x1": [("1x1", one)],
        "3x3": [("1x1", three[0]), ("3x3", three[1])],
        "double3x3": [("1x1", double[0]), ("3x3", double[1]), ("3x3", double[1])],
        "pool": [("3x3", pool), ("1x1", project)],
    }


def halve(three: tuple[int, int], double: tuple[int, int]) -> Module:
    """Return a module with stride 2, whose pool is passed on. three, double: see `keep`."""
    return {
        "3x3": [("1x1", three[0]), ("3x3/2", three[1])],
        "double3x3": [("1x1", double[0]), ("3x3", double[1]), ("3x3/2", double[1])],
        "pool": [("3x3/2", MaxPool)],
    }


# fmt: off
FIGURE_5: dict[str, Any] = {  # after conv1
    "pool1": ("3x3/2", MaxPool),
    "conv2_reduce": ("1x1", 64),
    "conv2": ("3x3", 192),
    "pool2": ("3x3/2", MaxPool),
    "3a": keep( 64, ( 64,  64), ( 64,  96), InnerAvgPool,  32),
    "3b": keep( 64, ( 64,  96), ( 64,  96), InnerAvgPool,  64),
    "3c": halve(    (128, 160), ( 64,  96)),
    "4a": keep(224, ( 64,  96), ( 96, 128), InnerAvgPool, 128),
    "4b": keep(192, ( 96, 128), ( 96, 128), InnerAvgPool, 128),
    "4c": keep(160, (128, 160), (128, 160), InnerAvgPool, 128),
    "4d": keep( 96, (128, 192), (160, 192), InnerAvgPool, 128),
    "4e": halve(    (128, 192), (192, 256)),
    "5a": keep(352, (192, 320), (160, 224), InnerAvgPool, 128),
    "5b": keep(352, (192, 320), (192, 224), MaxPool,      128),
}
# fmt: on


class InceptionV2(Network):
    """The network of figure 5.

    stem: the first convolution, `7x7` or `separable`. activation: the function after each
    normalization; the paper compares with `sigmoid` (section 4.2.2).
    """

    num_classes: Count = 1000
    stem: Literal["7x7", "separable"] = "7x7"
    activation: Literal["relu", "sigmoid"] = "relu"
    dropout: Rate = 0.0  # section 4.2.1: removed
    bn_group: BnGroup = 0  # images that share batch statistics; 0: all; -1: one device's
    width: Factor = 1.0  # multiplies all widths except the number of classes
    remat: bool = False  # whether modules are rematerialized in the backward pass
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]."""
        act = activation(self.activation)
        norm: Any = dict(bn_group=self.bn_group, dtype=self.dtype, kernel_init=INITIALIZERS["he"])

        def layer(x, patch, maps, *, name):
            window = parse_patch(patch)
            side, stride, around = window.height, window.stride, window.height // 2
            if maps is MaxPool and stride == 2:
                return MaxPool(side, stride, ceil=True, name=name)(made_even(x))
            if not isinstance(maps, int):
                return maps(side, stride, around, name=name)(x)
            how: Any = dict(strides=stride, padding=around, name=name, **norm)
            conv = ConvNorm(scaled(maps, self.width), window.size, **how)
            return act(conv(x, train=train))

        if choice("stem", self.stem, {"7x7": False, "separable": True}):
            x = layer(self.depthwise(image), "1x1", 64, name="conv1_pointwise")
        else:
            x = layer(image, "7x7/2", 64, name="conv1")
        x = run_layers(self, layer, x, FIGURE_5.items(), self.remat and train)
        return {"logits": classify(self, x, train)}

    def depthwise(self, image: jax.Array) -> jax.Array:
        """Return the eight maps that a 7x7/2 convolution makes of each channel of the images."""
        conv = Conv(
            8 * image.shape[-1],
            (7, 7),
            2,
            padding=3,
            feature_group_count=image.shape[-1],
            use_bias=False,
            kernel_init=INITIALIZERS["he"],
            dtype=self.dtype,
            name="conv1_depthwise",
        )
        return conv(image)


def made_even(x: jax.Array) -> jax.Array:
    """Return x: f32[N, H, W, C], padded with -inf above and on the left to even H and W."""
    if not any(side % 2 for side in x.shape[1:3]):
        return x
    around = ((0, 0), (x.shape[1] % 2, 0), (x.shape[2] % 2, 0), (0, 0))
    return jnp.pad(x, around, constant_values=-jnp.inf)


VARIANTS: dict[str, Callable[..., Network]] = {"inception_v2": InceptionV2}
