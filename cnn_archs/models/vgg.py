"""VGG (Simonyan & Zisserman 2014; table 1, sections 2, 3.1 and 3.2).

All convolutions are 3x3 with stride 1 and padding 1 (column C also has 1x1), each followed by ReLU.
A 2x2/2 max-pool follows each block. The dense layers are fully convolutional: on an image larger
than in training they give a map of class scores, which is averaged (section 3.2).

Initialization: `normal` is that of network A (section 3.1): N(0, variance 10^-2), and biases 0. The
deeper networks began with weights of a trained A; without these, the paper advises `glorot`.

The lecture notes print column C once with 3x3 where the paper has 1x1; that would be column D.

Deviations: the `_bn` variants, with batch normalization between convolution and ReLU, are not in
            the paper. Their convolutions keep biases, as in torchvision.
"""

from functools import partial
from typing import Literal, NamedTuple

import flax.linen as nn
import jax

from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.layers import (
    INITIALIZERS,
    LRN,
    Conv,
    ConvNorm,
    FullyConnected,
    choice,
    dense_pair,
    maybe_remat,
    relu,
    scaled,
)
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool

# fmt: off
TABLE_1 = {  # maps of each 3x3 convolution, or window-maps; a pool follows each block
    #         224x224    112x112    56x56               28x28               14x14
    "A":     "64       | 128     | 256 256           | 512 512           | 512 512",
    "A-LRN": "64 LRN   | 128     | 256 256           | 512 512           | 512 512",
    "B":     "64 64    | 128 128 | 256 256           | 512 512           | 512 512",
    "C":     "64 64    | 128 128 | 256 256 1-256     | 512 512 1-512     | 512 512 1-512",
    "D":     "64 64    | 128 128 | 256 256 256       | 512 512 512       | 512 512 512",
    "E":     "64 64    | 128 128 | 256 256 256 256   | 512 512 512 512   | 512 512 512 512",
    # Section 4.1 compares B with this: one 5x5 layer for each two 3x3 layers.
    "B-5x5": "5-64     | 5-128   | 5-256             | 5-512             | 5-512",
}
# fmt: on
DENSE = ("fc6", "fc7", "fc8")


class TableLayer(NamedTuple):
    """An entry of table 1: a convolution with a square `window`, or response normalization.

    window and maps are 0 for response normalization.
    """

    name: str
    window: int
    maps: int


def layers_of(column: str) -> list[list[TableLayer]]:
    """Return the layers of each block in a column of table 1.

    Raises ValueError for an unknown column.
    """
    blocks = choice("column", column, TABLE_1).split("|")
    return [
        [table_layer(entry, block, i) for i, entry in enumerate(entries.split(), start=1)]
        for block, entries in enumerate(blocks, start=1)
    ]


def table_layer(entry: str, block: int, number: int) -> TableLayer:
    """Return layer `number` of a block, read from its entry: `64`, `1-256` or `LRN`."""
    if entry == "LRN":
        return TableLayer(f"lrn{block}", 0, 0)
    window, _, maps = entry.rpartition("-")
    return TableLayer(f"conv{block}_{number}", int(window or 3), int(maps))


def depth_of(column: str) -> int:
    """Return the number of layers with weights in a column of table 1."""
    return len(DENSE) + sum(layer.window > 0 for block in layers_of(column) for layer in block)


class VGG(Network):
    """A column of table 1, then the dense layers fc6, fc7 (with dropout) and fc8.

    initializer: `normal`, `glorot` or `he`. width: multiplies all widths except the number of
    classes. bn_group: number of images that share batch statistics; 0 for the whole batch, -1 for
    the images of one device. remat: whether each block is rematerialized in the backward pass.
    """

    num_classes: Count = 1000
    column: Literal["A", "A-LRN", "B", "C", "D", "E", "B-5x5"] = "D"
    hidden: tuple[Count, Count] = (4096, 4096)
    dropout: Rate = 0.5
    batch_norm: bool = False
    bn_group: BnGroup = 0
    initializer: Literal["normal", "glorot", "he"] = "glorot"
    width: Factor = 1.0
    remat: bool = False
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        The comments give the maps of a 224x224 image. On an image larger than at initialization the
        logits are averaged over all positions.
        """
        normal = nn.initializers.normal(0.1)
        init = choice("initializer", self.initializer, {"normal": normal, **INITIALIZERS})

        def conv(x, window, width, name):
            shape = (scaled(width, self.width), (window, window))
            options = dict(strides=1, padding=window // 2, kernel_init=init, dtype=self.dtype)
            if not self.batch_norm:
                return relu(Conv(*shape, name=name, **options)(x))
            layer = ConvNorm(*shape, use_bias=True, bn_group=self.bn_group, name=name, **options)
            return relu(layer(x, train=train))

        def block(net, x, number, layers):
            for name, window, maps in layers:
                x = conv(x, window, maps, name) if window else LRN(name=name)(x)
            return MaxPool(2, 2, name=f"pool{number}")(x)

        *hidden_layers, last = DENSE
        x = image
        for number, layers in enumerate(layers_of(self.column), start=1):
            one_block = partial(block, number=number, layers=layers)
            x = maybe_remat(self.remat and train, self, one_block, x)  # 112x112, 56x56, ..., 7x7
        for name, hidden in zip(hidden_layers, self.hidden, strict=True):
            dense = FullyConnected(scaled(hidden, self.width), init, dtype=self.dtype, name=name)
            x = nn.Dropout(self.dropout, deterministic=not train)(relu(dense(x)))
        x = FullyConnected(self.num_classes, init, dtype=self.dtype, name=last)(x)
        return {"logits": x.mean((1, 2))}

    def split_over(self, devices: int) -> dict[str, str]:
        """Return the two wide dense layers, of which only the second needs a sum over devices."""
        return dense_pair(tuple(scaled(h, self.width) for h in self.hidden), devices)


IMAGENET = {
    "vgg_a": partial(VGG, column="A", initializer="normal"),
    "vgg_a_lrn": partial(VGG, column="A-LRN", initializer="normal"),
    "vgg_b": partial(VGG, column="B"),
    "vgg_b_5x5": partial(VGG, column="B-5x5"),
    "vgg_c": partial(VGG, column="C"),
    "vgg_d": partial(VGG, column="D"),
    "vgg_e": partial(VGG, column="E"),
    "vgg_a_bn": partial(VGG, column="A", batch_norm=True),
    "vgg_b_bn": partial(VGG, column="B", batch_norm=True),
    "vgg_d_bn": partial(VGG, column="D", batch_norm=True),
    "vgg_e_bn": partial(VGG, column="E", batch_norm=True),
}
# Our forms for 32x32: the same columns and five pools, which leave 1x1x512, and a 512-512-10 head
# of 512*512 + 512, 512*512 + 512 and 512*10 + 10 = 530,442 parameters instead of 123,642,856.
# A: 9,220,480 + 530,442 = 9,750,922; D: 14,714,688 + 530,442 = 15,245,130.
CIFAR = {
    f"{name}_cifar": partial(net, num_classes=10, hidden=(512, 512))
    for name, net in IMAGENET.items()
}
VARIANTS = IMAGENET | CIFAR
