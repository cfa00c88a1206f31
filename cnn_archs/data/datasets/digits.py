"""scikit-learn's handwritten digits: 8x8 pixels, enlarged to 32x32x1."""

import importlib.util
from pathlib import Path

import numpy as np
from PIL import Image

from cnn_archs.data.datasets.stratified_split import stratified_split
from cnn_archs.errors import ConfigError

DIGITS = tuple(str(i) for i in range(10))
DIGITS_FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's package
TEST_IMAGES = 360  # of 1,797


def load_digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Load a split: images u8[N, 32, 32, 1] and labels i32[N], 1,437 for `train`, 360 for `test`.

    The split is fixed and stratified by class. Values 0..16 are scaled to 0..255. Raises
    ConfigError for any other split.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"digits has no split {split!r}, only train, test")
    # The file itself is read: importing sklearn.datasets takes a second, a fifth of the start.
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin
    table = np.loadtxt(Path(package.origin).parent / DIGITS_FILE, delimiter=",")
    small, labels = table[:, :-1], table[:, -1].astype(np.int32)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in pixels
    ]
    train, test = stratified_split(labels, TEST_IMAGES)
    chosen = train if split == "train" else test
    return np.stack(large)[..., None][chosen], labels[chosen]
