"""Fingerprints of images: what shows later whether they are still the same.

The fingerprint of a file is its size and, in a part of a dataset that has at most CONTENT_BYTES,
a digest of its content: a larger part would take too long to read. Each file is asked for its size
once.
"""

import hashlib
import os
import stat
from collections.abc import Mapping

import numpy as np

from cnn_archs.data.datasets.splits import Records, Split

CONTENT_BYTES = 256_000_000  # a third of a second, if the files are in memory

Fingerprints = dict[str, str]  # name of a file -> its size, or SIZE:DIGEST


def fingerprints(part: Split | Records, by_content: bool | None = None) -> Fingerprints:
    """Return the fingerprints of the files that hold the images of `part`.

    by_content: whether to read the files; None reads them if they are images, one a file, and have
    CONTENT_BYTES at most together. An array in memory, which has no file, is read as one file.
    A file that cannot be read has a fingerprint, too: reading its image tells what is wrong.
    """
    if isinstance(part, Split):
        content = hashlib.sha256(np.ascontiguousarray(part.images).data)
        content.update(np.ascontiguousarray(part.labels).data)
        return {"images and labels": f"{part.images.nbytes}:{content.hexdigest()}"}
    paths = part.paths()
    states = {name: state_of_file(path) for name, path in paths.items()}
    label_names = part.files.label_names if part.files else ()
    if by_content is None:
        total = sum(state.st_size for state in states.values() if state)
        by_content = not label_names and total <= CONTENT_BYTES
    of_files = {
        name: f"{size_of(state)}:{digest_content(paths[name], state)}"
        if by_content
        else size_of(state)
        for name, state in states.items()
    }
    return {**of_files, "names of classes": ", ".join(label_names)} if label_names else of_files


def state_of_file(path: str) -> os.stat_result | None:
    """Return the state of the file `path`; None if the system does not tell."""
    try:
        return os.stat(path)
    except OSError:
        return None


def size_of(state: os.stat_result | None) -> str:
    return str(state.st_size) if state else "unknown"


def digest_content(path: str, state: os.stat_result | None) -> str:
    """Return a digest of the content of `path`; "" if it cannot be read.

    A pipe or a device, whose content may never end, is not read.
    """
    if state is None or not stat.S_ISREG(state.st_mode):
        return ""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return ""


def digest(found: Mapping[str, str]) -> str:
    """Return one digest of all fingerprints, whatever their order."""
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(f"{name}\0{found[name]}\0".encode(errors="surrogateescape"))
    return whole.hexdigest()


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe the files that are new, gone or replaced, each kind with the first name."""
    new, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    other = sorted(name for name in now.keys() & before.keys() if now[name] != before[name])
    kinds = {"new": new, "gone": gone, "replaced": other}
    found = []
    for what, names in kinds.items():
        if names:
            first = "" if len(names) == 1 else "first "
            found.append(f"{len(names):,} {what} ({first}{printable(names[0])})")
    old_names = {mark: name for name, mark in before.items() if ":" in mark}
    if other and (old := old_names.get(now[other[0]])):
        found.append(f"{printable(other[0])} is what {printable(old)} was")
    return found


def printable(name: str) -> str:
    """Return `name`, quoted with escapes if it has characters that cannot be printed."""
    return name if name.isprintable() else ascii(name)
