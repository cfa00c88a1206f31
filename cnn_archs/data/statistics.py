"""What an input needs to know of the training images: computed once, kept in the workdir."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from cnn_archs.data.damage import reading

FILE = "statistics.npz"

Statistics = dict[str, np.ndarray]


def kept(workdir: Path, compute: Callable[[], Statistics]) -> Statistics:
    """The statistics of the run in `workdir`: read, or computed and written, whole or not at all.

    DataError where the file is damaged: its archive has a checksum of each array.
    """
    path = workdir / FILE
    if path.exists():
        what = f"{path} (remove it, and it is computed again)"
        with reading(what), open(path, "rb") as f, np.load(f) as arrays:
            return dict(arrays)
    statistics = compute()
    if statistics:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with open(temporary, "wb") as file:
            np.savez(file, allow_pickle=False, **statistics)
        os.replace(temporary, path)
    return statistics


def mean(kind: str, batches: Iterable[np.ndarray]) -> np.ndarray:
    """f32[H, W, C], the mean of u8[N, H, W, C] images at each place, or f32[1, 1, C] over all.

    kind: `pixel` or `channel`. The sums are whole numbers: exact, in any order.
    """
    total, examples = np.zeros(1, np.int64), 0
    for images in batches:
        total = total + images.sum(0, dtype=np.int64)
        examples += len(images)
    image = total / examples
    if kind == "channel":
        image = image.mean((0, 1), keepdims=True)
    return image.astype(np.float32)
