"""Get images as a network is given them, and as they look to it."""

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.decode import decode_and_crop
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.preprocess import Preprocessor


def unnormalized(inputs: Preprocessor) -> Preprocessor:
    """Return `inputs` without what makes images unrecognizable: a mean, other ranges, a border."""
    return dataclasses.replace(
        inputs,
        mean="none",
        std=(),
        reverse_channels=False,
        standardize=None,
        pixel_range=(0.0, 255.0),
        pad=0,
    )


def delivered_images(
    data: Split | Streamed, index: np.ndarray, rng: np.random.Generator | None
) -> np.ndarray:
    """Return the images at `index` as the device gets them, u8[N, H, W, C].

    Without `rng` they are those of an evaluation.
    """
    if isinstance(data, Split):
        return data.images[index]
    crop, channels = data.crop, data.records.channels
    return np.stack(
        [
            decode_and_crop(
                record.encoded,
                lambda h, w: crop.host_box(h, w, rng),
                crop.host_size,
                record.name,
                channels,
            )
            for record in (data.records[int(i)] for i in index)
        ]
    )


def spread_images(data: Split | Streamed, count: int) -> tuple[np.ndarray, list[int]]:
    """Return `count` images u8[N, H, W, C], spread evenly over `data`, and their labels."""
    examples = len(data)
    index = np.unique(np.linspace(0, examples - 1, min(count, examples)).round().astype(int))
    if isinstance(data, Split):
        return data.images[index], data.labels[index].tolist()
    return delivered_images(data, index, None), [data.records[int(i)].label for i in index]


def evaluation_batches(
    data: Split | Streamed, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield all of `data` in batches: images u8[N, H, W, C] and labels i32[N].

    N is `size` at most.
    """
    if isinstance(data, Split):
        for i in range(0, len(data), size):
            yield data.images[i : i + size], data.labels[i : i + size]
    else:
        for images, labels, mask in data.evaluation_batches(size, put=lambda batch: batch):
            yield images[mask], labels[mask]


def as_pixels(images: jax.Array) -> np.ndarray:
    """Convert f32 images to u8 by rounding and clipping."""
    return np.clip(np.round(np.asarray(images)), 0, 255).astype(np.uint8)
