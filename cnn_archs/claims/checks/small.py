"""The small networks on which the papers' functions are checked (`observed.py`).

Each has the layers of the network that it stands for, in their order; only maps, units and pixels
are fewer. Pixels of a deviation of 100 are as large as the papers', so that response normalization,
whose constants belong to them, is no identity.
"""

from typing import Any

from cnn_archs.claims.checks.observed import Small
from cnn_archs.models import hashable
from cnn_archs.models.inception import INCEPTION


def small(
    model: str, image: tuple[int, int, int], *, scale: float = 1.0, **fields: object
) -> Small:
    """Return the network `model` with these fields, for images of (H, W, C)."""
    return Small(model, image, hashable(fields), scale=scale)


COLOR = 100.0  # deviation of pixels between 0 and 255
ALEXNET = small("alexnet", (67, 67, 3), scale=COLOR, width=1 / 8, hidden=(512, 512), num_classes=10)
VGG = small("vgg_a_lrn", (64, 64, 3), scale=COLOR, width=1 / 16, hidden=(512, 512), num_classes=10)
GOOGLENET = small(
    "googlenet",
    (160, 160, 3),
    scale=COLOR,
    width=1 / 16,
    num_classes=10,
    modules={name: INCEPTION[name] for name in ("4a", "5a")},
)
CIFAR: dict[str, Any] = dict(widths=(4, 8), num_classes=10)
RESNET20 = small("resnet20", (8, 8, 3), blocks=(2, 1), **CIFAR)
STATISTICS = small(
    "resnet20", (8, 8, 3), blocks=(1,), widths=(4,), num_classes=10, bn_group=2, scale=0.01
)
RESNET50 = small("resnet50", (32, 32, 3), blocks=(2, 1), pool1="overhanging", **CIFAR)

SMALL: dict[str, Small] = {
    "lenet5": small("lenet5_1998", (32, 32, 1)),
    "lenet5_taught": small("lenet5", (28, 28, 1)),
    "cnn": small("cnn", (28, 28, 1), widths=(4, 8), hidden=64)._replace(train=True),
    "alexnet": ALEXNET,
    "alexnet_training": ALEXNET._replace(train=True),
    "vgg_larger_image": VGG._replace(at=(96, 96, 3)),
    "vgg_training": VGG._replace(train=True),
    "googlenet": GOOGLENET._replace(train=True),
    "inception_naive": small(
        "inception_module", (8, 8, 6), module="naive", widths=(4, 6, 8, 2, 4, 4)
    ),
    "nin": small("nin_cifar10", (16, 16, 3), width=1 / 24)._replace(train=True),
    "resnet20": RESNET20,
    "resnet20_b": small("resnet20_b", (8, 8, 3), blocks=(1, 1), **CIFAR),
    "resnet20_c": small("resnet20_c", (8, 8, 3), blocks=(2,), widths=(4,), num_classes=10),
    "plain20": small("plain20", (8, 8, 3), blocks=(1, 1), **CIFAR),
    "resnet50": RESNET50,
    "resnet20_v2": small("resnet20_v2", (8, 8, 3), blocks=(2, 1), **CIFAR),
    "resnet164_v2": small("resnet164_v2", (8, 8, 3), blocks=(2, 1), **CIFAR),
    "statistics": STATISTICS,
    "statistics_training": STATISTICS._replace(train=True),
    "statistics_training_devices": STATISTICS._replace(train=True, one_cpu=False),
}
