"""Sources of datasets that are written without TensorFlow: ImageNet's archives, image folders."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets import fingerprint, image_folder, sources, tfds_source
from cnn_archs.data.datasets.fingerprint import Fingerprints
from cnn_archs.data.prepare import imagenet
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.data.prepare.shards import Picture, Splits
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.runtime.console import print_notes
from cnn_archs.runtime.files import check_regular

VERSION = "1.0.0"  # of a dataset made from a folder of images


class Found(NamedTuple):
    """The examples of each split, and the fingerprints of the source that they were found in."""

    splits: Splits
    fingerprints: Fingerprints


class RawDataset(NamedTuple):
    """The source of the dataset `name`, which is to be written in the folder `path`.

    info: tfds' description of the dataset. counts: the expected number of pictures in each split,
    if known. find: finds the examples of all splits. fingerprints: returns those of the source as
    it is now, by which a later `prepare` sees whether it is still the same; {} if the source is
    gone, or if none was named and it would have to be downloaded.
    """

    name: str
    path: Path
    info: Any
    counts: Mapping[str, int]
    find: Callable[[Progress], Found]
    fingerprints: Callable[[], Fingerprints]


def imagenet_archives(where: Path, manual_dir: Path) -> RawDataset:
    """Return imagenet2012, with tfds' version and labels, from the archives in `manual_dir`."""
    import tensorflow_datasets as tfds

    builder = tfds_source.open_builder("imagenet2012", str(where))
    synsets = builder.info.features["label"].names
    labels = tfds.core.tfds_path("datasets/imagenet2012/validation_labels.txt")

    path = Path(builder.data_path)

    def find(progress: Progress) -> Found:
        marks, validation = fingerprints(), labels.read_text("utf-8").split()
        return Found(imagenet.index_archives(manual_dir, synsets, validation, progress), marks)

    def fingerprints() -> Fingerprints:
        archives = [manual_dir / name for name in (imagenet.TRAIN, imagenet.VALIDATION)]
        return {a.name: str(a.stat().st_size) for a in archives if a.is_file()}

    return RawDataset("imagenet2012", path, builder.info, imagenet.COUNTS, find, fingerprints)


def images_folder(name: str, where: Path, images_dir: str) -> RawDataset:
    """Return the dataset `name` made from a folder of images.

    It is divided and ordered as `image_folder` is. Raises ConfigError for a name that tfds does not
    allow or that another dataset has.
    """
    import tensorflow_datasets as tfds

    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            f"{name!r}: the name of a dataset consists of lower-case letters, digits and _"
        )
    if name in tfds.list_builders(with_community_datasets=False):
        raise ConfigError(f"{name} is a dataset of tfds: give the folder of images another name")
    classes = image_folder.list_classes(images_dir)
    for named in classes:
        if not named.isprintable():
            raise DataError(f"{images_dir}: tfds cannot store the name of the class {named}")
    path = where / name / VERSION
    description = f"Images: {image_folder.find_root(images_dir).resolve()}"
    with data_errors(str(path)):
        info_file = path / "dataset_info.json"
        other = info_file.exists() and json.loads(info_file.read_text("utf-8"))["description"]
    if other and other != description:
        raise ConfigError(
            f"{path} exists already, made from other images ({other}): choose another name"
        )
    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=list(classes)),
        "file_name": tfds.features.Text(),
    }
    info = tfds.core.DatasetInfo(
        builder=tfds.core.DatasetIdentity(
            name=name, version=tfds.core.Version(VERSION), data_dir=str(path), module_name=""
        ),
        description=description,
        features=tfds.features.FeaturesDict(features),
        supervised_keys=("image", "label"),
        disable_shuffling=True,
    )
    info.set_file_format("array_record")

    def find(progress: Progress) -> Found:
        print_notes(image_folder.reading_notes(images_dir))
        marks = fingerprints()
        parts = {s: folder_pictures(s, images_dir, progress) for s in ("train", "test")}
        return Found(parts, marks)

    def fingerprints() -> Fingerprints:
        parts = [sources.open_folder(split, images_dir) for split in ("train", "test")]
        names = {"names of classes": ", ".join(image_folder.list_classes(images_dir))}
        return {**names, **fingerprint.fingerprints(parts[0]), **fingerprint.fingerprints(parts[1])}

    return RawDataset(name, path, info, {}, find, fingerprints)


def folder_pictures(split: str, images_dir: str, progress: Progress) -> list[Picture]:
    """List the pictures of a split of a folder of images, in order."""
    records = sources.open_folder(split, images_dir)
    assert records.labels is not None
    found: list[Picture] = []
    for (name, path), label in zip(records.paths().items(), records.labels.tolist(), strict=True):
        with data_errors(path):
            file = check_regular(path)
        found.append(Picture(path, 0, file.st_size, file.st_mtime, name, label))
        progress.report_indexed(len(found))
    return found
