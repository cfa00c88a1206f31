"""What an input needs to know of the training images: computed once, kept in the workdir."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets.sources import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.distributed import multihost
from cnn_archs.runtime.files import atomic_write

Statistics = dict[str, np.ndarray]
IMAGES_AT_ONCE = 1000  # images in memory


def load_or_compute(path: Path | None, compute: Callable[[], Statistics]) -> Statistics:
    """The statistics in the file `path`, which are computed and written if it is not there.

    Without a file they are computed. DataError where the file is damaged: its archive has a
    checksum of each array.
    """
    if path is None:
        return compute()
    found = multihost.broadcast_arrays(lambda: read_statistics(path))
    if found is not None:
        return found
    computed = compute()
    if computed and multihost.is_primary():
        write_statistics(path, computed)
    return multihost.broadcast_arrays(lambda: computed) or {}


def read_statistics(path: Path) -> Statistics | None:
    """What `write` wrote; None where it did not."""
    if not path.exists():
        return None
    what = f"{path} (remove it, and it is computed again)"
    with data_errors(what), open(path, "rb") as f, np.load(f) as arrays:
        return dict(arrays)


def write_statistics(path: Path, statistics: Statistics) -> None:
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **statistics)


def compute_statistics(inputs: Preprocessor, train: Callable[[], Split | Streamed]) -> Statistics:
    """Compute what `inputs.prepare` needs to know of the training images; {} if it needs nothing.

    train: loads the images, and is called only where they are needed. Of streamed images the
    statistics are those of evaluation's crops.
    """
    found = {}
    if inputs.mean != "none":
        found["mean"] = mean_image(inputs.mean, image_batches(train()))
    if inputs.standardize:
        images = train()
        assert isinstance(images, Split), "only images of one size are standardized"
        found |= inputs.standardize.fit(images.images)
    return found


def image_batches(split: Split | Streamed) -> Iterator[np.ndarray]:
    """Yield this process's share of all images, u8[N, H, W, C], AT_ONCE at most at a time."""
    if isinstance(split, Split):
        share = multihost.local_indices(len(split))
        yield from (
            split.images[share[i : i + IMAGES_AT_ONCE]]
            for i in range(0, len(share), IMAGES_AT_ONCE)
        )
        return
    rows = multihost.local_indices(IMAGES_AT_ONCE)
    for images, _, mask in split.evaluation_batches(IMAGES_AT_ONCE, lambda batch: batch, rows):
        yield images[mask]


def mean_image(kind: str, batches: Iterable[np.ndarray]) -> np.ndarray:
    """f32[H, W, C], the mean of u8[N, H, W, C] images at each place, or f32[1, 1, C] over all.

    kind: `pixel` or `channel`. batches: of this process's share of the images, at least one. The
    sums are whole numbers: exact, in any order.
    """
    total, examples = np.zeros(1, np.int64), 0
    for images in batches:
        total = total + images.sum(0, dtype=np.int64)
        examples += len(images)
    image = multihost.sum_over_processes(total) / multihost.sum_over_processes(np.array(examples))
    if kind == "channel":
        image = image.mean((0, 1), keepdims=True)
    return image.astype(np.float32)
