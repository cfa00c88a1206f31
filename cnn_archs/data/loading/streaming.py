"""Images that do not fit on the devices: read, decoded and cropped on the host, ahead of need.

The batch of a step is a pure function of (seed, step): no iterator has a state, and the number of
threads and of processes changes nothing. Threads decode (libjpeg and Pillow let go of Python's
lock meanwhile), no processes, so that nothing is left behind when this one ends.
"""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.datasets.sources import Records
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.decode import Region
from cnn_archs.data.loading.threads import cores, run_in_order
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError, DataError

CHUNK = 16  # images that a thread takes at a time: with 8, each takes 3 % longer
DAMAGED_ONE_IN = 100  # one in so many may be damaged, where damaged ones are skipped
BATCHES_AHEAD = 2  # batches on their way to the devices while one is used

Put = Callable[[tuple[np.ndarray, ...]], Any]


class PendingExample(NamedTuple):
    """An example that is still to be decoded."""

    example: int
    label: int
    region: Region


class ThreadGenerator(threading.local):
    """The random numbers of positions, from one generator in each thread: a new key for it takes
    a quarter of the time that a new generator does."""

    def __init__(self) -> None:
        # The counter sets these numbers apart from the order's, whose keys are [seed, epoch].
        self.bits = np.random.Philox(key=[0, 0], counter=[0, 0, 0, 1])
        self.fresh = self.bits.state
        self.generator = np.random.Generator(self.bits)

    def seeded(self, seed: int, position: int) -> np.random.Generator:
        """Of the key [seed, position], until this thread asks for the next one."""
        self.fresh["state"]["key"][:] = seed, position
        self.bits.state = self.fresh
        return self.generator


thread_generator = ThreadGenerator()


class Batch:
    """A process's part of a batch, which threads fill. mask: False for what is only padding.

    index: the examples; positions: of them in the order of training, whose random numbers, with
    the seed, are theirs. The crops are evaluation's, if the seed is None.
    """

    def __init__(
        self,
        index: np.ndarray,
        mask: np.ndarray,
        size: tuple[int, int],
        seed: int | None,
        positions: np.ndarray,
    ):
        self.index, self.mask, self.seed, self.positions = index, mask, seed, positions
        self.images = np.zeros((len(index), *size, 3), np.uint8)
        self.labels = np.zeros(len(index), np.int32)

    def random(self, row: int) -> np.random.Generator | None:
        return (
            None
            if self.seed is None
            else thread_generator.seeded(self.seed, int(self.positions[row]))
        )


class Streamed:
    """A split that is read image by image.

    on_corrupt: what an image that cannot be read leads to. `raise`: a DataError that names the
    file. `skip`: in training the next sound example takes its place, in evaluation the mask leaves
    it out, until more than one in a hundred are damaged. threads: that decode; 0: one per core.
    """

    def __init__(
        self, records: Records, crop: Crop, *, on_corrupt: str = "raise", threads: int = 0
    ):
        if on_corrupt not in ("raise", "skip"):
            raise ConfigError(f"data.on_corrupt={on_corrupt!r}: it must be raise or skip")
        if threads < 0:
            raise ConfigError(f"data.threads={threads}: it cannot be negative")
        self.records, self.crop = records, crop
        self.on_corrupt, self.threads = on_corrupt, threads or cores()
        self.examples, self.classes = len(records), records.classes
        self.skipped: set[int] = set()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.examples

    @property
    def damaged(self) -> int:
        """How many examples have been found damaged so far, by all processes; every one asks."""
        bits = np.zeros(self.examples, np.int64)
        bits[list(self.skipped)] = 1
        return int((multihost.sum_over_processes(bits) > 0).sum())

    def batch(
        self, seed: int, step: int, batch_size: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The batch of `step`, or those R rows of it: u8[R, H, W, 3] and i32[R]."""
        batch = self.open_batch(seed, step, batch_size, rows_or_all(batch_size, rows))
        self.fill(batch, 0, len(batch.index))
        return batch.images, batch.labels

    def batches(
        self,
        seed: int,
        start: int,
        stop: int,
        batch_size: int,
        put: Put,
        rows: np.ndarray | None = None,
    ) -> Generator[Any, None, None]:
        """put((images, labels)) for each of the steps start, ..., stop - 1, as by `batch`.

        rows: of each batch, that this process reads; None: all. put moves them to the devices; it
        is called two batches ahead. Whatever goes wrong in a thread is raised here. After `close`,
        or at the end, no thread is left.
        """
        read = rows_or_all(batch_size, rows)

        def opened(step: int) -> Batch:
            return self.open_batch(seed, start + step, batch_size, read)

        filled = self.filled_batches(opened, len(read), max(stop - start, 0))
        return prefetch(filled, lambda batch: put((batch.images, batch.labels)))

    def evaluation_batches(
        self, batch_size: int, put: Put, rows: np.ndarray | None = None
    ) -> Generator[Any, None, None]:
        """put((images, labels, mask)): all examples once, in order; mask bool[R].

        rows: as for `batches`. The crops are evaluation's; the last batch is padded, and the
        padding masked.
        """
        read = rows_or_all(batch_size, rows)

        def opened(step: int) -> Batch:
            position = step * batch_size + read
            index = np.minimum(position, self.examples - 1)
            return Batch(index, position < self.examples, self.crop.host_size, None, position)

        filled = self.filled_batches(opened, len(read), ceil_div(self.examples, batch_size))
        return prefetch(filled, lambda batch: put((batch.images, batch.labels, batch.mask)))

    def open_batch(self, seed: int, step: int, batch_size: int, rows: np.ndarray) -> Batch:
        """Those rows of the batch of `step`, still to be filled."""
        first = step * batch_size
        index = sampler.indices(self.examples, seed, first, batch_size)[rows]
        return Batch(index, np.ones(len(rows), bool), self.crop.host_size, seed, first + rows)

    def filled_batches(
        self, opened: Callable[[int], Batch], rows: int, steps: int
    ) -> Generator[Batch, None, None]:
        """opened(0), ..., opened(steps - 1), each filled by the threads, a piece by each."""
        pieces = ceil_div(rows, CHUNK)
        under_way: dict[int, Batch] = {}
        lock = threading.Lock()

        def work(k: int) -> None:
            step, piece = divmod(k, pieces)
            with lock:
                if step not in under_way:
                    under_way[step] = opened(step)
            self.fill(under_way[step], piece * CHUNK, min((piece + 1) * CHUNK, rows))

        with closing(run_in_order(work, steps * pieces, self.threads, pieces)) as done:
            for step in range(steps):
                for _ in range(pieces):
                    next(done)
                yield under_way.pop(step)

    def fill(self, batch: Batch, start: int, stop: int) -> None:
        """Reads the images and labels of rows start, ..., stop - 1.

        First all regions are chosen, then all are decoded: in turns, either would find its code
        and data pushed out of the processor's cache by the other, which costs a tenth.
        """
        rows = [row for row in range(start, stop) if batch.mask[row]]
        found = [self.choose_region(int(batch.index[row]), batch.random(row)) for row in rows]
        for row, region in zip(rows, found, strict=True):
            if not self.decode_into(region, batch, row):
                self.put_next_sound(batch, row)

    def put_next_sound(self, batch: Batch, row: int) -> None:
        """Puts the next sound example in the place of a damaged one; in evaluation, nothing."""
        if batch.seed is None:
            batch.mask[row] = False
            return
        example = int(batch.index[row]) + 1
        while not self.decode_into(
            self.choose_region(example % self.examples, batch.random(row)), batch, row
        ):
            example += 1

    def choose_region(
        self, example: int, random: np.random.Generator | None
    ) -> PendingExample | None:
        """What is to be decoded of an example, unless it is found damaged already."""
        try:
            record = self.records[example]
            choose_box = partial(self.crop.host_box, rng=random)
            return PendingExample(
                example, record.label, Region(record.encoded, choose_box, record.name)
            )
        except DataError as e:
            self.record_damage(example, e)
            return None

    def decode_into(self, found: PendingExample | None, batch: Batch, row: int) -> bool:
        """Puts an image and its label into a row, unless it is damaged."""
        if found is None:
            return False
        try:
            batch.images[row] = found.region.decode_resized(self.crop.host_size)
        except DataError as e:
            self.record_damage(found.example, e)
            return False
        batch.labels[row] = found.label
        return True

    def record_damage(self, example: int, e: DataError) -> None:
        """Counts a damaged example; raises where there may be none, or no more of them."""
        if self.on_corrupt == "raise":
            raise DataError(f"{e}; to go on without it: --config.data.on_corrupt=skip") from e
        with self.lock:
            self.skipped.add(example)
            found = len(self.skipped)
            if found > max(self.examples // DAMAGED_ONE_IN, 1) or found == self.examples:
                raise DataError(
                    f"{found} of {self.examples} images are damaged, more than one in "
                    f"{DAMAGED_ONE_IN}; the last one found: {e}"
                ) from e


def rows_or_all(batch_size: int, rows: np.ndarray | None) -> np.ndarray:
    """`rows`, or all of a batch's."""
    return np.arange(batch_size) if rows is None else rows


def prefetch(
    batches: Generator[Batch, None, None], put: Callable[[Batch], Any]
) -> Generator[Any, None, None]:
    """Each batch after put(...), which has by then been called for the next two as well."""
    ready: deque[Any] = deque()
    with closing(batches):
        for batch in batches:
            ready.append(put(batch))
            if len(ready) > BATCHES_AHEAD:
                yield ready.popleft()
        yield from ready


class StreamedFeed:
    """images and labels of one batch at a time; those to come are read meanwhile.

    total: the step at which the run ends. put: moves the `rows` of a batch, which are those that
    this process reads, to the devices.
    """

    def __init__(
        self,
        data: Streamed,
        seed: int,
        batch_size: int,
        total: int,
        put: Callable[[Any], Any],
        rows: np.ndarray,
    ):
        self.data, self.seed, self.batch_size = data, seed, batch_size
        self.total, self.put, self.rows = total, put, rows
        self.step = -1  # of the batch that is next in `batches`
        self.batches: Iterator[tuple[Any, ...]] = iter(())

    def __call__(self, step: int, count: int) -> tuple[Any, ...]:
        """The batch of `step`; count is 1."""
        assert count == 1
        if step != self.step:
            self.batches = self.data.batches(
                self.seed, step, self.total, self.batch_size, self.put, self.rows
            )
        self.step = step + 1
        return next(self.batches)
