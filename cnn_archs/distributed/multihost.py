"""Several processes that train one network: how they find each other, and what they agree on.

Each runs the same program, step by step beside the others. The first one alone touches the run's
folder. What only one of them can know, like a signal or what a file says, is agreed on before any
acts on it: else some would wait for ever for the others.
"""

import hashlib
import importlib.util
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import format_exc
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_archs.errors import ConfigError, Stopped, UserError, first_line
from cnn_archs.runtime.console import print_status

Result = TypeVar("Result")

HEARTBEAT_SECONDS = (
    30  # seconds of silence after which a process counts as dead, and all others end
)
START_TIMEOUT_SECONDS = 300  # seconds to wait for the others at the start


def initialize(coordinator: str = "", count: int = 0, index: int = -1) -> None:
    """Joins the other processes, before the first device is used; alone, does nothing.

    coordinator: HOST:PORT of process 0; count, index: of the processes. What is not given is what
    SLURM, Open MPI, Kubernetes or a TPU pod says. ConfigError where they do not come together.
    """
    if not (coordinator or count or index >= 0 or detect_launcher()):
        return
    if coordinator and ":" not in coordinator:
        raise ConfigError(f"--coordinator={coordinator}: wanted HOST:PORT")
    if count and not 0 <= index < count:
        raise ConfigError(f"--process_id={index}: from 0 to --num_processes - 1, {count - 1}")
    told = coordinator and count
    try:
        jax.distributed.initialize(
            coordinator or None,
            count or None,
            index if index >= 0 else None,
            local_device_ids=None if told else local_gpus(),
            cluster_detection_method="deactivate" if told else None,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            initialization_timeout=START_TIMEOUT_SECONDS,
        )
    except (RuntimeError, ValueError) as e:
        raise ConfigError(
            f"the processes do not find each other: {first_line(e)}; say where they are with "
            "--coordinator=HOST:PORT --num_processes=N --process_id=I"
        ) from e
    redirect_library_output()


def redirect_library_output() -> None:
    """What libraries print there, as Gloo does when it connects, goes to stderr from now on."""
    results = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = os.fdopen(results, "w")


def detect_launcher() -> str:
    """What started this process as one of several, as far as its environment says; else ""."""
    told = os.environ.get
    if int(told("SLURM_STEP_NUM_TASKS", "1")) > 1:
        return "SLURM"
    if int(told("OMPI_COMM_WORLD_SIZE", "1")) > 1:
        return "Open MPI"
    if "JOB_COMPLETION_INDEX" in os.environ and "KUBERNETES_SERVICE_HOST" in os.environ:
        return "Kubernetes"
    chips = [*Path("/dev").glob("accel[0-9]*"), *Path("/dev/vfio").glob("[0-9]*")]
    return "Cloud TPU" if chips and importlib.util.find_spec("libtpu") else ""


def local_gpus() -> list[int] | None:
    """Which of the GPUs that this process sees are its own, among the processes of its machine.

    All, where it is alone there or was shown no others; else its share. None where there are none.
    """
    told = os.environ.get
    shown = told("CUDA_VISIBLE_DEVICES")
    count = len(shown.split(",")) if shown else len([*Path("/proc/driver/nvidia/gpus").glob("*")])
    local = int(told("SLURM_LOCALID", told("OMPI_COMM_WORLD_LOCAL_RANK", "0")))
    on_nodes = expand_counts(
        told("SLURM_STEP_TASKS_PER_NODE", told("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    )
    beside = on_nodes[int(told("SLURM_NODEID", "0")) % len(on_nodes)]
    if not count:
        return None
    if "SLURM_GPUS_PER_TASK" in os.environ or count < beside:
        return list(range(count))
    each = count // beside
    return list(range(local * each, (local + 1) * each))


def expand_counts(counts: str) -> list[int]:
    """SLURM's `2(x3),1` as [2, 2, 2, 1]."""
    found: list[int] = []
    for part in counts.split(","):
        number, _, times = part.rstrip(")").partition("(x")
        found += [int(number)] * int(times or 1)
    return found


def is_primary() -> bool:
    """Is this the process that reads and writes the run's folder?"""
    return jax.process_index() == 0


def local_indices(count: int) -> np.ndarray:
    """i64[]: which of so many things this process takes, where each is one process's to do."""
    return np.arange(jax.process_index(), count, jax.process_count())


def on_primary(action: Callable[[], Any]) -> Any:
    """Run `action` on the first process, and return its result, a JSON value, on all processes.

    A UserError of `action` is raised on all processes.
    """
    if jax.process_count() == 1:
        return action()
    outcome: dict[str, Any] = {}
    if is_primary():
        try:
            outcome = {"value": action()}
        except UserError as e:
            outcome = {"error": str(e), "code": e.code}
    outcome = json.loads(broadcast_bytes(json.dumps(outcome).encode()))
    if "error" in outcome:
        raise next(
            (kind for kind in UserError.__subclasses__() if kind.code == outcome["code"]), UserError
        )(outcome["error"])
    return outcome["value"]


def only_on_primary(action: Callable[[], Result]) -> Result | None:
    """Run `action` on the first process, and return its result there, and None on the others.

    All processes wait for it. A UserError of `action` is raised on all processes.
    """
    results: list[Result] = []

    def run() -> None:
        results.append(action())

    on_primary(run)
    return results[0] if results else None


def broadcast_arrays(
    read: Callable[[], dict[str, np.ndarray] | None],
) -> dict[str, np.ndarray] | None:
    """Return what `read` returns on the first process, arrays by name or None, on all processes."""
    if jax.process_count() == 1:
        return read()
    arrays = only_on_primary(read)
    if not on_primary(lambda: arrays is not None):
        return None
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays or {})
    with np.load(io.BytesIO(broadcast_bytes(file.getvalue()))) as found:
        return dict(found)


def broadcast_tree(tree: Any) -> Any:
    """The first process's tree of arrays; each has one, of the same shapes."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(multihost_utils.broadcast_one_to_all, tree)


def broadcast_bytes(data: bytes) -> bytes:
    """The first process's bytes, on all of them."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    held = np.frombuffer(data.ljust(length)[:length], np.uint8)
    return multihost_utils.broadcast_one_to_all(held).astype(np.uint8).tobytes()


def sum_over_processes(whole_numbers: np.ndarray) -> np.ndarray:
    """i64[...]: the sum over all processes, exact."""
    if jax.process_count() == 1:
        return whole_numbers
    # As bytes: without 64 bits jax would cut them to 32.
    each = multihost_utils.process_allgather(np.frombuffer(whole_numbers.tobytes(), np.uint8))
    parts = [np.frombuffer(np.asarray(one, np.uint8).tobytes(), np.int64) for one in each]
    return sum(parts).reshape(whole_numbers.shape)  # type: ignore[union-attr]


def check_equal(what: str, value: Any) -> None:
    """ConfigError on all processes where `value`, which JSON can say, is not the same on all."""
    if jax.process_count() == 1:
        return
    text = json.dumps(value, sort_keys=True)
    own = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)
    every = multihost_utils.process_allgather(own)
    other = [i for i, digest in enumerate(every) if (digest != every[0]).any()]
    if other:
        raise ConfigError(f"{what} of process {other[0]} differ from those of process 0")


class AnyProcess:
    """Truth: `asked` is true on some process. Every process must ask as often as the others."""

    def __init__(self, asked: Any):
        self.asked = asked

    def __bool__(self) -> bool:
        if jax.process_count() == 1:
            return bool(self.asked)
        return bool(multihost_utils.process_allgather(np.array(bool(self.asked))).any())


@contextmanager
def exit_on_error() -> Iterator[None]:
    """An error inside ends this process at once, where others may wait for it in a step: they end
    when its heart stops. An exit as usual would wait for them. All stop together, as agreed."""
    try:
        yield
    except Stopped:
        raise
    except BaseException as e:
        if jax.process_count() == 1:
            raise
        print_status(f"error: {e}" if isinstance(e, UserError) else format_exc())
        os._exit(e.code if isinstance(e, UserError) else 1)
