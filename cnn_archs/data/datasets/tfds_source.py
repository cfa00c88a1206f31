"""Datasets that tfds or `data/prepare` wrote as array_record, read without TensorFlow."""

import json
import logging
import os
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs.data.corruption import damage_error, data_errors
from cnn_archs.errors import ConfigError, DataError, closest_word

NOT_OF_TFDS = ("digits", "shapes", "image_folder")  # names of datasets that have other readers
TEST_SPLITS = ("test", "validation", "val")
UNFINISHED_SUFFIX = ".incomplete"  # of the folder of a dataset that is being prepared
PLAN_FILE = "plan.json"  # in that folder: how many shards there will be, and of which source
SOURCE_FILE = "source.json.gz"  # in the folder of a dataset: the fingerprints of its source


def tfds_dir(data_dir: str) -> Path:
    """Return the folder of prepared datasets.

    It is `data_dir`, or $TFDS_DATA_DIR if that is empty, or ~/tensorflow_datasets.
    """
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def list_prepared(data_dir: str = "") -> list[str]:
    """List the names of the prepared datasets in `tfds_dir`, by the names of its files alone."""
    where = tfds_dir(data_dir)
    found = [*where.glob("*/*/dataset_info.json"), *where.glob("*/*/*/dataset_info.json")]
    return sorted({path.relative_to(where).parts[0] for path in found})


def open_builder(name: str, data_dir: str) -> Any:
    """Return tfds' builder of a dataset, which reads array_record and needs no TensorFlow.

    Raises ConfigError for an unknown name or folder. Raises DataError for a dataset that is only
    half prepared, in another format, or damaged.
    """
    import tensorflow_datasets as tfds

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # it logs advice to install OpenCV
    where = tfds_dir(data_dir)
    if data_dir and not where.is_dir():
        raise ConfigError(f"data.data_dir: there is no folder {where}")
    try:
        return tfds.builder(name, data_dir=str(where), file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        refuse_half_prepared(name, where)
        near = closest_word(
            name, [*NOT_OF_TFDS, *tfds.list_builders(with_community_datasets=False)]
        )
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"data.name: there is no dataset {name!r}{hint}") from None
    except Exception as e:
        if "File format is already set" in str(e):
            raise DataError(
                f"{name} is in {where} in a format other than array_record: choose another "
                "--data_dir to prepare it in, or remove it"
            ) from e
        raise damage_error(f"the description of {name}, in {where}", e) from e


def refuse_half_prepared(name: str, where: Path) -> None:
    """Raise DataError if the dataset is half prepared: begun in `where`, but not finished."""
    for path in (where / name).glob(f"*{UNFINISHED_SUFFIX}/{PLAN_FILE}"):
        with data_errors(str(path)):
            plan = json.loads(path.read_text("utf-8"))
            written = len(list(path.parent.glob("*.array_record-*-of-*[0-9]")))
            text = (
                f"{name} is half prepared: {path.parent} has {written:,} of {plan['shards']:,} "
                f"shards; resume with: {plan['command']}"
            )
        raise DataError(text)


def features_of(name: str, builder: Any) -> Any:
    """Return tfds' features of a dataset.

    Raises ConfigError if it is not a dataset of 8-bit images with one label each.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features or {}
    if (
        not {"image", "label"} <= set(features)
        or not isinstance(features["image"], tfds.features.Image)
        or not isinstance(features["label"], tfds.features.ClassLabel)
        or features["image"].np_dtype != np.uint8
    ):
        raise ConfigError(f"data.name: {name} is not an image-classification dataset")
    return features


class TfdsSplit:
    """A split of a prepared dataset, by tfds' name; examples are in the order of its files.

    Raises ConfigError if the dataset has no such split, DataError if some of its files are missing.
    """

    def __init__(self, name: str, builder: Any, split: str, data_dir: str):
        self.name, self.builder, self.split, self.where = name, builder, split, tfds_dir(data_dir)
        self.classes = tuple(features_of(name, builder)["label"].names)
        command = ["cnn-archs", "prepare", name, f"--data_dir={self.where}"]
        self.remedy = f"prepare it: {shlex.join(command)}"
        if split not in builder.info.splits:
            self.raise_missing(split)
        info = builder.info.splits[split]
        missing = [f for f in info.filepaths if not Path(f).is_file()]
        if missing:
            raise DataError(f"{name} is incomplete: {missing[0]} is missing; {self.remedy}")
        self.info = info
        with data_errors(str(self)):
            self.raw = self.builder.as_data_source(split=split).data_source

    def raise_missing(self, split: str) -> None:
        """Raise the error that says why the split is missing."""
        known = self.builder.info.splits
        if known:
            raise ConfigError(f"{self.name} has no split {split!r}, only {', '.join(known)}")
        refuse_half_prepared(self.name, self.where)
        raise DataError(
            f"{self.name} is not in {self.where} ({self.builder.data_path} has no array_record "
            f"data); {self.remedy}"
        )

    def __str__(self) -> str:
        return f"{self.name}, split {self.split}, in {self.builder.data_path}"

    def __len__(self) -> int:
        return self.info.num_examples

    def check_shards(self) -> None:
        """Raise DataError if a file is damaged or has another number of examples than expected.

        Only the end of each file is read.
        """
        from array_record.python.array_record_module import ArrayRecordReader

        for path, examples in zip(self.info.filepaths, self.info.shard_lengths, strict=True):
            with data_errors(str(path)):
                found = ArrayRecordReader(str(path)).num_records()
            if found != examples:
                raise DataError(
                    f"damaged data: {path} has {found} examples, not {examples}; {self.remedy}"
                )

    def example(self, i: int) -> tuple[bytes, int]:
        """Read the encoded image and the label of example i."""
        return self.parse(self.raw[i])

    def parse(self, record: bytes) -> tuple[bytes, int]:
        """Return the encoded image and the label in a serialized tf.Example."""
        from tensorflow_datasets.proto import tf_example_pb2

        feature = tf_example_pb2.Example.FromString(record).features.feature
        return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]

    def read_labels(self, chunk: int = 256) -> np.ndarray:
        """Read the labels, i32[N]: all records are read, and no image is decoded."""
        with data_errors(str(self)):
            found = [
                self.parse(record)[1]
                for start in range(0, len(self), chunk)
                for record in self.raw.__getitems__(range(start, min(start + chunk, len(self))))
            ]
        return np.array(found, np.int32)

    def decode_all(self, chunk: int = 1000) -> tuple[np.ndarray, np.ndarray]:
        """Decode all images, which must be of one size: u8[N, H, W, C], and labels i32[N]."""
        images, labels = [], []
        with data_errors(str(self)):
            source = self.builder.as_data_source(split=self.split)
            for start in range(0, len(source), chunk):
                examples = source.__getitems__(list(range(start, min(start + chunk, len(source)))))
                images.append(np.stack([e["image"] for e in examples]))
                labels.append(np.array([e["label"] for e in examples], np.int32))
        if sum(map(len, labels)) != len(self):
            raise DataError(
                f"{self.name} has {sum(map(len, labels))} examples in {self.split}, "
                f"not {len(self)}; {self.remedy}"
            )
        return np.concatenate(images), np.concatenate(labels)


def find_split(name: str, split: str, data_dir: str) -> tuple[TfdsSplit, bool]:
    """Find the tfds split in which the examples of `split` are stored.

    Returns it, and whether it holds both `train` and `test`. The split `test` is stored as the
    first of test, validation and val that exists and has labels (ImageNet's test split has none).
    If there is none, `select_part` has to take it out of train.
    """
    builder = open_builder(name, data_dir)
    candidates = [other for other in TEST_SPLITS if other in builder.info.splits]
    if split not in ("train", "test") or (split == "train" and candidates):
        return TfdsSplit(name, builder, split, data_dir), False
    for other in candidates:
        stored = TfdsSplit(name, builder, other, data_dir)
        with data_errors(str(stored)):
            labeled = stored.example(0)[1] >= 0
        if labeled:
            return stored, False
    return TfdsSplit(name, builder, "train", data_dir), True
