"""Network in Network for CIFAR-10 in plain PyTorch, from Lin et al. 2013 (arXiv:1312.4400).

Section 4 and figure 2 give three mlpconv layers, dropout after the first two, and a global average.
Widths, windows and these come from the Caffe configuration that the authors released:

- The first pool takes the maximum, as the paper has it for all; the second takes the mean.
- Pools have 3x3 windows of stride 2 and no padding. The last window hangs over the edge (Caffe's
  ceil mode: 32 to 16 to 8), and its mean is over the pixels that are there.
- ReLU follows every convolution, also the last one before the global average.

Convolutions have biases, and there is no normalization.
"""

from collections import OrderedDict

from torch import nn
from torch_layers import GlobalMean


def mlpconv(inputs: int, side: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Build a convolution of side x side and two of 1x1 (cccp), each with ReLU."""
    first, second, third = widths
    return nn.Sequential(
        nn.Conv2d(inputs, first, side, padding=side // 2),
        nn.ReLU(),
        nn.Conv2d(first, second, 1),
        nn.ReLU(),
        nn.Conv2d(second, third, 1),
        nn.ReLU(),
    )


class NetworkInNetwork(nn.Sequential):
    """Map images f[N, 3, 32, 32] to logits f[N, num_classes]."""

    def __init__(self, num_classes: int = 10, *, dropout: float = 0.5) -> None:
        super().__init__(
            OrderedDict(
                mlpconv1=mlpconv(3, 5, (192, 160, 96)),
                pool1=nn.MaxPool2d(3, stride=2, ceil_mode=True),
                dropout1=nn.Dropout(dropout),
                mlpconv2=mlpconv(96, 5, (192, 192, 192)),
                pool2=nn.AvgPool2d(3, stride=2, ceil_mode=True),
                dropout2=nn.Dropout(dropout),
                mlpconv3=mlpconv(192, 3, (192, 192, num_classes)),
                pool3=GlobalMean(),
            )
        )
