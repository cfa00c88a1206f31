"""Shares data among the processes that train or evaluate one network.

In a training all processes run the same program in lockstep. In an evaluation or a prediction each
works on its share of the examples alone, and they meet only where they gather what they found. The
first process, the primary, alone writes the folder of the run. Whatever only one process knows,
such as a signal or the contents of a file, is shared before any process acts on it; otherwise some
would wait forever for the others.
"""

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from traceback import format_exc
from typing import Any, Self, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils

from cnn_archs.arithmetic import ceil_div
from cnn_archs.errors import ConfigError, PeerLost, Stopped, UserError
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.signals import end_process

Result = TypeVar("Result")

LOST_PEER = re.compile("Gloo|NCCL|coordination service", re.IGNORECASE)  # in errors of jax
EXCHANGE_SECONDS = 2.0  # between two exchanges of what a process alone knows, such as a signal
MOST_BETWEEN_EXCHANGES = 100  # questions


def is_primary() -> bool:
    """Return whether this is the first process, which reads and writes the folder of the run."""
    return jax.process_index() == 0


def local_indices(count: int) -> np.ndarray:
    """Return the indices out of range(count) that this process handles, i64[R], round-robin."""
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
    """Return the first process's `tree` on all processes; each passes a tree of the same shapes."""
    if jax.process_count() == 1:
        return tree
    return jax.tree.map(multihost_utils.broadcast_one_to_all, tree)


def broadcast_bytes(data: bytes) -> bytes:
    """Return the first process's `data` on all processes."""
    length = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    padded = np.frombuffer(data.ljust(length)[:length], np.uint8)
    return multihost_utils.broadcast_one_to_all(padded).astype(np.uint8).tobytes()


def gather(array: np.ndarray) -> np.ndarray:
    """Return the arrays of all P processes, all of one shape [...] and type, as [P, ...]."""
    if jax.process_count() == 1:
        return array[None]
    # The numbers are sent as bytes, since jax without x64 would cut them to 32 bits.
    sent = np.frombuffer(array.tobytes(), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(sent), np.uint8)
    return np.frombuffer(every.tobytes(), array.dtype).reshape(-1, *array.shape)


def sum_over_processes(array: np.ndarray) -> np.ndarray:
    """Return the sum of arrays of one shape over all processes; it is exact for whole numbers."""
    return array if jax.process_count() == 1 else gather(array).sum(0)


def gather_values(value: Any) -> list[Any]:
    """Return the JSON values of all processes, in the order of the processes."""
    if jax.process_count() == 1:
        return [value]
    encoded = json.dumps(value).encode()
    lengths = gather(np.array(len(encoded)))
    padded = gather(np.frombuffer(encoded.ljust(int(lengths.max())), np.uint8))
    return [json.loads(one[:n].tobytes()) for one, n in zip(padded, lengths, strict=True)]


def gather_items(items: list[Any], count: int) -> list[Any]:
    """Return `count` JSON values, of which each process passes those at `local_indices(count)`."""
    lists = gather_values(items)
    return [lists[i % len(lists)][i // len(lists)] for i in range(count)]


def gather_rows(rows: np.ndarray, count: int) -> np.ndarray:
    """Return an array [count, ...], of which each process passes the rows `local_indices(count)`.

    rows: [R, ...], in that order.
    """
    if jax.process_count() == 1:
        return rows
    padded = np.zeros((ceil_div(count, jax.process_count()), *rows.shape[1:]), rows.dtype)
    padded[: len(rows)] = rows
    return gather(padded).swapaxes(0, 1).reshape(-1, *rows.shape[1:])[:count]


def check_equal(what: str, value: Any) -> None:
    """Raise ConfigError on all processes unless the JSON value `value` is equal on all.

    what: describes the value in the message.
    """
    if jax.process_count() == 1:
        return
    text = json.dumps(value, sort_keys=True)
    every = gather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
    other = [i for i, digest in enumerate(every) if (digest != every[0]).any()]
    if other:
        raise ConfigError(f"{what} of process {other[0]} differ from those of process 0")


class AnyProcess:
    """Is true where `condition` is true on any process.

    Each conversion to bool is a question, and all processes must ask the same number of questions.
    A single process answers with its own condition. Several exchange theirs only at every N-th
    question, since that waits for all devices, and answer the questions between with no. N is the
    number of questions in EXCHANGE_SECONDS by the clock of the first process, at most
    MOST_BETWEEN_EXCHANGES; it starts with 1, and at most doubles with each exchange.
    """

    def __init__(self, condition: Any, clock: Callable[[], float] = time.monotonic):
        self.condition, self.clock = condition, clock
        self.every, self.left = 1, 1  # N, and the questions until the next exchange
        self.last = clock()  # when the last exchange was

    def anew(self) -> Self:
        """Return the same with N = 1, for questions that come at another pace."""
        return type(self)(self.condition, self.clock)

    def __bool__(self) -> bool:
        if jax.process_count() == 1:
            return bool(self.condition)
        self.left -= 1
        if self.left:
            return False
        own = np.array([bool(self.condition), self.clock() - self.last], np.float32)
        of_all = multihost_utils.process_allgather(own)
        seconds = max(float(of_all[0, 1]) / self.every, 1e-6)  # per question
        wanted = min(EXCHANGE_SECONDS / seconds, 2 * self.every, MOST_BETWEEN_EXCHANGES)
        self.every = self.left = max(1, int(wanted))
        self.last = self.clock()
        return bool(of_all[:, 0].any())


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Exit this process at once on an error, so that the others do not wait for it forever.

    The others may be inside a collective operation; they end when the heartbeat stops. A normal
    exit would wait for them. Stopped passes, since all processes raise it together.
    """
    try:
        yield
    except Stopped:
        raise
    except BaseException as e:
        if jax.process_count() == 1:
            raise
        if isinstance(e, ValueError | RuntimeError) and LOST_PEER.search(str(e)):
            e = PeerLost("another process of this run has ended, or cannot be reached any more")
        print_status(f"error: {e}" if isinstance(e, UserError) else format_exc())
        end_process(e.code if isinstance(e, UserError) else 1)
