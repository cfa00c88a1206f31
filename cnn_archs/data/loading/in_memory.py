"""Small data: a whole split on the devices as uint8; batches are gathered inside the step."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading import sampler
from cnn_archs.distributed import mesh as meshes


class Resident:
    """images u8[N, H, W, C] and labels i32[N], replicated over `mesh`."""

    def __init__(self, split: Split, mesh: Mesh):
        held = (split.images, split.labels)
        self.images, self.labels = meshes.place(held, meshes.replicated(mesh))
        self.examples = len(split)
        self.damaged = 0

    def evaluation_batches(
        self, batch_size: int, put: Callable[[Any], Any], rows: np.ndarray | None = None
    ) -> Iterator[tuple[jax.Array, ...]]:
        """(images, labels, index, mask) for each batch: every example counts once.

        put: moves what differs between batches, index i32[B] and mask bool[B], to the devices; of
        those only the `rows`, if they are given.
        """
        read = slice(None) if rows is None else rows
        for index, mask in zip(*sampler.evaluation_indices(self.examples, batch_size), strict=True):
            yield (self.images, self.labels, *put((index[read], mask[read])))


class ResidentFeed:
    """images, labels and index of a split that is on the devices.

    seeds: those that the step trains at once. loop: the steps that one dispatch has room for; if
    there are several, the count is an argument too. join: makes one index of that of each seed,
    i64[batch], or i64[loop, batch] where there are several steps. put: moves it to the devices,
    where its last axis is that of a batch.
    """

    def __init__(
        self,
        data: Resident,
        seeds: tuple[int, ...],
        batch_size: int,
        loop: int,
        join: Callable[[Sequence[np.ndarray]], np.ndarray],
        put: Callable[[np.ndarray], jax.Array],
    ):
        self.data, self.seeds, self.batch_size = data, seeds, batch_size
        self.loop, self.join, self.put = loop, join, put

    def __call__(self, step: int, count: int) -> tuple[Any, ...]:
        """Of the `count` batches from that of `step` on."""
        examples, size = self.data.examples, self.batch_size
        each = [sampler.batch_indices(examples, seed, step, count, size) for seed in self.seeds]
        if self.loop > 1:
            each = [np.pad(index, ((0, self.loop - count), (0, 0))) for index in each]
            extra: tuple[Any, ...] = (jnp.int32(count),)
        else:
            each, extra = [index[0] for index in each], ()
        return (self.data.images, self.data.labels, self.put(self.join(each)), *extra)
