"""The names of a network's modules in the corresponding torch model.

AlexNet, VGG, GoogLeNet, Inception-v3 and the residual networks for ImageNet are named as in
torchvision, the residual networks for CIFAR as in akamaster's `pytorch_resnet_cifar10`. Modules
that these lack are named in the same style: pre-activation networks have `layer1.0.bn1` before
`layer1.0.conv1` and end in `bn_final`; a separable first convolution is `conv1.depthwise` and
`conv1.pointwise`; LRN takes no number.

Equal names and shapes do not make equal networks. The strides of torchvision's resnet50, 101 and
152 are those of `_v1_5` here (`file_network.py`). With option A, akamaster's code puts half of the
zero maps before the existing ones; here, as in the first ResNet code in torch, all follow them
(`option_a.py`). Option B and the plain networks compute the same in both.
"""

from collections.abc import Callable

from cnn_archs.models import vgg
from cnn_archs.models.alexnet import AlexNet
from cnn_archs.models.googlenet import GoogLeNet
from cnn_archs.models.inception_v3 import InceptionV3
from cnn_archs.models.network import Network
from cnn_archs.models.resnet import ResNet
from cnn_archs.models.vgg import VGG

KeyPath = tuple[str, ...]  # the names of the modules on the way to a module
Names = Callable[[KeyPath], str]


def names(model: Network) -> Names:
    """Return a function from the path of a module to its name in torch.

    The modules of a network that torch lacks keep our names, with periods between them.
    """
    rule = RULES.get(type(model))
    return rule(model) if rule else ".".join


def alexnet_names(model: AlexNet) -> Names:
    """Name layers by their position, in which ReLU, pooling and dropout count too."""
    features = {"conv1": 0, "conv2": 3, "conv3": 6, "conv4": 8, "conv5": 10}
    table: dict[KeyPath, str] = {(layer,): f"features.{i}" for layer, i in features.items()}
    table |= {("fc6",): "classifier.1", ("fc7",): "classifier.4", ("fc8",): "classifier.6"}
    return table.__getitem__


def vgg_names(model: VGG) -> Names:
    """Name layers by their position, in which ReLU, pooling and dropout count too."""
    table: dict[KeyPath, str] = {
        ("fc6",): "classifier.0",
        ("fc7",): "classifier.3",
        ("fc8",): "classifier.6",
    }
    at = 0
    for block in vgg.layers_of(model.column):
        for name, window, _ in block:
            if window:  # response normalization takes no number
                table[(name,)] = table[name, "conv"] = f"features.{at}"
                table[name, "norm"] = f"features.{at + 1}"
                at += 3 if model.batch_norm else 2
        at += 1
    return table.__getitem__


def googlenet_names(model: GoogLeNet) -> Names:
    """Name each convolution `conv` inside its block, and its batch normalization `bn`."""
    blocks: dict[KeyPath, str] = {
        ("conv1",): "conv1",
        ("conv2_reduce",): "conv2",
        ("conv2",): "conv3",
    }
    table: dict[KeyPath, str] = {
        **{("fc",): "fc", ("conv1_depthwise",): "conv1.depthwise"},
        **{("conv1_pointwise",): "conv1.pointwise", ("conv1_pointwise", "norm"): "conv1.bn"},
        ("conv1_pointwise", "conv"): "conv1.pointwise",
    }
    for module in model.modules:
        for ours, theirs in (
            *(("1x1", "branch1"), ("3x3_reduce", "branch2.0"), ("3x3", "branch2.1")),
            *(("5x5_reduce", "branch3.0"), ("5x5", "branch3.1"), ("pool_proj", "branch4.1")),
        ):
            blocks[module, ours] = f"inception{module}.{theirs}"
    for ours, theirs in (("aux_4a", "aux1"), ("aux_4d", "aux2")):
        blocks[ours, "conv"] = f"{theirs}.conv"
        table |= {(ours, "fc1"): f"{theirs}.fc1", (ours, "fc2"): f"{theirs}.fc2"}
    for block, name in blocks.items():
        if model.batch_norm:
            table |= {(*block, "conv"): f"{name}.conv", (*block, "norm"): f"{name}.bn"}
        else:
            table[block] = f"{name}.conv"
    return table.__getitem__


def inception_v3_names(model: InceptionV3) -> Names:
    """Keep the names, which are torchvision's, except that `norm` becomes `bn`."""
    return lambda path: ".".join("bn" if part == "norm" else part for part in path)


def resnet_names(model: ResNet) -> Names:
    """Number stages from 1, units from 0 and the layers of a unit from 1."""
    cifar = model.stem == "3x3"
    shortcut = "shortcut" if cifar else "downsample"
    layers = ("3x3a", "3x3b") if model.kind == "basic" else ("1x1a", "3x3", "1x1b")
    table: dict[KeyPath, str] = {
        **{("conv1",): "conv1", ("conv1", "conv"): "conv1", ("conv1", "norm"): "bn1"},
        **{("final_bn",): "bn_final", ("fc",): "linear" if cifar else "fc"},
    }
    for stage, units in enumerate(model.blocks, start=1):
        for unit in range(units):
            ours, theirs = f"conv{stage + 1}_{unit + 1}", f"layer{stage}.{unit}"
            for i, layer in enumerate(layers, start=1):
                table[ours, layer] = table[ours, layer, "conv"] = f"{theirs}.conv{i}"
                table[ours, layer, "norm"] = table[ours, f"bn{i}"] = f"{theirs}.bn{i}"
            table[ours, "shortcut"] = table[ours, "shortcut", "conv"] = f"{theirs}.{shortcut}.0"
            table[ours, "shortcut", "norm"] = f"{theirs}.{shortcut}.1"
    return table.__getitem__


RULES: dict[type[Network], Callable[..., Names]] = {
    AlexNet: alexnet_names,
    VGG: vgg_names,
    GoogLeNet: googlenet_names,
    InceptionV3: inception_v3_names,
    ResNet: resnet_names,
}
