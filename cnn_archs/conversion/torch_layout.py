"""Convert variables to the state dict of a torch model and back: names, shapes, axes.

A network that torch lacks keeps our names of its modules, in torch's layout.

The kernel of a convolution is [H, W, in, out] in flax and [out, in, H, W] in torch. A dense layer
over a map is [H, W, in, out] in this package and [out, in * H * W] in torch, since torch flattens
the maps first. A dense layer over a vector is [in, out] in flax and [out, in] in torch. Biases and
the four vectors of batch normalization have the same shape in both; running variances are copied
although torch's are unbiased. Every value keeps all its bits.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from cnn_archs import models
from cnn_archs.conversion.torch_names import names
from cnn_archs.errors import escaped
from cnn_archs.models import resnet
from cnn_archs.models.summary import summarize

LEAVES = dict(kernel="weight", bias="bias", scale="weight", mean="running_mean", var="running_var")
COUNTER = "num_batches_tracked"  # torch stores it in each batch normalization; nothing uses it


class Tensor(NamedTuple):
    """A variable and its name in torch.

    path: the keys that lead to the variable, the collection first. dense: whether it belongs to a
    dense layer.
    """

    path: tuple[str, ...]
    shape: tuple[int, ...]
    name: str
    dense: bool

    @property
    def flat(self) -> bool:
        """Return True for the kernel of a dense layer over a map, which torch stores flattened."""
        return self.dense and len(self.shape) == 4

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The shape in torch."""
        if self.flat:
            return self.shape[3], math.prod(self.shape[:3])
        if len(self.shape) == 4:
            h, w, inputs, outputs = self.shape
            return outputs, inputs, h, w
        return self.shape[::-1]

    def to_torch(self, value: np.ndarray) -> np.ndarray:
        """Convert the value of the variable to torch's layout."""
        axes = (3, 2, 0, 1) if len(self.shape) == 4 else tuple(range(value.ndim))[::-1]
        return np.ascontiguousarray(value.transpose(axes)).reshape(self.torch_shape)

    def from_torch(self, tensor: np.ndarray) -> np.ndarray:
        """Convert a tensor in torch's layout to the value of the variable."""
        if len(self.shape) != 4:
            return np.ascontiguousarray(tensor.T)
        h, w, inputs, outputs = self.shape
        maps = tensor.reshape(outputs, inputs, h, w)
        return np.ascontiguousarray(maps.transpose(2, 3, 1, 0))


@functools.lru_cache(maxsize=1)  # export asks twice: before it allocates, and for the values
def tensors(model: models.Network, image_shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Return the tensors of a `model` without loops, sorted by their names in torch.

    A network that torch lacks has our names, with periods between the modules. Nothing is
    allocated.
    """
    name = names(model)
    rows = summarize(model, image_shape, train=True)
    dense = {tuple(row.name.split("/")) for row in rows if row.type == "dense"}
    shapes = models.shapes(model.unrolled(), image_shape).variables
    found = [
        Tensor(
            path=path,
            shape=tuple(leaf.shape),
            name=f"{name(path[1:-1])}.{LEAVES.get(path[-1], path[-1])}",
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
    """Convert `variables` ({"params", "batch_stats"}) after `step` batches to a state dict."""
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
    """Convert a state dict to variables.

    Raises ValueError, naming the first tensor that does not fit.
    """
    wanted = tensors(model, image_shape)
    if misfit := next(misfits(wanted, state), None):
        raise ValueError(misfit.message)
    values = {t.path: t.from_torch(state[t.name]) for t in wanted}
    for tensor in wanted:
        if not np.isfinite(values[tensor.path]).all():
            raise ValueError(f"{tensor.name} has values that are not finite")
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}} | unflatten_dict(values)
    return resnet.stack(variables) if model.scan_blocks else variables


class Misfit(NamedTuple):
    """A tensor that a state dict lacks, should not have, or has in another shape or type."""

    name: str
    message: str


def misfits(wanted: Sequence[Tensor], state: Mapping[str, np.ndarray]) -> Iterator[Misfit]:
    """Yield the tensors of `state` that are not as `wanted`, sorted by name."""
    by_name = {t.name: t for t in wanted}
    for name in sorted({*by_name, *state}):
        if name not in state:
            expected = list(by_name[name].torch_shape)
            yield Misfit(name, f"{name} is missing: wanted float32{expected}")
            continue
        found = f"{state[name].dtype}{list(state[name].shape)}"
        if name not in by_name:
            if not name.endswith(COUNTER):
                yield Misfit(name, f"{escaped(name)}, {found}, is not a tensor of this network")
        elif (state[name].shape, state[name].dtype) != (by_name[name].torch_shape, np.float32):
            expected = list(by_name[name].torch_shape)
            yield Misfit(name, f"{name} is {found}, wanted float32{expected}")
