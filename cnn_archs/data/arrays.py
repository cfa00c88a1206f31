"""A dataset as arrays, for notebooks: `cnn_archs.data.load` and `cnn_archs.data.class_names`."""

import os
from typing import NamedTuple

import numpy as np

from cnn_archs.data.datasets import sources
from cnn_archs.data.loading import one_size
from cnn_archs.runtime.library_call import library_call


class Examples(NamedTuple):
    """Images u8[N, H, W, C] and their labels i32[N]."""

    images: np.ndarray
    labels: np.ndarray


def load(name: str, split: str = "train", data_dir: str | os.PathLike[str] = "") -> Examples:
    """Load a split of a dataset whose images all have one size.

    Args:
      name: such as `"digits"` and `"shapes"`, which need no files, or `"mnist"`, `"cifar10"` and
        others that `cnn-archs prepare NAME` has prepared; `"image_folder"` for the folder of images
        `data_dir`.
      split: `"train"`, `"test"`, or another one that the dataset has.
      data_dir: the folder of prepared datasets; by default $TFDS_DATA_DIR, or else
        ~/tensorflow_datasets.

    Returns:
      `(images, labels)`: raw images u8[N, H, W, C] and labels i32[N]. `class_names` says what the
      labels stand for.

    Raises:
      cnn_archs.errors.ConfigError: for an unknown dataset or split, and if images differ in size.
      cnn_archs.errors.DataError: if the dataset is missing or damaged.

    Example:
      >>> import cnn_archs
      >>> images, labels = cnn_archs.data.load("digits", "test")
      >>> images.shape, images.dtype, labels.shape
      ((360, 32, 32, 1), dtype('uint8'), (360,))
    """
    with library_call():
        found = one_size.load_split(name, split, os.path.expanduser(data_dir))
    return Examples(found.images, found.labels)


def class_names(name: str, data_dir: str | os.PathLike[str] = "") -> tuple[str, ...]:
    """Return the names of the classes of a dataset, in the order of their labels.

    Args:
      name: the dataset, as in `load`.
      data_dir: the folder of prepared datasets, as in `load`.

    Returns:
      One name for each label.

    Raises:
      cnn_archs.errors.ConfigError: for an unknown dataset.
      cnn_archs.errors.DataError: if the dataset is missing or damaged.

    Example:
      >>> import cnn_archs
      >>> cnn_archs.data.class_names("shapes")
      ('circle', 'rectangle', 'triangle')
    """
    with library_call():
        return sources.class_names(name, os.path.expanduser(data_dir))
