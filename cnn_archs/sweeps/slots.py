"""Divide a machine among the processes of a sweep."""

import dataclasses
import os

from cnn_archs.errors import ConfigError
from cnn_archs.launch.device_probe import Machine


@dataclasses.dataclass(frozen=True)
class Slot:
    """A share of the machine for one process.

    cpus: the cores to run on; empty: all. environment: the variables that select a device.
    """

    cpus: tuple[int, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def make_slots(machine: Machine, processes: int) -> list[Slot]:
    """Return `processes` slots; if 0, one per GPU, one per core on a CPU, or one on a TPU.

    The cores of a slot do not depend on how many cells are left: with another number of cores XLA
    sums in another order, and a resumed sweep would end with other bits. Raises ConfigError if
    `processes` is negative.
    """
    if processes < 0:
        raise ConfigError(f"--processes={processes}: must be at least 1")
    if machine.backend == "gpu":
        each = [Slot(environment=(("CUDA_VISIBLE_DEVICES", gpu),)) for gpu in machine.gpu_names()]
        return each[: processes or len(each)]
    if machine.backend != "cpu":
        return [Slot()]
    if not hasattr(os, "sched_getaffinity"):
        return [Slot()] * (processes or 1)
    cpus = sorted(os.sched_getaffinity(0))
    count = min(processes or len(cpus), len(cpus))
    return [Slot(tuple(cpus[i::count])) for i in range(count)]
