"""The inception module and auxiliary classifier of GoogLeNet (Szegedy et al. 2014, section 5)."""

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.layers import choice, relu, scaled
from cnn_archs.models.network import Layer
from cnn_archs.models.pooling import AdaptiveAvgPool, AvgPool, MaxPool

Width = Annotated[int, "from 0 to 1000000"]  # 0: it is left out
Widths = tuple[Width, Width, Width, Width, Width, Width]
Module = Literal["reduced", "naive"]
Window = Annotated[int, "from 1 to 99 and odd"]  # odd: maps keep their size
# fmt: off
INCEPTION: dict[str, Widths] = {  # Table 1: output channels
    #      1x1  3x3r  3x3  5x5r  5x5  pool
    "3a": ( 64,   96, 128,   16,  32,   32),
    "3b": (128,  128, 192,   32,  96,   64),
    "4a": (192,   96, 208,   16,  48,   64),
    "4b": (160,  112, 224,   24,  64,   64),
    "4c": (128,  128, 256,   24,  64,   64),
    "4d": (112,  144, 288,   32,  64,   64),
    "4e": (256,  160, 320,   32, 128,  128),
    "5a": (256,  160, 320,   32, 128,  128),
    "5b": (384,  192, 384,   48, 128,  128),
}
# fmt: on
# A function that creates a layer and applies it. Its arguments are (x, width, window, name) for a
# convolution, with its ReLU, and (x, width, name) for a dense layer. Each network has its own.
ApplyLayer = Callable[..., jax.Array]


class Inception(Layer):
    """The module of figure 2: four branches see the same maps; their outputs are concatenated.

    widths: a row of table 1; a branch or reduction of width 0 is left out. module: `reduced` is
    figure 2b, with 1x1 convolutions before the 3x3 and the 5x5 and after the pool; `naive` is
    figure 2a, without them. window: the window of the 5x5 branch.
    """

    kind = "concat"
    widths: Widths
    module: Module
    window: Window
    conv: ApplyLayer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H, W, sum of the branches]."""
        reduced = choice("module", self.module, {"reduced": True, "naive": False})
        one, reduce3, three, reduce5, five, project = self.widths
        branches = []
        if one:
            branches.append(self.conv(x, one, 1, "1x1"))
        for name, reduce, width, window in (
            ("3x3", reduce3, three, 3),
            ("5x5", reduce5, five, self.window),
        ):
            if width:
                y = self.conv(x, reduce, 1, f"{name}_reduce") if reduced and reduce else x
                branches.append(self.conv(y, width, window, name))
        if project:
            y = MaxPool(3, 1, padding=1, name="pool")(x)
            branches.append(self.conv(y, project, 1, "pool_proj") if reduced else y)
        if not branches:
            raise ValueError(f"inception {self.name}: no branch is left")
        return jnp.concatenate(branches, axis=-1)


class Auxiliary(nn.Module):
    """An auxiliary classifier (section 5): pool, 1x1 conv 128, dense 1024, dropout, dense.

    pool: a 5x5 mean with stride 3 (`5x5/3`), or torchvision's `adaptive` mean to 4x4.
    """

    num_classes: int
    pool: str
    dropout: float
    width: float
    conv: ApplyLayer
    dense: ApplyLayer

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map x: f32[N, H, W, C] to logits: f32[N, num_classes]. Comments are for 14x14 maps."""
        pools: dict[str, Any] = {
            "5x5/3": partial(AvgPool, 5, 3),
            "adaptive": partial(AdaptiveAvgPool, 4),
        }
        if min(x.shape[1:3]) < 5:
            raise ValueError(f"auxiliary classifiers need maps of 5x5 or more, not {x.shape[1:3]}")
        x = choice("aux_pool", self.pool, pools)(name="pool")(x)  # 4x4
        x = self.conv(x, scaled(128, self.width), 1, "conv")  # 4x4x128
        x = relu(self.dense(x, scaled(1024, self.width), "fc1"))
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self.dense(x, self.num_classes, "fc2").mean((1, 2))
