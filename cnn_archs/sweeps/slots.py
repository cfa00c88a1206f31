"""Divide a machine among the processes of a sweep."""

import dataclasses
import os

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import ConfigError
from cnn_archs.launch.device_probe import Machine

# The fraction of a GPU's memory that jax takes: the present name, which jax refuses beside the
# older one, and that.
FRACTIONS = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")
MEMORY = "0.9"  # of a GPU, for all processes on it; the rest is for the CUDA context of each


@dataclasses.dataclass(frozen=True)
class Slot:
    """A share of the machine for one process.

    cpus: the cores to run on; empty: all. environment: the variables that select a device, and the
    share of its memory if several processes run on it.
    """

    cpus: tuple[int, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def make_slots(machine: Machine, processes: int) -> list[Slot]:
    """Return `processes` slots; if 0, one per GPU, one per core on a CPU, or one on a TPU.

    If there are more slots than GPUs, they share the GPUs as evenly as possible. The cores of a
    slot do not depend on how many cells are left: with another number of cores XLA sums in another
    order, and a resumed sweep would end with other bits. Raises ConfigError if `processes` is
    negative.
    """
    if processes < 0:
        raise ConfigError(f"--processes={processes}: must be at least 1")
    if machine.backend == "gpu":
        gpus = machine.gpu_names()
        count = processes or len(gpus)
        memory = memory_share(ceil_div(count, len(gpus)))
        # One slot of each GPU after the other, so that few groups of cells go to as many GPUs.
        return [
            Slot(environment=(("CUDA_VISIBLE_DEVICES", gpus[i % len(gpus)]), *memory))
            for i in range(count)
        ]
    if machine.backend != "cpu":
        return [Slot()]
    if not hasattr(os, "sched_getaffinity"):
        return [Slot()] * (processes or 1)
    cpus = sorted(os.sched_getaffinity(0))
    count = min(processes or len(cpus), len(cpus))
    return [Slot(tuple(cpus[i::count])) for i in range(count)]


def memory_share(processes: int) -> tuple[tuple[str, str], ...]:
    """Return the variable that gives jax its share of a GPU that so many processes use.

    They divide what the variable has been set to, or MEMORY. One process is left what it would
    have. Raises ConfigError if the variable is no fraction.
    """
    if processes == 1:
        return ()
    name = FRACTIONS[0] if FRACTIONS[0] in os.environ else FRACTIONS[1]
    stated = os.environ.get(name, MEMORY)
    try:
        whole = float(stated)
    except ValueError:
        whole = 0.0
    if not 0 < whole <= 1:
        raise ConfigError(f"{name}={stated}: must be a number above 0, up to 1")
    return ((name, f"{whole / processes:.4f}"),)
