"""Images that do not fit on the devices: the host reads, decodes and crops them ahead of time.

The batch of a step is a pure function of (seed, step). No iterator has a state that would have to
be saved, and batches do not depend on the numbers of threads and processes.

Images are decoded by threads, since libjpeg and Pillow release the GIL; there are no worker
processes that could survive this one. On two busy cores, two threads decoded 1.7 times as many
photographs as one, and 0.94 of what two processes did (`benchmarks/NOTES.md`). For more cores than
a few, start a process per device: each reads only its own rows of a batch.
"""

import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.datasets.splits import Records
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.decode import Region
from cnn_archs.data.loading.host_batch import HostBatch
from cnn_archs.data.loading.threads import cores, run_in_order
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.distributed import multihost
from cnn_archs.errors import DataError

CHUNK = 16  # images that a thread decodes at a time; with 8, an image takes 3 % longer
DAMAGED_ONE_IN = 100  # on_corrupt=skip tolerates one damaged image in this many
BATCHES_AHEAD = 2  # batches that are read while one is used

Put = Callable[[tuple[np.ndarray, ...]], Any]


class PendingExample(NamedTuple):
    """An example whose region has been chosen, but not decoded."""

    example: int
    label: int
    region: Region


class Streamed:
    """A split whose images are read one by one.

    on_corrupt: what to do with an image that cannot be read. `raise` raises a DataError that names
    the file. `skip` puts the next sound example in its place in training, and masks it in
    evaluation; it raises a DataError once more than one image in a hundred is damaged. threads: the
    number of threads that decode; 0 for one per core. part_of: the number of images, all of
    which these are a part of, of which one in a hundred may be damaged; 0 if these are all.
    """

    def __init__(
        self,
        records: Records,
        crop: Crop,
        *,
        on_corrupt: str = "raise",
        threads: int = 0,
        part_of: int = 0,
    ):
        self.records, self.crop = records, crop
        self.on_corrupt, self.threads = on_corrupt, threads or cores()
        self.examples, self.classes = len(records), records.classes
        self.part_of = part_of or len(records)
        self.skipped: set[int] = set()
        self.lock = threading.Lock()

    def __len__(self) -> int:
        return self.examples

    @property
    def damaged(self) -> int:
        """The number of examples that all processes together have found damaged so far.

        Every process must read this property at the same time.
        """
        bits = np.zeros(self.examples, np.int64)
        bits[list(self.skipped)] = 1
        return int((multihost.sum_over_processes(bits) > 0).sum())

    def batch(
        self, seed: int, step: int, batch_size: int, rows: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Read the batch of `step`: images u8[R, H, W, C] and labels i32[R].

        rows: i64[R], the rows of the batch to read; None for all.
        """
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
        """Yield put((images, labels)) for each of the steps start, ..., stop - 1; see `batch`.

        put: moves a batch to the devices. Batches are read ahead, but each is moved only when it is
        asked for, so that the devices hold no more batches than there are steps in flight, and the
        copy of a batch runs beside the step that was dispatched before. An exception in a thread is
        raised here. All threads have ended when the generator ends or is closed.
        """
        own_rows = rows_or_all(batch_size, rows)

        def open_step(step: int) -> HostBatch:
            return self.open_batch(seed, start + step, batch_size, own_rows)

        filled = self.filled_batches(open_step, len(own_rows), max(stop - start, 0))
        return delivered(filled, lambda batch: put((batch.images, batch.labels)))

    def evaluation_batches(
        self, batch_size: int, put: Put, rows: np.ndarray | None = None
    ) -> Generator[Any, None, None]:
        """Yield put((images, labels, mask)) for batches of all examples, once each and in order.

        mask: bool[R]; the last batch is padded, and the padding is masked. Images are cropped for
        evaluation. put, rows: see `batches`.
        """
        own_rows = rows_or_all(batch_size, rows)

        def open_step(step: int) -> HostBatch:
            position = step * batch_size + own_rows
            index = np.minimum(position, self.examples - 1)
            return self.make_batch(index, position < self.examples, None, position)

        steps = ceil_div(self.examples, batch_size)
        filled = self.filled_batches(open_step, len(own_rows), steps)
        return delivered(filled, lambda batch: put((batch.images, batch.labels, batch.mask)))

    def open_batch(self, seed: int, step: int, batch_size: int, rows: np.ndarray) -> HostBatch:
        """Return the given rows of the batch of a training step, to be filled."""
        first = step * batch_size
        index = sampler.indices(self.examples, seed, first, batch_size)[rows]
        return self.make_batch(index, np.ones(len(rows), bool), seed, first + rows)

    def make_batch(
        self, index: np.ndarray, mask: np.ndarray, seed: int | None, positions: np.ndarray
    ) -> HostBatch:
        """Return a batch of images as they are delivered, to be filled; see `HostBatch`."""
        size, channels = self.crop.host_size, self.records.channels
        return HostBatch(index, mask, size, channels, seed, positions)

    def filled_batches(
        self, open_step: Callable[[int], HostBatch], rows: int, steps: int
    ) -> Generator[HostBatch, None, None]:
        """Yield open_step(0), ..., open_step(steps - 1), filled by threads chunk by chunk.

        rows: the number of rows of each batch. BATCHES_AHEAD are read before they are asked for.
        """
        chunks = ceil_div(rows, CHUNK)
        unfinished: dict[int, HostBatch] = {}
        lock = threading.Lock()

        def work(k: int) -> None:
            step, chunk = divmod(k, chunks)
            with lock:
                if step not in unfinished:
                    unfinished[step] = open_step(step)
            self.fill(unfinished[step], chunk * CHUNK, min((chunk + 1) * CHUNK, rows))

        ahead = BATCHES_AHEAD * chunks
        with closing(run_in_order(work, steps * chunks, self.threads, ahead)) as done:
            for step in range(steps):
                for _ in range(chunks):
                    next(done)
                yield unfinished.pop(step)

    def fill(self, batch: HostBatch, start: int, stop: int) -> None:
        """Read the images and labels of rows start, ..., stop - 1.

        All regions are chosen before any is decoded. Alternating the two would evict code and data
        from the processor's cache, which costs a tenth of the speed.
        """
        rows = [row for row in range(start, stop) if batch.mask[row]]
        pending = [self.open_example(int(batch.index[row]), batch, row) for row in rows]
        for row, example in zip(rows, pending, strict=True):
            if not self.decode_into(example, batch, row):
                self.substitute_next(batch, row)

    def substitute_next(self, batch: HostBatch, row: int) -> None:
        """Fill the row of a damaged example with the next sound one; in evaluation, mask it."""
        if batch.seed is None:
            batch.mask[row] = False
            return
        example = int(batch.index[row]) + 1
        while not self.decode_into(
            self.open_example(example % self.examples, batch, row), batch, row
        ):
            example += 1

    def open_example(self, example: int, batch: HostBatch, row: int) -> PendingExample | None:
        """Read an example and choose its region for a row; None if it is found to be damaged."""
        try:
            record = self.records[example]
            choose_box = partial(self.crop.host_box, rng=batch.row_generator(row))
            region = Region(record.encoded, choose_box, record.name, self.records.channels)
            return PendingExample(example, record.label, region)
        except DataError as e:
            self.record_damage(example, e)
            return None

    def decode_into(self, pending: PendingExample | None, batch: HostBatch, row: int) -> bool:
        """Put an image and its label into a row; return False if the image is damaged."""
        if pending is None:
            return False
        try:
            batch.images[row] = pending.region.decode_resized(self.crop.host_size)
        except DataError as e:
            self.record_damage(pending.example, e)
            return False
        batch.labels[row] = pending.label
        return True

    def record_damage(self, example: int, e: DataError) -> None:
        """Count a damaged example. Raises DataError if on_corrupt does not tolerate it."""
        if self.on_corrupt == "raise":
            raise DataError(f"{e}; to train without it: --config.data.on_corrupt=skip") from e
        with self.lock:
            self.skipped.add(example)
            check_damage(len(self.skipped), self.part_of, f"; the last one found: {e}")


def check_damage(damaged: int, images: int, last: str = "") -> None:
    """Raise DataError if too many of all `images` are damaged. last: the end of the message."""
    if damaged > max(images // DAMAGED_ONE_IN, 1) or damaged == images:
        raise DataError(
            f"{damaged} of {images} images are damaged, more than one in {DAMAGED_ONE_IN}{last}"
        )


def rows_or_all(batch_size: int, rows: np.ndarray | None) -> np.ndarray:
    """Return `rows`, or the indices of all rows of a batch if it is None."""
    return np.arange(batch_size) if rows is None else rows


def delivered(
    batches: Generator[HostBatch, None, None], put: Callable[[HostBatch], Any]
) -> Generator[Any, None, None]:
    """Yield put(batch) for each batch; end the threads that read when this generator is closed."""
    with closing(batches):
        for batch in batches:
            yield put(batch)


class StreamedFeed:
    """Supplies one batch at a time to the training step, while the next ones are read.

    total: the step at which the run ends. put: moves the `rows` of a batch, which this process
    reads, to the devices.
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
        self.step = -1  # step of the batch that `batches` yields next
        self.batches: Iterator[tuple[Any, ...]] = iter(())

    def __call__(self, step: int, count: int) -> tuple[Any, ...]:
        """Return (images, labels) of the batch of `step`; `count`, the number of steps, is 1."""
        assert count == 1
        if step != self.step:
            self.batches = self.data.batches(
                self.seed, step, self.total, self.batch_size, self.put, self.rows
            )
        self.step = step + 1
        return next(self.batches)
