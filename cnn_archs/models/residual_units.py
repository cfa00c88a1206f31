"""The units of residual networks (He et al. 2015, figure 5; He et al. 2016, figure 1)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cnn_archs.models.layers import INITIALIZERS, BatchNorm, Conv, ConvNorm, choice, relu
from cnn_archs.models.network import Layer, Windows, windows_of


class PaddedShortcut(Layer):
    """Shortcut A: every `stride`-th pixel, with maps of zeros after the existing ones."""

    kind = "shortcut"
    features: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H/stride, W/stride, features].

        Raises ValueError if features < C.
        """
        if self.features < x.shape[-1]:
            raise ValueError(
                f"a shortcut without parameters cannot lead {x.shape[-1]} maps into "
                f"{self.features}: widths must not fall, or shortcut must be B or C"
            )
        x = x[:, :: self.stride, :: self.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.features - x.shape[-1])))

    def windows(self) -> Windows:
        return windows_of(1, self.stride, 0)


class Unit(nn.Module):
    """The unit of figure 5: convolutions and a shortcut around them.

    width: maps of the first convolution. kind: `basic`, two 3x3 convolutions, or `bottleneck`, 1x1,
    3x3 and 1x1 with 4 times the width. shortcut: `A` pads with zeros and `B` projects where the
    shape changes, `C` projects everywhere, `none` leaves it out. stride_in: which convolution of a
    bottleneck has the stride, the first `1x1` or the `3x3`.
    """

    width: int
    stride: int
    kind: str
    shortcut: str
    stride_in: str
    bn_group: int
    dtype: str

    def layers(self) -> list[tuple[str, int, int, int]]:
        """Return (name, window, maps, stride) of each convolution.

        Raises ValueError for unknown options.
        """
        choice("shortcut", self.shortcut, dict.fromkeys(("A", "B", "C", "none")))
        w, s = self.width, self.stride
        first, second = choice("stride_in", self.stride_in, {"1x1": (s, 1), "3x3": (1, s)})
        kinds = {
            "basic": [("3x3a", 3, w, s), ("3x3b", 3, w, 1)],
            "bottleneck": [
                ("1x1a", 1, w, first),
                ("3x3", 3, w, second),
                ("1x1b", 1, 4 * w, 1),
            ],
        }
        return choice("kind", self.kind, kinds)

    def changes(self, x: jax.Array) -> bool:
        """Return whether the unit changes the shape; a stride counts even on a map of 1x1."""
        return self.stride != 1 or x.shape[-1] != self.layers()[-1][2]

    def projects(self, x: jax.Array) -> bool:
        """Return whether the shortcut is a projection."""
        return self.shortcut == "C" or (self.shortcut == "B" and self.changes(x))

    def options(self, window: int, stride: int) -> dict[str, Any]:
        """Return the arguments of a convolution, apart from its number of maps."""
        return dict(
            kernel_size=(window, window),
            strides=stride,
            padding=window // 2,
            kernel_init=INITIALIZERS["he"],
            dtype=self.dtype,
        )

    def identity(self, x: jax.Array) -> jax.Array:
        """Return the shortcut without parameters: x, padded if the shape changes."""
        if not self.changes(x):
            return x
        return PaddedShortcut(self.layers()[-1][2], self.stride, name="shortcut")(x)


class ResidualUnit(Unit):
    """The unit of the first paper, with ReLU after the addition."""

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H/stride, W/stride, maps of the last convolution]."""

        def conv_norm(x, width, window, stride, name):
            options = self.options(window, stride)
            return ConvNorm(width, **options, bn_group=self.bn_group, name=name)(x, train=train)

        y = x
        for i, (name, window, width, stride) in enumerate(self.layers()):
            y = conv_norm(y if i == 0 else relu(y), width, window, stride, name)
        if self.projects(x):
            y += conv_norm(x, y.shape[-1], 1, self.stride, "shortcut")
        elif self.shortcut != "none":
            y += self.identity(x)
        return relu(y)


class PreActivationUnit(Unit):
    """The unit of the second paper: normalization, ReLU, convolution; nothing after the addition.

    activated: whether x has been normalized and activated already, as after ImageNet's stem. In the
    `first` unit and where the shape changes, both paths take the activated x; elsewhere the
    shortcut takes x itself.
    """

    activated: bool = False
    first: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Map x: f32[N, H, W, C] to f32[N, H/stride, W/stride, maps of the last convolution]."""

        def conv(x, width, window, stride, name):
            options = self.options(window, stride)
            return Conv(width, **options, use_bias=False, name=name)(x)

        def norm_relu(x, name):
            norm = BatchNorm(self.bn_group, dtype=self.dtype, name=name)
            return relu(norm(x, train=train))

        y = active = x if self.activated else norm_relu(x, "bn1")
        for i, (name, window, width, stride) in enumerate(self.layers(), start=1):
            y = conv(y if i == 1 else norm_relu(y, f"bn{i}"), width, window, stride, name)
        x = active if self.first or self.changes(x) else x
        if self.projects(x):
            y += conv(x, y.shape[-1], 1, self.stride, "shortcut")
        elif self.shortcut != "none":
            y += self.identity(x)
        return y


UNITS = {"residual": ResidualUnit, "preactivation": PreActivationUnit}
