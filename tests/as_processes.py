"""Run a function in threads that take themselves for the processes of one run."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import pytest

from cnn_archs.distributed import multihost


def as_processes(count: int, work: Callable[[], Any]) -> list[Any]:
    """Call `work` as each of `count` processes; return their results, or raise an error of one.

    They meet in `multihost.gather` and `multihost.broadcast_bytes`; jax itself sees one process.
    """
    here = threading.local()
    meeting = threading.Barrier(count, timeout=60)
    brought: dict[int, Any] = {}

    def gather(array: np.ndarray) -> np.ndarray:
        brought[here.index] = array
        meeting.wait()
        every = np.stack([brought[i] for i in range(count)])
        meeting.wait()
        return every

    def broadcast_bytes(data: bytes) -> bytes:
        brought[here.index] = data
        meeting.wait()
        first = brought[0]
        meeting.wait()
        return first

    def process(index: int) -> Any:
        here.index = index
        try:
            return work()
        except BaseException:
            meeting.abort()
            raise

    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(count) as pool:
        patched.setattr(jax, "process_count", lambda: count)
        patched.setattr(jax, "process_index", lambda: here.index)
        patched.setattr(multihost, "gather", gather)
        patched.setattr(multihost, "broadcast_bytes", broadcast_bytes)
        begun = [pool.submit(process, i) for i in range(count)]
    errors = [one.exception() for one in begun]
    for error in errors:
        if error and not isinstance(error, threading.BrokenBarrierError):
            raise error
    return [one.result() for one in begun]
