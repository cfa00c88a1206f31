"""Prepared tfds datasets (array_record), read without TensorFlow."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs.data.corruption import damaged, reading
from cnn_archs.errors import ConfigError, DataError, closest_word

OWN = ("digits", "shapes", "image_folder")  # those that are not tfds'
TEST = ("test", "validation", "val")
BEGUN = ".incomplete"  # follows the name of a folder of shards that are not all there yet
PLAN = "plan.json"  # in it: what there is to be


def folder(data_dir: str) -> Path:
    """The folder of prepared datasets: `data_dir`, else $TFDS_DATA_DIR, else tfds' own."""
    return Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets").expanduser()


def builder(name: str, data_dir: str) -> Any:
    """tfds' builder of `name`, reading array_record, which needs no TensorFlow."""
    import tensorflow_datasets as tfds

    logging.getLogger("absl").setLevel(logging.CRITICAL)  # its advice to install OpenCV
    where = folder(data_dir)
    if data_dir and not where.is_dir():
        raise ConfigError(f"data.data_dir: there is no folder {where}")
    try:
        return tfds.builder(name, data_dir=str(where), file_format="array_record")
    except tfds.core.registered.DatasetNotFoundError:
        refuse_half_prepared(name, where)
        near = closest_word(name, [*OWN, *tfds.list_builders(with_community_datasets=False)])
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"data.name: there is no dataset {name!r}{hint}") from None
    except Exception as e:
        if "File format is already set" in str(e):
            raise DataError(
                f"{name} is in {where} in another format than array_record: choose another "
                "--data_dir to prepare it in, or remove it"
            ) from e
        raise damaged(f"the description of {name}, in {where}", e) from e


def refuse_half_prepared(name: str, where: Path) -> None:
    """DataError where `prepare` has begun with the dataset, and not ended."""
    for path in (where / name).glob(f"*{BEGUN}/{PLAN}"):
        with reading(str(path)):
            plan = json.loads(path.read_text())
            there, shards = (
                len(list(path.parent.glob("*.array_record-*-of-*[0-9]"))),
                plan["shards"],
            )
            text = f"{name} is half prepared: {path.parent} has {there:,} of {shards:,} shards"
            remedy = f"go on: {plan['command']}"
        raise DataError(f"{text}; {remedy}")


def features_of(name: str, builder: Any) -> Any:
    """tfds' features of a dataset with 8-bit images and one label each; else ConfigError."""
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


class Stored:
    """A split of a prepared dataset, as tfds names it; examples in the order of its files.

    DataError if the dataset is not there, or some of its files.
    """

    def __init__(self, name: str, builder: Any, split: str, data_dir: str):
        self.name, self.builder, self.split, self.where = name, builder, split, folder(data_dir)
        self.classes = tuple(features_of(name, builder)["label"].names)
        self.remedy = f"prepare it: cnn-archs prepare {name} --data_dir={self.where}"
        if split not in builder.info.splits:
            self.refuse(split)
        info = builder.info.splits[split]
        missing = [f for f in info.filepaths if not Path(f).is_file()]
        if missing:
            raise DataError(f"{name} is incomplete: {missing[0]} is missing; {self.remedy}")
        self.info = info
        with reading(str(self)):
            self.raw = self.builder.as_data_source(split=split).data_source

    def refuse(self, split: str) -> None:
        """Says why there is no such split."""
        there = self.builder.info.splits
        if there:
            raise ConfigError(f"{self.name} has no split {split!r}, only {', '.join(there)}")
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
        """DataError for a file that does not hold what it should, as far as its end tells."""
        from array_record.python.array_record_module import ArrayRecordReader

        for path, examples in zip(self.info.filepaths, self.info.shard_lengths, strict=True):
            with reading(str(path)):
                found = ArrayRecordReader(str(path)).num_records()
            if found != examples:
                raise DataError(
                    f"damaged data: {path} has {found} examples, not {examples}; {self.remedy}"
                )

    def example(self, i: int) -> tuple[bytes, int]:
        """The image as it is stored, and its label."""
        return self.parsed(self.raw[i])

    def parsed(self, record: bytes) -> tuple[bytes, int]:
        from tensorflow_datasets.proto import tf_example_pb2

        feature = tf_example_pb2.Example.FromString(record).features.feature
        return feature["image"].bytes_list.value[0], feature["label"].int64_list.value[0]

    def labels(self, chunk: int = 256) -> np.ndarray:
        """i32[N]. All records are read for it, and no image decoded."""
        with reading(str(self)):
            found = [
                self.parsed(record)[1]
                for start in range(0, len(self), chunk)
                for record in self.raw.__getitems__(range(start, min(start + chunk, len(self))))
            ]
        return np.array(found, np.int32)

    def decoded(self, chunk: int = 1000) -> tuple[np.ndarray, np.ndarray]:
        """All of it, of images of one size: u8[N, H, W, C] and i32[N]."""
        images, labels = [], []
        with reading(str(self)):
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


def find(name: str, split: str, data_dir: str) -> tuple[Stored, bool]:
    """Where the examples of `split` are, and whether `train` and `test` are both in there.

    The test part is the first of test, validation and val that is there and has labels (that of
    ImageNet has none); without any, it has to be taken out of train.
    """
    b = builder(name, data_dir)
    there = [other for other in TEST if other in b.info.splits]
    if split not in ("train", "test") or (split == "train" and there):
        return Stored(name, b, split, data_dir), False
    for other in there:
        stored = Stored(name, b, other, data_dir)
        with reading(str(stored)):
            labeled = stored.example(0)[1] >= 0
        if labeled:
            return stored, False
    return Stored(name, b, "train", data_dir), True
