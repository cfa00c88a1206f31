"""Read MNIST, CIFAR and their like from their original files, and from arrays that people keep.

What is read may come from anywhere. Nothing is unpacked to the disk, nothing that a pickle names is
run, and no file may unpack to more than LIMIT bytes.
"""

import gzip
import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.prepare import array_pickle
from cnn_archs.data.prepare.array_sets import SPLITS, Arrays, ArraySet, checked_arrays
from cnn_archs.data.prepare.tar_members import archive_members
from cnn_archs.errors import DataError
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import check_regular

LIMIT = 600_000_000  # bytes; the largest original, an archive of CIFAR, has 190 million
GZIP, ZIP = b"\x1f\x8b", b"PK\x03\x04"
IMAGES = "x|images?|imgs?|data|features?|pixels?|inputs?"
LABELS = "y|labels?|targets?|class(?:es)?"
PART = "train(?:ing)?|test(?:ing)?"
ARRAY_NAME = re.compile(
    f"(?P<part>{PART})(?:(?P<x>{IMAGES})|(?P<y>{LABELS}))"
    f"|(?:(?P<x2>{IMAGES})|(?P<y2>{LABELS}))(?P<part2>{PART})"
)


class Files(NamedTuple):
    """Gives the content of files of a folder or archive. read: by name, without an ending .gz."""

    where: str
    read: Mapping[str, Callable[[], bytes]]


def read_original(dataset: ArraySet, source: Path) -> dict[str, Arrays]:
    """Read the splits `train` and `test`, in the order of the files.

    source: a file or a folder. Raises DataError if it has no files of this dataset, not all of
    them, or damaged ones.
    """
    with data_errors(str(source)):
        if not source.is_dir():
            return read_file(dataset, source)
        for folder in (source, source / "raw", *(source / name for name in dataset.folders)):
            found = read_folder(dataset, folder) if folder.is_dir() else None
            if found:
                return found
    raise DataError(f"{source} has no files of {dataset.name}, which is read from {dataset.reads}")


def read_folder(dataset: ArraySet, folder: Path) -> dict[str, Arrays] | None:
    """Read a dataset from the files in `folder` itself, or from an archive in it.

    Returns None if it has none of them.
    """
    with data_errors(str(folder)):
        paths = [path for path in sorted(folder.iterdir()) if not path.is_dir()]
    files = Files(
        str(folder),
        {path.name.removesuffix(".gz"): partial(read_unpacked, path) for path in paths},
    )
    found = read_files(dataset, files)
    if found:
        return found
    for path in paths:
        if path.name.removesuffix(".gz") in dataset.archives:
            return read_file(dataset, path)
    stored = [path for path in paths if path.suffix == ".npz"]
    arrays: dict[str, np.ndarray] = {}
    for path in stored:
        of_file = read_npz(read_unpacked(path), str(path))
        one = len(stored) > 1 and list(of_file) == ["arr_0"]  # as KMNIST is published
        arrays |= {path.stem: of_file["arr_0"]} if one else of_file
    return read_named_arrays(dataset, arrays, str(folder)) if arrays else None


def read_file(dataset: ArraySet, path: Path) -> dict[str, Arrays]:
    """Read a dataset from an archive, an .npz, or a file that the others stand beside."""
    content = read_unpacked(path)
    found = None
    if content.startswith(ZIP):
        arrays = read_npz(content, str(path))
        found = read_named_arrays(dataset, arrays, str(path)) if arrays else None
    elif is_tar(content):
        found = read_files(dataset, files_in_tar(content, str(path)))
    elif path.name.removesuffix(".gz") in wanted_files(dataset):
        found = read_folder(dataset, path.parent)
    if not found:
        raise DataError(
            f"{path} has no files of {dataset.name}, which is read from {dataset.reads}"
        )
    return found


def read_unpacked(path: Path) -> bytes:
    """Read a file, and unpack it if it is compressed by gzip.

    Raises DataError if it is damaged or has more than LIMIT bytes.
    """
    content = io.BytesIO()
    with data_errors(str(path)):
        check_regular(path)
        with open(path, "rb") as file:
            packed = file.read(len(GZIP)) == GZIP
        with gzip.open(path) if packed else open(path, "rb") as file:
            while block := file.read(1 << 20):
                content.write(block)
                check_size(content.tell(), str(path))
    return content.getvalue()


def check_size(size: int, what: str) -> None:
    """Raise DataError if `size` is more than LIMIT."""
    if size > LIMIT:
        raise DataError(f"{what} unpacks to more than {LIMIT / 1e6:,.0f} MB: this is another file")


def is_tar(content: bytes) -> bool:
    """Return whether the content of a file begins like an uncompressed tar archive."""
    try:
        tarfile.open(fileobj=io.BytesIO(content), mode="r:").close()
    except Exception:  # of many kinds, for what is no archive
        return False
    return True


def files_in_tar(content: bytes, what: str) -> Files:
    """Return the files in an uncompressed archive, by their names without folders.

    what: names the archive in errors. Raises DataError if the archive is damaged or cut off, if it
    has anything but files and folders, two files of one name, or a path that leads outside.
    """
    view = memoryview(content)
    found: dict[str, Callable[[], bytes]] = {}
    for member, _ in archive_members(io.BytesIO(content), what, folders=True):
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts:
            raise DataError(f"{what}: {member.name!r} leads outside of the archive")
        if path.name.startswith("._"):  # as macOS adds them
            continue
        if path.name in found:
            raise DataError(f"{what}: there are two files {path.name}")
        part = view[member.offset_data : member.offset_data + member.size]
        found[path.name] = partial(bytes, part)
    return Files(what, found)


def wanted_files(dataset: ArraySet) -> set[str]:
    """Return all names of original files of a dataset, in each of their spellings."""
    names = {name for of_split in dataset.files.values() for name in of_split}
    if dataset.archives:
        return {*names, *(f"{name}.bin" for name in names)}
    return {*names, *(name.replace("-idx", ".idx") for name in names)}


def read_files(dataset: ArraySet, files: Files) -> dict[str, Arrays] | None:
    """Read a dataset from its original files.

    Returns None if there is none of them. Raises DataError if there are only some.
    """
    present = wanted_files(dataset) & files.read.keys()
    binary = any(name.endswith(".bin") for name in present)
    if not present:
        return None
    found = {}
    for split, names in dataset.files.items():
        contents = []
        for name in names:
            spellings = [f"{name}.bin"] if binary else [name, name.replace("-idx", ".idx")]
            stored = [s for s in spellings if s in present]
            if not stored:
                raise DataError(f"{files.where} has {min(present)}, but no {spellings[0]}")
            contents.append((f"{files.where}/{stored[0]}", files.read[stored[0]]()))
        found[split] = read_split(dataset, contents, binary)
    return found


def read_split(dataset: ArraySet, contents: list[tuple[str, bytes]], binary: bool) -> Arrays:
    """Read a split from its files. contents: of each, its name for errors and its content."""
    what = contents[0][0]
    if not dataset.archives:
        images, labels = (read_idx(content, name) for name, content in contents)
        return checked_arrays(dataset, images, {"label": labels}, what)
    read = read_cifar_binary if binary else read_cifar_pickle
    parts = [read(dataset, content, name) for name, content in contents]
    return Arrays(
        np.concatenate([part.images for part in parts]),
        {f: np.concatenate([part.labels[f] for part in parts]) for f in dataset.labels},
    )


def read_idx(content: bytes, what: str) -> np.ndarray:
    """Read an array of bytes in the format of MNIST's files. what: its name for errors."""
    with data_errors(what):
        if len(content) < 4 or content[:3] != b"\0\0\x08":
            raise ValueError("this is not an idx file of bytes")
        shape = np.frombuffer(content, ">u4", content[3], 4).astype(int)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * content[3])
        wanted = " x ".join(map(str, shape))
        if len(values) != np.prod(shape, dtype=object):
            raise ValueError(f"it has {len(values):,} values, not the {wanted} that it begins with")
        return values.reshape(shape)


def read_cifar_binary(dataset: ArraySet, content: bytes, what: str) -> Arrays:
    """Read records of a byte for each label and 3 x 32 x 32 bytes of an image."""
    h, w, c = dataset.shape
    length = len(dataset.labels) + h * w * c
    if len(content) % length:
        raise DataError(
            f"damaged data: {what}: {len(content):,} bytes are no whole number of records of "
            f"{length:,}"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, length)
    labels = {field: records[:, k] for k, field in enumerate(dataset.labels)}
    images = records[:, len(dataset.labels) :].reshape(-1, c, h, w)
    return checked_arrays(dataset, images, labels, what)


def read_cifar_pickle(dataset: ArraySet, content: bytes, what: str) -> Arrays:
    """Read one of the files of CIFAR's python form."""
    h, w, c = dataset.shape
    keys = {"label": "labels" if len(dataset.labels) == 1 else "fine_labels"}
    keys |= {"coarse_label": "coarse_labels"} if "coarse_label" in dataset.labels else {}
    with data_errors(what):
        values = array_pickle.load(content)
        for key in ("data", *keys.values()):
            if key not in values:
                raise ValueError(f"there are no {key}")
        images = array_pickle.as_array(values["data"])
        labels = {field: array_pickle.as_array(values[key]) for field, key in keys.items()}
        if images.ndim == 2 and images.shape[1] == h * w * c:
            images = images.reshape(-1, c, h, w)
        return checked_arrays(dataset, images, labels, what)


def read_npz(content: bytes, what: str) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz; {} if it is another zip. what: its name for errors."""
    with data_errors(what):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            check_size(sum(member.file_size for member in archive.infolist()), what)
            names = [name for name in archive.namelist() if name.endswith(".npy")]
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            return {name.removesuffix(".npy"): stored[name] for name in names}


def read_named_arrays(
    dataset: ArraySet, arrays: Mapping[str, np.ndarray], what: str
) -> dict[str, Arrays]:
    """Return the splits that are in `arrays`, by the usual names: x_train, test_labels, ..."""
    found: dict[str, tuple[str, np.ndarray]] = {}
    others = []
    for name, array in arrays.items():
        words = re.sub("[^a-z]", "", name.lower()).removeprefix(dataset.name.replace("_", ""))
        match = ARRAY_NAME.fullmatch(words)
        if not match:
            others.append(name)
            continue
        part = "train" if (match["part"] or match["part2"]).startswith("train") else "test"
        key = f"{'x' if match['x'] or match['x2'] else 'y'}_{part}"
        if key in found:
            raise DataError(f"{what}: {found[key][0]} and {name} are both {key}")
        found[key] = (name, array)
    for key in (f"{kind}_{split}" for split in SPLITS for kind in "xy"):
        if key not in found:
            raise DataError(f"{what} has no {key}, only {', '.join(sorted(arrays))}")
    if others:
        print_status(f"note: {what}: left out: {', '.join(sorted(others))}")
    return {
        split: checked_arrays(
            dataset,
            found[f"x_{split}"][1],
            {"label": found[f"y_{split}"][1]},
            f"{what}, {found[f'x_{split}'][0]}",
        )
        for split in SPLITS
    }
