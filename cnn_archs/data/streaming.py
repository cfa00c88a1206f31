"""Images that do not fit on the devices: read, decoded and cropped on the host, ahead of need.

The batch of a step is a pure function of (seed, step): no iterator has a state, and the number of
threads and of processes changes nothing. Threads decode (libjpeg and Pillow let go of Python's
lock meanwhile), no processes, so that nothing is left behind when this one ends.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

import numpy as np

from cnn_archs.data import order
from cnn_archs.data.crops import Crop
from cnn_archs.data.decode import decode_and_crop
from cnn_archs.data.sources import Records
from cnn_archs.errors import ConfigError, DataError

PIECE = 8  # images that a thread takes at a time
SHARE = 100  # one in so many may be damaged, where damaged ones are skipped
AHEAD = 2  # batches on their way to the devices while one is used

Put = Callable[[tuple[np.ndarray, ...]], Any]


class Batch:
    """A process's part of a batch, which threads fill. mask: False for what is only padding.

    index: the examples; seed, first: the random numbers of row r are those of position first + r,
    or the crops are evaluation's, if the seed is None.
    """

    def __init__(
        self,
        index: np.ndarray,
        mask: np.ndarray,
        size: tuple[int, int],
        seed: int | None,
        first: int,
    ):
        self.index, self.mask, self.seed, self.first = index, mask, seed, first
        self.images = np.zeros((len(index), *size, 3), np.uint8)
        self.labels = np.zeros(len(index), np.int32)

    def random(self, row: int) -> np.random.Generator | None:
        if self.seed is None:
            return None
        return np.random.Generator(np.random.Philox(key=[self.seed, self.first + row]))


class Streamed:
    """A split that is read image by image.

    damaged: `raise` a DataError, which names the file, for an image that cannot be read; or `skip`
    it: in training the next sound example takes its place, in evaluation the mask leaves it out,
    until more than one in a hundred are damaged. threads: that decode; 0: one for each core.
    """

    def __init__(self, records: Records, crop: Crop, *, damaged: str = "raise", threads: int = 0):
        if damaged not in ("raise", "skip"):
            raise ConfigError(f"data.damaged={damaged!r}: it must be raise or skip")
        if threads < 0:
            raise ConfigError(f"data.threads={threads}: it cannot be negative")
        self.records, self.crop = records, crop
        self.policy, self.threads = damaged, threads or cores()
        self.examples, self.classes = len(records), records.classes
        self.skipped: set[int] = set()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.examples

    @property
    def damaged(self) -> int:
        """How many examples have been found damaged so far."""
        return len(self.skipped)

    def batch(
        self,
        seed: int,
        step: int,
        batch_size: int,
        process_index: int = 0,
        process_count: int = 1,
    ) -> tuple[np.ndarray, np.ndarray]:
        """This process's part of the batch of `step`: u8[B / P, H, W, 3] and i32[B / P]."""
        rows = shared(batch_size, process_count)
        batch = self.training(seed, step * batch_size + process_index * rows, rows)
        self.fill(batch, 0, rows)
        return batch.images, batch.labels

    def batches(
        self,
        seed: int,
        start: int,
        stop: int,
        batch_size: int,
        put: Put,
        process_index: int = 0,
        process_count: int = 1,
    ) -> Generator[Any, None, None]:
        """put((images, labels)) for each of the steps start, ..., stop - 1, as by `batch`.

        put moves them to the devices; it is called two batches ahead. Whatever goes wrong in a
        thread is raised here. After `close`, or at the end, no thread is left.
        """
        rows = shared(batch_size, process_count)

        def opened(step: int) -> Batch:
            first = (start + step) * batch_size + process_index * rows
            return self.training(seed, first, rows)

        filled = self.filled(opened, rows, max(stop - start, 0))
        return ahead(filled, lambda batch: put((batch.images, batch.labels)))

    def evaluation(
        self, batch_size: int, put: Put, process_index: int = 0, process_count: int = 1
    ) -> Generator[Any, None, None]:
        """put((images, labels, mask)): all examples once, in order; mask bool[B / P].

        The crops are evaluation's; the last batch is padded, and the padding masked.
        """
        rows = shared(batch_size, process_count)

        def opened(step: int) -> Batch:
            position = step * batch_size + process_index * rows + np.arange(rows)
            index = np.minimum(position, self.examples - 1)
            return Batch(index, position < self.examples, self.crop.delivered, None, 0)

        filled = self.filled(opened, rows, -(-self.examples // batch_size))
        return ahead(filled, lambda batch: put((batch.images, batch.labels, batch.mask)))

    def training(self, seed: int, first: int, rows: int) -> Batch:
        """The examples at positions first, ..., first + rows - 1, still to be filled."""
        index = order.indices(self.examples, seed, first, rows)
        return Batch(index, np.ones(rows, bool), self.crop.delivered, seed, first)

    def filled(
        self, opened: Callable[[int], Batch], rows: int, steps: int
    ) -> Generator[Batch, None, None]:
        """opened(0), ..., opened(steps - 1), each filled by the threads, a piece by each."""
        pieces = -(-rows // PIECE)
        under_way: dict[int, Batch] = {}
        lock = threading.Lock()

        def work(k: int) -> None:
            step, piece = divmod(k, pieces)
            with lock:
                if step not in under_way:
                    under_way[step] = opened(step)
            self.fill(under_way[step], piece * PIECE, min((piece + 1) * PIECE, rows))

        with closing(in_order(work, steps * pieces, self.threads, pieces)) as done:
            for step in range(steps):
                for _ in range(pieces):
                    next(done)
                yield under_way.pop(step)

    def fill(self, batch: Batch, start: int, stop: int) -> None:
        """Reads the images and labels of rows start, ..., stop - 1."""
        for row in range(start, stop):
            if not batch.mask[row]:
                continue
            example = int(batch.index[row])
            tries = 1 if batch.seed is None else self.examples
            for i in range(example, example + tries):
                if self.read(i % self.examples, batch, row):
                    break
            else:
                batch.mask[row] = False

    def read(self, example: int, batch: Batch, row: int) -> bool:
        """Puts `example` into a row, unless it is damaged."""
        random = batch.random(row)
        try:
            record = self.records[example]
            batch.images[row] = decode_and_crop(
                record.encoded,
                lambda height, width: self.crop.on_host(height, width, random),
                self.crop.delivered,
                record.name,
            )
        except DataError as e:
            self.note(example, e)
            return False
        batch.labels[row] = record.label
        return True

    def note(self, example: int, e: DataError) -> None:
        """Counts a damaged example; raises where there may be none, or no more of them."""
        if self.policy == "raise":
            raise DataError(f"{e}; to go on without it: --config.data.damaged=skip") from e
        with self.lock:
            self.skipped.add(example)
            if self.damaged > max(self.examples // SHARE, 1):
                raise DataError(
                    f"more than one in {SHARE} of {self.examples} images are damaged; the last "
                    f"one found: {e}"
                ) from e


def shared(batch_size: int, process_count: int) -> int:
    """The rows of a batch that each process reads."""
    if batch_size % process_count:
        raise ConfigError(
            f"data.batch_size={batch_size} cannot be shared by {process_count} processes"
        )
    return batch_size // process_count


def cores() -> int:
    """Those that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    return len(usable(0)) if usable else os.cpu_count() or 1


def ahead(
    batches: Generator[Batch, None, None], put: Callable[[Batch], Any]
) -> Generator[Any, None, None]:
    """Each batch after put(...), which has by then been called for the next two as well."""
    ready: deque[Any] = deque()
    with closing(batches):
        for batch in batches:
            ready.append(put(batch))
            if len(ready) > AHEAD:
                yield ready.popleft()
        yield from ready


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
