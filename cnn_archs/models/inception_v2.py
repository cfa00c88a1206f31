"""BN-Inception, or Inception-v2 (Ioffe & Szegedy 2015, "Batch normalization", figure 5).

         outputs     1x1  3x3       double 3x3  pool
    conv1  112x112x64   7x7/2, separable with depth multiplier 8 (appendix)
    pool1  56x56x64     3x3/2
    conv2  56x56x192    1x1 of 64, 3x3 of 192
    pool2  28x28x192    3x3/2
    3a   28x28x256   64   64 -> 64   64 -> 96    mean, 32
    3b   28x28x320   64   64 -> 96   64 -> 96    mean, 64
    3c   14x14x576    -  128 -> 160  64 -> 96    max, as it is; stride 2
    4a   14x14x576  224   64 -> 96   96 -> 128   mean, 128
    4b   14x14x576  192   96 -> 128  96 -> 128   mean, 128
    4c   14x14x608  160  128 -> 160 128 -> 160   mean, 128
    4d   14x14x608   96  128 -> 192 160 -> 192   mean, 128
    4e   7x7x1056     -  128 -> 192 192 -> 256   max, as it is; stride 2
    5a   7x7x1024   352  192 -> 320 160 -> 224   mean, 128
    5b   7x7x1024   352  192 -> 320 192 -> 224   max, 128
    pool5  1x1x1024     mean, then a dense layer of 1000

Every convolution has batch normalization and then a ReLU; `inception_v2_sigmoid` has a sigmoid in
its place (section 4.2.2). Both layers of a double 3x3 have the width of its column.

The paper gives neither padding, which is GoogLeNet's here (half of the window; pools with stride 2
whose last window may extend beyond the edge), nor epsilon, which is 1e-5, nor the weights at the
start, which are He et al.'s. Mean pools leave the padding out, as in the authors' later releases.

Deviations: figure 5 prints 576 maps after 4c and 4d and 1024 after 4e, but its branches add up to
            608, 608 and 1056, which hold here. The network has 11,278,528 parameters, not the
            13.6 million of section 4.2. `stem="7x7"` has an ordinary first convolution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax

from cnn_archs.models.branches import InnerAvgPool, Mixed, Module, classify, parse_patch
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.layers import INITIALIZERS, Conv, ConvNorm, activation, maybe_remat, scaled
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
FIGURE_5 = {
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

    stem: the first convolution, `separable` or an ordinary `7x7`. activation: the function after
    each normalization.
    """

    num_classes: Count = 1000
    stem: Literal["separable", "7x7"] = "separable"
    activation: Literal["relu", "sigmoid"] = "relu"
    dropout: Rate = 0.0  # section 4.2.1: removed
    bn_group: BnGroup = 0  # images that share batch statistics; 0: all; -1: one device's
    width: Factor = 1.0  # multiplies all widths except the number of classes
    remat: bool = False  # whether modules are rematerialized in the backward pass
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes]. Comments are for 224x224."""
        act = activation(self.activation)
        norm: Any = dict(bn_group=self.bn_group, dtype=self.dtype, kernel_init=INITIALIZERS["he"])

        def layer(x, patch, maps, *, name):
            window = parse_patch(patch)
            side, stride, around = window.height, window.stride, window.height // 2
            if maps is MaxPool and stride == 2:
                return MaxPool(side, stride, ceil=True, name=name)(x)
            if not isinstance(maps, int):
                return maps(side, stride, around, name=name)(x)
            how: Any = dict(strides=stride, padding=around, name=name, **norm)
            conv = ConvNorm(scaled(maps, self.width), window.size, **how)
            return act(conv(x, train=train))

        def mix(_, x, branches, name):
            return Mixed(branches, layer, name=name)(x)

        if self.stem == "separable":
            x = layer(self.depthwise(image), "1x1", 64, name="conv1_pointwise")  # 112x112
        else:
            x = layer(image, "7x7/2", 64, name="conv1")
        x = layer(x, "3x3/2", MaxPool, name="pool1")  # 56x56
        x = layer(x, "1x1", 64, name="conv2_reduce")
        x = layer(x, "3x3", 192, name="conv2")
        x = layer(x, "3x3/2", MaxPool, name="pool2")  # 28x28
        for name, branches in FIGURE_5.items():
            again = self.remat and train
            x = maybe_remat(again, self, partial(mix, branches=branches, name=name), x)
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


VARIANTS: dict[str, Callable[..., Network]] = {
    "inception_v2": InceptionV2,
    "inception_v2_sigmoid": partial(InceptionV2, activation="sigmoid"),
}
