"""Fingerprints of images: what shows later whether they are still the same.

The fingerprint of a file is its size and, in a part of a dataset that has at most CONTENT_BYTES,
a digest of its content: a larger part would take too long to read. Each file is asked for its size
once.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cnn_archs.data.corruption import damage_error, data_errors
from cnn_archs.data.datasets.splits import Records, Split
from cnn_archs.errors import escaped
from cnn_archs.runtime.files import atomic_write, read_regular

CONTENT_BYTES = 256_000_000  # a third of a second, if the files are in memory

Fingerprints = dict[str, str]  # name of a file -> its size, or SIZE:DIGEST


def fingerprints(
    part: Split | Records, by_content: bool | None = None, *, skip: bool = False
) -> Fingerprints:
    """Return the fingerprints of the files that hold the images of `part`.

    by_content: whether to read the files; None reads them if they are images, one a file, and have
    CONTENT_BYTES at most together. An array in memory, which has no file, is read as one file.
    skip: whether a file that cannot be read is taken for an empty one; otherwise it raises
    DataError.
    """
    if isinstance(part, Split):
        content = hashlib.sha256(np.ascontiguousarray(part.images).data)
        content.update(np.ascontiguousarray(part.labels).data)
        return {"images and labels": f"{part.images.nbytes}:{content.hexdigest()}"}
    paths = part.paths()
    sizes = sizes_of_files(paths, skip)
    label_names = part.files.label_names if part.files else ()
    if by_content is None:
        by_content = not label_names and sum(sizes.values()) <= CONTENT_BYTES
    found = {
        name: f"{size}:{digest_content(paths[name], skip)}" if by_content else str(size)
        for name, size in sizes.items()
    }
    return {**found, "names of classes": ", ".join(label_names)} if label_names else found


def sizes_of_files(paths: Mapping[str, str], skip: bool) -> dict[str, int]:
    """Return {name: size} of files. paths: {name: path}. skip: see `fingerprints`."""
    found = {}
    for name, path in paths.items():  # more than a million in ImageNet: as few calls as possible
        try:
            found[name] = os.stat(path).st_size
        except OSError as e:
            if not skip:
                raise damage_error(path, e) from e
            found[name] = 0
    return found


def digest_content(path: str, skip: bool) -> str:
    """Return a digest of the content of `path`. skip: see `fingerprints`."""
    try:
        content = read_regular(path)
    except OSError as e:
        if not skip:
            raise damage_error(path, e) from e
        content = b""
    return hashlib.sha256(content).hexdigest()[:16]


def digest(found: Mapping[str, str]) -> str:
    """Return one digest of all fingerprints, whatever their order."""
    whole = hashlib.sha256()
    for item in sorted(found.items()):
        whole.update("\0".join((*item, "")).encode(errors="surrogateescape"))
    return whole.hexdigest()


def save(path: Path, found: object) -> None:
    """Write fingerprints, or a dict of several, to `path` atomically, as compressed JSON."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(gzip.compress(json.dumps(found).encode(), 1, mtime=0))


def load(path: Path) -> Any:
    """Read what `save` wrote. Raises DataError if the file is damaged."""
    with data_errors(str(path)):
        return json.loads(gzip.decompress(path.read_bytes()))


def describe_changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Describe the files that are new, gone or replaced, each kind with the first name."""
    new, gone = sorted(now.keys() - before.keys()), sorted(before.keys() - now.keys())
    other = sorted(n for n in now.keys() & before.keys() if not agree(before[n], now[n]))
    kinds = {"new": new, "gone": gone, "replaced": other}
    found = []
    for what, names in kinds.items():
        if names:
            first = "" if len(names) == 1 else "first "
            found.append(f"{len(names):,} {what} ({first}{escaped(names[0])})")
    old_names = {mark: name for name, mark in before.items() if ":" in mark}
    if other and (old := old_names.get(now[other[0]])):
        found.append(f"{escaped(other[0])} is what {escaped(old)} was")
    return found


def agree(a: str, b: str) -> bool:
    """Return whether two fingerprints may be of one file: by their sizes if only one has more."""
    return a == b or (":" in a) != (":" in b) and a.partition(":")[0] == b.partition(":")[0]
