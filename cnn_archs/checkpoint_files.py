"""The files of a checkpoint's step: their digests, and who reads them.

An error of the system while a file is read is no damage, and passes as an OSError; only a file that
is gone, or has other content than was written, is damaged.
"""

import errno
import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnn_archs.runtime.files import file_sha256

DIGESTS_FILE = "sha256.json"  # in the folder of a step: the digests of its files
MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR)  # a file is gone; other errors may pass


class DamagedCheckpoint(Exception):
    """A step of which a file is missing, or differs from what was written."""


@contextmanager
def held(step: Path) -> Iterator[None]:
    """Keep a training, which is another process, from removing the folder `step` meanwhile.

    Without effect where the file system has no locks. Raises DamagedCheckpoint if `step` is gone.
    """
    try:
        handle = os.open(step, os.O_RDONLY)
    except FileNotFoundError as e:
        raise DamagedCheckpoint("it is gone") from e
    try:
        with suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def is_held(step: Path) -> bool:
    """Return whether another process is inside `held` for the folder `step`."""
    handle = os.open(step, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(handle)
    return False


def read_all(step: Path) -> None:
    """Read all files of a step, to see whether orbax failed because one cannot be read.

    Raises OSError if so, and DamagedCheckpoint if one is gone meanwhile.
    """
    try:
        file_digests(step)
    except OSError as e:
        if e.errno in MISSING:
            raise DamagedCheckpoint(f"{e.filename} is missing") from e
        raise


def file_digests(folder: Path) -> dict[str, str]:
    """Return {path: SHA-256} for the files in `folder`, except DIGESTS_FILE."""
    found = [
        Path(where, name) for where, _, names in os.walk(folder, onerror=fail) for name in names
    ]
    files = sorted(path for path in found if path.name != DIGESTS_FILE)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def fail(e: OSError) -> None:
    raise e


def check_files(folder: Path, items: set[str]) -> None:
    """Raise DamagedCheckpoint, with the file's name, if a file of `items` has changed.

    Raises OSError if a file cannot be read. This keeps orbax from reading damaged files, which it
    reports in many lines. If DIGESTS_FILE does not exist, because the save was killed just before
    it was written, the digests of the arrays still protect the step.
    """
    try:
        listed = json.loads((folder / DIGESTS_FILE).read_text("utf-8"))
        for name, sha256 in listed.items():
            if name.partition("/")[0] in items and file_sha256(folder / name) != sha256:
                raise DamagedCheckpoint(f"{name} has changed since it was written")
    except OSError as e:
        if e.errno not in MISSING:
            raise
        if e.errno != errno.ENOENT or Path(e.filename).name != DIGESTS_FILE:
            raise DamagedCheckpoint(f"{e.filename} is missing") from e
    except (ValueError, AttributeError) as e:
        raise DamagedCheckpoint(f"{DIGESTS_FILE}: {e}") from e
