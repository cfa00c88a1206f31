"""The networks of `train_step.py` in PyTorch, as a user of torchvision would write them.

Their parameters have torchvision's names, or akamaster's for the CIFAR networks, so that weights
written by `cnn_archs.conversion.torch_layout` load into them. Each network maps images
f32[N, C, H, W] to {"logits": f32[N, classes]}; GoogLeNet adds "aux_4a" and "aux_4d".
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

Heads = dict[str, Tensor]


class LeNet5(nn.Module):
    """LeNet-5 in the form of the lecture notes: tanh and average pooling, for 28x28x1 images."""

    def __init__(self) -> None:
        super().__init__()
        self.C1 = nn.Conv2d(1, 6, 5, padding=2)
        self.C3 = nn.Conv2d(6, 16, 5)
        self.C5 = nn.Conv2d(16, 120, 5)
        self.F6 = nn.Linear(120, 84)
        self.OUT7 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Heads:
        x = functional.avg_pool2d(torch.tanh(self.C1(x)), 2)
        x = functional.avg_pool2d(torch.tanh(self.C3(x)), 2)
        x = torch.tanh(self.C5(x)).flatten(1)
        return {"logits": self.OUT7(torch.tanh(self.F6(x)))}


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut: "A" pads with zeros, "B" projects, "none" has none."""

    def __init__(self, inputs: int, width: int, stride: int, shortcut: str):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.kind, self.stride, self.missing = shortcut, stride, width - inputs
        self.downsample: nn.Module | None = None
        if shortcut == "B" and (stride > 1 or self.missing):
            projection = nn.Conv2d(inputs, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        if self.downsample is not None:
            x = self.downsample(x)
        elif self.missing and self.kind == "A":
            x = x[:, :, :: self.stride, :: self.stride]
            x = functional.pad(x, (0, 0, 0, 0, 0, self.missing))
        return functional.relu(y if self.kind == "none" else y + x, inplace=True)


def stage(inputs: int, width: int, count: int, stride: int, shortcut: str) -> nn.Sequential:
    """Return `count` blocks, the first of which has the stride."""
    later = (Block(width, width, 1, shortcut) for _ in range(count - 1))
    return nn.Sequential(Block(inputs, width, stride, shortcut), *later)


class CifarResNet(nn.Module):
    """He et al. 2015, section 4.2: 6n + 2 layers on 32x32 images."""

    def __init__(self, depth: int, shortcut: str):
        super().__init__()
        n = (depth - 2) // 6
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = stage(16, 16, n, 1, shortcut)
        self.layer2 = stage(16, 32, n, 2, shortcut)
        self.layer3 = stage(32, 64, n, 2, shortcut)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Heads:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = self.layer3(self.layer2(self.layer1(x)))
        return {"logits": self.linear(x.mean((2, 3)))}


class ResNet18(nn.Module):
    """ResNet-18 as in torchvision."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.layer1 = stage(64, 64, 2, 1, "B")
        self.layer2 = stage(64, 128, 2, 2, "B")
        self.layer3 = stage(128, 256, 2, 2, "B")
        self.layer4 = stage(256, 512, 2, 2, "B")
        self.fc = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Heads:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return {"logits": self.fc(x.mean((2, 3)))}


class VggA(nn.Module):
    """VGG's column A with batch normalization, and a 512-512-10 head, for 32x32 images."""

    def __init__(self, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for block in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for width in block:
                conv = nn.Conv2d(inputs, width, 3, 1, 1)
                layers += [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                inputs = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(512, 10),
        )

    def forward(self, x: Tensor) -> Heads:
        return {"logits": self.classifier(self.features(x).flatten(1))}


def response_norm() -> nn.Module:
    """Return AlexNet's LRN, section 3.3, where alpha is not divided by the window as in torch."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


class AlexNet(nn.Module):
    """AlexNet for 227x227 images, or, if `small`, for 32x32 images.

    For 32x32 images the first convolution is 3x3/1, the dense layers have 1024 units, and there are
    10 classes.
    """

    def __init__(self, dropout: float, small: bool):
        super().__init__()
        width, maps, classes = (1024, 256 * 3 * 3, 10) if small else (4096, 256 * 6 * 6, 1000)
        first = nn.Conv2d(3, 96, 3, 1, 1) if small else nn.Conv2d(3, 96, 11, 4)

        def norm_and_pool() -> nn.Module:
            return nn.Sequential(response_norm(), nn.MaxPool2d(3, 2))

        def relu() -> nn.Module:
            return nn.ReLU(inplace=True)

        self.features = nn.Sequential(
            *(first, relu(), norm_and_pool()),
            *(nn.Conv2d(96, 256, 5, 1, 2, groups=2), relu(), norm_and_pool()),
            *(nn.Conv2d(256, 384, 3, 1, 1), relu()),
            *(nn.Conv2d(384, 384, 3, 1, 1, groups=2), relu()),
            *(nn.Conv2d(384, 256, 3, 1, 1, groups=2), relu(), nn.MaxPool2d(3, 2)),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(maps, width), relu(), nn.Dropout(dropout)),
            *(nn.Linear(width, width), nn.Sequential(relu(), nn.Dropout(dropout))),
            nn.Linear(width, classes),
        )

    def forward(self, x: Tensor) -> Heads:
        return {"logits": self.classifier(self.features(x))}


class Convolution(nn.Module):
    """A convolution with padding of half its window, followed by ReLU."""

    def __init__(self, inputs: int, width: int, window: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(inputs, width, window, stride, padding=window // 2)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.conv(x), inplace=True)


class Inception(nn.Module):
    """Inception module of GoogLeNet, figure 2b. widths: a row of table 1."""

    def __init__(self, inputs: int, widths: tuple[int, int, int, int, int, int]):
        super().__init__()
        one, reduce3, three, reduce5, five, project = widths
        self.branch1 = Convolution(inputs, one, 1)
        narrow3, narrow5 = Convolution(inputs, reduce3, 1), Convolution(inputs, reduce5, 1)
        self.branch2 = nn.Sequential(narrow3, Convolution(reduce3, three, 3))
        self.branch3 = nn.Sequential(narrow5, Convolution(reduce5, five, 5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1), Convolution(inputs, project, 1))

    def forward(self, x: Tensor) -> Tensor:
        branches = (self.branch1, self.branch2, self.branch3, self.branch4)
        return torch.cat([branch(x) for branch in branches], 1)


class Auxiliary(nn.Module):
    """Auxiliary classifier of GoogLeNet (section 5). side: of its maps after pooling."""

    def __init__(self, inputs: int, dropout: float, side: int, classes: int):
        super().__init__()
        self.conv = Convolution(inputs, 128, 1)
        self.fc1 = nn.Linear(128 * side * side, 1024)
        self.fc2 = nn.Linear(1024, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(functional.avg_pool2d(x, 5, 3)).flatten(1)
        return self.fc2(self.dropout(functional.relu(self.fc1(x), inplace=True)))


# fmt: off
INCEPTION = {  # GoogLeNet's table 1: output channels
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


class GoogLeNet(nn.Module):
    """GoogLeNet for 224x224 images, or, if `small`, for 32x32 images.

    For 32x32 images the first convolution is 3x3/1, neither the 1x1 convolution nor the pool before
    3a is there, and there are 10 classes.
    """

    def __init__(self, dropout: float, aux_dropout: float, small: bool):
        super().__init__()
        side, classes = (2, 10) if small else (4, 1000)
        self.conv1 = Convolution(3, 64, 3) if small else Convolution(3, 64, 7, 2)
        self.conv2 = None if small else Convolution(64, 64, 1)
        self.conv3 = Convolution(64, 192, 3)
        inputs = 192
        for name, widths in INCEPTION.items():
            self.add_module(f"inception{name}", Inception(inputs, widths))
            inputs = widths[0] + widths[2] + widths[4] + widths[5]
        self.aux1 = Auxiliary(512, aux_dropout, side, classes)
        self.aux2 = Auxiliary(528, aux_dropout, side, classes)
        self.norm, self.dropout = response_norm(), nn.Dropout(dropout)
        self.fc = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Heads:
        heads = {}
        x = self.norm(functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True))
        x = self.norm(self.conv3(self.conv2(x) if self.conv2 else x))
        if self.conv2:
            x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
        for name in INCEPTION:
            if name in ("4a", "5a"):
                x = functional.max_pool2d(x, 3, 2, ceil_mode=True)
            x = self.get_submodule(f"inception{name}")(x)
            if name in ("4a", "4d"):
                heads[f"aux_{name}"] = (self.aux1 if name == "4a" else self.aux2)(x)
        return {"logits": self.fc(self.dropout(x.mean((2, 3)))), **heads}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "lenet5": LeNet5,
    **{f"resnet{depth}": partial(CifarResNet, depth, "A") for depth in (20, 56, 110)},
    **{f"plain{depth}": partial(CifarResNet, depth, "none") for depth in (20, 56)},
    "vgg_a_bn_cifar": partial(VggA, dropout=0.5),
    "alexnet_cifar": partial(AlexNet, dropout=0.5, small=True),
    "googlenet_cifar": partial(GoogLeNet, dropout=0.4, aux_dropout=0.7, small=True),
    "resnet18": ResNet18,
}
