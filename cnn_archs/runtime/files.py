"""Atomic writes, errors of one line, and lock files."""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from cnn_archs.errors import ConfigError, DataError, UserError, decoded, first_line

UNFINISHED = ".part"  # suffix of a file that `atomic_write` has not finished
OWN_UNFINISHED: set[Path] = set()  # those that this process is writing


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; the file written there becomes `path` at the end.

    At every moment `path` holds its old content or all of the new one. If the body raises, `path`
    stays as it was and the temporary file is removed. A symbolic link is followed. A pipe or a
    device cannot be replaced, so it is yielded itself. The temporary file is made here, and its
    name cannot be guessed: in a folder that others can write too, they could lead it elsewhere.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    target = path.resolve()
    temporary = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}{UNFINISHED}")
    OWN_UNFINISHED.add(temporary)
    created = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    mode = stat.S_IMODE(os.fstat(created).st_mode)
    os.close(created)
    try:
        yield temporary
        temporary.chmod(mode)  # the body may have put a private file in its place
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
        OWN_UNFINISHED.discard(temporary)


def remove_own_unfinished() -> None:
    """Remove the temporary files of this process, which is about to end in the middle of them."""
    for temporary in list(OWN_UNFINISHED):
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file in hexadecimal. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_regular(path: str | Path) -> bytes:
    """Read a whole file. A symbolic link is followed.

    Raises OSError if it cannot be read or is no regular file: to open a pipe or a device could
    block for ever, or have an effect.
    """
    check_regular(path)
    with open(path, "rb") as file:
        return file.read()


def check_regular(path: str | Path) -> os.stat_result:
    """Return the status of a regular file. Raises OSError if there is none at `path`."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(status.st_mode), "a device")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    return status


def remove_unfinished(folder: Path) -> None:
    """Remove the temporary files of `atomic_write` that killed processes left in `folder`."""
    for path in folder.glob(f".*{UNFINISHED}"):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8; bytes of names that are not are escaped."""
    encoded = decoded(text).encode("utf-8", "backslashreplace")
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded)


def write_json(path: Path, value: object) -> None:
    """Write `value` to `path` atomically, as indented JSON."""
    write_text(path, json.dumps(value, indent=1) + "\n")


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn errors of the body, which reads `path`, into a DataError of one line.

    UserErrors pass through. An OSError says that `path` cannot be read, any other error that its
    content is damaged.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as e:
        raise DataError(f"cannot read {path}: {e.strerror or e}") from e
    except (
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as e:
        raise DataError(f"{path} is damaged: {type(e).__name__}: {first_line(e)}") from e


@contextmanager
def write_errors(folder: Path) -> Iterator[None]:
    """Turn an OSError of the body, which writes in `folder`, into a UserError of one line.

    It is a DataError if the disk is full or fails, otherwise (no permission) a ConfigError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as e:
        full = e.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        kind = DataError if full else ConfigError
        raise kind(f"cannot write {e.filename or folder}: {e.strerror or e}") from e


@contextmanager
def lock(path: Path, flag: str = "--workdir") -> Iterator[None]:
    """Hold the lock file `path` during the body. Raises ConfigError if another process holds it.

    flag: the option that named the folder of `path`, for the message. The lock is an flock, so a
    killed process never leaves a stale one. Raises DataError if the file system has no locks.
    """
    with open(path, "a+", encoding="utf-8", errors="replace") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            if e.errno not in (errno.EAGAIN, errno.EACCES):
                raise DataError(f"cannot lock {path}: {e.strerror}; use another file system") from e
            f.seek(0)
            holder = f.read().strip() or "another process"
            raise ConfigError(f"{path.parent} is in use by {holder}; use another {flag}") from None
        f.truncate(0)
        f.write(f"process {os.getpid()} on {socket.gethostname()}")
        f.flush()
        try:
            yield
        finally:
            f.truncate(0)
