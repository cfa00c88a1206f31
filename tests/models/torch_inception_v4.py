"""Inception-v4 in plain PyTorch, from figures 3 to 9 of Szegedy et al. 2016 (arXiv:1602.07261).

All maps add up to what figure 9 prints: 384 at 35x35, 1024 at 17x17, 1536 at 8x8. The figures leave
these open or contradict the weights that the authors released in TF-Slim:

- Figure 3 does not print the stride of its last convolution, of 192; 71x71 to 35x35 needs 2.
- Figure 5 prints 1x7 twice in its branch of three; the second is a 7x1 here, as in the release.
- The sequence of flat and tall kernels in figure 3 (7x1, 1x7), figure 5 (the branch of five: 1x7,
  7x1, 1x7, 7x1) and figure 6 (1x3, 3x1) is the other way around in the release, which agrees with
  figure 8. `kernels` chooses. A kernel here is height x width. The counts are the same.
- Branches are concatenated in the sequence of the release, pools last, while the figures draw the
  pool on the left (except in the stem). In figure 6 the pairs are 1x3, 3x1.
- Whether mean pools count the zeros of their padding is an argument; the release does not.
- Batch norm has a scale here, while that of the release has only a shift.

The auxiliary classifier of the release is not in the figures and not here.
"""

from collections import OrderedDict
from functools import partial
from typing import Literal

from torch import nn
from torch_layers import Concat, ConvNorm, GlobalMean, mean_pool

Kernels = Literal["figures", "release"]


def sequence(kernels: Kernels, side: int) -> tuple[str, str]:
    """Return the flat and the tall kernel in the sequence of figures 5 and 6, or of the release."""
    flat, tall = f"1x{side}", f"{side}x1"
    return (flat, tall) if kernels == "figures" else (tall, flat)


def stem(eps: float, kernels: Kernels) -> nn.Sequential:
    """Build figure 3, of Inception-v4 and Inception-ResNet-v2: 299x299x3 to 35x35x384."""
    conv = partial(ConvNorm, eps=eps)
    second, first = sequence(kernels, 7)  # figure 3 has the tall one first
    return nn.Sequential(
        conv(3, 32, "3x3/2 V"),  # 149x149
        conv(32, 32, "3x3 V"),  # 147x147
        conv(32, 64, "3x3"),
        Concat(nn.MaxPool2d(3, stride=2), conv(64, 96, "3x3/2 V")),  # 73x73x160
        Concat(  # 71x71x192
            nn.Sequential(conv(160, 64, "1x1"), conv(64, 96, "3x3 V")),
            nn.Sequential(
                conv(160, 64, "1x1"),
                conv(64, 64, first),
                conv(64, 64, second),
                conv(64, 96, "3x3 V"),
            ),
        ),
        Concat(conv(192, 192, "3x3/2 V"), nn.MaxPool2d(3, stride=2)),  # 35x35x384
    )


def inception_a(eps: float, count_padding: bool) -> Concat:
    """Build figure 4: 35x35x384 to 35x35x384."""
    conv = partial(ConvNorm, eps=eps)
    return Concat(
        conv(384, 96, "1x1"),
        nn.Sequential(conv(384, 64, "1x1"), conv(64, 96, "3x3")),
        nn.Sequential(conv(384, 64, "1x1"), conv(64, 96, "3x3"), conv(96, 96, "3x3")),
        nn.Sequential(mean_pool(count_padding), conv(384, 96, "1x1")),
    )


def inception_b(eps: float, count_padding: bool, kernels: Kernels) -> Concat:
    """Build figure 5: 17x17x1024 to 17x17x1024."""
    conv = partial(ConvNorm, eps=eps)
    first, second = sequence(kernels, 7)
    return Concat(
        conv(1024, 384, "1x1"),
        nn.Sequential(conv(1024, 192, "1x1"), conv(192, 224, "1x7"), conv(224, 256, "7x1")),
        nn.Sequential(
            conv(1024, 192, "1x1"),
            conv(192, 192, first),
            conv(192, 224, second),
            conv(224, 224, first),
            conv(224, 256, second),
        ),
        nn.Sequential(mean_pool(count_padding), conv(1024, 128, "1x1")),
    )


def inception_c(eps: float, count_padding: bool, kernels: Kernels) -> Concat:
    """Build figure 6: 8x8x1536 to 8x8x1536."""
    conv = partial(ConvNorm, eps=eps)
    first, second = sequence(kernels, 3)
    return Concat(
        conv(1536, 256, "1x1"),
        nn.Sequential(conv(1536, 384, "1x1"), Concat(conv(384, 256, "1x3"), conv(384, 256, "3x1"))),
        nn.Sequential(
            conv(1536, 384, "1x1"),
            conv(384, 448, first),
            conv(448, 512, second),
            Concat(conv(512, 256, "1x3"), conv(512, 256, "3x1")),
        ),
        nn.Sequential(mean_pool(count_padding), conv(1536, 256, "1x1")),
    )


def reduction_a(inputs: int, k: int, l: int, m: int, n: int, eps: float) -> Concat:  # noqa: E741
    """Build figure 7, with the letters of table 1: 35x35 to 17x17 and n + m + inputs maps."""
    conv = partial(ConvNorm, eps=eps)
    return Concat(
        conv(inputs, n, "3x3/2 V"),
        nn.Sequential(conv(inputs, k, "1x1"), conv(k, l, "3x3"), conv(l, m, "3x3/2 V")),
        nn.MaxPool2d(3, stride=2),
    )


def reduction_b(eps: float) -> Concat:
    """Build figure 8: 17x17x1024 to 8x8x1536."""
    conv = partial(ConvNorm, eps=eps)
    return Concat(
        nn.Sequential(conv(1024, 192, "1x1"), conv(192, 192, "3x3/2 V")),
        nn.Sequential(
            conv(1024, 256, "1x1"),
            conv(256, 256, "1x7"),
            conv(256, 320, "7x1"),
            conv(320, 320, "3x3/2 V"),
        ),
        nn.MaxPool2d(3, stride=2),
    )


class InceptionV4(nn.Sequential):
    """Map images f[N, 3, 299, 299] to logits f[N, num_classes], as figure 9 does."""

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        eps: float,
        dropout: float = 0.2,
        kernels: Kernels = "figures",
        count_padding: bool = False,
    ) -> None:
        def repeat(times: int, build: partial[Concat]) -> nn.Sequential:
            return nn.Sequential(*(build() for _ in range(times)))

        super().__init__(
            OrderedDict(
                stem=stem(eps, kernels),
                inception_a=repeat(4, partial(inception_a, eps, count_padding)),
                reduction_a=reduction_a(384, 192, 224, 256, 384, eps),
                inception_b=repeat(7, partial(inception_b, eps, count_padding, kernels)),
                reduction_b=reduction_b(eps),
                inception_c=repeat(3, partial(inception_c, eps, count_padding, kernels)),
                pool=GlobalMean(),
                dropout=nn.Dropout(dropout),
                logits=nn.Linear(1536, num_classes),
            )
        )
