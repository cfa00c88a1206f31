"""Datasets of tfds with a few images each, which can be prepared without TensorFlow.

Class k of TinyDataset is filled with 10 k. Example i of the others has an image of 20 + i x 30 + i
pixels, filled with `gray(i)`.
"""

import contextlib
import io

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image


def prepare(name, folder):
    """Prepares one of them, by its name, in `folder`."""
    tfds.disable_progress_bar()
    builder = tfds.builder(name, data_dir=str(folder), file_format="array_record")
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    return builder


def encoded(image, kind):
    """A file, in memory: what tfds stores as it is."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    file.seek(0)
    return file


def gray(i):
    return 5 * i


class Few(tfds.core.GeneratorBasedBuilder):
    """Serve a few images; subclasses give the labels of each split."""

    VERSION = tfds.core.Version("1.0.0")
    pkg_dir_path = None
    SHAPE: tuple = (None, None, 3)
    SPLITS: dict[str, list[int]] = {}

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=self.SHAPE),
            "label": tfds.features.ClassLabel(names=["zero", "ten"]),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(labels) for split, labels in self.SPLITS.items()}

    def _generate_examples(self, labels):
        for i, label in enumerate(labels):
            image = np.full((20 + i, 30 + i, 3), gray(i), np.uint8)
            yield i, {"image": encoded(image, "JPEG"), "label": label}


class TinyDataset(Few):
    """Four images of one class and three of the other, 4x5x3."""

    SHAPE = (4, 5, 3)
    SPLITS = dict.fromkeys(("train", "test"), [0, 0, 0, 1, 1, 1, 1])

    def _generate_examples(self, labels):
        for i, label in enumerate(labels):
            image = np.full((4, 5, 3), 10 * label, np.uint8)
            yield i, {"image": encoded(image, "PNG"), "label": label}


class TinyUndivided(TinyDataset):
    """Serve 40 images, all in train: 30 of one class and 10 of the other."""

    SPLITS = {"train": [0] * 30 + [1] * 10}


class MixedUndivided(Few):
    """All of it in train, like cats_vs_dogs."""

    SPLITS = {"train": [0, 0, 1] * 10}


class MixedUnlabeled(Few):
    """A test part without labels, like that of imagenet2012."""

    SPLITS = {"train": [0, 1] * 6, "validation": [1, 0, 0, 1, 1], "test": [-1] * 4}


class MixedValidated(Few):
    """train and validation, like imagenette."""

    SPLITS = {"train": [0, 1] * 6, "validation": [0, 1]}
