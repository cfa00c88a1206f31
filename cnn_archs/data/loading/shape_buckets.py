"""Images resized as a whole, for test protocols: they differ in shape, so in batches of one shape.

A `Fit` says of an image of height x width which region of it becomes which size. Batches are put
out as they fill up, so their order is that of no index; every example is in one, once.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np

from cnn_archs.arithmetic import ceil_div
from cnn_archs.data.loading.decode import Region
from cnn_archs.data.loading.streaming import CHUNK, Streamed
from cnn_archs.data.loading.threads import run_in_order
from cnn_archs.data.transforms.boxes import (
    Box,
    Size,
    box_before_resize,
    center_offset,
    size_with_shorter_side,
)
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import DataError

ResizeRule = Callable[[int, int], tuple[Box, Size]]
BatchSizeFn = Callable[[Size, int], int]


class BucketedBatch(NamedTuple):
    """A batch of images of one shape, [B, H, W, C]: u8, or f32 with the mean off already.

    sizes: of what is image in each, the rest being padding at the end, i32[B, 2]; examples: their
    numbers, labels: their classes, i32[B]; mask: False for what only fills the batch, bool[B].
    """

    images: Any
    sizes: np.ndarray
    examples: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


class DecodedExample(NamedTuple):
    """An example, decoded: image u8[h, w, 3]."""

    example: int
    label: int
    image: np.ndarray


def evaluation_resize(crop: Crop) -> ResizeRule:
    """The region that `crop` delivers in evaluation."""
    return lambda height, width: (crop.evaluation_box(height, width), crop.host_size)


def whole_resize(scale: int) -> ResizeRule:
    """The whole image, with the shorter side `scale`."""

    def fit(height: int, width: int) -> tuple[Box, Size]:
        whole = Box(0.0, 0.0, float(height), float(width))
        return whole, size_with_shorter_side(height, width, scale)

    return fit


def trimmed_resize(scale: int, multiple: int) -> ResizeRule:
    """The same, but of the longer side only the central multiple of `multiple` pixels.

    So that there are few shapes; the shorter side stays as it is.
    """

    def longest(side: int) -> int:
        return max(scale, side // multiple * multiple)

    def fit(height: int, width: int) -> tuple[Box, Size]:
        to = size_with_shorter_side(height, width, scale)
        out = (longest(to[0]), longest(to[1]))
        corner = (center_offset(to[0], out[0]), center_offset(to[1], out[1]))
        return box_before_resize(height, width, to, corner, out), out

    return fit


def bucketed_batches(
    data: Streamed, fit: ResizeRule, multiple: int, rows: BatchSizeFn
) -> Iterator[BucketedBatch]:
    """All examples of `data` as `fit` resizes them, but for damaged ones where those are skipped.

    A longer side is padded to a multiple of `multiple`. rows(shape, n): the size of a batch where n
    images of a shape are left; the last one of each shape is filled up.
    """
    waiting: dict[Size, list[DecodedExample]] = defaultdict(list)
    ahead = ceil_div(rows(fit(1, 1)[1], data.examples), CHUNK)
    with closing(decode_examples(data, fit, ahead)) as examples:
        for example in examples:
            shape = pad_shape(example.image.shape[:2], multiple)
            waiting[shape].append(example)
            if len(waiting[shape]) == rows(shape, data.examples):
                yield make_batch(waiting.pop(shape), shape)
    for shape, some in waiting.items():
        yield make_batch(some, shape, rows(shape, len(some)))


def pad_shape(size: Size, multiple: int) -> Size:
    """`size` with the longer side rounded up to a multiple; that of a square stays."""
    height, width = (ceil_div(n, multiple) * multiple if n > min(size) else n for n in size)
    return height, width


def make_batch(some: list[DecodedExample], shape: Size, rows: int = 0) -> BucketedBatch:
    """A batch of `some`, or of `rows`; what is missing of it repeats the last one, masked."""
    position = np.arange(rows or len(some))
    which = np.minimum(position, len(some) - 1)
    images = np.zeros((len(position), *shape, 3), np.uint8)
    for row, i in enumerate(which):
        height, width = some[i].image.shape[:2]
        images[row, :height, :width] = some[i].image
    return BucketedBatch(
        images,
        np.array([s.image.shape[:2] for s in some], np.int32)[which],
        np.array([s.example for s in some], np.int32)[which],
        np.array([s.label for s in some], np.int32)[which],
        position < len(some),
    )


def decode_examples(
    data: Streamed, fit: ResizeRule, ahead: int
) -> Generator[DecodedExample, None, None]:
    """The sound examples, in order; threads decode them, `ahead` pieces further than asked for."""
    done: dict[int, list[DecodedExample | None]] = {}

    def work(k: int) -> None:
        piece = range(k * CHUNK, min((k + 1) * CHUNK, data.examples))
        done[k] = [decode_example(data, fit, example) for example in piece]

    pieces = ceil_div(data.examples, CHUNK)
    with closing(run_in_order(work, pieces, data.threads, ahead)) as ready:
        for k, _ in enumerate(ready):
            yield from (example for example in done.pop(k) if example)


def decode_example(data: Streamed, fit: ResizeRule, example: int) -> DecodedExample | None:
    """The example, resized; None for a damaged one, which `data` counts or raises."""
    try:
        record = data.records[example]
        region = Region(record.encoded, lambda *size: fit(*size)[0], record.name)
        image = region.decode_resized(fit(region.source.height, region.source.width)[1])
        return DecodedExample(example, record.label, image)
    except DataError as e:
        data.record_damage(example, e)
        return None
