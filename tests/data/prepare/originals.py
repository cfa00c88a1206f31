"""Small originals of MNIST, CIFAR-10 and CIFAR-100, in each form in which people have them."""

import gzip
import io
import pickle
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from cnn_archs.data.prepare.array_sets import ARRAY_SETS, Arrays
from cnn_archs.data.prepare.cifar_classes import COARSE_OF_FINE

COUNTS = {"train": 15, "test": 6}  # three in each of CIFAR-10's five files


def arrays_of(name: str) -> dict[str, Arrays]:
    """Return random images and labels of a dataset, a few in each split."""
    dataset = ARRAY_SETS[name]
    random = np.random.default_rng(len(name))
    found = {}
    for split, count in COUNTS.items():
        images = random.integers(0, 256, (count, *dataset.shape), np.uint8)
        labels = {"label": random.integers(0, dataset.labels["label"], count)}
        if "coarse_label" in dataset.labels:
            labels["coarse_label"] = np.array(COARSE_OF_FINE)[labels["label"]]
        found[split] = Arrays(images, labels)
    return found


def idx(values: np.ndarray) -> bytes:
    """Return an array of bytes in the format of MNIST's files."""
    return (
        bytes((0, 0, 8, values.ndim)) + np.array(values.shape, ">u4").tobytes() + values.tobytes()
    )


def idx_files(name: str) -> dict[str, bytes]:
    """Return the four files of a dataset in MNIST's format, unpacked."""
    found = {}
    for split, start in (("train", "train"), ("test", "t10k")):
        images, labels = arrays_of(name)[split]
        found[f"{start}-images-idx3-ubyte"] = idx(images[..., 0])
        found[f"{start}-labels-idx1-ubyte"] = idx(labels["label"].astype(np.uint8))
    return found


def cifar_files(name: str, protocol: int | None = None) -> dict[str, bytes]:
    """Return the files of CIFAR: pickles of this protocol, or binary ones."""
    dataset = ARRAY_SETS[name]
    found = {}
    for split, names in dataset.files.items():
        images, labels = arrays_of(name)[split]
        planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        n = len(images) // len(names)
        for k, file in enumerate(names):
            part = slice(k * n, k * n + n)
            columns = [labels[f].astype(np.uint8)[part, None] for f in dataset.labels]
            if protocol is None:
                found[f"{file}.bin"] = np.hstack([*columns, planes[part]]).tobytes()
                continue
            fine = "labels" if name == "cifar10" else "fine_labels"
            keys = {"label": fine, "coarse_label": "coarse_labels"}
            values = {keys[f].encode(): labels[f][part].tolist() for f in dataset.labels}
            values |= {b"data": planes[part], b"batch_label": b"part", b"filenames": [b"x.png"] * n}
            found[file] = pickle.dumps(values, protocol)
    return found


def put(folder: Path, files: dict[str, bytes], packed: bool = False) -> Path:
    """Write files in a folder, as .gz if `packed`, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content, 1) if packed else content)
    return folder


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an .npz of arrays."""
    file, values = io.BytesIO(), cast(Any, arrays)
    np.savez_compressed(file, **values)
    return file.getvalue()


def tar(files: Mapping[str, bytes | tarfile.TarInfo], folder: str = "x") -> bytes:
    """Return an archive of files in a folder; a TarInfo is put in as it is."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as out:
        top = tarfile.TarInfo(folder)
        top.type = tarfile.DIRTYPE
        out.addfile(top)
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                out.addfile(content)
                continue
            member = tarfile.TarInfo(name if name.startswith(("/", "..")) else f"{folder}/{name}")
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return archive.getvalue()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, 1)
