"""Divide the examples of an evaluation among the processes, and put together what each has found.

Each process evaluates its share on its own devices, and waits for the others only at the end. A
single process has all examples as its share.
"""

from typing import Any

import jax
import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed, check_damage
from cnn_archs.distributed import multihost
from cnn_archs.evaluate.protocols import Probabilities
from cnn_archs.metrics import MetricSums


def own_share(images: Split | Streamed) -> Split | Streamed:
    """Return the examples of `images` that this process evaluates; there may be none.

    Of damaged images that are left out, as many are tolerated as without the other processes.
    """
    if jax.process_count() == 1:
        return images
    index = multihost.local_indices(len(images))
    if isinstance(images, Split):
        return images.take(index)
    options: Any = dict(on_corrupt=images.on_corrupt, threads=images.threads, part_of=len(images))
    return Streamed(images.records.take(index), images.crop, **options)


def sum_over_shares(own: MetricSums | None, images: Split | Streamed) -> MetricSums:
    """Return the sum of the MetricSums of all processes, as numbers on the host.

    own: of the share of this process; None if that is empty. images: those of all shares. Raises
    DataError if too many of them are damaged.
    """
    if jax.process_count() == 1:
        assert own is not None, "no examples"
        return own
    counts = None if own is None else jax.tree.map(lambda x: x.item(), jax.device_get(vars(own)))
    every = [found for found in multihost.gather_values(counts) if found]
    total = MetricSums(**jax.tree.map(lambda *values: sum(values), *every))
    check_damage(len(images) - int(total.examples), len(images))
    return total


def gather_probabilities(own: Probabilities, images: Split | Streamed) -> Probabilities:
    """Return the probabilities of all `images`, of which each process has those of its share.

    Raises DataError if too many of the images are damaged.
    """
    if jax.process_count() == 1:
        return own
    n = len(images)
    found = Probabilities(
        np.stack([multihost.gather_rows(one, n) for one in own.by_network]),
        multihost.gather_rows(own.labels, n),
        multihost.gather_rows(own.readable, n),
    )
    check_damage(n - int(found.readable.sum()), n)
    return found
