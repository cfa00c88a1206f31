"""Exact evaluation: every example counts once, for any batch size and any number of devices."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from cnn_archs.arithmetic import ceil_div
from cnn_archs.distributed import mesh as meshes
from cnn_archs.metrics import MetricSums


class EvaluationData(Protocol):
    """A split, wherever its images are. evaluation: the arguments of the evaluation step after the
    variables, for each batch, of which this process delivers the rows that it is asked for.
    damaged: how many examples could not be read so far."""

    examples: int

    @property
    def damaged(self) -> int: ...

    def evaluation(self, batch_size: int, put: Callable[[Any], Any], rows: np.ndarray) -> Any: ...


def sum_metrics(
    eval_step: Callable[..., MetricSums],
    variables: Any,
    data: EvaluationData,
    batch_size: int,
    mesh: Mesh,
    poll: Callable[[], None] = lambda: None,
) -> MetricSums:
    """The Counts of all of `data`. `poll` is called before each batch and may raise.

    The batch size is rounded up to a multiple of the devices; the last batch is padded and masked.
    """
    devices = mesh.shape["data"]
    size = ceil_div(min(batch_size, data.examples), devices) * devices
    put = partial(meshes.place, sharding=meshes.batch_sharded(mesh), length=size)
    total = None
    for arguments in data.evaluation(size, put, meshes.local_rows(mesh, size)):
        poll()
        counts = eval_step(variables, *arguments)
        total = counts if total is None else total + counts
        wait_on_cpu(total)
    assert total is not None, "no examples"
    return total


def wait_on_cpu(result: Any) -> None:
    """Waits for `result` on a CPU, whose simulated devices meet in an all-reduce: with several
    steps under way at once, their threads can wait for each other for ever."""
    if jax.default_backend() == "cpu":
        jax.block_until_ready(result)
