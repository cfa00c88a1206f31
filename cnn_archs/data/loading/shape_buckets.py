"""Batches of images that differ in shape, for test protocols: one bucket per shape.

A `ResizeRule` maps the height and width of an image to the region that is resized, and its new
size. A batch is yielded as soon as its bucket is full, so examples come in no particular order;
each is in one batch.
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

ResizeRule = Callable[[int, int], tuple[Box, Size]]  # (height, width) -> region, new size
BatchSizeFn = Callable[[Size, int], int]  # (shape, images left) -> images in a batch


class BucketedBatch(NamedTuple):
    """A batch of images of one shape, [B, H, W, C]: u8, or f32 if the mean has been subtracted.

    sizes: i32[B, 2], height and width of each image without the padding at its bottom and right.
    examples: i32[B], their indices in the dataset. labels: i32[B]. mask: bool[B], False for rows
    that only fill up the batch.
    """

    images: Any
    sizes: np.ndarray
    examples: np.ndarray
    labels: np.ndarray
    mask: np.ndarray


class DecodedExample(NamedTuple):
    """An example with its resized image, u8[h, w, C]."""

    example: int
    label: int
    image: np.ndarray


def evaluation_resize(crop: Crop) -> ResizeRule:
    """Return the rule that cuts and resizes images as `crop` does for evaluation."""
    return lambda height, width: (crop.evaluation_box(height, width), crop.host_size)


def whole_resize(scale: int) -> ResizeRule:
    """Return the rule that resizes the whole image to shorter side `scale`, in pixels."""

    def fit(height: int, width: int) -> tuple[Box, Size]:
        whole = Box(0.0, 0.0, float(height), float(width))
        return whole, size_with_shorter_side(height, width, scale)

    return fit


def trimmed_resize(scale: int, multiple: int) -> ResizeRule:
    """Return the rule of `whole_resize`, but trim the longer side to a multiple of `multiple`.

    The central pixels are kept. The result has few shapes; the shorter side is not trimmed.
    """

    def trim(side: int) -> int:
        return max(scale, side // multiple * multiple)

    def fit(height: int, width: int) -> tuple[Box, Size]:
        resized = size_with_shorter_side(height, width, scale)
        out = (trim(resized[0]), trim(resized[1]))
        corner = (center_offset(resized[0], out[0]), center_offset(resized[1], out[1]))
        return box_before_resize(height, width, resized, corner, out), out

    return fit


def bucketed_batches(
    data: Streamed, fit: ResizeRule, multiple: int, rows: BatchSizeFn
) -> Iterator[BucketedBatch]:
    """Yield batches of all examples of `data`, resized by `fit`; skipped damaged ones are left out.

    The longer side of an image is padded to a multiple of `multiple`. rows(shape, n): the size of a
    batch if n images of a shape are left. The last batch of each shape is filled up with masked
    rows.
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
    """Round the longer side up to a multiple; the size of a square is not changed."""
    height, width = (ceil_div(n, multiple) * multiple if n > min(size) else n for n in size)
    return height, width


def make_batch(some: list[DecodedExample], shape: Size, rows: int = 0) -> BucketedBatch:
    """Make a batch of examples of one shape; masked copies of the last one fill it up to `rows`."""
    position = np.arange(rows or len(some))
    which = np.minimum(position, len(some) - 1)
    images = np.zeros((len(position), *shape, some[0].image.shape[-1]), np.uint8)
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
    """Yield the sound examples in order; threads decode `ahead` chunks in advance."""
    done: dict[int, list[DecodedExample | None]] = {}

    def work(k: int) -> None:
        chunk = range(k * CHUNK, min((k + 1) * CHUNK, data.examples))
        done[k] = [decode_example(data, fit, example) for example in chunk]

    chunks = ceil_div(data.examples, CHUNK)
    with closing(run_in_order(work, chunks, data.threads, ahead)) as ready:
        for k, _ in enumerate(ready):
            yield from (example for example in done.pop(k) if example)


def decode_example(data: Streamed, fit: ResizeRule, example: int) -> DecodedExample | None:
    """Decode and resize an example; None if it is damaged and `data` skips damaged ones.

    Raises DataError if `data` does not tolerate it.
    """
    try:
        record = data.records[example]
        whole = (record.encoded, lambda *size: fit(*size)[0], record.name)
        region = Region(*whole, data.records.channels)
        image = region.decode_resized(fit(region.source.height, region.source.width)[1])
        return DecodedExample(example, record.label, image)
    except DataError as e:
        data.record_damage(example, e)
        return None
