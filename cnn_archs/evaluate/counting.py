"""Exact evaluation: every example counts once, for any batch size and any number of devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs.data.resident import Resident
from cnn_archs.metrics import Counts


def count(
    eval_step: Callable[..., Counts],
    variables: Any,
    data: Resident,
    batch_size: int,
    mesh: Mesh,
    poll: Callable[[], None] = lambda: None,
) -> Counts:
    """The Counts of all of `data`. `poll` is called before each batch and may raise.

    The batch size is rounded up to a multiple of the devices; the last batch is padded and masked.
    """
    devices = mesh.shape["data"]
    size = -(-min(batch_size, data.examples) // devices) * devices
    split = NamedSharding(mesh, P("data"))
    total = None
    for index, mask in data.evaluation(size):
        poll()
        where: tuple[np.ndarray, ...] = (index, mask)
        counts = eval_step(variables, data.images, data.labels, *jax.device_put(where, split))
        total = counts if total is None else total + counts
    assert total is not None, "no examples"
    return total
