"""Inception-ResNet-v1 and -v2 in plain PyTorch, from Szegedy et al. 2016 (arXiv:1602.07261).

Three networks: v1 (figures 10 to 14, and 7), v2 of the paper (figures 16 to 19, and 3 and 7), both
in the schema of figure 15, and v2 as the authors released it in TF-Slim.

Where the figures of v2 do not add up, the sum of the branches holds, since a shortcut cannot be
added to another number of maps:

- Figure 17 projects to 1154 maps; Reduction-A gives out 384 + 384 + 384 = 1152.
- Figure 19 projects to 2048 maps; Reduction-B gives out 384 + 288 + 320 + 1152 = 2144.
- Figure 15 prints the sizes of v1 only, which add up: 256, 896 and 1792 maps.
- The caption of figure 18 names v1; figure 15's says that v2 uses it, and figure 12 is v1's.

The paper says of the residuals that they are scaled by 0.1 to 0.3, that the 1x1 convolution before
the sum has no activation, and that batch norm is not applied to sums. These are as in the release:
the scales 0.17, 0.10 and 0.20 of the blocks A, B and C; a bias and no batch norm in the convolution
before the sum; and the sequence of concatenation, pools last. Each sum passes through ReLU.
Batch norm has a scale here, while that of the release has only a shift.

The released v2 has the stem of Inception-v3 with one module (Mixed_5b) after it, 10, 20 and 10
blocks, 1088 and 2080 maps, and a last 1x1 convolution to 1536. Its last block C has neither ReLU
nor scaling. The release puts an auxiliary classifier on the last 17x17 maps; it is not here.
"""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch_inception_v4 import Kernels, reduction_a
from torch_inception_v4 import stem as stem_v2
from torch_layers import Concat, ConvNorm, GlobalMean, mean_pool

Scales = tuple[float, float, float]  # of the residuals of blocks A, B and C
SCALES: Scales = (0.17, 0.10, 0.20)


class Residual(nn.Module):
    """Add the scaled projection of the branches to the input, then apply ReLU if `relu`."""

    def __init__(
        self, maps: int, branches: Concat, mixed: int, scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.linear = nn.Conv2d(mixed, maps, 1)
        self.scale = scale
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        """Map f[N, maps, H, W] to f[N, maps, H, W]."""
        total = x + self.scale * self.linear(self.branches(x))
        return torch.relu(total) if self.relu else total


def block_a(maps: int, third: tuple[int, int], scale: float, eps: float) -> Residual:
    """Build figure 10 or 16; `third` has the widths of the 3x3 convolutions of the last branch."""
    conv = partial(ConvNorm, eps=eps)
    middle, last = third
    branches = Concat(
        conv(maps, 32, "1x1"),
        nn.Sequential(conv(maps, 32, "1x1"), conv(32, 32, "3x3")),
        nn.Sequential(conv(maps, 32, "1x1"), conv(32, middle, "3x3"), conv(middle, last, "3x3")),
    )
    return Residual(maps, branches, 32 + 32 + last, scale)


def block_b(
    maps: int, one: int, second: tuple[int, int, int], scale: float, eps: float
) -> Residual:
    """Build figure 11 or 17; `second` has the widths of the branch of three."""
    conv = partial(ConvNorm, eps=eps)
    first, middle, last = second
    branches = Concat(
        conv(maps, one, "1x1"),
        nn.Sequential(
            conv(maps, first, "1x1"), conv(first, middle, "1x7"), conv(middle, last, "7x1")
        ),
    )
    return Residual(maps, branches, one + last, scale)


def block_c(
    maps: int, second: tuple[int, int, int], scale: float, eps: float, relu: bool = True
) -> Residual:
    """Build figure 13 or 19; `second` has the widths of the branch of three."""
    conv = partial(ConvNorm, eps=eps)
    first, middle, last = second
    branches = Concat(
        conv(maps, 192, "1x1"),
        nn.Sequential(
            conv(maps, first, "1x1"), conv(first, middle, "1x3"), conv(middle, last, "3x1")
        ),
    )
    return Residual(maps, branches, 192 + last, scale, relu)


def reduction_b(inputs: int, one: int, two: int, three: tuple[int, int], eps: float) -> Concat:
    """Build figure 12 or 18: 17x17 to 8x8 and one + two + three[1] + inputs maps."""
    conv = partial(ConvNorm, eps=eps)
    middle, last = three
    return Concat(
        nn.Sequential(conv(inputs, 256, "1x1"), conv(256, one, "3x3/2 V")),
        nn.Sequential(conv(inputs, 256, "1x1"), conv(256, two, "3x3/2 V")),
        nn.Sequential(
            conv(inputs, 256, "1x1"), conv(256, middle, "3x3"), conv(middle, last, "3x3/2 V")
        ),
        nn.MaxPool2d(3, stride=2),
    )


def stem_v1(eps: float) -> nn.Sequential:
    """Build figure 14: 299x299x3 to 35x35x256."""
    conv = partial(ConvNorm, eps=eps)
    return nn.Sequential(
        conv(3, 32, "3x3/2 V"),  # 149x149
        conv(32, 32, "3x3 V"),  # 147x147
        conv(32, 64, "3x3"),
        nn.MaxPool2d(3, stride=2),  # 73x73
        conv(64, 80, "1x1"),
        conv(80, 192, "3x3 V"),  # 71x71
        conv(192, 256, "3x3/2 V"),  # 35x35
    )


def stem_released(eps: float, count_padding: bool) -> nn.Sequential:
    """Build the stem of the released v2: 299x299x3 to 35x35x320."""
    conv = partial(ConvNorm, eps=eps)
    return nn.Sequential(
        conv(3, 32, "3x3/2 V"),  # 149x149
        conv(32, 32, "3x3 V"),  # 147x147
        conv(32, 64, "3x3"),
        nn.MaxPool2d(3, stride=2),  # 73x73
        conv(64, 80, "1x1"),
        conv(80, 192, "3x3 V"),  # 71x71
        nn.MaxPool2d(3, stride=2),  # 35x35
        Concat(  # Mixed_5b
            conv(192, 96, "1x1"),
            nn.Sequential(conv(192, 48, "1x1"), conv(48, 64, "5x5")),
            nn.Sequential(conv(192, 64, "1x1"), conv(64, 96, "3x3"), conv(96, 96, "3x3")),
            nn.Sequential(mean_pool(count_padding), conv(192, 64, "1x1")),
        ),
    )


def repeat(times: int, build: Callable[[], Residual]) -> nn.Sequential:
    """Build `times` blocks, one after another."""
    return nn.Sequential(*(build() for _ in range(times)))


class InceptionResNetV1(nn.Sequential):
    """Map f[N, 3, 299, 299] to logits f[N, num_classes] by figure 15 with the parts of v1."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        eps: float,
        dropout: float = 0.2,
        scales: Scales = SCALES,
    ) -> None:
        a, b, c = scales
        super().__init__(
            OrderedDict(
                stem=stem_v1(eps),
                block_a=repeat(5, partial(block_a, 256, (32, 32), a, eps)),
                reduction_a=reduction_a(256, 192, 192, 256, 384, eps),
                block_b=repeat(10, partial(block_b, 896, 128, (128, 128, 128), b, eps)),
                reduction_b=reduction_b(896, 384, 256, (256, 256), eps),
                block_c=repeat(5, partial(block_c, 1792, (192, 192, 192), c, eps)),
                pool=GlobalMean(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(1792, num_classes),
            )
        )


class InceptionResNetV2Paper(nn.Sequential):
    """Map f[N, 3, 299, 299] to logits f[N, num_classes] by figure 15 with the parts of v2."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        eps: float,
        dropout: float = 0.2,
        scales: Scales = SCALES,
        kernels: Kernels = "figures",
    ) -> None:
        a, b, c = scales
        super().__init__(
            OrderedDict(
                stem=stem_v2(eps, kernels),
                block_a=repeat(5, partial(block_a, 384, (48, 64), a, eps)),
                reduction_a=reduction_a(384, 256, 256, 384, 384, eps),
                block_b=repeat(10, partial(block_b, 1152, 192, (128, 160, 192), b, eps)),
                reduction_b=reduction_b(1152, 384, 288, (288, 320), eps),
                block_c=repeat(5, partial(block_c, 2144, (192, 224, 256), c, eps)),
                pool=GlobalMean(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(2144, num_classes),
            )
        )


class InceptionResNetV2Released(nn.Sequential):
    """Map f[N, 3, 299, 299] to logits f[N, num_classes] as the released v2 does."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        eps: float,
        dropout: float = 0.2,
        scales: Scales = SCALES,
        count_padding: bool = False,
    ) -> None:
        a, b, c = scales
        widths_c = (192, 224, 256)
        blocks_c = repeat(9, partial(block_c, 2080, widths_c, c, eps))
        blocks_c.append(block_c(2080, widths_c, 1.0, eps, relu=False))
        super().__init__(
            OrderedDict(
                stem=stem_released(eps, count_padding),
                block_a=repeat(10, partial(block_a, 320, (48, 64), a, eps)),
                reduction_a=reduction_a(320, 256, 256, 384, 384, eps),
                block_b=repeat(20, partial(block_b, 1088, 192, (128, 160, 192), b, eps)),
                reduction_b=reduction_b(1088, 384, 288, (288, 320), eps),
                block_c=blocks_c,
                conv_7b=ConvNorm(2080, 1536, "1x1", eps=eps),
                pool=GlobalMean(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(1536, num_classes),
            )
        )
