"""Datasets by name, read from disk.

`load_split` reads a dataset whose images are all of one size into memory; `open_records` opens one
whose images differ in size, to be read image by image.
"""

import dataclasses
from collections.abc import Mapping, Set
from functools import partial
from pathlib import Path

import numpy as np

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets import digits, image_folder, shapes, tfds_source
from cnn_archs.data.datasets.splits import Record, Records, Split, StoredFiles, select_part
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.runtime.files import read_regular

VARIABLE_SIZE = (0, 0, 3)  # (H, W, C) of a dataset whose images may differ in size

# (H, W, C) and number of classes of well-known datasets: with them a network can be described, and
# a mistake in a config found, before the data has been downloaded.
DATASET_SPECS = {
    "digits": ((32, 32, 1), 10),
    "shapes": ((64, 64, 3), 3),
    "mnist": ((28, 28, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "kmnist": ((28, 28, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "svhn_cropped": ((32, 32, 3), 10),
    "stl10": ((96, 96, 3), 10),
    "cats_vs_dogs": (VARIABLE_SIZE, 2),
    "imagenette": (VARIABLE_SIZE, 10),
    "tf_flowers": (VARIABLE_SIZE, 5),
    "oxford_iiit_pet": (VARIABLE_SIZE, 37),
    "food101": (VARIABLE_SIZE, 101),
    "oxford_flowers102": (VARIABLE_SIZE, 102),
    "stanford_dogs": (VARIABLE_SIZE, 120),
    "imagenet2012": (VARIABLE_SIZE, 1000),
}

# Numbers of images in their splits `train` and `test`, for planning without the data. tfds has no
# test split of cats_vs_dogs and tf_flowers; `select_part` makes one.
SPLIT_SIZES = {
    "digits": (1_437, 360),
    "shapes": (45, 15),
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "kmnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000),
    "cifar100": (50_000, 10_000),
    "svhn_cropped": (73_257, 26_032),
    "stl10": (5_000, 8_000),
    "cats_vs_dogs": (18_610, 4_652),
    "imagenette": (9_469, 3_925),
    "tf_flowers": (2_936, 734),
    "oxford_iiit_pet": (3_680, 3_669),
    "food101": (75_750, 25_250),
    "oxford_flowers102": (1_020, 6_149),
    "stanford_dogs": (12_000, 8_580),
    "imagenet2012": (1_281_167, 50_000),
}


LIGHT_ON_BLACK = ("digits", "mnist", "fashion_mnist", "kmnist", "emnist")

EXTRA_TEST_SPLITS = {
    "shapes": ("challenge",)
}  # splits besides `test` that a run is tested on at its end


def dataset_spec(name: str, data_dir: str = "") -> tuple[tuple[int, int, int], int]:
    """Return ((H, W, C), number of classes) of a dataset without reading its images.

    (H, W, C) is (0, 0, 3) if images may differ in size. Raises ConfigError for an unknown name and
    DataError for a dataset that is not in DATASET_SPECS and not on the disk.
    """
    if name in DATASET_SPECS:
        return DATASET_SPECS[name]
    if name == "image_folder":
        return VARIABLE_SIZE, len(image_folder.list_classes(data_dir))
    features = tfds_source.features_of(name, tfds_source.open_builder(name, data_dir))
    h, w, c = features["image"].shape
    return (h, w, c) if h and w else VARIABLE_SIZE, features["label"].num_classes


def class_names(name: str, data_dir: str = "") -> tuple[str, ...]:
    """Return the names of a dataset's classes in the order of their labels."""
    if name in ("digits", "shapes"):
        return digits.DIGITS if name == "digits" else shapes.CLASSES
    if name == "image_folder":
        return image_folder.list_classes(data_dir)
    return tuple(
        tfds_source.features_of(name, tfds_source.open_builder(name, data_dir))["label"].names
    )


def load_split(name: str, split: str, data_dir: str = "") -> Split:
    """Load a split of `digits`, `shapes`, or a tfds dataset whose images are all of one size.

    split: `train`, `test`, or another one that the dataset has, such as `challenge` of shapes. If a
    tfds dataset has no labeled test images, `select_part` divides its `train`. Raises ConfigError
    for an unknown name or split and for images that differ in size, and DataError for data that is
    missing or damaged.
    """
    if 0 in dataset_spec(name, data_dir)[0]:
        raise ConfigError(
            f"data.name: the images of {name} may differ in size; they must have one size"
        )
    if name == "digits":
        return Split(*digits.load_digits(split), digits.DIGITS)
    if name == "shapes":
        return Split(*shapes.draw_images(split), shapes.CLASSES)
    stored, both = tfds_source.find_split(name, split, data_dir)
    whole = Split(*stored.decode_all(), stored.classes)
    return select_part(whole, whole.labels, split) if both else whole


def open_records(name: str, split: str, data_dir: str = "", *, labeled: bool = False) -> Records:
    """Open a split of a folder of images (`image_folder`, in data_dir) or of a tfds dataset.

    labeled: whether the labels must be known, for which all records of a tfds dataset are read.
    Splits and errors are those of `load_split`; nothing is decoded.
    """
    if name == "image_folder":
        return open_folder(split, data_dir)
    if name in tfds_source.NOT_OF_TFDS:
        raise ConfigError(f"data.name: {name} is loaded whole, and not read one by one")
    stored, both = tfds_source.find_split(name, split, data_dir)
    whole = tfds_records(stored)
    if not (both or labeled):
        return whole
    labels = stored.read_labels()
    whole = dataclasses.replace(whole, labels=labels)
    return select_part(whole, labels, split) if both else whole


def tfds_records(stored: tfds_source.TfdsSplit) -> Records:
    """Return all examples of a split of tfds, whose labels are not known before they are read.

    Raises DataError if a file is damaged.
    """
    stored.check_shards()

    def read(i: int) -> Record:
        what = f"{stored}, example {i}"
        with data_errors(what):
            return Record(*stored.example(i), what)

    files = StoredFiles(
        root=str(stored.builder.data_path),
        paths=[str(path) for path in stored.info.filepaths],
        source=stored.split,
        label_names=stored.classes,
    )
    return Records(read, np.arange(len(stored)), None, stored.classes, files)


def stored_parts(name: str, data_dir: str) -> list[Records]:
    """Return all images of a folder, or of the splits of tfds, that `train` and `test` are made of.

    A folder may have a test part alone. Errors are those of `open_records`.
    """
    if name == "image_folder":
        parts = image_folder.find_parts(data_dir)
        there = ("train", "test") if parts.train or not parts.tests else ("test",)
        return [open_folder(split, data_dir) for split in there]
    found = [tfds_source.find_split(name, split, data_dir)[0] for split in ("train", "test")]
    return [tfds_records(stored) for stored in {stored.split: stored for stored in found}.values()]


def count_training_images(name: str, data_dir: str = "") -> int:
    """Count the images in the split `train`. Raises DataError if the dataset is missing."""
    if name == "image_folder":
        return len(open_records(name, "train", data_dir))
    if name in tfds_source.NOT_OF_TFDS:
        return len(load_split(name, "train", data_dir))
    stored, both = tfds_source.find_split(name, "train", data_dir)
    return len(open_records(name, "train", data_dir)) if both else len(stored)


def check_present(name: str, data_dir: str = "") -> None:
    """Raise DataError or ConfigError if the split `train` or `test` is missing or incomplete."""
    for split in ("train", "test"):
        if name == "image_folder":
            open_folder(split, data_dir)
        elif name not in tfds_source.NOT_OF_TFDS:
            tfds_source.find_split(name, split, data_dir)[0].check_shards()


def open_folder(split: str, data_dir: str) -> Records:
    """Open the part `train` or `test` of a folder of images.

    If the folder has no test part, `select_part` makes one out of its train part. Raises
    ConfigError for another split, and DataError for a folder in neither layout of `image_folder`.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"image_folder has no split {split!r}, only train, test")
    test = image_folder.list_images(data_dir, "test")
    if test and split == "test":
        return listed_records(test, data_dir)
    found = image_folder.list_images(data_dir, "train")
    assert found is not None
    whole = listed_records(found, data_dir)
    return whole if test else select_part(whole, found.labels, split)


def open_folder_as_before(
    split: str,
    data_dir: str,
    classes: tuple[str, ...],
    kept: Mapping[str, Set[str]],
) -> Records:
    """Open the part `train` or `test` of a folder of images, divided as it was for a run.

    classes: those of the run. kept: if its test images were taken out of the train part, the names
    of the files of all splits; the same files are the test images again, and all others are
    training images. A folder that has a test part of its own, or no file of those names, is
    divided as `open_folder` does it. The test part can be opened where there is no train part.
    Raises DataError if training images are left, but no test images.
    """
    own = image_folder.find_test_folder(image_folder.find_parts(data_dir), classes)
    if own and split == "test":
        return listed_records(image_folder.list_labeled(own, tuple(sorted(classes))), data_dir)
    found = image_folder.list_images(data_dir, "train") if kept and not own else None
    if found is None:
        return open_folder(split, data_dir)
    whole = listed_records(found, data_dir)
    tested = whole.are_named(kept["test"])
    if tested.any():
        return whole.take(np.flatnonzero(tested == (split == "test")))
    if whole.are_named(kept["train"]).any():
        raise DataError(f"{data_dir} has none of the test images of the run, which were in train")
    return open_folder(split, data_dir)


def listed_records(found: image_folder.Listing, data_dir: str) -> Records:
    """Return the images of a listing of the folder `data_dir`, to be read one by one."""
    root = Path(data_dir).expanduser()
    source = "." if found.part == root else found.part.name
    return Records(
        partial(read_image_file, found),
        np.arange(len(found.labels)),
        found.labels,
        found.classes,
        StoredFiles(str(root), found.paths, source),
    )


def read_image_file(found: image_folder.Listing, i: int) -> Record:
    """Read file i of a listing. Raises DataError if it cannot be read."""
    path = found.paths[i]
    with data_errors(path):
        return Record(read_regular(path), int(found.labels[i]), path)
