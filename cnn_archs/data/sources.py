"""Where images come from: `load(name, split)` reads a whole small dataset into memory."""

import dataclasses
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs.errors import ConfigError, DataError, first_line, nearest


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


DIGITS = tuple(str(i) for i in range(10))

# (H, W, C) and number of classes of the datasets that the experiments use, so that a network can
# be described, and a mistake in a config found, before any data is there. 0: images differ in it.
KNOWN = {
    "digits": ((32, 32, 1), 10),
    "mnist": ((28, 28, 1), 10),
    "fashion_mnist": ((28, 28, 1), 10),
    "kmnist": ((28, 28, 1), 10),
    "cifar10": ((32, 32, 3), 10),
    "cifar100": ((32, 32, 3), 100),
    "imagenet2012": ((0, 0, 3), 1000),
}


def describe(name: str, data_dir: str = "") -> tuple[tuple[int, int, int], int]:
    """((H, W, C), number of classes) of the dataset `name`, without reading its images.

    0 in place of a size in which the images differ.
    """
    if name in KNOWN:
        return KNOWN[name]
    features = features_of(name, builder(name, data_dir))
    h, w, c = (side or 0 for side in features["image"].shape)
    return (h, w, c), features["label"].num_classes


def class_names(name: str, data_dir: str = "") -> tuple[str, ...]:
    """The names of the classes of the dataset `name`, in the order of the labels."""
    if name == "digits":
        return DIGITS
    return tuple(features_of(name, builder(name, data_dir))["label"].names)


def load(name: str, split: str, data_dir: str = "") -> Split:
    """The split `train` or `test` of `digits` or of a tfds dataset with `image` and `label`.

    Raises ConfigError for an unknown name and for images that differ in size, DataError for data
    that is missing or damaged.
    """
    if 0 in describe(name, data_dir)[0]:
        raise ConfigError(f"data.name: the images of {name} differ in size; they must be of one")
    return digits(split) if name == "digits" else from_tfds(name, split, data_dir)


def digits(split: str) -> Split:
    """scikit-learn's 1,797 handwritten digits, 8x8 enlarged to 32x32: 1,437 train, 360 test.

    The split is stratified and fixed. Values 0..16 become 0..255.
    """
    if split not in ("train", "test"):
        raise ConfigError(f"digits has no split {split!r}, only train, test")
    from PIL import Image
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    small, labels = load_digits(return_X_y=True)
    pixels = np.round(small.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(p).resize((32, 32), Image.Resampling.BILINEAR)) for p in pixels
    ]
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    everything = Split(np.stack(large)[..., None], labels.astype(np.int32), DIGITS)
    return everything.take(train if split == "train" else test)


def hold_out(split: Split, count: int, seed: int) -> tuple[Split, Split]:
    """`split` in two: the rest, and `count` examples, stratified by class and fixed by `seed`."""
    from sklearn.model_selection import train_test_split

    if not len(split.classes) <= count <= len(split) - len(split.classes):
        raise ConfigError(
            f"data.holdout={count}: must be 0 or {len(split.classes)} to "
            f"{len(split) - len(split.classes)} (at least one image of each class on both sides)"
        )
    rest, held = train_test_split(
        np.arange(len(split)), test_size=count, stratify=split.labels, random_state=seed
    )
    return split.take(np.sort(rest)), split.take(np.sort(held))


def folder(data_dir: str) -> Path:
    """The folder of prepared tfds datasets: `data_dir`, else $TFDS_DATA_DIR, else tfds' own."""
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
        near = nearest(name, [*KNOWN, *tfds.list_builders(with_community_datasets=False)])
        hint = f"; did you mean {near!r}?" if near else ""
        raise ConfigError(f"data.name: there is no dataset {name!r}{hint}") from None
    except Exception as e:
        raise damaged(f"the description of {name}, in {where}", e) from e


def features_of(name: str, builder: Any) -> Any:
    """tfds' features of a dataset with `image` and `label`; ConfigError if it has none such."""
    features = builder.info.features
    if not {"image", "label"} <= set(features or ()):
        raise ConfigError(f"data.name: {name} is not an image-classification dataset")
    return features


def from_tfds(name: str, split: str, data_dir: str) -> Split:
    """A split of a prepared tfds dataset, decoded into memory, in the order of its files."""
    b = builder(name, data_dir)
    where = folder(data_dir)
    remedy = f"prepare it: cnn-archs prepare {name} --data_dir={where}"
    if split not in b.info.splits:
        if b.info.splits:
            raise ConfigError(f"{name} has no split {split!r}, only {', '.join(b.info.splits)}")
        raise DataError(
            f"{name} is not in {where} ({b.data_path} has no array_record data); {remedy}"
        )
    missing = [f for f in b.info.splits[split].filepaths if not Path(f).is_file()]
    if missing:
        raise DataError(f"{name} is incomplete: {missing[0]} is missing; {remedy}")
    features = features_of(name, b)
    with reading(f"{name}, split {split}, in {b.data_path}"):
        images, labels = decode(b.as_data_source(split=split))
    expected = b.info.splits[split].num_examples
    if len(labels) != expected:
        raise DataError(f"{name} has {len(labels)} examples in {split}, not {expected}; {remedy}")
    return Split(images, labels, tuple(features["label"].names))


def decode(source: Any, chunk: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """All examples of a tfds data source: u8[N, H, W, C] and i32[N]."""
    images, labels = [], []
    for start in range(0, len(source), chunk):
        examples = source.__getitems__(list(range(start, min(start + chunk, len(source)))))
        images.append(np.stack([e["image"] for e in examples]))
        labels.append(np.array([e["label"] for e in examples], np.int32))
    return np.concatenate(images), np.concatenate(labels)


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Whatever a reader raises here means damaged data."""
    try:
        yield
    except Exception as e:
        raise damaged(what, e) from e


def damaged(what: str, e: Exception) -> DataError:
    """One line that names `what`, with the first line of the reader's own."""
    return DataError(f"damaged data: {what}: {first_line(e)}")
