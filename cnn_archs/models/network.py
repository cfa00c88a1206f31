"""Base classes of the networks and of their layers, with the interface that the package uses.

The settings of a network are its dataclass fields, and the fields are exactly the keys that a
config accepts for it. The attributes that `Network` assigns without an annotation are not fields.
They are the values for every network without such a setting; a network that has the setting
declares a field of the same name, for example `bn_group: int = 0`.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Self

import flax.linen as nn
import jax


class Network(nn.Module):
    """A classifier of images.

    dtype: the type in which it computes. bn_group: number of images that share statistics in batch
    normalization; 0 for the whole batch, -1 for the images of one device. remat: whether its blocks
    are rematerialized in the backward pass. scan_blocks: whether equal blocks run in one loop, with
    stacked parameters. gains_from_onednn: whether a training step on a CPU is faster with oneDNN's
    convolutions; programs that use them cannot be kept in the compilation cache.
    """

    dtype = "float32"
    bn_group = 0
    remat = False
    scan_blocks = False
    gains_from_onednn = True

    @property
    def num_classes(self) -> int:
        """The number of classes. Raises ValueError for a network that is no classifier."""
        raise ValueError(f"{type(self).__name__} is no classifier: it has no num_classes")

    def __call__(self, image: jax.Array, *, train: bool) -> dict[str, jax.Array]:
        """Return the heads for image: f32[N, H, W, C].

        `logits`: f32[N, num_classes] is the classifier; other heads exist in training only.
        """
        raise NotImplementedError

    def every_head(self, image: jax.Array) -> dict[str, jax.Array]:
        """Return all heads of training, computed as in evaluation, for image: f32[N, H, W, C]."""
        return self(image, train=False)

    def split_over(self, devices: int) -> dict[str, str]:
        """Return {layer: "outputs" or "inputs"}, the layers to split over `devices`.

        The value says along which axis the kernel of the layer is split. Raises ValueError if a
        width is not divisible by `devices`.
        """
        return {}

    def unrolled(self) -> Self:
        """Return the same network without a loop over its blocks."""
        return self.clone(scan_blocks=False) if self.scan_blocks else self


class SquashedChain(Network):
    """A chain of layers that are linear in their weights and in their input, then an output layer.

    `squash` follows each layer. Each layer can be called on its own, as a second-order method needs
    (`optim/gauss_newton.py`). LAYERS: the names of the layers, in order.
    """

    LAYERS: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def squash(a: jax.Array) -> jax.Array:
        """Apply the activation function to the weighted sums `a`."""
        raise NotImplementedError

    def affine(self, x: jax.Array, layer: str) -> jax.Array:
        """Return the weighted sums of `layer` for its inputs x, before the activation function."""
        return getattr(self, layer)(x)

    def output(self, x: jax.Array) -> dict[str, jax.Array]:
        """Return the heads for the states x of the last layer."""
        raise NotImplementedError


class Window(NamedTuple):
    """The inputs that one output of a layer takes along an axis. before: padding in front."""

    size: int
    stride: int = 1
    before: int = 0


Windows = tuple[Window, Window] | None  # down and across; None: no window, or an unknown one
WHOLE = (Window(0), Window(0))  # an output takes the whole map


class Layer(nn.Module):
    """A layer that has a row of its own in the summary of a network (`models/summary.py`).

    kind: the type that its row shows. The kind "concat" is a module that joins the outputs of
    layers that have rows themselves.
    """

    kind = ""

    def windows(self) -> Windows:
        """Return the window that an output sees.

        None means that each output sees one input if the layer keeps the shape of the map, and
        that the window is unknown otherwise.
        """
        return None

    def macs(self, params: Mapping[str, Any], out: tuple[int, int, int]) -> int:
        """Return the multiply-accumulates for one image. params: shapes; out: (H, W, C)."""
        return kernel_macs(params, out)


def kernel_macs(params: Mapping[str, Any], out: tuple[int, int, int]) -> int:
    """Return the multiply-accumulates of a layer that uses each weight once for each position."""
    kernel = params.get("kernel")
    return out[0] * out[1] * math.prod(kernel.shape) if kernel is not None else 0


def windows_of(size: Any, stride: Any, padding: Any) -> tuple[Window, Window]:
    """Return the windows of a layer; each argument is a number for both axes, or one for each.

    The padding of an axis is a number or (before, after).
    """
    before = [p if isinstance(p, int) else p[0] for p in pair(padding)]
    (height, width), (down, across) = pair(size), pair(stride)
    return Window(height, down, before[0]), Window(width, across, before[1])


def pair(value: Any) -> tuple[Any, Any]:
    """Return `value` for both axes; flax accepts one number, or a sequence of one or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
