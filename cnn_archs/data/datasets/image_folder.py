"""A folder of images in one of two layouts:

    DIR/train/CLASS/*.jpg       one folder per class, with images at any depth below it
    DIR/train/CLASS.NUMBER.jpg  Kaggle's layout: the class is the name up to the first dot

Classes are labeled in the order of their sorted names. The test part is the first of DIR/test,
DIR/val and DIR/validation that has labels, in either layout. If there is none, `sources` sets aside
a fixed fifth of each class of the train part. Images are .jpg, .jpeg, .png, .bmp, .webp and .gif;
other files, and files whose names begin with a dot, are ignored.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from cnn_archs.errors import ConfigError, DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif")
TEST_FOLDERS = ("test", "val", "validation")


class Listing(NamedTuple):
    """Paths of N images, their labels, i32[N], and the names of the classes."""

    paths: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]


def find_root(data_dir: str) -> Path:
    """Return the folder `data_dir`, with ~ expanded.

    Raises ConfigError if there is no such folder, and DataError if it has no folder train.
    """
    if not data_dir:
        raise ConfigError("image_folder needs the folder of the images: --config.data.data_dir=DIR")
    where = Path(data_dir).expanduser()
    if not where.is_dir():
        raise ConfigError(f"data.data_dir: there is no folder {where}")
    if not (where / "train").is_dir():
        raise DataError(f"{where} has no folder train: put images in {where}/train/CLASS/")
    return where


def list_classes(data_dir: str) -> tuple[str, ...]:
    """Return the sorted names of the classes, without looking into their folders.

    Raises DataError if there are fewer than two.
    """
    train = find_root(data_dir) / "train"
    names = subfolders(train) or sorted({class_of_file(path) for path in images_in(train)})
    if not names:
        raise DataError(f"{train} has neither folders of classes nor images")
    if len(names) == 1:
        raise DataError(f"{train} has only one class, {names[0]}; at least two are needed")
    return tuple(names)


def list_images(data_dir: str, split: str) -> Listing | None:
    """List the labeled images of the part `train` or `test`.

    Returns None if there is no test part with labels. Raises DataError for a class without
    training images, and for a test image whose class is not in train.
    """
    where, classes = find_root(data_dir), list_classes(data_dir)
    if split == "train":
        found = list_labeled(where / "train", classes)
        empty = sorted(set(range(len(classes))) - set(found.labels.tolist()))
        if empty:
            raise DataError(f"{where / 'train' / classes[empty[0]]} has no images")
        return found
    part = find_test_folder(where)
    return list_labeled(part, classes) if part else None


def find_test_folder(where: Path) -> Path | None:
    """Return the first of TEST_FOLDERS in the folder `where` that has labeled images."""
    for part in (where / name for name in TEST_FOLDERS):
        flat = (p.name.split(".") for p in images_in(part)) if part.is_dir() else ()
        if part.is_dir() and (subfolders(part) or any(len(words) > 2 for words in flat)):
            return part
    return None


def list_labeled(part: Path, classes: tuple[str, ...]) -> Listing:
    """List the images of the folder `part`, sorted by class and then by name.

    Raises DataError if there are none, if some are in no folder of a class while others are, or if
    one has a class that is not in `classes`.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    folders = subfolders(part)
    loose = list(images_in(part))
    if folders and loose:
        raise DataError(f"{loose[0]} is in no folder of a class, unlike other images of {part}")
    of_class: dict[str, list[str]] = {}
    for name in folders:
        of_class[name] = sorted(walk_images(part / name))
    for path in loose:
        of_class.setdefault(class_of_file(path), []).append(str(path))
    for name, paths in of_class.items():
        if name not in label_of and paths:
            raise DataError(f"{paths[0]}: train has no class {name!r}")
    of_class = {name: of_class[name] for name in classes if name in of_class}
    counts = [len(paths) for paths in of_class.values()]
    if not sum(counts):
        raise DataError(f"{part} has no images")
    labels = np.repeat([label_of[name] for name in of_class], counts).astype(np.int32)
    return Listing([path for paths in of_class.values() for path in paths], labels, classes)


def list_unlabeled(directory: str) -> list[tuple[str, str]]:
    """List (id, path) of each image in `directory`; the id is the name up to the first dot.

    Images are sorted by number if all ids are numbers, as in Kaggle's test sets, and by name
    otherwise. Raises ConfigError if there is no such folder, DataError if it has no images.
    """
    where = Path(directory).expanduser()
    if not where.is_dir():
        raise ConfigError(f"there is no folder {where}")
    found = [(path.name.split(".")[0], str(path)) for path in images_in(where)]
    if not found:
        raise DataError(f"{where} has no images")
    if all(name.isdecimal() for name, _ in found):
        found.sort(key=lambda item: int(item[0]))
    return found


def class_of_file(path: Path) -> str:
    """Return the class in a file name of Kaggle's layout, such as `cat` in cat.0.jpg.

    Raises DataError if the name is not of that form.
    """
    name, *number = path.name.split(".")[:-1]
    if not number:
        raise DataError(
            f"the class of {path} is unknown: name it CLASS.NUMBER{path.suffix}, or put it in a "
            "folder that has the name of its class"
        )
    return name


def subfolders(part: Path) -> list[str]:
    """Return the sorted names of the folders in `part` that are not hidden."""
    with os.scandir(part) as entries:
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))


def images_in(part: Path) -> Iterator[Path]:
    """Return the images directly in `part`, sorted by name."""
    with os.scandir(part) as entries:
        names = sorted(e.name for e in entries if is_image(e.name) and e.is_file())
    return (part / name for name in names)


def walk_images(where: Path) -> Iterator[str]:
    """Yield the paths of the images at any depth below `where`, unsorted."""
    for folder, folders, names in os.walk(where):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (os.path.join(folder, name) for name in names if is_image(name))


def is_image(name: str) -> bool:
    """Return whether a file of this name is read as an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")
