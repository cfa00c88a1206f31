"""Convert the layers of a .caffemodel to a state dict with the names and the layout of torch.

Caffe's kernels are [out, in / groups, H, W], and an inner product over maps takes them flattened
in the order (C, H, W): both as in torch. Four things differ. The first convolution takes the
channels of OpenCV, blue first. Batch normalization is two layers: one divides its mean and variance
by a factor that is stored with them, the other has scale and bias. A convolution before it may have
a bias, which is taken off the mean. Old files give every array four axes.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from cnn_archs import models
from cnn_archs.conversion.caffe_file import CaffeLayer
from cnn_archs.conversion.caffe_names import CaffeNames, Table, head_name, layer_names
from cnn_archs.conversion.torch_layout import Tensor, tensors
from cnn_archs.errors import escaped
from cnn_archs.models.googlenet import GoogLeNet

EPSILON = 1e-5  # of our batch normalization after a convolution
AUXILIARY = ("loss1/", "loss2/")  # how the names of GoogLeNet's auxiliary classifiers begin

State = dict[str, np.ndarray]
Layers = Mapping[str, CaffeLayer]


def state_dict(
    model: models.Network,
    image_shape: tuple[int, int, int],
    layers: Sequence[CaffeLayer],
    *,
    heads: Collection[tuple[str, ...]],
    rgb: bool,
) -> State:
    """Return the weights in `layers` as the state dict of `model`, in float32.

    heads: the paths of the variables that may have another shape, which is kept. rgb: whether the
    network is to see RGB, where Caffe's sees BGR. Raises ValueError for the first layer that is
    missing, does not belong to the network or has another shape.
    """
    named = by_name(layers)
    table = with_renamed_head(layer_names(model, named), named, head_name(model))
    check_all_belong(model, named, table)
    first = next(iter(table))
    state: State = {}
    for tensor in tensors(model, image_shape):
        path, leaf = tensor.path[1:-1], tensor.path[-1]
        at = path if path in table else path[:-1]  # without the conv or norm of a `ConvNorm`
        if at not in table:
            raise ValueError(f"no .caffemodel has a layer for our {'/'.join(path)}")
        if path[-1] == "norm":
            name, array = table[at].norm, norm_value(table[at], leaf, named)
        else:
            name, array = table[at].conv, conv_value(table[at].conv, leaf, tensor, named)
        if array.shape != tensor.torch_shape and tensor.path not in heads:
            found, wanted = list(array.shape), list(tensor.torch_shape)
            raise ValueError(f"{name} has an array of {found}, wanted {wanted}")
        if at == first and leaf == "kernel" and rgb and array.shape[1] == 3:
            array = array[:, ::-1]
        state[tensor.name] = np.ascontiguousarray(array, np.float32)
    return state


def by_name(layers: Sequence[CaffeLayer]) -> Layers:
    """Return the layers that have arrays by name. Raises ValueError if two have the same name."""
    named: dict[str, CaffeLayer] = {}
    for layer in layers:
        if layer.blobs and layer.name in named:
            raise ValueError(f"two layers with arrays have the name {escaped(layer.name)}")
        if layer.blobs:
            named[layer.name] = layer
    return named


def with_renamed_head(table: Table, named: Layers, head: str) -> Table:
    """Return `table` with the name of the last layer in the file, if that is another than `head`.

    A network that was trained further on other classes has a new name for it.
    """
    known = {name for names in table.values() for name in names}
    others = [n for n, layer in named.items() if n not in known and layer.kind == "InnerProduct"]
    if head in named or len(others) != 1:
        return table
    new = CaffeNames(others[0])
    return {path: new if names.conv == head else names for path, names in table.items()}


def check_all_belong(model: models.Network, named: Layers, table: Table) -> None:
    """Raise ValueError for the first layer with arrays that the network lacks.

    The auxiliary classifiers of a GoogLeNet without them are left out.
    """
    known = {name for names in table.values() for name in names}
    for name, layer in named.items():
        left_out = isinstance(model, GoogLeNet) and not model.aux and name.startswith(AUXILIARY)
        if name not in known and not left_out:
            kind = escaped(layer.kind)
            raise ValueError(f"its layer {escaped(name)} ({kind}) does not belong to this network")


def require(name: str, named: Layers, numbers: Collection[int]) -> CaffeLayer:
    """Return the layer `name`.

    numbers: those of arrays that it may have. Raises ValueError if it is missing or has others.
    """
    if name not in named:
        without = ": --config.model.aux=false for a file without its classifiers"
        auxiliary = name.startswith(AUXILIARY)
        raise ValueError(f"it has no layer {name}{without if auxiliary else ''}")
    found = len(named[name].blobs)
    if found not in numbers:
        wanted = " or ".join(map(str, numbers))
        raise ValueError(f"{name} has {found} arrays, wanted {wanted}")
    return named[name]


def conv_value(name: str, leaf: str, tensor: Tensor, named: Layers) -> np.ndarray:
    """Return the kernel or the bias of a convolution or an inner product, in torch's layout."""
    before_norm = tensor.path[-2] == "conv"
    layer = require(name, named, (1, 2) if before_norm else (2,))
    if leaf == "bias":
        return squeezed(layer.blobs[1], 1)
    kernel, axes = layer.blobs[0], len(tensor.torch_shape)
    if layer.kind != "InnerProduct" and axes == 2 and kernel.ndim == 4:
        # A dense layer that was made a convolution keeps the order of its weights.
        return kernel.reshape(len(kernel), math.prod(kernel.shape[1:]))
    kernel = squeezed(kernel, axes)
    return kernel.T if layer.settings.get("transpose") else kernel


def norm_value(names: CaffeNames, leaf: str, named: Layers) -> np.ndarray:
    """Return the `mean`, `var`, `scale` or `bias` of batch normalization with our epsilon."""
    norm = require(names.norm, named, (3,))
    width = norm.blobs[0].size
    if leaf in ("scale", "bias"):
        blobs = require(names.scale, named, (1, 2)).blobs if names.scale in named else ()
        if leaf == "scale":
            return squeezed(blobs[0], 1) if blobs else np.ones(width)
        return squeezed(blobs[1], 1) if len(blobs) == 2 else np.zeros(width)
    mean, var = (squeezed(blob, 1).astype(np.float64) for blob in norm.blobs[:2])
    factor = norm.blobs[2].reshape(-1).astype(np.float64)
    if factor.size != 1:
        raise ValueError(f"{names.norm} has {factor.size} factors, wanted 1")
    by = 1 / factor[0] if factor[0] else 0.0
    if leaf == "var":
        return var * by + (norm.settings.get("eps", EPSILON) - EPSILON)
    conv = require(names.conv, named, (1, 2))
    bias = squeezed(conv.blobs[1], 1) if len(conv.blobs) == 2 else np.zeros(width)
    if bias.shape != mean.shape:
        raise ValueError(f"{names.conv} has {bias.size} biases, but {names.norm} {mean.size} means")
    return mean * by - bias


def squeezed(array: np.ndarray, axes: int) -> np.ndarray:
    """Return `array` without leading axes of 1 until it has `axes` of them, if that is possible."""
    while array.ndim > axes and array.shape[0] == 1:
        array = array[0]
    return array
