"""Small datasets: a whole split is on the devices as uint8, and the step gathers its batches."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import sampler
from cnn_archs.distributed import mesh as meshes


class Resident:
    """A split in device memory: images u8[N, H, W, C] and labels i32[N], replicated over `mesh`."""

    def __init__(self, split: Split, mesh: Mesh):
        held = (split.images, split.labels)
        self.images, self.labels = meshes.place(held, meshes.replicated(mesh))
        self.examples = len(split)
        self.damaged = split.damaged

    def evaluation_batches(
        self, batch_size: int, put: Callable[[Any], Any], rows: np.ndarray | None = None
    ) -> Iterator[tuple[jax.Array, ...]]:
        """Yield (images, labels, index, mask) for batches of all examples, once each and in order.

        images and labels are those of the whole split. put: moves the index i32[B] and the mask
        bool[B] of a batch, which is False for padding, to the devices. rows: the rows of a batch
        that are given to `put`; None for all.
        """
        own_rows = slice(None) if rows is None else rows
        for index, mask in zip(*sampler.evaluation_indices(self.examples, batch_size), strict=True):
            yield (self.images, self.labels, *put((index[own_rows], mask[own_rows])))


class ResidentFeed:
    """Supplies a split on the devices, and the index of each batch, to the training step.

    seeds: the seeds that the step trains at once. loop: the most steps of one call of the training
    step; if it is more than 1, the number of steps is an argument too. join: combines the indices
    of the seeds, i32[batch] or, if loop > 1, i32[loop, batch] each. put: moves the result to the
    devices; its last axis is that of a batch.
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
        """Return the arguments of the training step for `count` batches from `step` on."""
        examples, size = self.data.examples, self.batch_size
        each = [sampler.batch_indices(examples, seed, step, count, size) for seed in self.seeds]
        if self.loop > 1:
            each = [np.pad(index, ((0, self.loop - count), (0, 0))) for index in each]
            extra: tuple[Any, ...] = (count,)
        else:
            each, extra = [index[0] for index in each], ()
        return (self.data.images, self.data.labels, self.put(self.join(each)), *extra)
