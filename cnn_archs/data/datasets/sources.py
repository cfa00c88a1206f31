"""Where images come from.

`load(name, split)` reads a whole small dataset, of images of one size, into memory;
`records(name, split)` gives access to one whose images differ in size.
"""

import dataclasses
import importlib.util
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from cnn_archs.data.corruption import damage_error, data_errors
from cnn_archs.data.datasets import image_folder, shapes, tfds_source
from cnn_archs.data.datasets.stratified_split import stratified_split
from cnn_archs.errors import ConfigError, DataError


@dataclasses.dataclass(frozen=True)
class Split:
    """images: u8[N, H, W, C]; labels: i32[N]; classes: one name for each label."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Split":
        """The examples at `index`, in its order."""
        return Split(self.images[index], self.labels[index], self.classes)

    def downsample(self, by: int) -> "Split":
        """Each image by its means over squares of `by` x `by` pixels, which divide it; halves to
        the even number."""
        if by == 1:
            return self
        n, h, w, c = self.images.shape
        sums = self.images.reshape(n, h // by, by, w // by, by, c).sum((2, 4), dtype=np.uint32)
        return dataclasses.replace(self, images=np.rint(sums / by**2).astype(np.uint8))


class Record(NamedTuple):
    """An image as it is stored, its label, and what to call it if it is damaged."""

    encoded: bytes
    label: int
    name: str


@dataclasses.dataclass(frozen=True)
class Records:
    """Images that differ in size, read one at a time, by any thread.

    read: the record of one of the numbers in `index`, i64[N]; it raises DataError. labels: i32[N],
    or None where all records would have to be read for them. classes: one name for each label.
    """

    read: Callable[[int], Record]
    index: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, i: int) -> Record:
        """The record of example i; DataError if it cannot be read."""
        return self.read(int(self.index[i]))

    def take(self, index: np.ndarray) -> "Records":
        """The examples at `index`, in its order."""
        labels = None if self.labels is None else self.labels[index]
        return Records(self.read, self.index[index], labels, self.classes)


SplitOrRecords = TypeVar("SplitOrRecords", Split, Records)

DIGITS = tuple(str(i) for i in range(10))
DIGITS_FILE = "datasets/data/digits.csv.gz"  # in scikit-learn's package
VARIABLE_SIZE = (0, 0, 3)

# (H, W, C) and number of classes of the datasets that the experiments use and of some others, so
# that a network can be described, and a mistake in a config found, before any data is there.
# 0: images differ in it.
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

# How many images `train` and `test` of them have, for a plan made where the data is not. tfds does
# not divide cats_vs_dogs and tf_flowers: a fifth of each class is the test.
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
}  # splits besides `test` that a run is tested on in the end


def dataset_spec(name: str, data_dir: str = "") -> tuple[tuple[int, int, int], int]:
    """((H, W, C), number of classes) of the dataset `name`, without reading its images.

    (0, 0, 3) where images differ in size.
    """
    if name in DATASET_SPECS:
        return DATASET_SPECS[name]
    if name == "image_folder":
        return VARIABLE_SIZE, len(image_folder.list_classes(data_dir))
    features = tfds_source.features_of(name, tfds_source.open_builder(name, data_dir))
    h, w, c = features["image"].shape
    return (h, w, c) if h and w else VARIABLE_SIZE, features["label"].num_classes


def class_names(name: str, data_dir: str = "") -> tuple[str, ...]:
    """The names of the classes of the dataset `name`, in the order of the labels."""
    if name in ("digits", "shapes"):
        return DIGITS if name == "digits" else shapes.CLASSES
    if name == "image_folder":
        return image_folder.list_classes(data_dir)
    return tuple(
        tfds_source.features_of(name, tfds_source.open_builder(name, data_dir))["label"].names
    )


def load_split(name: str, split: str, data_dir: str = "") -> Split:
    """A split of `digits`, `shapes`, or of a tfds dataset whose images are of one size.

    split: `train` or `test`; `challenge` of shapes; another that tfds has. A tfds dataset without
    labeled test images is divided as by `divided`. ConfigError for an unknown name or split and
    for images that differ in size, DataError for data that is missing or damaged.
    """
    if 0 in dataset_spec(name, data_dir)[0]:
        raise ConfigError(f"data.name: the images of {name} differ in size; they must be of one")
    if name == "digits":
        return load_digits(split)
    if name == "shapes":
        return Split(*shapes.draw_split(split), shapes.CLASSES)
    stored, both = tfds_source.find_split(name, split, data_dir)
    whole = Split(*stored.decode_all(), stored.classes)
    return select_part(whole, whole.labels, split) if both else whole


def open_records(name: str, split: str, data_dir: str = "") -> Records:
    """A split of `image_folder`, in data_dir, or of a tfds dataset: as `load`, but not decoded."""
    if name == "image_folder":
        return from_folder(split, data_dir)
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
    """The length of the split `train`; DataError where it is not there."""
    if name == "image_folder" or name in tfds_source.NOT_OF_TFDS:
        return len(
            (open_records if name == "image_folder" else load_split)(name, "train", data_dir)
        )
    stored, both = tfds_source.find_split(name, "train", data_dir)
    return len(open_records(name, "train", data_dir)) if both else len(stored)


def from_folder(split: str, data_dir: str) -> Records:
    """The part `train` or `test` of a folder of images; the latter may be cut out of the former."""
    return open_folder(split, data_dir)[1]


def open_folder(split: str, data_dir: str) -> tuple[image_folder.Listing, Records]:
    """As `from_folder`, with the listing that the index of the records is of."""
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
    path = found.paths[i]
    try:
        with open(path, "rb") as file:
            return Record(file.read(), int(found.labels[i]), path)
    except OSError as e:
        raise damage_error(path, e) from e


def select_part(whole: SplitOrRecords, labels: np.ndarray, split: str) -> SplitOrRecords:
    """The part `train` or `test` of a dataset that is not divided.

    A fixed fifth of each class, at random, is the test part: at least one image of two.
    """
    random = np.random.Generator(np.random.Philox(key=[0, 0]))
    test = np.zeros(len(labels), bool)
    for label in range(len(whole.classes)):
        of_class = random.permutation(np.flatnonzero(labels == label))
        test[of_class[: max(round(len(of_class) / 5), int(len(of_class) > 1))]] = True
    if not test.any():
        raise DataError("there are too few images to set some aside for a test: one a class")
    return whole.take(np.flatnonzero(test == (split == "test")))


def load_digits(split: str) -> Split:
    """scikit-learn's 1,797 handwritten digits, 8x8 enlarged to 32x32: 1,437 train, 360 test.

    The split is stratified and fixed. Values 0..16 become 0..255.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"digits has no split {split!r}, only train, test")
    from PIL import Image

    # The file itself: to import sklearn.datasets takes a second, a fifth of a start.
    package = importlib.util.find_spec("sklearn")
    assert package and package.origin
    table = np.loadtxt(Path(package.origin).parent / DIGITS_FILE, delimiter=",")
    small, labels = table[:, :-1], table[:, -1].astype(np.int32)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in pixels
    ]
    train, test = stratified_split(labels, 360)
    everything = Split(np.stack(large)[..., None], labels, DIGITS)
    return everything.take(train if split == "train" else test)


def hold_out(split: SplitOrRecords, count: int) -> tuple[SplitOrRecords, SplitOrRecords]:
    """`split` in two: the rest, and `count` examples, stratified by class, always the same ones.

    So no seed, and no run that starts from another's weights, is tested on what that was trained
    on. Records whose labels are not known are divided at random, the classes left to chance.
    """
    return split_stratified(split, count, "data.holdout")


def subsample(split: SplitOrRecords, count: int) -> SplitOrRecords:
    """`count` examples of `split`, always the same ones, chosen as by `hold_out`."""
    return split if count == len(split) else split_stratified(split, count, "data.examples")[1]


def split_stratified(
    split: SplitOrRecords, count: int, key: str
) -> tuple[SplitOrRecords, SplitOrRecords]:
    """The rest, and `count` examples: see `hold_out`. key: of the config, that says how many."""
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
