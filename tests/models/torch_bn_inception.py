"""BN-Inception in plain PyTorch, from figure 5 of Ioffe & Szegedy 2015 (arXiv:1502.03167).

Where figure 5 does not add up, the sum of the branches holds:

- 4c and 4d print 576 maps, and their branches have 160 + 160 + 160 + 128 = 608 and
  96 + 192 + 192 + 128 = 608.
- 4e prints 1024 maps; with the 608 of 4d passed through it has 192 + 256 + 608 = 1056.
- 3c and 4e print the size of their input; their stride of 2 gives 14x14 and 7x7.

The figure does not say these, and here they are as in the Caffe model of it that others published:

- Max pools of stride 2 have no padding; where the size is even, the last window hangs over the
  edge (Caffe's ceil mode).
- Convolutions of stride 2 have the padding of those of stride 1, so that the first window of a 3x3
  starts one pixel outside. TensorFlow's "SAME" would start it at the first pixel.
- In 3c and 4e the stride lies in the last convolution of each branch. Branches and pool agree
  on the size if that of the input is even, so the sides of images are multiples of 32.
- Whether mean pools count the zeros of their padding is an argument.

The first convolution is an ordinary one, as the figure has it. The text says that the authors'
model has a separable one with depth multiplier 8, without a table of it.
"""

from collections import OrderedDict
from functools import partial

from torch import nn
from torch_layers import Concat, ConvNorm, GlobalMean, mean_pool

# Rows of figure 5, after the maps of the input: #1x1, #3x3 reduce, #3x3, double #3x3 reduce,
# double #3x3, and the projection of the pool.
ROWS = OrderedDict(
    inception_3a=(192, 64, 64, 64, 64, 96, 32),
    inception_3b=(256, 64, 64, 96, 64, 96, 64),
    inception_3c=(320, 0, 128, 160, 64, 96, 0),
    inception_4a=(576, 224, 64, 96, 96, 128, 128),
    inception_4b=(576, 192, 96, 128, 96, 128, 128),
    inception_4c=(576, 160, 128, 160, 128, 160, 128),
    inception_4d=(608, 96, 128, 192, 160, 192, 128),
    inception_4e=(608, 0, 128, 192, 192, 256, 0),
    inception_5a=(1056, 352, 192, 320, 160, 224, 128),
    inception_5b=(1024, 352, 192, 320, 192, 224, 128),
)


def halve() -> nn.MaxPool2d:
    """Return a max pool 3x3/2 without padding, whose last window may hang over the edge."""
    return nn.MaxPool2d(3, stride=2, ceil_mode=True)


class Inception(Concat):
    """Concatenate 1x1, 3x3, double 3x3 and the projection of a pool, at stride 1."""

    def __init__(self, row: tuple[int, ...], pool: nn.Module, eps: float) -> None:
        inputs, one, reduce, three, double_reduce, double, projection = row
        conv = partial(ConvNorm, eps=eps)
        super().__init__(
            conv(inputs, one, "1x1"),
            nn.Sequential(conv(inputs, reduce, "1x1"), conv(reduce, three, "3x3")),
            nn.Sequential(
                conv(inputs, double_reduce, "1x1"),
                conv(double_reduce, double, "3x3"),
                conv(double, double, "3x3"),
            ),
            nn.Sequential(pool, conv(inputs, projection, "1x1")),
        )


class Reduction(Concat):
    """Concatenate 3x3, double 3x3 and a max pool that passes its maps through, at stride 2."""

    def __init__(self, row: tuple[int, ...], eps: float) -> None:
        inputs, _, reduce, three, double_reduce, double, _ = row
        conv = partial(ConvNorm, eps=eps)
        super().__init__(
            nn.Sequential(conv(inputs, reduce, "1x1"), conv(reduce, three, "3x3/2")),
            nn.Sequential(
                conv(inputs, double_reduce, "1x1"),
                conv(double_reduce, double, "3x3"),
                conv(double, double, "3x3/2"),
            ),
            halve(),
        )


class BnInception(nn.Sequential):
    """Map images f[N, 3, 224, 224] to logits f[N, num_classes]."""

    def __init__(self, num_classes: int = 1000, *, eps: float, count_padding: bool = False) -> None:
        conv = partial(ConvNorm, eps=eps)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=conv(3, 64, "7x7/2"),
            pool1=halve(),
            conv2_reduce=conv(64, 64, "1x1"),
            conv2=conv(64, 192, "3x3"),
            pool2=halve(),
        )
        for name, row in ROWS.items():
            if name in ("inception_3c", "inception_4e"):
                layers[name] = Reduction(row, eps)
            else:
                max_pool = nn.MaxPool2d(3, stride=1, padding=1)
                pool = max_pool if name == "inception_5b" else mean_pool(count_padding)
                layers[name] = Inception(row, pool, eps)
        layers["pool5"] = GlobalMean()
        layers["logits"] = nn.Linear(1024, num_classes)
        super().__init__(layers)
