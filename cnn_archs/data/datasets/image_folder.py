"""A folder of images that are labeled by folders or by names, in one of these layouts:

    DIR/train/CLASS/*.jpg       one folder per class, with images at any depth below it
    DIR/train/CLASS.NUMBER.jpg  Kaggle's layout: the class is the name up to the first dot
    DIR/CLASS/*.jpg             no parts: DIR itself is the train part, in either layout

Classes are labeled in the order of their sorted names; a name in decomposed Unicode, as a Mac's zip
has it, is the same as the composed one. The test part is the first of the folders TEST_FOLDERS that
has labels, in either layout and in upper or lower case. If there is none, `sources` sets aside a
fixed fifth of each class of the train part. `image_files` says which files are images.
"""

import os
import re
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from cnn_archs.data.datasets.image_files import (
    Images,
    left_out_line,
    list_folder,
    pattern_of_images,
    walk_images,
)
from cnn_archs.errors import ConfigError, DataError, escaped

TRAIN_FOLDERS = ("train", "training")
TEST_FOLDERS = ("test", "testing", "val", "valid", "validation", "dev")
NAMES_A_PART = re.compile(
    r"(?<![a-z])(train|training|test|testing|val|valid|validation|dev)(?![a-z])", re.IGNORECASE
)


class Listing(NamedTuple):
    """Paths of N images, their labels, i32[N], and the names of the classes.

    part: the folder they are in. left_out: paths in it that were not read.
    """

    paths: list[str]
    labels: np.ndarray
    classes: tuple[str, ...]
    part: Path
    left_out: list[str]


class Parts(NamedTuple):
    """The parts of a folder of images, found by their names.

    train: `root` itself if there are no parts, None if there are others. tests: those that could be
    the test part, in the order of TEST_FOLDERS. others: paths of all other entries of `root`.
    """

    root: Path
    train: Path | None
    tests: list[Path]
    others: list[str]


def find_root(data_dir: str) -> Path:
    """Return the folder `data_dir`, with ~ expanded. Raises ConfigError if there is no folder."""
    if not data_dir:
        raise ConfigError("image_folder needs the folder of the images: --config.data.data_dir=DIR")
    where = Path(data_dir).expanduser()
    if not os.path.isdir(where):  # False, too, if a folder above it cannot be entered
        raise ConfigError(f"data.data_dir: there is no folder {where}")
    return where


def find_parts(data_dir: str) -> Parts:
    """Find the parts of the folder `data_dir`.

    Raises ConfigError if there is no such folder, DataError if two folders are named like one part.
    """
    root = find_root(data_dir)
    found = list_folder(root)
    named: dict[str, list[str]] = {}
    for path in found.folders:
        named.setdefault(Path(path).name.lower(), []).append(path)
    for name in (*TRAIN_FOLDERS, *TEST_FOLDERS):
        if len(same := named.get(name, [])) > 1:
            raise DataError(f"{same[0]} and {same[1]} are both named like the part {name}")
    trains = [named[name][0] for name in TRAIN_FOLDERS if name in named]
    tests = [named[name][0] for name in TEST_FOLDERS if name in named]
    if not trains and not any(map(is_named_like_a_part, found.folders)):
        return Parts(root, root, [], [])
    rest = {*trains[1:], *(p for p in found.folders if p not in (*trains, *tests))}
    others = [*found.images, *found.others, *(f"{p}/" for p in sorted(rest))]
    return Parts(root, Path(trains[0]) if trains else None, [Path(p) for p in tests], others)


def is_named_like_a_part(folder: str) -> bool:
    """Return whether a folder is named like a part of a dataset, such as seg_test, not a class."""
    return bool(NAMES_A_PART.search(Path(folder).name))


def require_train(parts: Parts) -> Path:
    """Return `parts.train`. Raises DataError if there is none."""
    if parts.train:
        return parts.train
    folder = next(filter(is_named_like_a_part, list_folder(parts.root).folders))
    raise DataError(
        f"{parts.root} has no folder train, and {folder} is named like a part of a dataset, not "
        f"like a class: put the training images in {parts.root}/train/CLASS/ (evaluate needs no "
        f"more than {parts.root}/test/CLASS/)"
    )


def list_classes(data_dir: str) -> tuple[str, ...]:
    """Return the sorted names of the classes, without looking into their folders.

    They are those of the train part, or of the test part if there is no other. Raises DataError if
    there are fewer than two.
    """
    return classes_of_parts(find_parts(data_dir))


def classes_of_parts(parts: Parts) -> tuple[str, ...]:
    """Return the `list_classes` of a folder with these parts."""
    if parts.train or not parts.tests:
        return classes_of(require_train(parts))
    return classes_of(next((p for p in parts.tests if list_folder(p).folders), parts.tests[0]))


def classes_of(train: Path) -> tuple[str, ...]:
    """Return `list_classes` of a folder whose classes are those of the part `train`."""
    found = list_folder(train)
    if found.folders:
        names = sorted(set(map(class_of_folder, found.folders)))
    else:
        names = sorted(set(map(class_of_file, found.images)))
    if not names:
        raise DataError(f"{train} has neither folders of classes nor images")
    if len(names) == 1:
        raise DataError(f"{train} has only one class, {names[0]}; at least two are needed")
    return tuple(names)


def list_images(data_dir: str, split: str) -> Listing | None:
    """List the labeled images of the part `train` or `test`.

    Returns None if there is no test part with labels. The test part can be listed where there is no
    train part. Raises DataError for a class without training images, and for a test image whose
    class is not in train.
    """
    parts = find_parts(data_dir)
    if split == "test":
        classes = classes_of_parts(parts)
        part = find_test_folder(parts, classes)
        return list_labeled(part, classes) if part else None
    train = require_train(parts)
    classes = classes_of(train)
    found = list_labeled(train, classes)
    empty = sorted(set(range(len(classes))) - set(found.labels.tolist()))
    if empty:
        names = ", ".join(Path(path).name for path in found.left_out[:3])
        raise DataError(
            f"{train / classes[empty[0]]} has no images"
            + (f" ({len(found.left_out)} other files are left out: {names})" if names else "")
        )
    return found


def find_test_folder(parts: Parts, classes: tuple[str, ...]) -> Path | None:
    """Return the first folder of `parts.tests` whose images have labels; None if there is none."""
    return next((part for part in parts.tests if has_labels(part, classes)), None)


def has_labels(part: Path, classes: tuple[str, ...]) -> bool:
    """Return whether the images in the folder `part` are labeled with some of `classes`.

    Images in a single folder that is named like no class, as Keras wants images without labels,
    have none; several folders count as classes even if train has none of them.
    """
    found = list_folder(part)
    if found.folders:
        folded = {name.casefold() for name in classes}
        named = [class_of_folder(path) for path in found.folders]
        return len(named) > 1 or named[0].casefold() in folded
    words = (Path(path).name.split(".") for path in found.images)
    return any(len(w) > 2 and normalize("NFC", w[0]) in classes for w in words)


def list_labeled(part: Path, classes: tuple[str, ...]) -> Listing:
    """List the images of the folder `part`, sorted by class and then by name.

    Raises DataError if there are none, if some are in no folder of a class while others are, or if
    one has a class that is not in `classes`.
    """
    label_of = {name: label for label, name in enumerate(classes)}
    found = list_folder(part)
    left_out = list(found.others)
    if found.folders and found.images:
        raise DataError(
            f"{found.images[0]} is in no folder of a class, unlike other images of {part}"
        )
    of_class: dict[str, list[str]] = {}
    for folder in found.folders:
        below = walk_images(folder)
        of_class.setdefault(class_of_folder(folder), []).extend(below.paths)
        left_out += below.left_out
        if not below.paths and class_of_folder(folder) not in label_of:
            left_out.append(f"{folder}/")
    for path in found.images:
        of_class.setdefault(class_of_file(path), []).append(path)
    for name, paths in of_class.items():
        if name not in label_of and paths:
            raise DataError(f"{paths[0]}: train has no class {name!r}")
    sorted_paths = [sorted(of_class.get(name, [])) for name in classes]
    counts = [len(paths) for paths in sorted_paths]
    if not sum(counts):
        raise DataError(f"{part} has no images")
    labels = np.repeat(np.arange(len(classes)), counts).astype(np.int32)
    paths = [path for of_one in sorted_paths for path in of_one]
    return Listing(paths, labels, classes, part, left_out)


def reading_notes(data_dir: str) -> list[str]:
    """Return lines for the user: what of the folder is not read, and what is tested on.

    There are none for a folder without training images, in which a run can still be evaluated. All
    of the folder is listed. Errors are those of `list_images`.
    """
    parts = find_parts(data_dir)
    if parts.train is None:
        return []
    train, test = list_images(data_dir, "train"), list_images(data_dir, "test")
    assert train is not None
    left_out, notes = [*parts.others, *train.left_out], []
    for part in parts.tests:
        if test and part == test.part:
            left_out += test.left_out
        elif test and has_labels(part, train.classes):
            left_out.append(f"{part}/ (the test images are those of {test.part.name}/)")
        else:
            left_out.append(f"{part}/ (it has no labeled images)")
    if left_out:
        notes.append(left_out_line(parts.root, left_out))
    if test is None:
        notes.append(
            f"{escaped(str(parts.root))} has no test part with labels: a fixed fifth of each class "
            "is set aside as test images"
        )
    elif missing := sorted(set(range(len(train.classes))) - set(test.labels.tolist())):
        names = ", ".join(train.classes[label] for label in missing[:3])
        more = ", ..." if len(missing) > 3 else ""
        count = f"{len(missing)} of the {len(train.classes)} classes"
        notes.append(escaped(f"{test.part} has no images of {count}: {names}{more}"))
    return notes


def list_unlabeled(directory: str) -> Images:
    """List the images in the folder `directory`; those in folders in it are left out.

    They are sorted by number if all names are numbers, as in Kaggle's test sets, and by name
    otherwise. Raises ConfigError if there is no such folder, DataError if it has no images.
    """
    where = Path(directory).expanduser()
    if not os.path.isdir(where):
        raise ConfigError(f"there is no folder {where}")
    found = list_folder(where)
    left_out = [*found.others, *(f"{path}/" for path in found.folders)]
    if not found.images:
        if pattern := pattern_of_images(found.folders):
            raise DataError(f"{where} has folders, not images: predict {where}/{pattern}")
        more = f": {left_out_line(where, left_out)}" if left_out else ""
        raise DataError(f"{where} has no images{more}")
    stems = [Path(path).stem for path in found.images]
    if all(stem.isdecimal() for stem in stems):
        return Images(sorted(found.images, key=lambda path: int(Path(path).stem)), left_out)
    return Images(found.images, left_out)


def class_of_folder(path: str) -> str:
    """Return the class that a folder is named after, in composed Unicode."""
    return normalize("NFC", Path(path).name)


def class_of_file(path: str) -> str:
    """Return the class in a file name of Kaggle's layout, such as `cat` in cat.0.jpg.

    Raises DataError if the name is not of that form.
    """
    name, *number = Path(path).name.split(".")[:-1]
    if not number:
        raise DataError(
            f"the class of {path} is unknown: name it CLASS.NUMBER{Path(path).suffix}, or put it "
            "in a folder that has the name of its class"
        )
    return normalize("NFC", name)
