"""Work done ahead by threads, in order, and nothing left behind."""

import os
import threading
from collections.abc import Callable, Generator


def cores() -> int:
    """Those that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def in_order(
    work: Callable[[int], None], count: int, threads: int, ahead: int
) -> Generator[None, None, None]:
    """Yields as soon as work(0) is done, then work(1), ..., work(count - 1); threads do them.

    They are up to `ahead` further, and two jobs each. What a job raises is raised here in its
    turn; that a thread has died, within a second. None is left at the end or after `close`.
    """
    import grain

    finished: set[int] = set()
    workers: set[threading.Thread] = set()
    all_of_them = min(threads, count)
    news = threading.Condition()
    closed = threading.Event()

    def begin() -> None:
        """The first jobs wait for each other: so all threads have one, and are known."""
        with news:
            if threading.current_thread() not in workers:
                workers.add(threading.current_thread())
                news.notify_all()
                news.wait_for(lambda: len(workers) == all_of_them or closed.is_set())

    def job(k: int) -> int:
        begin()
        try:
            work(k)
        except Exception:
            raise
        except BaseException as e:  # it would end the caller without a word
            raise RuntimeError("a thread that reads data was stopped") from e
        finally:
            with news:
                finished.add(k)
                news.notify_all()
        return k

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead + 2 * threads)
    jobs = iter(grain.MapDataset.range(count).map(job).to_iter_dataset(options))
    try:
        jobs.start_prefetch()
        for k in range(count):
            with news:
                while k not in finished:
                    news.wait(timeout=1)
                    if not all(thread.is_alive() for thread in workers):
                        raise RuntimeError("a thread that reads data has died")
                finished.remove(k)
            next(jobs)
            yield
    finally:
        closed.set()
        with news:
            news.notify_all()
        jobs.close()
        for thread in workers:
            thread.join()
