"""The names of a network's modules in Caffe's release of it.

They are those of the files `deploy.prototxt` of bvlc_alexnet, bvlc_reference_caffenet and
bvlc_googlenet, of the authors' VGG_ILSVRC_16 and 19 layers and of the authors' ResNet-50, 101 and
152.
"""

from collections.abc import Callable, Collection
from typing import NamedTuple

from cnn_archs.models import vgg
from cnn_archs.models.alexnet import AlexNet
from cnn_archs.models.googlenet import GoogLeNet
from cnn_archs.models.network import Network
from cnn_archs.models.resnet import ResNet
from cnn_archs.models.vgg import VGG

KeyPath = tuple[str, ...]  # the names of the modules on the way to a module


class CaffeNames(NamedTuple):
    """The names of the layers that make up one of our layers.

    conv: a convolution or an inner product. norm, scale: batch normalization and the layer with its
    scales and biases; "" for a layer without batch normalization.
    """

    conv: str
    norm: str = ""
    scale: str = ""


Table = dict[KeyPath, CaffeNames]


def layer_names(model: Network, there: Collection[str]) -> Table:
    """Return the names of each layer with weights of `model`, by the path of its module.

    there: the names in a file, which decide between two ways to count the units of a ResNet.
    Raises ValueError for a network that Caffe has not released.
    """
    rule = RULES.get(type(model))
    if rule is None or vars(model).get("batch_norm"):
        raise ValueError(
            f"no .caffemodel is known for {type(model).__name__}"
            + (" with batch normalization" if rule else "")
            + ": there are those of AlexNet, VGG, GoogLeNet and ResNet"
        )
    return rule(model, there)


def pool_name(model: Network, row: str) -> str:
    """Return the name of the pool that our summary has as `row`; "" if it has none."""
    if not isinstance(model, GoogLeNet):
        return row
    module, _, pool = row.partition("/")
    return f"inception_{module}/pool" if pool else f"{row}/3x3_s2"


def head_name(model: Network) -> str:
    """Return the name of the last layer."""
    return {GoogLeNet: "loss3/classifier", ResNet: "fc1000"}.get(type(model), "fc8")


def alexnet_names(model: AlexNet, there: Collection[str]) -> Table:
    """Keep our names, which are Caffe's too."""
    layers = (*(f"conv{i}" for i in range(1, 6)), "fc6", "fc7", "fc8")
    return {(name,): CaffeNames(name) for name in layers}


def vgg_names(model: VGG, there: Collection[str]) -> Table:
    """Keep our names, which are Caffe's too."""
    rows = [row.name for block in vgg.layers_of(model.column) for row in block if row.window]
    return {(name,): CaffeNames(name) for name in (*rows, *vgg.DENSE)}


def googlenet_names(model: GoogLeNet, there: Collection[str]) -> Table:
    """Put the module before the branch: `inception_3a/3x3_reduce`."""
    table: Table = {
        ("conv1",): CaffeNames("conv1/7x7_s2"),
        ("conv2_reduce",): CaffeNames("conv2/3x3_reduce"),
        ("conv2",): CaffeNames("conv2/3x3"),
        ("fc",): CaffeNames("loss3/classifier"),
    }
    for module in model.modules:
        for branch in ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_proj"):
            table[module, branch] = CaffeNames(f"inception_{module}/{branch}")
    for ours, theirs in (("aux_4a", "loss1"), ("aux_4d", "loss2")):
        for layer, name in (("conv", "conv"), ("fc1", "fc"), ("fc2", "classifier")):
            table[ours, layer] = CaffeNames(f"{theirs}/{name}")
    return table


def resnet_names(model: ResNet, there: Collection[str]) -> Table:
    """Count stages from 2 and units by letters: `res3b_branch2a` is in unit 2 of conv3_x.

    Where a stage of the file has `b1`, `b2`, ... after `a`, as those of ResNet-101 and 152 with
    more than 3 units, so has this one.
    """
    if model.stem != "7x7" or model.unit != "residual":
        raise ValueError("no .caffemodel is known for this ResNet: there are those for ImageNet")
    table: Table = {
        ("conv1",): CaffeNames("conv1", "bn_conv1", "scale_conv1"),
        ("fc",): CaffeNames("fc1000"),
    }
    branches = ("3x3a", "3x3b") if model.kind == "basic" else ("1x1a", "3x3", "1x1b")
    for stage, units in enumerate(model.blocks, start=2):
        counted = units > 26 or f"res{stage}b1_branch2a" in there
        for unit in range(units):
            letters = f"b{unit}" if counted and unit else chr(ord("a") + unit)
            for ours, branch in (
                *((name, f"branch2{'abc'[i]}") for i, name in enumerate(branches)),
                ("shortcut", "branch1"),
            ):
                name = f"{stage}{letters}_{branch}"
                table[f"conv{stage}_{unit + 1}", ours] = CaffeNames(
                    f"res{name}", f"bn{name}", f"scale{name}"
                )
    return table


RULES: dict[type[Network], Callable[..., Table]] = {
    AlexNet: alexnet_names,
    VGG: vgg_names,
    GoogLeNet: googlenet_names,
    ResNet: resnet_names,
}
