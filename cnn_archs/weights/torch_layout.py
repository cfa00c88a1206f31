"""Our variables as the state dict of a torch model, and back: names, shapes, order of axes.

A convolution is [H, W, in, out] here and [out, in, H, W] there. A dense layer over a map, whose
kernel is [H, W, in, out] here, is [out, in * H * W] there, since torch flattens maps before rows.
A dense layer over a vector is [in, out] here. Biases and the four vectors of batch normalization
are the same; both running variances are taken as they are. Values keep every bit.
"""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.models import resnet
from cnn_archs.models.summary import summarize
from cnn_archs.weights.torch_names import names

LEAVES = dict(kernel="weight", bias="bias", scale="weight", mean="running_mean", var="running_var")
COUNTER = "num_batches_tracked"  # torch's, of each batch normalization: a number that nothing uses


class Tensor(NamedTuple):
    """A variable, its `path` with the collection first, and its counterpart in torch.

    dense: whether it belongs to a dense layer.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    name: str
    dense: bool

    @property
    def flat(self) -> bool:
        """Whether it is the kernel of a dense layer over a map."""
        return self.dense and len(self.shape) == 4

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """Its shape in torch."""
        if self.flat:
            return self.shape[3], math.prod(self.shape[:3])
        if len(self.shape) == 4:
            h, w, inputs, outputs = self.shape
            return outputs, inputs, h, w
        return self.shape[::-1]

    def to_torch(self, value: np.ndarray) -> np.ndarray:
        """The variable as a tensor."""
        axes = (3, 2, 0, 1) if len(self.shape) == 4 else tuple(range(value.ndim))[::-1]
        return np.ascontiguousarray(value.transpose(axes)).reshape(self.torch_shape)

    def from_torch(self, tensor: np.ndarray) -> np.ndarray:
        """The tensor as a variable."""
        if len(self.shape) != 4:
            return np.ascontiguousarray(tensor.T)
        h, w, inputs, outputs = self.shape
        maps = tensor.reshape(outputs, inputs, h, w)
        return np.ascontiguousarray(maps.transpose(2, 3, 1, 0))


@functools.lru_cache(maxsize=1)  # export asks before it allocates, and again
def tensors(model: models.Network, image_shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """The tensors of `model`, unrolled, in the order of torch's names. Nothing is allocated.

    ValueError for a network that torch models have no names for.
    """
    name = names(model)
    if name is None:
        raise ValueError(f"{type(model).__name__} has no counterpart among torch models")
    rows = summarize(model, image_shape, train=True)
    dense = {tuple(row.name.split("/")) for row in rows if row.type == "dense"}
    shapes = models.shapes(model.unrolled(), image_shape).variables
    found = [
        Tensor(
            path=path,
            shape=tuple(leaf.shape),
            name=f"{name(path[1:-1])}.{LEAVES[path[-1]]}",
            dense=path[1:-1] in dense,
        )
        for path, leaf in flatten_dict(shapes).items()
    ]
    return tuple(sorted(found, key=lambda t: t.name))


def to_state_dict(
    model: models.Network,
    image_shape: tuple[int, int, int],
    variables: Mapping[str, Any],
    step: int,
) -> dict[str, np.ndarray]:
    """torch's state dict of `variables` ({"params", "batch_stats"}) after `step` batches."""
    if model.scan_blocks:
        variables = resnet.unstack(variables)
    values = flatten_dict(dict(variables))
    state = {}
    for tensor in tensors(model, image_shape):
        state[tensor.name] = tensor.to_torch(np.asarray(values[tensor.path]))
        if tensor.path[-1] == "mean":
            norm = tensor.name.removesuffix("running_mean")
            state[norm + COUNTER] = np.asarray(step, np.int64)
    return state


def from_state_dict(
    model: models.Network, image_shape: tuple[int, int, int], state: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """The inverse of `to_state_dict`, but for the step. ValueError naming the first misfit."""
    wanted = tensors(model, image_shape)
    check(wanted, {name: (value.shape, value.dtype) for name, value in state.items()})
    values = {t.path: t.from_torch(state[t.name]) for t in wanted}
    for tensor in wanted:
        if not np.isfinite(values[tensor.path]).all():
            raise ValueError(f"{tensor.name} has values that are not finite")
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}} | unflatten_dict(values)
    return resnet.stack(variables) if model.scan_blocks else variables


def check(wanted: Sequence[Tensor], there: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
    """ValueError with the first of the tensors that is missing, too many, or of another shape."""
    by_name = {t.name: t for t in wanted}
    for name in sorted({*by_name, *there}):
        if name not in there:
            raise ValueError(f"{name} is missing: wanted float32{list(by_name[name].torch_shape)}")
        shape, dtype = there[name]
        if name not in by_name:
            if name.endswith(COUNTER):
                continue
            raise ValueError(f"{name}, {dtype}{list(shape)}, is no tensor of this network")
        if (shape, dtype) != (by_name[name].torch_shape, np.float32):
            found, expected = f"{dtype}{list(shape)}", list(by_name[name].torch_shape)
            raise ValueError(f"{name} is {found}, wanted float32{expected}")
