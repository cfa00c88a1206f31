"""Statistics of the training images for preprocessing, computed once and kept in the workdir."""

import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.transforms.preprocess import Preprocessor
from cnn_archs.distributed import multihost
from cnn_archs.errors import DataError, first_line
from cnn_archs.runtime.files import atomic_write, read_errors, read_regular

Statistics = dict[str, np.ndarray]
IMAGES_AT_ONCE = 1000  # read at a time, to bound memory


def load_or_compute(path: Path | None, compute: Callable[[], Statistics]) -> Statistics:
    """Load the statistics from the file `path`, or compute and write them if it does not exist.

    If `path` is None they are only computed. Raises DataError if the file is damaged, which the
    checksums in its archive reveal.
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
    """Read the file that `write_statistics` wrote; None if it does not exist."""
    if not path.exists():
        return None
    with read_errors(path):
        encoded = read_regular(path)
    try:
        with np.load(io.BytesIO(encoded)) as arrays:
            found = dict(arrays)
        if not all(np.isfinite(array).all() for array in found.values()):
            raise ValueError("a value is not finite")
    except Exception as e:  # of zip archives, numpy's headers, or anything else that is in the file
        raise DataError(
            f"{path} is damaged: {first_line(e)}; remove it to have it computed again"
        ) from e
    return found


def write_statistics(path: Path, statistics: Statistics) -> None:
    """Write statistics to `path` atomically, as an npz archive."""
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, allow_pickle=False, **statistics)


def compute_statistics(inputs: Preprocessor, train: Callable[[], Split | Streamed]) -> Statistics:
    """Compute the statistics that `inputs.make_preprocess` needs; {} if it needs none.

    train: loads the training images, and is called only if they are needed. Streamed images are
    cropped as for evaluation.
    """
    found = {}
    if not isinstance(inputs.mean, str):
        found["mean"] = np.array(inputs.mean, np.float32)[None, None] * 255
    elif inputs.mean != "none":
        found["mean"] = mean_image(inputs.mean, image_batches(train()))
    if inputs.standardize:
        images = train()
        assert isinstance(images, Split), "only images of one size are standardized"
        found |= inputs.standardize.fit(images.images)
    return found


def image_batches(split: Split | Streamed) -> Iterator[np.ndarray]:
    """Yield this process's share of the images as u8[N, H, W, C], IMAGES_AT_ONCE at most."""
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
    """Return the mean of all processes' images.

    kind: `pixel` for the mean at each position, f32[H, W, C]; `channel` for the mean over all
    positions, f32[1, 1, C]. batches: this process's share, u8[N, H, W, C] each, at least one batch.
    The sums are integers, hence exact in any order.
    """
    total, examples = np.zeros(1, np.int64), 0
    for images in batches:
        total = total + images.sum(0, dtype=np.int64)
        examples += len(images)
    image = multihost.sum_over_processes(total) / multihost.sum_over_processes(np.array(examples))
    if kind == "channel":
        image = image.mean((0, 1), keepdims=True)
    return image.astype(np.float32)
