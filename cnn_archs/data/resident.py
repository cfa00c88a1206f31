"""Small data: a whole split on the devices as uint8; batches are gathered inside the step."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import order
from cnn_archs.data.sources import Split


class Resident:
    """images u8[N, H, W, C] and labels i32[N], replicated over `mesh`."""

    def __init__(self, split: Split, mesh: Mesh):
        held = (split.images, split.labels)
        self.images, self.labels = meshes.place(held, meshes.whole(mesh))
        self.examples = len(split)
        self.damaged = 0

    def evaluation(
        self, batch_size: int, put: Callable[[Any], Any], rows: np.ndarray | None = None
    ) -> Iterator[tuple[jax.Array, ...]]:
        """(images, labels, index, mask) for each batch: every example counts once.

        put: moves what differs between batches, index i32[B] and mask bool[B], to the devices; of
        those only the `rows`, if they are given.
        """
        read = slice(None) if rows is None else rows
        for index, mask in zip(*order.evaluation(self.examples, batch_size), strict=True):
            yield (self.images, self.labels, *put((index[read], mask[read])))
