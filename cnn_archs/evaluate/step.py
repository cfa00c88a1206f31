"""The evaluation step: a pure function of variables and a batch, and its compilation."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from cnn_archs import models
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed.mesh import with_mesh
from cnn_archs.metrics import MetricSums
from cnn_archs.optim.losses import Loss


def make_eval_step(
    model: models.Network, loss: Loss, prepare: Preprocess
) -> Callable[..., MetricSums]:
    """Return step(variables, images u8[B, ...], labels i32[B], mask bool[B]) -> MetricSums.

    Examples whose mask is False do not count.
    """

    def eval_step(variables, images, labels, mask):
        heads = models.tested(model, variables, prepare(None, images))
        heads = {name: head.astype(jnp.float32) for name, head in heads.items()}
        logits = heads.pop("logits")
        return MetricSums.from_logits(logits, labels, loss(logits, labels), mask, heads)

    return eval_step


def compile_eval(
    eval_step: Callable[..., MetricSums], mesh: Mesh, *, resident: bool
) -> Callable[..., MetricSums]:
    """Jit `eval_step` over `mesh`, with a batch that is split over the devices.

    resident: all images are on the devices, and the compiled step takes (variables, images,
    labels, index, mask) and gathers the batch at `index` i32[B]. The variables keep their sharding.
    """
    whole, split = meshes.replicated(mesh), meshes.batch_sharded(mesh)
    eval_step = with_mesh(mesh, eval_step)
    if not resident:
        shardings: tuple[Any, ...] = (None, split, split, split)
        return jax.jit(eval_step, in_shardings=shardings, out_shardings=whole)

    def step(variables, images, labels, index, mask):
        return eval_step(variables, images[index], labels[index], mask)

    shardings = (None, whole, whole, split, split)
    return jax.jit(step, in_shardings=shardings, out_shardings=whole)
