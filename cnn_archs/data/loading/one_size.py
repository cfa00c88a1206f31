"""Images that are stored one by one but all have one size: found by their headers, loaded whole.

Nothing but the files themselves says that the images of a folder, or of a dataset that `prepare`
made of one, are of one size. If they are, and if they fit in memory, they are held there like those
of MNIST.
"""

import dataclasses
import os
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from typing import NamedTuple

import numpy as np

from cnn_archs.data.datasets import sources
from cnn_archs.data.datasets.splits import Records, Split
from cnn_archs.data.loading.decode import Header, read_header
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.loading.threads import run_in_order
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import ConfigError, DataError

MAX_BYTES = 2_000_000_000  # of the pixels of all images; more are streamed, whatever their sizes
READERS = 8  # threads that read headers; they mostly wait for the disk
AHEAD = 64  # images
AT_ONCE = 1000  # images that are decoded at a time


class Survey(NamedTuple):
    """The size and the channels that the headers of a dataset's images state.

    shape: the (H, W, C) of all images, with C = 1 if all are gray and 3 otherwise; None if they
    differ in size or take more than MAX_BYTES. reason: why there is none, as the end of a sentence
    about the images.
    """

    shape: tuple[int, int, int] | None
    reason: str = ""


Marks = frozenset[tuple[str, int, int]]  # path, size and time of the last change of each file
surveys: dict[Marks, Survey] = {}


def survey(name: str, data_dir: str) -> Survey:
    """Find out whether all images of the folder or the tfds dataset `name` have one size.

    All headers are read, up to the first image of another size; a process reads the same files
    only once. Images that cannot be read do not count. Raises DataError if the dataset is missing.
    """
    parts = sources.stored_parts(name, data_dir)
    marks = frozenset(mark(path) for part in parts for path in part.paths().values())
    if marks not in surveys:
        surveys[marks] = survey_parts(parts)
    return surveys[marks]


def mark(path: str) -> tuple[str, int, int]:
    """Return what shows whether a file is still the same; zeros if there is none."""
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return os.path.abspath(path), status.st_size, status.st_mtime_ns


def survey_parts(parts: Sequence[Records]) -> Survey:
    """Return the survey of all images in `parts`."""
    examples, gray = sum(map(len, parts)), True
    first: Header | None = None
    with closing(headers(parts)) as found:
        for header in found:
            if first is None:
                first = header
                size = examples * header.height * header.width * (1 if header.gray else 3)
                if size > MAX_BYTES:
                    return Survey(None, f"would take {size / 1e9:,.1f} GB in memory")
            if (header.height, header.width) != (first.height, first.width):
                return Survey(None, f"differ in size: {describe(first)}, {describe(header)}")
            gray = gray and header.gray
    if first is None:
        return Survey(None, "cannot be read")
    return Survey((first.height, first.width, 1 if gray else 3))


def describe(header: Header) -> str:
    """Return the name and the size of an image."""
    return f"{header.name} has {header.width}x{header.height} pixels"


def headers(parts: Sequence[Records]) -> Generator[Header, None, None]:
    """Yield the headers of all images that can be read, in order; threads read ahead."""
    for part in parts:
        read: dict[int, Header | None] = {}
        with closing(run_in_order(partial(read_into, read, part), len(part), READERS, AHEAD)) as ok:
            for i, _ in enumerate(ok):
                header = read.pop(i)
                if header:
                    yield header


def read_into(found: dict[int, Header | None], part: Records, i: int) -> None:
    """Put the header of example i into `found`, or None if it cannot be read."""
    try:
        found[i] = read_header(part[i].encoded, part[i].name)
    except DataError:
        found[i] = None


def load_whole(images: Streamed, *, keep_records: bool) -> Split:
    """Decode all images, warped to the size of the crop of `images` where they have another one.

    Damaged images are left out, and counted, if `images` skips them; otherwise a DataError names
    the first. keep_records: whether the split knows the files of its images.
    """
    height, width = images.crop.host_size
    pixels = np.empty((len(images), height, width, images.records.channels), np.uint8)
    labels, count = np.empty(len(images), np.int32), 0
    with closing(images.evaluation_batches(AT_ONCE, lambda batch: batch)) as batches:
        for of_batch, labels_of_batch, mask in batches:
            rows = slice(count, count := count + int(mask.sum()))
            pixels[rows], labels[rows] = of_batch[mask], labels_of_batch[mask]
    sound = np.setdiff1d(np.arange(len(images)), sorted(images.skipped))
    records = images.records.take(sound) if keep_records else None
    damaged = len(images) - count
    return Split(pixels[:count], labels[:count], images.classes, records, damaged)


def load_split(name: str, split: str, data_dir: str) -> Split:
    """Load a split of any dataset whose images have one size, with the channels that they have.

    Raises ConfigError if they differ in size, and the errors of `sources.load_split`.
    """
    if 0 not in sources.dataset_spec(name, data_dir)[0]:
        return sources.load_split(name, split, data_dir)
    found = survey(name, data_dir)
    if found.shape is None:
        raise ConfigError(f"data.name: the images of {name} {found.reason}")
    height, width, channels = found.shape
    records = sources.open_records(name, split, data_dir)
    whole = Streamed(dataclasses.replace(records, channels=channels), Crop((height, width)))
    return load_whole(whole, keep_records=False)
