"""Connects the processes of one run: by flags, or as their launcher tells them."""

import importlib.util
import os
import re
import sys
from pathlib import Path

import jax

from cnn_archs.errors import ConfigError, first_line
from cnn_archs.runtime.signals import kept_handlers

HEARTBEAT_SECONDS = 30  # a process that is silent for so long counts as dead; the others end
LOOPBACK = re.compile(r"localhost|127\..*|\[::1\]")  # hosts that only this machine can reach
START_TIMEOUT_SECONDS = 300  # to wait for the other processes at the start


def initialize(coordinator: str = "", count: int = 0, index: int = -1) -> None:
    """Connect to the other processes of the run, if any. Must run before a device is used.

    coordinator: HOST:PORT of process 0. count: number of processes. index: of this process.
    Arguments that are not given are taken from SLURM, Open MPI, Kubernetes or a TPU pod. Raises
    ConfigError if the arguments do not fit together, or the processes do not connect.
    """
    if not (coordinator or count or index >= 0 or detect_launcher()):
        return
    if coordinator and ":" not in coordinator:
        raise ConfigError(f"--coordinator={coordinator}: wanted HOST:PORT")
    if count and not 0 <= index < count:
        raise ConfigError(f"--process_id={index}: from 0 to --num_processes - 1, {count - 1}")
    explicit = coordinator and count
    host, _, port = coordinator.rpartition(":")
    local = LOOPBACK.fullmatch(host)  # else process 0 would listen on every network of this machine
    try:
        with kept_handlers():  # jax sets a handler of its own for SIGTERM, which ends nothing
            jax.distributed.initialize(
                coordinator or None,
                count or None,
                index if index >= 0 else None,
                coordinator_bind_address=f"{host}:{port}" if local else None,
                local_device_ids=None if explicit else local_gpus(),
                cluster_detection_method="deactivate" if explicit else None,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                initialization_timeout=START_TIMEOUT_SECONDS,
            )
    except (RuntimeError, ValueError) as e:
        raise ConfigError(
            f"the processes cannot connect: {first_line(e)}; give the address of the first with "
            "--coordinator=HOST:PORT --num_processes=N --process_id=I"
        ) from e
    redirect_library_output()


def redirect_library_output() -> None:
    """Redirect what libraries print on stdout to stderr, so that stdout has results only.

    Gloo prints when it connects.
    """
    results = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(results, "w", encoding="utf-8", errors="backslashreplace")


def detect_launcher() -> str:
    """Return the launcher that started this process as one of several, or "" if none did.

    It is detected from the environment variables of SLURM, Open MPI and Kubernetes, and from the
    devices of a TPU pod.
    """
    env = os.environ.get
    if int(env("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return "SLURM"
    if int(env("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return "Open MPI"
    if "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return "Cloud TPU" if chips and importlib.util.find_spec("libtpu") else ""


def local_gpus() -> list[int] | None:
    """Return the numbers of the visible GPUs that belong to this process, None without GPUs.

    The processes of a machine divide its GPUs evenly, unless the launcher has done that already.
    """
    env = os.environ.get
    visible = env("CUDA_VISIBLE_DEVICES")
    count = len(visible.split(",") if visible else [*Path("/proc/driver/nvidia/gpus").glob("*")])
    local = int(env("SLURM_LOCALID", env("OMPI_COMM_WORLD_LOCAL_RANK", "0")))
    tasks = env("SLURM_STEP_TASKS_PER_NODE", env("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    tasks_per_node = expand_counts(tasks)
    on_this_node = tasks_per_node[int(env("SLURM_NODEID", "0")) % len(tasks_per_node)]
    if not count:
        return None
    if "SLURM_GPUS_PER_TASK" in os.environ or count < on_this_node:
        return list(range(count))
    each = count // on_this_node
    return list(range(local * each, (local + 1) * each))


def expand_counts(counts: str) -> list[int]:
    """Expand SLURM's notation of counts: `2(x3),1` -> [2, 2, 2, 1]."""
    found: list[int] = []
    for part in counts.split(","):
        number, _, times = part.rstrip(")").partition("(x")
        found += [int(number)] * int(times or 1)
    return found
