"""The evaluation step: a pure function of variables and a batch, and its compilation."""

from collections.abc import Callable
from functools import partial
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


def sum_batches(step: Callable[..., Any]) -> Callable[..., Any]:
    """Return step(variables, images, labels, index, mask), the sum over many batches.

    index: i32[K, B], mask: bool[K, B], of K batches that `step` takes one by one.
    """

    def steps(variables, images, labels, index, mask):
        def add(total, batch):
            return jax.tree.map(jnp.add, total, step(variables, images, labels, *batch)), None

        shapes = jax.eval_shape(step, variables, images, labels, index[0], mask[0])
        zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
        return jax.lax.scan(add, zeros, (index, mask))[0]

    return steps


def compile_eval(
    eval_step: Callable[..., MetricSums],
    mesh: Mesh,
    *,
    resident: bool,
    compiler_options: dict[str, Any] | None = None,
) -> Callable[..., MetricSums]:
    """Jit `eval_step` over `mesh`, with a batch that is split over the devices.

    resident: all images are on the devices, and the compiled step takes (variables, images,
    labels, index, mask) and gathers the batch at `index` i32[B]; on accelerators it takes all
    batches in one call, i32[K, B]. The variables keep their sharding.
    """
    whole, split = meshes.replicated(mesh), meshes.batch_sharded(mesh)
    eval_step = with_mesh(mesh, eval_step)
    jit = partial(jax.jit, out_shardings=whole, compiler_options=compiler_options)
    if not resident:
        return jit(eval_step, in_shardings=(None, split, split, split))

    def step(variables, images, labels, index, mask):
        return eval_step(variables, images[index], labels[index], mask)

    if meshes.is_cpu(mesh):  # where convolutions in a loop are several times slower
        return jit(step, in_shardings=(None, whole, whole, split, split))
    split = meshes.batch_sharded(mesh, axis=1)
    return jit(sum_batches(step), in_shardings=(None, whole, whole, split, split))
