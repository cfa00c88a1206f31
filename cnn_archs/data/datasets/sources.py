"""Datasets by name, read from disk.

`load_split` reads a dataset whose images are all of one size into memory; `open_records` opens one
whose images differ in size, to be read image by image.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets import digits, image_folder, shapes, tfds_source
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.runtime.files import read_regular


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a dataset in memory.

    images: u8[N, H, W, C]. labels: i32[N]. classes: the name of each label.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Split":
        """Return the examples at `index`, i64[M], in that order."""
        return Split(self.images[index], self.labels[index], self.classes)

    def downsample(self, by: int) -> "Split":
        """Replace each square of `by` x `by` pixels by its mean, rounded with halves to even.

        `by` must divide the height and the width.
        """
        if by == 1:
            return self
        n, h, w, c = self.images.shape
        sums = self.images.reshape(n, h // by, by, w // by, by, c).sum((2, 4), dtype=np.uint32)
        return dataclasses.replace(self, images=np.rint(sums / by**2).astype(np.uint8))


class Record(NamedTuple):
    """An encoded image as it is stored, its label, and its name for error messages."""

    encoded: bytes
    label: int
    name: str


@dataclasses.dataclass(frozen=True)
class Records:
    """A part of a dataset whose images differ in size; any thread may read any of them.

    read: maps one of the numbers in `index`, i64[N], to its record, or raises DataError. labels:
    i32[N], or None if finding them takes reading all records. classes: the name of each label.
    channels: those that the images are decoded to, 3, or 1 for gray.
    """

    read: Callable[[int], Record]
    index: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    channels: int = 3

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Record:
        """Read the record of example i. Raises DataError if it cannot be read."""
        return self.read(int(self.index[i]))

    def take(self, index: np.ndarray) -> "Records":
        """Return the examples at `index`, i64[M], in that order."""
        labels = None if self.labels is None else self.labels[index]
        return dataclasses.replace(self, index=self.index[index], labels=labels)


SplitOrRecords = TypeVar("SplitOrRecords", Split, Records)

VARIABLE_SIZE = (0, 0, 3)  # (H, W, C) of a dataset whose images differ in size

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


EXTRA_TEST_SPLITS = {
    "shapes": ("challenge",)
}  # splits besides `test` that a run is tested on at its end


def dataset_spec(name: str, data_dir: str = "") -> tuple[tuple[int, int, int], int]:
    """Return ((H, W, C), number of classes) of a dataset without reading its images.

    (H, W, C) is (0, 0, 3) if images differ in size. Raises ConfigError for an unknown name and
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
            f"data.name: the images of {name} differ in size; they must have one size"
        )
    if name == "digits":
        return Split(*digits.load_digits(split), digits.DIGITS)
    if name == "shapes":
        return Split(*shapes.draw_images(split), shapes.CLASSES)
    stored, both = tfds_source.find_split(name, split, data_dir)
    whole = Split(*stored.decode_all(), stored.classes)
    return select_part(whole, whole.labels, split) if both else whole


def open_records(name: str, split: str, data_dir: str = "") -> Records:
    """Open a split of a folder of images (`image_folder`, in data_dir) or of a tfds dataset.

    Splits and errors are those of `load_split`; nothing is decoded.
    """
    if name == "image_folder":
        return open_folder(split, data_dir)[1]
    if name in tfds_source.NOT_OF_TFDS:
        raise ConfigError(f"data.name: {name} is loaded whole, and not read one by one")
    stored, both = tfds_source.find_split(name, split, data_dir)
    stored.check_shards()

    def read(i: int) -> Record:
        what = f"{stored}, example {i}"
        with data_errors(what):
            return Record(*stored.example(i), what)

    labels = stored.read_labels() if both else None
    whole = Records(read, np.arange(len(stored)), labels, stored.classes)
    return whole if labels is None else select_part(whole, labels, split)


def count_training_images(name: str, data_dir: str = "") -> int:
    """Count the images in the split `train`. Raises DataError if the dataset is missing."""
    if name == "image_folder":
        return len(open_records(name, "train", data_dir))
    if name in tfds_source.NOT_OF_TFDS:
        return len(load_split(name, "train", data_dir))
    stored, both = tfds_source.find_split(name, "train", data_dir)
    return len(open_records(name, "train", data_dir)) if both else len(stored)


def open_folder(split: str, data_dir: str) -> tuple[image_folder.Listing, Records]:
    """Open the part `train` or `test` of a folder of images.

    If the folder has no test part, `select_part` makes one out of its train part. Returns the
    listing of the files too, into which the index of the records points. Raises ConfigError for
    another split, and DataError for a folder in neither layout of `image_folder`.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"image_folder has no split {split!r}, only train, test")
    test = image_folder.list_images(data_dir, "test")
    found = test if split == "test" and test else image_folder.list_images(data_dir, "train")
    assert found is not None
    whole = Records(
        partial(read_image_file, found), np.arange(len(found.labels)), found.labels, found.classes
    )
    return found, whole if test else select_part(whole, found.labels, split)


def read_image_file(found: image_folder.Listing, i: int) -> Record:
    """Read file i of a listing. Raises DataError if it cannot be read."""
    path = found.paths[i]
    with data_errors(path):
        return Record(read_regular(path), int(found.labels[i]), path)


def select_part(whole: SplitOrRecords, labels: np.ndarray, split: str) -> SplitOrRecords:
    """Return the part `train` or `test` of a dataset that has no test part of its own.

    A random but fixed fifth of each class becomes the test part; a class with two or more images
    gives at least one. labels: i32[N], of `whole`. Raises DataError if the test part is empty.
    """
    random = np.random.Generator(np.random.Philox(key=[0, 0]))
    test = np.zeros(len(labels), bool)
    for label in range(len(whole.classes)):
        of_class = random.permutation(np.flatnonzero(labels == label))
        test[of_class[: max(round(len(of_class) / 5), int(len(of_class) > 1))]] = True
    if not test.any():
        raise DataError(
            "there are too few images to set a test part aside: each class has only one"
        )
    return whole.take(np.flatnonzero(test == (split == "test")))


def hold_out(split: SplitOrRecords, count: int) -> tuple[SplitOrRecords, SplitOrRecords]:
    """Divide `split` into the rest and `count` held-out examples, stratified by class.

    The same examples are always held out, whatever the seed, so that a run which starts from
    another run's weights is not tested on images that those were trained on. Records whose labels
    are not known are divided at random without regard to classes. Raises ConfigError if a part
    would have fewer examples than there are classes.
    """
    return split_stratified(split, count, "data.holdout")


def subsample(split: SplitOrRecords, count: int) -> SplitOrRecords:
    """Return `count` examples of `split`, chosen as by `hold_out`: always the same ones."""
    return split if count == len(split) else split_stratified(split, count, "data.examples")[1]


def split_stratified(
    split: SplitOrRecords, count: int, key: str
) -> tuple[SplitOrRecords, SplitOrRecords]:
    """Divide `split` as `hold_out` does. key: the config key of `count`, for the error message."""
    from sklearn.model_selection import train_test_split

    if not len(split.classes) <= count <= len(split) - len(split.classes):
        raise ConfigError(
            f"{key}={count}: must be 0 or {len(split.classes)} to "
            f"{len(split) - len(split.classes)} (at least one image of each class on both sides)"
        )
    rest, held = train_test_split(
        np.arange(len(split)), test_size=count, stratify=split.labels, random_state=0
    )
    return split.take(np.sort(rest)), split.take(np.sort(held))
