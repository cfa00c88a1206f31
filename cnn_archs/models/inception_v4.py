"""Inception-v4 (Szegedy, Ioffe, Vanhoucke & Alemi 2016, figures 3 to 9, table 1).

    stem             35x35x384    figure 3
    4 x Inception-A  35x35x384    figure 4
    Reduction-A      17x17x1024   figure 7, with k, l, m, n = 192, 224, 256, 384 of table 1
    7 x Inception-B  17x17x1024   figure 5
    Reduction-B      8x8x1536     figure 8
    3 x Inception-C  8x8x1536     figure 6
    mean, dropout    1536         figure 9: 80 % are kept
    softmax          1000

Every convolution has batch normalization and a ReLU. Convolutions and pools that the figures mark
with V are not padded, all others keep the size. The network has 42,679,816 parameters.

The figures do not give these, which are those of the weights that the authors released: epsilon
1e-3; mean pools that leave the padding out; and branches that are joined with the pool last, which
the figures draw on the left. Weights start as He et al. propose.

Deviations: of the two 1x7 convolutions in a branch of figure 5 the second is 7x1, as in the
            release. The last convolution of figure 3 has stride 2, without which its map would not
            have the size of the pool's beside it. There is no auxiliary classifier: the figures
            have none, although the release trains with one. In the long branches of figures 3, 5
            and 6 the release has each pair of 1x7 and 7x1, or of 1x3 and 3x1, in the other order.
"""

from collections.abc import Callable, Iterator
from typing import Annotated, Any

import flax.linen as nn
import jax

from cnn_archs.models.branches import (
    InnerAvgPool,
    Module,
    check_size,
    classify,
    layer_of,
    run_layers,
)
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import MaxPool

Blocks = tuple[
    Annotated[int, "from 1 to 1000"],
    Annotated[int, "from 1 to 1000"],
    Annotated[int, "from 1 to 1000"],
]

# fmt: off
FIGURE_3: dict[str, Any] = {          # outputs
    "conv1": ("3x3/2", 32),           # 149x149
    "conv2": ("3x3/1", 32),           # 147x147
    "conv3": ("3x3", 64),             # 147x147
    "stem1": {                        # 73x73x160
        "pool": [("3x3/2", MaxPool)],
        "3x3":  [("3x3/2", 96)],
    },
    "stem2": {                        # 71x71x192
        "3x3":  [("1x1", 64), ("3x3/1", 96)],
        "7x7":  [("1x1", 64), ("7x1", 64), ("1x7", 64), ("3x3/1", 96)],
    },
    "stem3": {                        # 35x35x384
        "3x3":  [("3x3/2", 192)],
        "pool": [("3x3/2", MaxPool)],
    },
}
FIGURE_4: Module = {
    "1x1":       [("1x1", 96)],
    "3x3":       [("1x1", 64), ("3x3", 96)],
    "double3x3": [("1x1", 64), ("3x3", 96), ("3x3", 96)],
    "pool":      [("3x3", InnerAvgPool), ("1x1", 96)],
}
FIGURE_5: Module = {
    "1x1":       [("1x1", 384)],
    "7x7":       [("1x1", 192), ("1x7", 224), ("7x1", 256)],
    "double7x7": [("1x1", 192), ("1x7", 192), ("7x1", 224), ("1x7", 224), ("7x1", 256)],
    "pool":      [("3x3", InnerAvgPool), ("1x1", 128)],
}
FIGURE_6: Module = {
    "1x1":       [("1x1", 256)],
    "3x3":       [("1x1", 384), {"_2a": ("1x3", 256), "_2b": ("3x1", 256)}],
    "double3x3": [("1x1", 384), ("1x3", 448), ("3x1", 512),
                  {"_4a": ("1x3", 256), "_4b": ("3x1", 256)}],
    "pool":      [("3x3", InnerAvgPool), ("1x1", 256)],
}
FIGURE_8: Module = {
    "3x3":       [("1x1", 192), ("3x3/2", 192)],
    "7x7":       [("1x1", 256), ("1x7", 256), ("7x1", 320), ("3x3/2", 320)],
    "pool":      [("3x3/2", MaxPool)],
}
TABLE_1 = {                 #  k    l    m    n
    "inception_v4":         (192, 224, 256, 384),
    "inception_resnet_v1":  (192, 192, 256, 384),
    "inception_resnet_v2":  (256, 256, 384, 384),
}
# fmt: on


def figure_7(network: str) -> Module:
    """Return Reduction-A of a network of table 1."""
    reduce, first, second, single = TABLE_1[network]
    return {
        "3x3": [("3x3/2", single)],
        "double3x3": [("1x1", reduce), ("3x3", first), ("3x3/2", second)],
        "pool": [("3x3/2", MaxPool)],
    }


class InceptionV4(Network):
    """The network of figure 9.

    blocks: number of modules A, B and C.
    """

    num_classes: Count = 1000
    blocks: Blocks = (4, 7, 3)
    dropout: Rate = 0.2
    bn_group: BnGroup = 0  # images that share batch statistics; 0: all; -1: one device's
    width: Factor = 1.0  # multiplies all widths except the number of classes
    remat: bool = False  # whether modules are rematerialized in the backward pass
    dtype: Dtype = "float32"

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes].

        Raises ValueError if the image is smaller than 75x75.
        """
        check_size("inception_v4", image, 75)
        layer, again = layer_of(self, train), self.remat and train
        x = run_layers(self, layer, image, self.layers(), again)
        return {"logits": classify(self, x, train)}

    def layers(self) -> Iterator[tuple[str, Any]]:
        """Yield the layers and modules with their names, in the order of figure 9."""
        reductions = {"A": figure_7("inception_v4"), "B": FIGURE_8}
        yield from FIGURE_3.items()
        for letter, count, module in zip(
            "ABC", self.blocks, (FIGURE_4, FIGURE_5, FIGURE_6), strict=True
        ):
            yield from ((f"{letter}{i}", module) for i in range(1, count + 1))
            if letter in reductions:
                yield f"reduction_{letter}", reductions[letter]


VARIANTS: dict[str, Callable[..., Network]] = {"inception_v4": InceptionV4}
