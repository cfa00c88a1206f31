"""Threads that read and decode images ahead of need."""

import os
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from cnn_archs.errors import DataError

READ_SECONDS = 600.0  # for the next call; a disk of a network may be away for minutes


def cores() -> int:
    """Count the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def run_in_order(
    work: Callable[[int], None], count: int, threads: int, ahead: int
) -> Generator[None, None, None]:
    """Call work(0), ..., work(count - 1) in threads, and yield once for each, in that order.

    The k-th yield comes as soon as work(k) is done. At most `ahead + 2 * threads` calls are
    submitted before they are yielded. An exception of work(k) is raised at the k-th yield. At the
    end, after an exception or when the generator is closed, calls that have not begun are canceled
    and all threads are joined. Raises DataError if a call takes more than READ_SECONDS.
    """

    def job(k: int) -> None:
        try:
            work(k)
        except Exception:
            raise
        except BaseException as e:  # SystemExit would end the caller without a message
            raise RuntimeError("a thread that reads data was stopped") from e

    pool = ThreadPoolExecutor(threads)
    jobs = (pool.submit(job, k) for k in range(count))
    submitted: deque[Future[None]] = deque()
    stuck = False
    try:
        submitted.extend(islice(jobs, ahead + 2 * threads))
        while submitted:
            try:
                submitted[0].result(READ_SECONDS)
            except TimeoutError as e:
                if submitted[0].done():  # an error of work(k)
                    raise
                stuck = True
                raise DataError(
                    f"no image has been read for {READ_SECONDS:.0f} s: the disk with the data does "
                    "not answer"
                ) from e
            submitted.popleft()
            submitted.extend(islice(jobs, 1))
            yield
    finally:
        pool.shutdown(wait=not stuck, cancel_futures=True)
