"""Recalibrate batch normalization after training ("precise BN").

Mean and variance are recomputed over many training images with the final weights, and replace the
moving averages of training, as in the released residual networks (He et al. 2015).
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs import models
from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.distributed.in_flight import InFlight
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.experiment import Classifier
from cnn_archs.models.layers import BatchNorm


def choose_batches(images: int, examples: int, batch_size: int, mesh: Mesh) -> tuple[int, int]:
    """Return (number of batches, images per batch) that use at most `images` images.

    All batches have one size, at most `batch_size` and a multiple of the devices. Raises
    ConfigError if there are fewer than `images` examples, or fewer images than devices.
    """
    devices = mesh.shape["data"]
    if not devices <= images <= examples:
        raise ConfigError(
            f"--precise_stats={images}: must be between {devices} (one image per device) and "
            f"{examples:,} (all training images)"
        )
    count = ceil_div(images, max(batch_size, devices))
    return count, images // count // devices * devices


def recalibrate(
    net: Classifier,
    networks: list[dict[str, Any]],
    data: Split | Streamed,
    prepare: Preprocess,
    batches: tuple[int, int],
    seed: int,
    mesh: Mesh,
) -> list[dict[str, Any]]:
    """Return `networks` with their moving statistics replaced by means over the given batches.

    data: the training images; the first ones in the order of `seed` are used, prepared as in
    evaluation. batches: (number, images per batch), which the processes share. The variance is
    that of the whole batch, even if training normalized it in groups. Raises ConfigError for a
    network without batch normalization.
    """
    if not networks[0]["batch_stats"]:
        raise ConfigError("--precise_stats: the network has no batch normalization")
    count, size = batches
    with config_errors(f"--precise_stats, batches of {size}"):
        models.check_batch_statistics(net.model, net.image_shape, size)
    first = sampler.batch_indices(len(data), seed, 0, count, size)
    first = first[multihost.local_indices(count)].ravel()
    add = compile_add_statistics(net, prepare, mesh)
    put = partial(jax.device_put, device=NamedSharding(mesh, P("data")))
    totals = [jax.tree.map(jnp.zeros_like, v["batch_stats"]) for v in networks]
    in_flight = InFlight(mesh)
    for images in device_batches(data, first, size, mesh, put):
        totals = [add(v, images, t) for v, t in zip(networks, totals, strict=True)]
        in_flight.add(jax.tree.leaves(totals)[-1])
    every = jax.tree.map(multihost.sum_over_processes, meshes.to_host(totals))
    means = meshes.place(jax.tree.map(lambda x: x / count, every), meshes.replicated(mesh))
    return [{**v, "batch_stats": t} for v, t in zip(networks, means, strict=True)]


def device_batches(
    data: Split | Streamed, index: np.ndarray, size: int, mesh: Mesh, put: Callable[[Any], Any]
) -> Iterator[jax.Array]:
    """Yield the examples at `index` in batches u8[size, H, W, C], on the devices.

    If damaged images are skipped, another image of the same batch takes the place of each.
    """
    if isinstance(data, Split):
        for images, _, where, _ in Resident(data.take(index), mesh).evaluation_batches(size, put):
            yield images[where]
        return
    records = data.records.take(index)
    part = Streamed(records, data.crop, on_corrupt=data.on_corrupt, threads=data.threads)
    for images, _, mask in part.evaluation_batches(size, lambda batch: batch):
        yield put(images[np.where(mask, np.arange(size), mask.argmax())])


def compile_add_statistics(net: Classifier, prepare: Preprocess, mesh: Mesh) -> Callable[..., Any]:
    """Return jitted add(variables, images u8[B, ...], total) -> total + statistics of the batch."""
    model = net.model.clone(bn_group=0)
    split, whole = NamedSharding(mesh, P("data")), NamedSharding(mesh, P())
    momentum = BatchNorm.momentum  # new = momentum * old + (1 - momentum) * batch

    @partial(jax.jit, in_shardings=(whole, split, whole), out_shardings=whole)
    def add(variables, images, total):
        _, new = model.apply(
            variables,
            prepare(None, images),
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": jax.random.key(0)},
        )

        def add_batch(total, new, old):
            return total + (new - momentum * old) / (1 - momentum)

        return jax.tree.map(add_batch, total, new["batch_stats"], variables["batch_stats"])

    return add
