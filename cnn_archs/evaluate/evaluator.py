"""Exact evaluation: every example counts once, for any batch size and any number of devices."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import jax
import numpy as np
from jax.sharding import Mesh

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed.in_flight import InFlight
from cnn_archs.errors import NotFinite
from cnn_archs.metrics import MetricSums


class EvaluationData(Protocol):
    """A split to evaluate, in memory or streamed from disk.

    evaluation_batches: yields, for each batch, the arguments of the evaluation step after the
    variables; `rows` are the rows of each batch that this process delivers. damaged: number of
    examples that could not be read so far.
    """

    examples: int

    @property
    def damaged(self) -> int: ...

    def evaluation_batches(
        self, batch_size: int, put: Callable[[Any], Any], rows: np.ndarray
    ) -> Any: ...


def sum_metrics(
    eval_step: Callable[..., MetricSums],
    variables: Any,
    data: EvaluationData,
    batch_size: int,
    mesh: Mesh,
    poll: Callable[[], None] = lambda: None,
) -> MetricSums:
    """Return the MetricSums over all of `data`. `poll` is called before each call and may raise.

    eval_step: of `compile_eval`. The batch size is rounded up to a multiple of the devices; the
    last batch is padded and masked.
    """
    devices = mesh.shape["data"]
    size = ceil_div(min(batch_size, data.examples), devices) * devices
    in_flight, total = InFlight(mesh), None
    for arguments in evaluation_calls(data, size, mesh):
        poll()
        sums = eval_step(variables, *arguments)
        total = sums if total is None else total + sums
        in_flight.add(jax.tree.leaves(total)[0])
    assert total is not None, "no examples"
    return total


def evaluation_calls(data: EvaluationData, size: int, mesh: Mesh) -> Iterator[tuple[Any, ...]]:
    """Yield the arguments after the variables for each call of an evaluation step.

    size: images in a batch. A call is for one batch, or for all of them if their images are in the
    memory of accelerators.
    """
    if isinstance(data, Resident) and not meshes.is_cpu(mesh):
        batches = sampler.evaluation_indices(data.examples, size)
        yield data.images, data.labels, *meshes.place(batches, meshes.batch_sharded(mesh, axis=1))
        return
    put = partial(meshes.place, sharding=meshes.batch_sharded(mesh), length=size)
    yield from data.evaluation_batches(size, put, meshes.local_rows(mesh, size))


def finite_report(sums: MetricSums, what: str) -> dict[str, float]:
    """Return the report of `sums`. Raises NotFinite, which names `what`, if its loss is not finite.

    An error would be counted from logits that are not numbers, as if it were one.
    """
    report = sums.report()
    if not math.isfinite(report["loss"]):
        raise NotFinite(f"the loss on {what} is not finite: the network gives no usable outputs")
    return report
