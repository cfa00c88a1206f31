"""Precise statistics of batch normalization: over many training images, by the final weights.

So were those of the released residual networks computed after training (He et al. 2015), in place
of the moving averages that training keeps.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.preprocess import Prepare
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import Classifier
from cnn_archs.models.layers import BatchNorm


def choose_batches(images: int, examples: int, batch_size: int, mesh: Mesh) -> tuple[int, int]:
    """(batches, images in each): of `images` at most, equal, and no larger than `batch_size`.

    ConfigError where there are not so many `examples`, or too few for the devices.
    """
    devices = mesh.shape["data"]
    if not devices <= images <= examples:
        raise ConfigError(
            f"--precise_stats={images}: from {devices} to the {examples:,} training images"
        )
    count = ceil_div(images, max(batch_size, devices))
    return count, images // count // devices * devices


def recalibrate(
    net: Classifier,
    networks: list[dict[str, Any]],
    data: Split | Streamed,
    prepare: Prepare,
    batches: tuple[int, int],
    seed: int,
    mesh: Mesh,
) -> list[dict[str, Any]]:
    """`networks`, each with the mean of the batches' own statistics in place of its moving ones.

    data: the training images, of which the first in the order of `seed` are taken, prepared as in
    evaluation. batches: how many, of how many images. A batch's variance is that of all of it,
    whatever groups it was normalized in during training. ConfigError without batch normalization.
    """
    if not networks[0]["batch_stats"]:
        raise ConfigError("--precise_stats: the network has no batch normalization")
    count, size = batches
    first = sampler.indices(len(data), seed, 0, count * size)
    add = compile_add_statistics(net, prepare, mesh)
    put = partial(jax.device_put, device=NamedSharding(mesh, P("data")))
    totals = [jax.tree.map(jnp.zeros_like, v["batch_stats"]) for v in networks]
    for images in device_batches(data, first, size, mesh, put):
        totals = [add(v, images, t) for v, t in zip(networks, totals, strict=True)]
    return [
        {**v, "batch_stats": jax.tree.map(lambda x: x / count, t)}
        for v, t in zip(networks, totals, strict=True)
    ]


def device_batches(
    data: Split | Streamed, index: np.ndarray, size: int, mesh: Mesh, put: Callable[[Any], Any]
) -> Iterator[jax.Array]:
    """The examples at `index`, u8[size, H, W, C] at a time.

    Where damaged images are skipped, another of its batch takes the place of one.
    """
    if isinstance(data, Split):
        for images, _, where, _ in Resident(data.take(index), mesh).evaluation(size, put):
            yield images[where]
        return
    records = data.records.take(index)
    part = Streamed(records, data.crop, on_corrupt=data.on_corrupt, threads=data.threads)
    for images, _, mask in part.evaluation(size, lambda batch: batch):
        yield put(images[np.where(mask, np.arange(size), mask.argmax())])


def compile_add_statistics(net: Classifier, prepare: Prepare, mesh: Mesh) -> Callable[..., Any]:
    """add(variables, images u8[B, ...], total) -> total + the statistics of this batch, jitted."""
    model = net.model.clone(bn_group=0)
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    kept = BatchNorm.momentum  # new = kept old + (1 - kept) batch

    @partial(jax.jit, in_shardings=(whole, split, whole), out_shardings=whole)
    def add(variables, images, total):
        _, new = model.apply(
            variables,
            prepare(None, images),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )

        def added(total, new, old):
            return total + (new - kept * old) / (1 - kept)

        return jax.tree.map(added, total, new["batch_stats"], variables["batch_stats"])

    return add
