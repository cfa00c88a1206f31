"""What a study of depth looks at, layer by layer: norms of gradients, deviations of responses.

He et al. 2015, figure 7, has the standard deviations of the responses of each 3x3 layer, after
batch normalization and before the nonlinearity and the addition.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.models import Network
from cnn_archs.optim.losses import Loss
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training.steps import objective_of

KeyPath = tuple[str, ...]
Layers = list[dict[str, Any]]  # name, gradient_norm, response_sd, where a layer has them


def diagnosis_of(
    model: Network, loss: Loss, prepare: Preprocess, auxiliary: float
) -> Callable[..., Layers]:
    """(variables, images u8[B, ...], labels i32[B], key) -> a row a layer, in the network's order.

    gradient_norm: of the kernel's gradient of the training loss on these images as they are, not
    augmented. response_sd: of what batch normalization makes of the layer's sums, over images,
    places and maps, by the statistics that testing uses. key: of dropout.
    """
    names: list[KeyPath] = []  # of the values, in their order; the trace says

    @partial(jax.jit, compiler_options=fast_compile_options())  # it runs now and then
    def values(variables, images, labels, key):
        x = prepare(None, images)
        _, state = model.apply(variables, x, train=False, capture_intermediates=True)
        objective = objective_of(model, loss, auxiliary, variables["batch_stats"], x, labels, key)
        grads = jax.grad(objective, has_aux=True)(variables["params"])[0]
        found, names[:] = [], []
        for path, output in responses(state["intermediates"]):
            kernel = at(grads, path).get("kernel")
            if kernel is not None:
                names.append((*path, "gradient_norm"))
                found.append(jnp.linalg.norm(kernel.astype(jnp.float32)))
            if isinstance(at(variables["batch_stats"], path).get("mean"), jax.Array):
                names.append((*path, "response_sd"))
                found.append(output.astype(jnp.float32).std())
        return found

    def diagnosis(variables, images, labels, key) -> Layers:
        found = jax.device_get(values(variables, images, labels, key))
        rows: dict[str, dict[str, Any]] = {}
        for (*path, what), value in zip(names, found, strict=True):
            name = "/".join(path[:-1] if path[-1] in ("conv", "norm") else path)
            rows.setdefault(name, {"name": name})[what] = float(value)
        return list(rows.values())

    return diagnosis


def responses(tree: Mapping[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """(path of a module, its output), in the order in which they were called."""
    for name, value in tree.items():
        if name == "__call__":
            yield path, value[0]
        else:
            yield from responses(value, (*path, name))


def at(tree: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    """What `tree` has at `path`; {} where there is no such place."""
    for name in path:
        tree = tree.get(name, {})
    return tree
