"""Small data: a whole split on the devices as uint8; batches are gathered inside the step."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data import order
from cnn_archs.data.sources import Split


class Resident:
    """images u8[N, H, W, C] and labels i32[N], replicated over `mesh`."""

    def __init__(self, split: Split, mesh: Mesh):
        whole = NamedSharding(mesh, P())
        self.images = jax.device_put(split.images, whole)
        self.labels = jax.device_put(split.labels, whole)
        self.examples = len(split)
        self.damaged = 0

    def evaluation(
        self, batch_size: int, put: Callable[[Any], Any]
    ) -> Iterator[tuple[jax.Array, ...]]:
        """(images, labels, index, mask) for each batch: every example counts once.

        put: moves what differs between batches, index i32[B] and mask bool[B], to the devices.
        """
        for index, mask in zip(*order.evaluation(self.examples, batch_size), strict=True):
            yield (self.images, self.labels, *put((index, mask)))
