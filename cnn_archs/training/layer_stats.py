"""Per-layer statistics for studies of depth: gradient norms and standard deviations of responses.

Figure 7 of He et al. 2015 shows the standard deviations of the responses of each 3x3 layer, after
batch normalization and before the nonlinearity and the addition.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.layer_patterns import ModulePath
from cnn_archs.models import Network
from cnn_archs.optim.losses import Loss
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training.frozen import NOTHING, Frozen
from cnn_archs.training.steps import make_loss_fn

LayerStats = list[dict[str, Any]]  # per layer: name; gradient_norm, response_sd where it has them


def make_layer_stats_fn(
    model: Network,
    loss: Loss,
    prepare: Preprocess,
    auxiliary: float,
    frozen: Frozen = NOTHING,
) -> Callable[..., LayerStats]:
    """Return (variables, images u8[B, ...], labels i32[B], key) -> a row per layer, in order.

    gradient_norm: L2 norm of the gradient of the training loss with respect to the kernel, on
    these images without augmentation. response_sd: standard deviation of the output of batch
    normalization over images, positions and channels, with the statistics that evaluation uses.
    auxiliary: the weight of each auxiliary head's loss. key: for dropout. frozen: the modules that
    do not train, whose gradient is 0.
    """
    names: list[tuple[str, ...]] = []  # (*path, statistic) of each value; set by the trace

    @partial(jax.jit, compiler_options=fast_compile_options())  # it is called rarely
    def compute_values(variables, images, labels, key):
        x = prepare(None, images)
        _, state = model.apply(variables, x, train=False, capture_intermediates=True)
        stats = variables["batch_stats"]
        loss_fn = make_loss_fn(model, loss, auxiliary, stats, x, labels, key, frozen)
        grads = jax.grad(loss_fn, has_aux=True)(variables["params"])[0]
        found, names[:] = [], []
        for path, output in module_outputs(state["intermediates"]):
            kernel = subtree(grads, path).get("kernel")
            if kernel is not None:
                names.append((*path, "gradient_norm"))
                found.append(jnp.linalg.norm(kernel.astype(jnp.float32)))
            if isinstance(subtree(variables["batch_stats"], path).get("mean"), jax.Array):
                names.append((*path, "response_sd"))
                found.append(output.astype(jnp.float32).std())
        return found

    def layer_stats(variables, images, labels, key) -> LayerStats:
        found = jax.device_get(compute_values(variables, images, labels, key))
        rows: dict[str, dict[str, Any]] = {}
        for (*path, statistic), value in zip(names, found, strict=True):
            name = "/".join(path[:-1] if path[-1] in ("conv", "norm") else path)
            rows.setdefault(name, {"name": name})[statistic] = float(value)
        return list(rows.values())

    return layer_stats


def module_outputs(
    tree: Mapping[str, Any], path: ModulePath = ()
) -> Iterator[tuple[ModulePath, Any]]:
    """Yield (path, output) of each module in flax's captured `tree`, in the order of the calls."""
    for name, value in tree.items():
        if name == "__call__":
            yield path, value[0]
        else:
            yield from module_outputs(value, (*path, name))


def subtree(tree: Mapping[str, Any], path: ModulePath) -> Mapping[str, Any]:
    """Return the part of `tree` at `path`, or {} if the path does not exist."""
    for name in path:
        tree = tree.get(name, {})
    return tree
