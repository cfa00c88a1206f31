"""Inception-v3 (Szegedy et al. 2015, "Rethinking the Inception Architecture"), as in torchvision.

These come from the paper: the sequence of modules (table 1; figures 5, 6, 7, 10); padding only in
the third convolution and in modules that keep the size; batch normalization after each convolution;
and, in training, a classifier on the last 17x17 maps (figure 8). The network has 23,834,568
parameters, 27,161,264 with that classifier.

These come from torchvision, which follows the released weights: the names of layers; the widths
inside modules, which the paper does not give; 1x1 of 80, 3x3 of 192 and a max-pool where table 1
has 3x3 of 80, 3x3/2 of 192 and 3x3 of 288; a 5x5 in figure 5; 768 maps instead of 1024 in figure 8;
and epsilon 1e-3. Counting the zeros of the padding in average pools is torchvision's own choice.

Initialization, as in the release: N(0, 0.1^2), cut at two deviations without correcting the
            variance; 0.01 and 0.001 in the last two layers of the auxiliary classifier; biases 0,
            scales 1.
Deviations: torchvision cuts at -2 and 2, which has no effect, and draws dense biases uniformly.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from cnn_archs.models.branches import ApplyLayer, check_size, classify, layer_of, run_layers
from cnn_archs.models.fields import BnGroup, Count, Dtype, Factor, Rate
from cnn_archs.models.network import Network
from cnn_archs.models.pooling import AvgPool, GlobalAvgPool, MaxPool

INIT = {s: nn.initializers.truncated_normal(s) for s in (0.1, 0.01, 0.001)}  # cut at two deviations
# The tables are written as in `branches.py`.


# fmt: off
def figure_5(pool: int) -> dict[str, Any]:
    return {
        "branch1x1":    [("1x1", 64)],
        "branch5x5":    [("1x1", 48), ("5x5", 64)],
        "branch3x3dbl": [("1x1", 64), ("3x3", 96), ("3x3", 96)],
        "branch_pool":  [("3x3", AvgPool), {"": ("1x1", pool)}],
    }
def figure_6(c: int) -> dict[str, Any]:
    return {
        "branch1x1":    [("1x1", 192)],
        "branch7x7":    [("1x1", c), ("1x7", c), ("7x1", 192)],
        "branch7x7dbl": [("1x1", c), ("7x1", c), ("1x7", c), ("7x1", c), ("1x7", 192)],
        "branch_pool":  [("3x3", AvgPool), {"": ("1x1", 192)}],
    }
FIGURE_7 = {
    "branch1x1":    [("1x1", 320)],
    "branch3x3":    [("1x1", 384), {"_2a": ("1x3", 384), "_2b": ("3x1", 384)}],
    "branch3x3dbl": [("1x1", 448), ("3x3", 384), {"_3a": ("1x3", 384), "_3b": ("3x1", 384)}],
    "branch_pool":  [("3x3", AvgPool), {"": ("1x1", 192)}],
}
FIGURE_10_35 = {
    "branch3x3":    [("3x3/2", 384)],
    "branch3x3dbl": [("1x1", 64), ("3x3", 96), ("3x3/2", 96)],
    "branch_pool":  [("3x3/2", MaxPool)],
}
FIGURE_10_17 = {
    "branch3x3":    [("1x1", 192), ("3x3/2", 320)],
    "branch7x7x3":  [("1x1", 192), ("1x7", 192), ("7x1", 192), ("3x3/2", 192)],
    "branch_pool":  [("3x3/2", MaxPool)],
}
TABLE_1: dict[str, Any] = {           # outputs
    "Conv2d_1a_3x3": ("3x3/2", 32),   # 149x149
    "Conv2d_2a_3x3": ("3x3/1", 32),   # 147x147
    "Conv2d_2b_3x3": ("3x3", 64),     # 147x147: "conv padded"
    "maxpool1": ("3x3/2", MaxPool),   # 73x73
    "Conv2d_3b_1x1": ("1x1/1", 80),   # 73x73
    "Conv2d_4a_3x3": ("3x3/1", 192),  # 71x71
    "maxpool2": ("3x3/2", MaxPool),   # 35x35x192
    "Mixed_5b": figure_5(pool=32),    # 35x35x256
    "Mixed_5c": figure_5(pool=64),    # 35x35x288
    "Mixed_5d": figure_5(pool=64),    # 35x35x288
    "Mixed_6a": FIGURE_10_35,         # 17x17x768
    "Mixed_6b": figure_6(c=128),      # 17x17x768
    "Mixed_6c": figure_6(c=160),      # 17x17x768
    "Mixed_6d": figure_6(c=160),      # 17x17x768
    "Mixed_6e": figure_6(c=192),      # 17x17x768
    "Mixed_7a": FIGURE_10_17,         # 8x8x1280
    "Mixed_7b": FIGURE_7,             # 8x8x2048
    "Mixed_7c": FIGURE_7,             # 8x8x2048
}
# fmt: on


class Auxiliary(nn.Module):
    """The auxiliary classifier of figure 8."""

    layer: ApplyLayer
    num_classes: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to logits: f32[N, num_classes]."""
        x = self.layer(x, "5x5/3", AvgPool, name="pool")  # 5x5x768
        x = self.layer(x, "1x1", 128, name="conv0")  # 5x5x128
        x = self.layer(x, "5x5/1", 768, name="conv1", init=INIT[0.01])  # 1x1x768
        x = GlobalAvgPool(name="avgpool")(x)
        return nn.Dense(self.num_classes, kernel_init=INIT[0.001], dtype=self.dtype, name="fc")(x)


class InceptionV3(Network):
    """The network of table 1.

    aux: whether it has a second classifier in training, which needs images of 299x299 or larger.
    """

    num_classes: Count = 1000
    aux: bool = True
    dropout: Rate = 0.5
    bn_group: BnGroup = 0  # images that share batch statistics; 0: all; -1: one device's
    width: Factor = 1.0  # multiplies all widths except the number of classes
    remat: bool = False  # whether modules are rematerialized in the backward pass
    dtype: Dtype = "float32"

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes], in training also `aux_6e`."""
        return self.heads(image, train, auxiliary=self.aux and train)

    def every_head(self, image: jax.Array) -> dict[str, jax.Array]:
        """Return the logits and, unless aux is False, `aux_6e`, without dropout."""
        return self.heads(image, train=False, auxiliary=self.aux)

    @nn.compact
    def heads(self, image: jax.Array, train: bool, auxiliary: bool) -> dict[str, jax.Array]:
        """Compute the heads; `auxiliary` adds `aux_6e`.

        Raises ValueError if the image is too small.
        """
        check_size("inception_v3", image, 299 if auxiliary else 75)
        layer = layer_of(self, train, INIT[0.1])
        x, heads = image, dict[str, jax.Array]()
        for name, entry in TABLE_1.items():
            x = run_layers(self, layer, x, [(name, entry)], self.remat and train)
            if name == "Mixed_6e" and auxiliary:
                second = Auxiliary(layer, self.num_classes, self.dtype, name="AuxLogits")
                heads["aux_6e"] = second(x)
        return {"logits": classify(self, x, train, INIT[0.1]), **heads}


VARIANTS: dict[str, Callable[..., Network]] = {"inception_v3": InceptionV3}
