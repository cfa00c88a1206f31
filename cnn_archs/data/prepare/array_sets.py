"""Describe the datasets that their authors publish as arrays, and check arrays against them."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cnn_archs.data.datasets.sources import DATASET_SPECS, SPLIT_SIZES
from cnn_archs.data.prepare.cifar_classes import (
    CIFAR10,
    CIFAR100,
    CIFAR100_COARSE,
    COARSE_OF_FINE,
)
from cnn_archs.errors import DataError

SPLITS = ("train", "test")
IDX_FILES = {  # split -> the files of its images and of its labels, in MNIST's format
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR10_FILES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
CIFAR100_FILES = {"train": ("train",), "test": ("test",)}


@dataclasses.dataclass(frozen=True)
class ArraySet:
    """Describes a dataset that is published as arrays.

    files: the names of the files of each split; those of CIFAR's binary form end in .bin. labels:
    the fields of its labels with the number of classes of each, in the order of the binary files.
    names: the names of the classes of each field, where tfds takes them from the files. folders:
    where, in a folder that holds several datasets, its files are. archives: the names of its
    archives, without an ending .gz. reads: what it can be prepared from, in words.
    """

    name: str
    files: Mapping[str, tuple[str, ...]]
    labels: Mapping[str, int]
    names: Mapping[str, tuple[str, ...]]
    folders: tuple[str, ...]
    archives: tuple[str, ...]
    reads: str

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, C) of its images."""
        return DATASET_SPECS[self.name][0]

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of images in each split."""
        return dict(zip(SPLITS, SPLIT_SIZES[self.name], strict=True))


class Arrays(NamedTuple):
    """Holds the images of a split, u8[N, H, W, C], and its labels by field, each i64[N]."""

    images: np.ndarray
    labels: Mapping[str, np.ndarray]


NPZ = "an .npz of x_train, y_train, x_test and y_test"


def like_mnist(name: str, folder: str, other: str) -> ArraySet:
    """Return a dataset in MNIST's format. folder, other: its folder by torchvision and by Keras."""
    reads = f"the four files *-ubyte or *-ubyte.gz, or {NPZ}"
    folders = (f"{folder}/raw", folder, other)
    return ArraySet(name, IDX_FILES, {"label": 10}, {}, folders, (), reads)


def cifar(
    name: str,
    number: int,
    files: Mapping[str, tuple[str, ...]],
    names: Mapping[str, tuple[str, ...]],
) -> ArraySet:
    """Return CIFAR-`number`."""
    stem = f"cifar-{number}"
    python = ("batches-py", "python")
    folders = (
        *(f"{stem}-{form}" for form in (*python, "batches-bin", "binary")),
        *(f"{stem}-{a}-target/{stem}-{b}" for a in python for b in python),  # Keras 3
    )
    reads = f"{stem}-python.tar.gz, {stem}-binary.tar.gz, the folder of either, or {NPZ}"
    labels = {field: len(classes) for field, classes in names.items()}
    archives = tuple(
        f"{stem}-{form}{ending}"
        for form in ("binary", "batches-bin", *python)
        for ending in (".tar", ".tgz", "-target_archive")
    )
    return ArraySet(name, files, labels, names, folders, archives, reads)


ARRAY_SETS = {
    each.name: each
    for each in (
        like_mnist("mnist", "MNIST", "mnist"),
        like_mnist("fashion_mnist", "FashionMNIST", "fashion-mnist"),
        like_mnist("kmnist", "KMNIST", "kmnist"),
        cifar("cifar10", 10, CIFAR10_FILES, {"label": CIFAR10}),
        cifar(
            "cifar100", 100, CIFAR100_FILES, {"coarse_label": CIFAR100_COARSE, "label": CIFAR100}
        ),
    )
}


def checked_arrays(
    dataset: ArraySet, images: np.ndarray, labels: Mapping[str, np.ndarray], what: str
) -> Arrays:
    """Return the arrays of a split in one form. what: the file that they are from, for errors.

    images: whole numbers from 0 to 255 of any type, [N, H, W, C], [N, C, H, W], and, of gray
    images, [N, H, W] or [N, H * W]. labels: [N] or [N, 1]. The coarse labels of CIFAR-100 follow
    from its labels if they are not given. Raises DataError if something does not fit.
    """
    h, w, c = dataset.shape
    flat = images.shape[1:]
    if flat == (c, h, w) and c > 1:
        images = images.transpose(0, 2, 3, 1)
    elif flat != dataset.shape and (c > 1 or flat not in ((h, w), (1, h, w), (h * w,))):
        raise DataError(
            f"{what}: the images have shape {images.shape}, and those of {dataset.name} (N, {h}, "
            f"{w}, {c})"
        )
    pixels = as_whole(images, 256, f"{what}: the images").astype(np.uint8)
    if images.dtype.kind == "f" and len(pixels) and pixels.max() <= 1:
        raise DataError(f"{what}: the images are of numbers from 0 to 1, and not of 0 to 255")
    if "label" in labels and "coarse_label" in dataset.labels and "coarse_label" not in labels:
        fine = as_labels(labels["label"], len(COARSE_OF_FINE), f"{what}: label")
        labels = {**labels, "coarse_label": np.array(COARSE_OF_FINE)[fine]}
    found = {
        field: as_labels(labels[field], count, f"{what}: {field}")
        for field, count in dataset.labels.items()
    }
    for field, values in found.items():
        if len(values) != len(pixels):
            raise DataError(f"{what}: {len(pixels):,} images, but {len(values):,} of {field}")
    if not len(pixels):
        raise DataError(f"{what}: there are no images")
    return Arrays(np.ascontiguousarray(pixels).reshape(-1, h, w, c), found)


def as_labels(values: np.ndarray, count: int, what: str) -> np.ndarray:
    """Return labels as i64[N]. Raises DataError unless they are [N] or [N, 1], from 0 to count."""
    if values.ndim > 2 or values.ndim == 2 and values.shape[1] != 1 or not values.ndim:
        raise DataError(f"{what} has shape {values.shape}, not (N,): one number for each image")
    return as_whole(values.reshape(-1), count, what).astype(np.int64)


def as_whole(values: np.ndarray, below: int, what: str) -> np.ndarray:
    """Return the values. Raises DataError unless they are whole numbers from 0 to `below` - 1."""
    if values.dtype.kind not in "iuf":
        raise DataError(f"{what} are {values.dtype}, not numbers")
    if values.size and (not values.min() >= 0 or not values.max() < below):
        raise DataError(
            f"{what} go from {values.min()} to {values.max()}, not from 0 to {below - 1}"
        )
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise DataError(f"{what} are not whole numbers (0 to {below - 1}): give them as published")
    return values
