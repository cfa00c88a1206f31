"""The dataset of an experiment, and its division into splits."""

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs.data.datasets import fingerprint, image_folder, sources, tfds_source
from cnn_archs.data.datasets.splits import (
    Records,
    Split,
    SplitOrRecords,
    border_mean,
    hold_out,
    relabel,
    subsample,
)
from cnn_archs.data.loading import one_size
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.record import DataRecord, Files, Recorded, SplitRecord
from cnn_archs.data.transforms.crops import Crop
from cnn_archs.errors import ConfigError, DataError, UserError
from cnn_archs.runtime.console import print_notes


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A dataset, and the part of it that an experiment uses.

    Nothing is read until a method needs it. stored_shape: (H, W, C) of the images after
    downsampling; H and W are 0 if they are read one by one; then C is 3, or 1 to have them
    in gray. classes: the number of classes.
    downsample: each square of this many pixels on a side is replaced by its mean. holdout: the
    number of training images that are set aside as the split `val`. examples: the number of
    training images to use; 0 for all that are not held out. eval_examples: the number of test
    images on which a training evaluates; 0 for all. on_corrupt, threads: see `Streamed`.
    recorded: the record of the run that the images are for, if it has begun: labels are those of
    its classes, matched by name, and images of a folder are in the same splits as before.
    """

    name: str
    data_dir: str
    stored_shape: tuple[int, int, int]
    classes: int
    downsample: int
    holdout: int
    examples: int
    eval_examples: int
    on_corrupt: str
    threads: int
    recorded: Recorded | None = None

    @property
    def in_memory(self) -> bool:
        """Return True if all images have one size and are loaded whole instead of streamed."""
        return 0 not in self.stored_shape

    def place(self) -> str:
        """Return the folder of an `image_folder`, and the name of any other dataset."""
        return self.data_dir if self.name == "image_folder" else self.name

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes in the order of their labels."""
        if self.recorded:
            return self.recorded.record.classes
        return sources.class_names(self.name, self.data_dir)

    def background(self) -> float | None:
        """Return the mean value at the borders of the training images; None if it is not known."""
        known = self.recorded.record.background if self.recorded else None
        return 0.0 if known is None and self.name in sources.LIGHT_ON_BLACK else known

    def notes(self) -> list[str]:
        """Return lines for the user about what of a folder of images is read, and what is not.

        The whole folder is listed. Raises DataError if a folder in it cannot be read, unless the
        run has a record: then its training images may be gone.
        """
        if self.name != "image_folder":
            return []
        with suppress(*([UserError] if self.recorded else [])):
            return image_folder.reading_notes(self.data_dir)
        return []

    def training_images(self) -> int:
        """Count the images to train on without reading them.

        Raises DataError if the dataset is missing.
        """
        return (
            self.examples or sources.count_training_images(self.name, self.data_dir) - self.holdout
        )

    def check_present(self) -> None:
        """Raise DataError or ConfigError if training or test images are missing; none is read."""
        sources.check_present(self.name, self.data_dir)

    def splits(self, crop: Crop) -> dict[str, Split | Streamed]:
        """Load all splits that a training run needs.

        They are `train`, `test`, further test splits of the dataset, and `val` if images are held
        out. crop: how the host crops streamed images.
        """
        tested = ("test", *sources.EXTRA_TEST_SPLITS.get(self.name, ()))
        return self._load_training(crop) | {name: self.split(name, crop) for name in tested}

    def limit_tests(self, splits: dict[str, Split | Streamed]) -> dict[str, Split | Streamed]:
        """Return `splits`, of whose test images those are left that a training evaluates."""
        trained = ("train", "val")
        return {
            name: split if name in trained or not self.eval_examples else self._limit(split)
            for name, split in splits.items()
        }

    def _limit(self, split: Split | Streamed) -> Split | Streamed:
        if self.eval_examples > len(split) - len(split.classes):
            return split
        if isinstance(split, Split):
            return self._chosen(split)
        records = self._chosen(split.records)
        return Streamed(records, split.crop, on_corrupt=split.on_corrupt, threads=split.threads)

    def _chosen(self, split: SplitOrRecords) -> SplitOrRecords:
        if self.eval_examples >= len(split.classes):
            return subsample(split, self.eval_examples, "eval_examples")
        # Fewer than the classes cannot have one of each.
        order = np.random.default_rng(0).permutation(len(split))
        return split.take(np.sort(order[: self.eval_examples]))

    def split(self, name: str, crop: Crop) -> Split | Streamed:
        """Load one of `splits` by name, or another split that the dataset has.

        Raises ConfigError if there is no such split.
        """
        if name in ("train", "val"):
            both = self._load_training(crop)
            if name not in both:
                raise ConfigError("--split=val: this run held out no images (data.holdout=0)")
            return both[name]
        if not self._is_listed():
            return self._load(name)
        return self._deliver(self._open(name), crop)

    def where_it_was(self) -> "Dataset":
        """Return the dataset in the folder of the record, if data_dir is relative to another."""
        where = Path(self.data_dir).expanduser()
        if not self.recorded or not self.data_dir or where.is_absolute():
            return self
        was = self.recorded.record.folder
        return dataclasses.replace(self, data_dir=was) if Path(was).is_dir() else self

    def describe(self, found: Mapping[str, Split | Streamed]) -> tuple[DataRecord, Files]:
        """Return the record of the splits `found`, and the fingerprints of their files.

        Reads the sizes of all files, and their content if there is not too much of it. Raises
        DataError if a file cannot be read.
        """
        parts = {name: recorded_as(split) for name, split in found.items()}
        old = self.recorded.record.splits if self.recorded else {}
        skip = self.on_corrupt == "skip"
        by_content = {name: old[name].by_content if name in old else None for name in parts}
        files = {
            name: fingerprint.fingerprints(part, by_content[name], skip=skip)
            for name, part in parts.items()
        }
        described = {
            name: SplitRecord(
                images=len(part),
                source="" if isinstance(part, Split) or not part.files else part.files.source,
                by_content=all(":" in mark for mark in files[name].values()),
                digest=fingerprint.digest(files[name]),
            )
            for name, part in parts.items()
        }
        one_folder = len({split.source for split in described.values()}) < len(described)
        record = DataRecord(
            dataset=self.name,
            folder=self._folder(),
            classes=next(iter(parts.values())).classes,
            stored_shape=self.stored_shape,
            chosen=self.name == "image_folder" and (one_folder or self.examples > 0),
            splits=described,
            changes=self.recorded.record.changes if self.recorded else (),
            background=background_of(found.get("train")),
        )
        in_files = {name: files[name] for name, part in parts.items() if isinstance(part, Records)}
        return record, in_files

    def _folder(self) -> str:
        """Return the absolute path of the folder of the images; "" for images in no files."""
        if self.name in ("digits", "shapes"):
            return ""
        image_folder = self.name == "image_folder"
        where = Path(self.data_dir) if image_folder else tfds_source.tfds_dir(self.data_dir)
        return str(where.expanduser().absolute())

    def _load_training(self, crop: Crop) -> dict[str, Split | Streamed]:
        """Load `train`, and `val` if images are held out."""
        if not self._is_listed():
            return {**self._hold_out(self._load("train"))}
        divided = bool(self.holdout or self.examples)
        parts = self._divide_as_before(self._open("train", labeled=self.in_memory and divided))
        return {name: self._deliver(part, crop) for name, part in parts.items()}

    def _divide_as_before(self, train: Records) -> dict[str, Records]:
        """Divide the training images of a folder as the run did; see `_hold_out`.

        Images held out then are held out now, and if only some were used, these are used now.
        """
        kept = self.recorded.kept if self.recorded else {}
        if not kept:
            return self._hold_out(train)
        used, held = (train.are_named(kept.get(name, frozenset())) for name in ("train", "val"))
        if not used.any() and not held.any():
            return self._hold_out(train)
        if self.holdout and not held.any():
            raise DataError(f"{self.data_dir} has none of the images that the run held out")
        both = {"train": used if self.examples else ~held, "val": held}
        names = ("train", "val") if self.holdout else ("train",)
        return {name: train.take(np.flatnonzero(both[name])) for name in names}

    def _hold_out(self, train: SplitOrRecords) -> dict[str, SplitOrRecords]:
        found = {"train": train}
        if self.holdout:
            found["train"], found["val"] = hold_out(train, self.holdout)
        if self.examples:
            found["train"] = subsample(found["train"], self.examples, "data.examples")
        return found

    def _is_listed(self) -> bool:
        """Return whether nothing but the images themselves says what size they have."""
        return self.name == "image_folder" or 0 in sources.dataset_spec(self.name, self.data_dir)[0]

    def _load(self, name: str) -> Split:
        loaded = sources.load_split(self.name, name, self.data_dir)
        return self._with_labels(loaded).downsample(self.downsample)

    def _open(self, name: str, *, labeled: bool = False) -> Records:
        if not self.recorded or self.name != "image_folder":
            return self._with_labels(
                sources.open_records(self.name, name, self.data_dir, labeled=labeled)
            )
        record = self.recorded.record
        one_folder = record.splits["test"].source == record.splits["train"].source
        kept = self.recorded.kept if one_folder else {}
        return self._with_labels(
            sources.open_folder_as_before(name, self.data_dir, record.classes, kept)
        )

    def _with_labels(self, found: SplitOrRecords) -> SplitOrRecords:
        """Return `found` with the labels of the run's record, if there is one."""
        return relabel(found, self.recorded.record.classes) if self.recorded else found

    def _deliver(self, records: Records, crop: Crop) -> Split | Streamed:
        """Return the images in memory, if they are of one size, or else as read one by one."""
        height, width, channels = self.stored_shape
        size = (height * self.downsample, width * self.downsample)
        records = dataclasses.replace(records, channels=channels)
        options: Any = dict(on_corrupt=self.on_corrupt, threads=self.threads)
        if not self.in_memory:
            return Streamed(records, crop, **options)
        if self.recorded:
            self._note_other_sizes(records, size)
        whole = Streamed(records, Crop(size), **options)
        keep = self.name == "image_folder"
        return one_size.load_whole(whole, keep_records=keep).downsample(self.downsample)

    def _note_other_sizes(self, records: Records, size: tuple[int, int]) -> None:
        """Tell the user if images have another size than those that the run began with."""
        found = one_size.survey_parts([records])
        if not found.shape or found.shape[:2] != size:
            width, height = size[::-1]
            print_notes(
                [
                    f"not all images of {self.place()} have the size of those that the "
                    f"run was trained on: they are resized to {width}x{height} pixels"
                ]
            )


def recorded_as(split: Split | Streamed) -> Split | Records:
    """Return what the fingerprints of a split are made of: its files, if an image is a file."""
    if isinstance(split, Split):
        return split if split.records is None else split.records
    return split.records


def background_of(train: Split | Streamed | None) -> float | None:
    """Return the mean value at the borders of images in memory, and None for all others."""
    return border_mean(train.images) if isinstance(train, Split) else None
