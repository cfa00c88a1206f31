"""A part of a dataset, whole in memory or read image by image, and how it is divided."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence, Set
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np

from cnn_archs.errors import ConfigError, DataError


class StoredFiles(NamedTuple):
    """The files that hold the images of a part of a dataset.

    root: the folder that names of files are relative to. paths: of all files. source: the folder
    below `root`, or the split of tfds, that they are. label_names: what the labels in the files
    stand for; () if file i is image i, without a label.
    """

    root: str
    paths: Sequence[str]
    source: str
    label_names: tuple[str, ...] = ()

    def names(self, paths: Iterable[str]) -> list[str]:
        """Return the names of files relative to `root`."""
        above = f"{self.root}/"
        return [path.removeprefix(above) for path in paths]


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
    files: those of all images that `read` can read; None if they are in no files. channels: those
    that the images are decoded to, 3, or 1 for gray.
    """

    read: Callable[[int], Record]
    index: np.ndarray
    labels: np.ndarray | None
    classes: tuple[str, ...]
    files: StoredFiles | None = None
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

    def paths(self) -> dict[str, str]:
        """Return {name: path} of the files that hold these images; {} if they are in no files."""
        if self.files is None:
            return {}
        every = self.files.paths
        chosen = every if self.files.label_names else [every[i] for i in self.index]
        return dict(zip(self.files.names(chosen), chosen, strict=True))

    def are_named(self, names: Set[str]) -> np.ndarray:
        """Return bool[N]: whether the file of each image has one of the `names`."""
        assert self.files and not self.files.label_names
        every = self.files.paths
        own = self.files.names(every[i] for i in self.index)
        return np.array([name in names for name in own], bool)


@dataclasses.dataclass(frozen=True)
class Split:
    """A part of a dataset in memory.

    images: u8[N, H, W, C]. labels: i32[N]. classes: the name of each label. records: those that the
    images were decoded from, if each has a file of its own. damaged: the number of images that
    were left out because they cannot be read.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    records: Records | None = None
    damaged: int = 0

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: np.ndarray) -> "Split":
        """Return the examples at `index`, i64[M], in that order."""
        images, labels = self.images[index], self.labels[index]
        records = self.records.take(index) if self.records else None
        return dataclasses.replace(self, images=images, labels=labels, records=records)

    def downsample(self, by: int) -> "Split":
        """Replace each square of `by` x `by` pixels by its mean, rounded with halves to even.

        `by` must divide the height and the width.
        """
        if by == 1:
            return self
        n, h, w, c = self.images.shape
        sums = self.images.reshape(n, h // by, by, w // by, by, c).sum((2, 4), dtype=np.uint32)
        return dataclasses.replace(self, images=np.rint(sums / by**2).astype(np.uint8))


def border_mean(images: np.ndarray) -> float:
    """Return the mean of the pixels at the borders of images u8[N, H, W, C]."""
    sides = (images[:, 0], images[:, -1], images[:, 1:-1, 0], images[:, 1:-1, -1])
    values = sum(side.size for side in sides)
    return sum(int(side.sum(dtype=np.int64)) for side in sides) / values


SplitOrRecords = TypeVar("SplitOrRecords", Split, Records)


def relabel(split: SplitOrRecords, classes: tuple[str, ...]) -> SplitOrRecords:
    """Return `split` with the labels that its classes have in `classes`, matched by name.

    Raises DataError if one of its classes is not among them.
    """
    if split.classes == classes:
        return split
    unknown = [name for name in split.classes if name not in classes]
    if unknown:
        raise DataError(
            f"the class {unknown[0]!r} is none of those that the run was trained on: "
            f"{', '.join(classes)}"
        )
    label_of = np.array([classes.index(name) for name in split.classes], np.int32)
    labels = None if split.labels is None else label_of[split.labels]
    if isinstance(split, Split):
        return dataclasses.replace(split, labels=labels, classes=classes)
    read = partial(read_relabeled, split.read, label_of)
    return dataclasses.replace(split, read=read, labels=labels, classes=classes)


def read_relabeled(read: Callable[[int], Record], label_of: np.ndarray, i: int) -> Record:
    """Read record i with the label `label_of[label]`."""
    record = read(i)
    return record._replace(label=int(label_of[record.label]))


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


def subsample(split: SplitOrRecords, count: int, key: str) -> SplitOrRecords:
    """Return `count` examples of `split`, chosen as by `hold_out`: always the same ones.

    key: the config key of `count`, for the error message.
    """
    return split if count == len(split) else split_stratified(split, count, key)[1]


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
