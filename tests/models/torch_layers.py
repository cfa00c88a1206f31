"""Layers that the PyTorch references of single networks share (`torch_*.py` in this folder).

All of these were written from the papers, without sight of the JAX code. They take images as
f[N, C, H, W], compute in the type of their weights, and use only torch.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn


class ConvNorm(nn.Sequential):
    """Convolve without bias, normalize by the batch, and apply ReLU.

    The batch norm has a scale and a shift. `patch` is height x width and, after a slash, the
    stride, as in "1x7" or "3x3/2". A convolution marked with " V", as in the figures, has no
    padding. Others have (side - 1) / 2 zeros on each of two opposite sides.
    """

    def __init__(self, inputs: int, outputs: int, patch: str, *, eps: float) -> None:
        window, _, stride = patch.removesuffix(" V").partition("/")
        height, width = map(int, window.split("x"))
        padding = (0, 0) if patch.endswith(" V") else (height // 2, width // 2)
        conv = nn.Conv2d(inputs, outputs, (height, width), int(stride or 1), padding, bias=False)
        norm = nn.BatchNorm2d(outputs, eps)
        super().__init__(OrderedDict(conv=conv, norm=norm, relu=nn.ReLU()))


class Concat(nn.ModuleList):
    """Apply all branches to the same maps and concatenate their outputs in the given order."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Map f[N, C, H, W] to f[N, sum of the branches, H', W']."""
        return torch.cat([branch(x) for branch in self], dim=1)


class GlobalMean(nn.Module):
    """Average each map over all its positions."""

    def forward(self, x: Tensor) -> Tensor:
        """Map f[N, C, H, W] to f[N, C]."""
        return x.mean((2, 3))


def mean_pool(count_padding: bool) -> nn.AvgPool2d:
    """Return a 3x3 mean pool of stride 1 that keeps the size.

    With `count_padding`, a window at the border divides by 9 (Caffe); otherwise by the number of
    pixels in it (TensorFlow).
    """
    return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=count_padding)
