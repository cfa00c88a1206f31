"""Small data: a whole split on the devices as uint8; batches are gathered inside the step."""

from collections.abc import Callable, Iterator

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data import augment, order
from cnn_archs.data.sources import Split


class Resident:
    """images u8[N, H, W, C] and labels i32[N], replicated over `mesh`."""

    def __init__(self, split: Split, mesh: Mesh):
        whole = NamedSharding(mesh, P())
        self.images = jax.device_put(split.images, whole)
        self.labels = jax.device_put(split.labels, whole)
        self.examples = len(split)

    def evaluation(self, batch_size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(index i32[B], mask bool[B]) of each batch: every example counts once."""
        yield from zip(*order.evaluation(self.examples, batch_size), strict=True)


def prepare_with(
    augmentation: augment.Augment, pixel_range: tuple[float, float], pad: int
) -> Callable[[jax.Array | None, jax.Array], jax.Array]:
    """(key, u8 images) -> the network's f32 images; augmented only where there is a key."""

    def prepare(key: jax.Array | None, images: jax.Array) -> jax.Array:
        images = images if key is None else augmentation(key, images)
        return augment.to_input(images, pixel_range=pixel_range, pad=pad)

    return prepare
