"""The networks for ImageNet of `device.py` in PyTorch, in the form of `torch_networks`.

Images are f32[N, 3, H, W]; the first dense layer of VGG takes its size from the first images.
"""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional
from torch_networks import AlexNet, GoogLeNet, Heads


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution; the stride is in the 3x3 one, as in torchvision."""

    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Module | None = None
        if inputs != 4 * width:
            projection = nn.Conv2d(inputs, 4 * width, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(4 * width))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        y = functional.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """ResNet-50 and its like. counts: the number of bottlenecks in each of the four stages."""

    def __init__(self, counts: tuple[int, int, int, int]):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inputs = 64
        for i, count in enumerate(counts):
            width, blocks = 64 * 2**i, []
            for j in range(count):
                blocks.append(Bottleneck(inputs, width, 2 if i and not j else 1))
                inputs = 4 * width
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Heads:
        x = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        x = functional.max_pool2d(x, 3, 2, 1)
        for i in range(4):
            x = self.get_submodule(f"layer{i + 1}")(x)
        return {"logits": self.fc(x.mean((2, 3)))}


class VggD(nn.Module):
    """VGG's column D, which is called VGG-16."""

    def __init__(self, dropout: float):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
            for _ in range(count):
                layers += [nn.Conv2d(inputs, width, 3, 1, 1), nn.ReLU(inplace=True)]
                inputs = width
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            *(nn.LazyLinear(4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            *(nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Heads:
        return {"logits": self.classifier(self.features(x).flatten(1))}


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "resnet50": partial(ResNet, (3, 4, 6, 3)),
    "resnet152": partial(ResNet, (3, 8, 36, 3)),
    "vgg_d": partial(VggD, dropout=0.5),
    "alexnet": partial(AlexNet, dropout=0.5, small=False),
    "googlenet": partial(GoogLeNet, dropout=0.4, aux_dropout=0.7, small=False),
}
