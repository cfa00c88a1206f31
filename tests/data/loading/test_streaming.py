"""Streams: a batch is a function of (seed, step); damage, threads and memory are controlled."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import Record, Records
from cnn_archs.data.loading import sampler, streaming
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms import crops
from cnn_archs.errors import DataError

ROOT = Path(__file__).resolve().parents[3]
INCEPTION = crops.create("inception", (24, 24), area=(0.08, 1.0), aspect=(0.75, 4 / 3), evaluate=28)
COUNT = 53


def jpeg(i, height=None, width=None):
    """Make image i, whose stripes and size no other image has."""
    height, width = height or 30 + i % 7, width or 40 - i % 11
    y, x = np.mgrid[:height, :width]
    image = np.stack([4 * i + 0 * x, 127 + 120 * np.sin(x / (2 + i % 5)), 5 * y], -1)
    file = io.BytesIO()
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(file, "JPEG")
    return file.getvalue()


FILES = [jpeg(i) for i in range(COUNT)]
LABELS = (np.arange(COUNT) % 3).astype(np.int32)


def records(files=FILES):
    def read(i):
        return Record(files[i], i % 3, f"image {i}")

    return Records(read, *parts(len(files)))


def parts(count):
    """Return index, labels and classes for Records of `count` images."""
    return np.arange(count), LABELS[:count], ("a", "b", "c")


def whole(batch):
    return batch


def same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b, strict=True):
        assert x.dtype == y.dtype and x.shape == y.shape and (x == y).all()


def no_thread_is_left():
    return not [t for t in threading.enumerate() if t is not threading.main_thread()]


@pytest.fixture(autouse=True)
def threads_end():
    assert no_thread_is_left()
    yield
    assert no_thread_is_left()


# --- What a batch is ---------------------------------------------------------------------------


def test_a_batch_is_the_examples_at_its_positions_cropped_by_their_numbers():
    """The test spells out the order, a generator for each position, and Pillow's crop."""
    seed, step, size = 3, 9, 8
    images, labels = Streamed(records(), INCEPTION).batch(seed, step, size)
    assert images.shape == (8, 24, 24, 3) and images.dtype == np.uint8
    assert labels.shape == (8,) and labels.dtype == np.int32
    positions = range(step * size, (step + 1) * size)
    index = sampler.batch_indices(COUNT, seed, step, 1, size)[0]
    for row, (position, example) in enumerate(zip(positions, index, strict=True)):
        image = Image.open(io.BytesIO(FILES[example]))
        bits = np.random.Philox(key=[seed, position], counter=[0, 0, 0, 1])
        random = np.random.Generator(bits)
        box = INCEPTION.host_box(image.height, image.width, random)
        region = (box.left, box.top, box.left + box.width, box.top + box.height)
        expected = image.resize((24, 24), Image.Resampling.BILINEAR, box=region)
        assert (images[row] == np.asarray(expected)).all()
        assert labels[row] == example % 3


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_threads_change_nothing(threads):
    alone = Streamed(records(), INCEPTION, threads=1)
    stream = Streamed(records(), INCEPTION, threads=threads)
    found = list(stream.batches(0, 5, 17, 20, whole))  # over two epochs' ends
    assert len(found) == 12
    for step, batch in enumerate(found, 5):
        same(batch, alone.batch(0, step, 20))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_a_batch(processes, apart):
    """Each process gets its rows of the whole batch, whether they are contiguous or not."""
    stream = Streamed(records(), INCEPTION, threads=2)
    shares = np.arange(24).reshape(processes, -1, order="F" if apart else "C")
    parts = [stream.batches(1, 3, 6, 24, whole, share) for share in shares]
    for step, of_each in enumerate(zip(*parts, strict=True), 3):
        every = stream.batch(1, step, 24)
        for share, part in zip(shares, of_each, strict=True):
            same(part, [x[share] for x in every])
            same(part, stream.batch(1, step, 24, share))


@pytest.mark.parametrize("start", [0, 1, 5, 6, 1_000])
def test_a_stream_begins_anywhere(start):
    stream = Streamed(records(), INCEPTION, threads=2)
    with_start = list(stream.batches(2, start, start + 2, 10, whole))
    same(with_start[1], stream.batch(2, start + 1, 10))


def test_seeds_and_positions_have_crops_of_their_own():
    one = Streamed(records([jpeg(0, 60, 80)]), INCEPTION)
    images = np.concatenate([one.batch(seed, 0, 20)[0] for seed in range(3)])
    assert len({image.tobytes() for image in images}) == 60


def test_there_may_be_more_threads_than_work():
    stream = Streamed(records(), INCEPTION, threads=7)
    (batch,) = stream.batches(0, 4, 5, 3, whole)
    same(batch, stream.batch(0, 4, 3))


def test_a_stream_of_no_steps_is_empty():
    assert list(Streamed(records(), INCEPTION).batches(0, 5, 5, 10, whole)) == []


# --- Evaluation --------------------------------------------------------------------------------


@pytest.mark.parametrize("size, processes", [(10, 1), (53, 1), (64, 1), (12, 2), (20, 4)])
def test_evaluation_has_every_example_once_in_order(size, processes):
    stream = Streamed(records(), INCEPTION, threads=3)
    shares = np.arange(size).reshape(processes, -1)
    parts = [stream.evaluation_batches(size, whole, share) for share in shares]
    together = [
        [np.concatenate(x) for x in zip(*of_each, strict=True)]
        for of_each in zip(*parts, strict=True)
    ]
    assert all(len(x) == size for batch in together for x in batch)
    images, labels, mask = (np.concatenate(x) for x in zip(*together, strict=True))
    assert mask.dtype == bool and mask.sum() == COUNT and mask[:COUNT].all()
    assert (labels[:COUNT] == LABELS).all()
    for i in range(COUNT):
        image = Image.open(io.BytesIO(FILES[i]))
        box = INCEPTION.host_box(image.height, image.width, None)
        region = (box.left, box.top, box.left + box.width, box.top + box.height)
        expected = image.resize((24, 24), Image.Resampling.BILINEAR, box=region)
        assert (images[i] == np.asarray(expected)).all()


# --- Damage ------------------------------------------------------------------------------------


def damaged_at(*where, count=COUNT):
    files = [FILES[i % COUNT] for i in range(count)]
    for i in where:
        files[i] = files[i][:-80]
    return records(files)


def test_a_damaged_image_is_named_and_the_remedy_said():
    stream = Streamed(damaged_at(17), INCEPTION, threads=2)
    with pytest.raises(DataError, match="image 17: .*data.on_corrupt=skip") as e:
        list(stream.batches(0, 0, 10, 10, whole))
    assert "\n" not in str(e.value)


def test_the_batches_before_a_damaged_image_are_delivered():
    stream = Streamed(damaged_at(17), INCEPTION, threads=2)
    position = int(np.flatnonzero(sampler.indices(COUNT, 0, 0, COUNT) == 17)[0])
    batches = stream.batches(0, 0, 60, 1, whole)
    assert position > 3
    for _ in range(position):
        next(batches)
    with pytest.raises(DataError):
        next(batches)


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_in_place_of_a_damaged_image_comes_the_next_sound_one(threads):
    """The next image has the random numbers of the position, whichever thread finds the damage."""
    stream = Streamed(damaged_at(17, 18, count=250), INCEPTION, on_corrupt="skip", threads=threads)
    plain = [FILES[i % COUNT] for i in range(250)]
    expected = Streamed(records([*plain[:17], plain[19], plain[19], *plain[19:]]), INCEPTION)
    for step, (images, labels) in enumerate(stream.batches(0, 0, 25, 10, whole)):
        index = sampler.batch_indices(250, 0, step, 1, 10)[0]
        assert (images == expected.batch(0, step, 10)[0]).all()
        substitute = np.where(np.isin(index, (17, 18)), 19, index)
        assert (labels == substitute % 3).all()
    assert stream.damaged == 2


def test_the_next_of_the_last_example_is_the_first():
    stream = Streamed(damaged_at(COUNT - 1), INCEPTION, on_corrupt="skip")
    images, labels = stream.batch(0, 0, COUNT)
    row = int(np.flatnonzero(sampler.indices(COUNT, 0, 0, COUNT) == COUNT - 1)[0])
    assert labels[row] == 0
    assert np.abs(images[row, ..., 0].astype(int) - 0).max() < 40  # the red of image 0


def test_in_evaluation_a_damaged_image_is_not_counted():
    stream = Streamed(damaged_at(17), INCEPTION, on_corrupt="skip", threads=2)
    masks = np.concatenate([mask for _, _, mask in stream.evaluation_batches(10, whole)])
    assert np.flatnonzero(~masks[:COUNT]).tolist() == [17]
    assert stream.damaged == 1


def test_more_than_one_in_a_hundred_is_too_many():
    stream = Streamed(damaged_at(3, 100, 200, count=250), INCEPTION, on_corrupt="skip", threads=2)
    with pytest.raises(DataError, match="3 of 250 images are damaged, more than one in 100"):
        list(stream.batches(0, 0, 25, 10, whole))


@pytest.mark.parametrize("count", [1, 2, COUNT])
def test_all_damaged_ends_at_once(count):
    stream = Streamed(
        damaged_at(*range(count), count=count), INCEPTION, on_corrupt="skip", threads=2
    )
    with pytest.raises(DataError):
        next(stream.batches(0, 0, 10, 10, whole))


def test_a_damaged_image_found_twice_counts_once():
    stream = Streamed(damaged_at(17), INCEPTION, on_corrupt="skip", threads=3)
    for _ in stream.batches(0, 0, 30, 20, whole):
        pass
    assert stream.damaged == 1


def test_300_damaged_files_and_no_hang(tmp_path):
    """A file that is cut off, emptied or overwritten ends in a DataError that names it."""
    random = np.random.default_rng(0)
    for i in range(300):
        data = bytearray(FILES[i % COUNT])
        if i % 3 == 0:
            data = data[: int(random.integers(0, len(data) - 10))]
        elif i % 3 == 1:
            start = int(random.integers(0, len(data) // 2))
            data[start : start + 200] = random.bytes(200)
        else:
            data = bytearray(random.bytes(len(data)))
        files = list(FILES[:4])
        files[2] = bytes(data)
        with pytest.raises(DataError, match="image 2: "):
            Streamed(records(files), INCEPTION).batch(0, 0, 4)


# --- Threads -----------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_a_closed_stream_leaves_no_thread(taken):
    batches = Streamed(records(), INCEPTION, threads=7).batches(0, 0, 1_000, 20, whole)
    for _ in range(taken):
        next(batches)
    assert no_thread_is_left() == (taken == 0)
    batches.close()
    assert no_thread_is_left()


def test_threads_that_cannot_be_started_are_an_error(monkeypatch):
    """Threads that were started before the error are joined."""
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def refuse(thread):
        if len(started) == 3:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        next(Streamed(records(), INCEPTION, threads=7).batches(0, 0, 1_000, 20, whole))


def test_a_forgotten_stream_leaves_no_thread():
    batches = Streamed(records(), INCEPTION, threads=3).batches(0, 0, 1_000, 20, whole)
    next(batches)
    del batches
    assert no_thread_is_left()


def test_batches_are_read_ahead_and_moved_when_they_are_asked_for():
    moved, read = [], threading.Semaphore(0)

    def put(batch):
        moved.append(batch)
        return batch

    def reading(i):
        read.release()
        return Record(FILES[i], 0, "x")

    stream = Streamed(Records(reading, *parts(COUNT)), INCEPTION, threads=1)
    batches, size, ahead = stream.batches(0, 0, 100, 4, put), 4, streaming.BATCHES_AHEAD
    for step in range(6):
        batch = next(batches)
        assert len(moved) == step + 1 and batch is moved[step]
        for _ in range(size * (1 + ahead) if step == 0 else size):  # read without being asked for
            assert read.acquire(timeout=20)
    batches.close()
    further = 0
    while read.acquire(blocking=False):
        further += 1
    assert further <= 2 * size  # what the thread does next


def test_an_error_of_put_is_raised_and_ends_the_stream():
    def put(batch):
        raise MemoryError("the device is full")

    with pytest.raises(MemoryError):
        next(Streamed(records(), INCEPTION).batches(0, 0, 5, 4, put))


@pytest.mark.parametrize("error", [RuntimeError, SystemExit, KeyboardInterrupt, MemoryError])
def test_whatever_goes_wrong_in_a_thread_reaches_the_caller(error):
    def read(i):
        if i == 17:
            raise error
        return Record(FILES[i], 0, "x")

    stream = Streamed(Records(read, np.arange(COUNT), LABELS, ("a",)), INCEPTION, threads=2)
    start = time.monotonic()
    with pytest.raises(RuntimeError if issubclass(error, RuntimeError) else Exception):
        list(stream.batches(0, 0, 10, 10, whole))
    assert time.monotonic() - start < 10


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
from test_streaming import INCEPTION, Streamed, records, whole
batches = Streamed(records(), INCEPTION, threads=3).batches(0, 0, 100_000, 20, whole)
next(batches)
print("ready", flush=True)
{then}
"""


def start(then):
    code = SCRIPT.format(tests=str(Path(__file__).parent), then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=ROOT
    )
    assert process.stdout and process.stdout.readline() == b"ready\n"
    return process


@pytest.mark.parametrize("then", ["raise ValueError", "import os; os._exit(1)"])
def test_a_process_that_fails_ends(then):
    with start(then) as process:
        assert process.wait(timeout=10) == 1


def test_a_process_that_is_killed_leaves_nothing():
    with start("time.sleep(100)") as process:
        assert psutil.Process(process.pid).children(recursive=True) == []
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=10) == -signal.SIGKILL


# --- Memory ------------------------------------------------------------------------------------


def memory_after(stream, batches):
    """Return the resident bytes of this process after `batches` more batches."""
    for _ in stream.batches(0, 0, batches, 16, whole):
        pass
    return psutil.Process().memory_info().rss


@pytest.mark.parametrize(
    "batches", [200, pytest.param(20_000, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_memory_stays_as_it_is(batches):
    stream = Streamed(records(), INCEPTION, threads=2)
    before = memory_after(stream, 100)
    assert memory_after(stream, batches) - before < 20e6


# --- From files --------------------------------------------------------------------------------


def test_a_folder_of_images_is_streamed(tmp_path):
    for i, data in enumerate(FILES):
        for part in ("train", "test"):
            path = tmp_path / part / "abc"[i % 3] / f"{i:03}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    found = sources.open_records("image_folder", "train", str(tmp_path))
    stream = Streamed(found, INCEPTION, threads=2)
    assert stream.examples == len(found) == len(stream) and stream.classes == ("a", "b", "c")
    of_class = [i for label in range(3) for i in range(COUNT) if i % 3 == label]
    expected = Streamed(Records(lambda i: records()[of_class[i]], *parts(COUNT)), INCEPTION)
    for step, batch in enumerate(stream.batches(0, 0, 3, 10, whole)):
        same(batch, expected.batch(0, step, 10))
    os.truncate(found[3].name, 50)
    with pytest.raises(DataError, match=found[3].name):
        list(stream.evaluation_batches(10, whole))
