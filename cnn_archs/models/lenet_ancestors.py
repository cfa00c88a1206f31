"""The networks that LeNet-5's paper compares it with (LeCun et al. 1998, section III.C).

All have the squashing function and the initial weights of LeNet-5, and ten squashed output units
with the targets +1 and -1. As `SquashedChain`s they can be trained as LeNet-5 is (appendix C).

`LeNet1` has 2,578 parameters and 98,442 connections, as LeCun et al. 1990 print them; the paper of
1998 says about 2,600 and 100,000.
Deviations: the table of C3. The paper of 1998 has none; ours has the 20 connections that the counts
            of 1990 demand, five for each S2 map.

`LeNet4` has 262,306 connections, printed as about 260,000.
Deviations: the table of C3, of which nothing is printed but the number of maps; ours has 48
            connections, three for each C3 map. The paper counts about 17,000 parameters, but the
            120 units alone, fully connected to 16 maps of 5x5, have 48,120.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from cnn_archs.models.cpu.convolution import convolve
from cnn_archs.models.fields import Count
from cnn_archs.models.lenet import PRINTED, Conv5x5, Subsample, TableConv, squash
from cnn_archs.models.network import SquashedChain

# fmt: off
LENET1_TABLE = (         # X if the S2 map (row) feeds the C3 map (column)
    "XXX XX      ",
    " XXXXX      ",
    "      XXX XX",
    "       XXXXX",
)

LENET4_TABLE = (
    "X     XXX  X  X ",
    "XX     X X  X  X",
    "XXX     X X  X  ",
    " XXX     X X  X ",
    "  XXX     X X  X",
    "   XXX  X  X X  ",
    "    XXX  X  X X ",
    "     XXX  X  X X",
)
# fmt: on


class SquashedUnits(SquashedChain):
    """A chain whose last layer has one squashed unit for each class.

    IMAGE: the (H, W, C) that it takes; () for any.
    """

    IMAGE: ClassVar[tuple[int, ...]] = ()
    gains_from_onednn = False  # its convolutions, if any, are written for few channels
    squash = staticmethod(squash)

    def output(self, x: jax.Array) -> dict[str, jax.Array]:
        """Return the states of the last layer as logits: f32[N, num_classes]."""
        return {"logits": x.reshape(x.shape[0], -1)}

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Map image: f32[N, H, W, C] to logits: f32[N, num_classes], between +-1.7159."""
        if self.IMAGE and image.shape[1:] != self.IMAGE:
            size, given = ("x".join(map(str, s)) for s in (self.IMAGE, image.shape[1:]))
            raise ValueError(f"{type(self).__name__} takes images of {size}, not of {given}")
        x = image
        for layer in self.LAYERS:
            x = self.squash(self.affine(x, layer))
        return self.output(x)


class SquashedMLP(SquashedUnits):
    """Dense layers, such as 784-300-10: `hidden` has the widths between image and classes."""

    num_classes: Count = 10
    hidden: tuple[Count, ...] = (300,)

    @property
    def LAYERS(self) -> tuple[str, ...]:  # type: ignore[override]
        """The names of the layers: fc1, fc2, ..."""
        return tuple(f"fc{i}" for i in range(1, len(self.hidden) + 2))

    @nn.compact
    def dense(self, x: jax.Array, layer: str) -> jax.Array:
        width = (*self.hidden, self.num_classes)[self.LAYERS.index(layer)]
        return nn.Dense(width, **PRINTED.of_layer(x.shape[-1]), name=layer)(x)

    def affine(self, x: jax.Array, layer: str) -> jax.Array:
        """Return the weighted sums of `layer` for its inputs x: f32[N, ...]."""
        return self.dense(x.reshape(x.shape[0], -1), layer)


class LeNet1(SquashedUnits):
    """LeNet-1 for digits of 16x16 in the middle of 28x28."""

    num_classes: Count = 10

    LAYERS = ("C1", "S2", "C3", "S4", "OUT")
    IMAGE = (28, 28, 1)

    def setup(self):
        self.C1 = Conv5x5(4, padding=0, **PRINTED.of_layer(25))  # 24x24
        self.S2 = Subsample()  # 12x12
        self.C3 = TableConv(LENET1_TABLE)  # 8x8x12
        self.S4 = Subsample()  # 4x4
        self.OUT = nn.Conv(
            self.num_classes,
            (4, 4),
            padding=0,
            conv_general_dilated=convolve,
            **PRINTED.of_layer(192),
        )


class LeNet4(SquashedUnits):
    """LeNet-4 for digits of 28x28 extended to 32x32."""

    num_classes: Count = 10

    LAYERS = ("C1", "S2", "C3", "S4", "C5", "OUT")
    IMAGE = (32, 32, 1)

    def setup(self):
        self.C1 = Conv5x5(4, padding=0, **PRINTED.of_layer(25))  # 28x28
        self.S2 = Subsample(copies=2)  # 14x14x8: a pair for each map of C1
        self.C3 = TableConv(LENET4_TABLE)  # 10x10x16
        self.S4 = Subsample()  # 5x5
        self.C5 = Conv5x5(120, padding=0, **PRINTED.of_layer(400))  # 1x1
        self.OUT = nn.Dense(self.num_classes, **PRINTED.of_layer(120))
