"""What the compiled training step takes of the data: (step, count) -> arguments after the key."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn_archs.data import order
from cnn_archs.data.resident import Resident
from cnn_archs.data.streaming import Streamed


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
        each = [order.batches(examples, seed, step, count, size) for seed in self.seeds]
        if self.loop > 1:
            each = [np.pad(index, ((0, self.loop - count), (0, 0))) for index in each]
            extra: tuple[Any, ...] = (jnp.int32(count),)
        else:
            each, extra = [index[0] for index in each], ()
        return (self.data.images, self.data.labels, self.put(self.join(each)), *extra)


class StreamedFeed:
    """images and labels of one batch at a time; those to come are read meanwhile.

    total: the step at which the run ends. put: moves the `rows` of a batch, which are those that
    this process reads, to the devices.
    """

    def __init__(
        self,
        data: Streamed,
        seed: int,
        batch_size: int,
        total: int,
        put: Callable[[Any], Any],
        rows: np.ndarray,
    ):
        self.data, self.seed, self.batch_size = data, seed, batch_size
        self.total, self.put, self.rows = total, put, rows
        self.step = -1  # of the batch that is next in `batches`
        self.batches: Iterator[tuple[Any, ...]] = iter(())

    def __call__(self, step: int, count: int) -> tuple[Any, ...]:
        """The batch of `step`; count is 1."""
        assert count == 1
        if step != self.step:
            self.batches = self.data.batches(
                self.seed, step, self.total, self.batch_size, self.put, self.rows
            )
        self.step = step + 1
        return next(self.batches)
