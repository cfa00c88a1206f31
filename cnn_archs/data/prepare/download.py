"""Download files whose size and SHA-256 are known, and go on where an earlier start was stopped.

What there is of a file is kept beside it as `NAME.part`. A file gets its name when its digest is
right, so a file that has its name is whole.
"""

import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.errors import DataError, first_line
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import check_regular, file_sha256

SECONDS = 20.0  # without a byte, before a connection counts as broken
BLOCK = 1 << 16  # bytes
UNFINISHED = ".part"


class RemoteFile(NamedTuple):
    """A file at `url`, with its size in bytes and its SHA-256 as hexadecimal digits."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def is_at(self, path: Path) -> bool:
        """Return whether `path` is this file. Raises DataError if it cannot be read."""
        return path.exists() and self.digest_problem(path) == ""

    def digest_problem(self, path: Path) -> str:
        """Return what tells the file `path` from this one; "" if it is the same."""
        with data_errors(str(path)):
            size = check_regular(path).st_size
            if size != self.size:
                return f"it has {size:,} bytes, not {self.size:,}"
            found = file_sha256(path)
        return "" if found == self.sha256 else f"its SHA-256 is {found}, not {self.sha256}"


class NetworkError(Exception):
    """A server cannot be reached, does not answer, or does not send the file."""


@contextmanager
def network_errors() -> Iterator[None]:
    """Turn errors of the body, which speaks to a server, into a NetworkError."""
    try:
        yield
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as e:
        inner = e.reason
        text = (isinstance(inner, OSError) and inner.strerror) or str(inner)
        raise NetworkError(text) from e
    except OSError as e:
        raise NetworkError(e.strerror or first_line(e)) from e
    except (http.client.HTTPException, ValueError) as e:
        raise NetworkError(first_line(e)) from e


def fetch(files: Sequence[RemoteFile], folder: Path, progress: Progress, command: str) -> None:
    """Download those of `files` to `folder` that it does not hold yet.

    command: the command line that prepares the dataset from this folder, for the error. Raises
    DataError if a file cannot be downloaded or is another one than expected, or if the disk has no
    room; Stopped after a signal. The files are then missing, and what there is of them is kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [f for f in files if not f.is_at(folder / f.name)]
    if not missing:
        return
    total = sum(f.size for f in missing)
    begun = sum(min(f.size, part_size(folder, f)) for f in missing)
    if total - begun > (free := shutil.disk_usage(folder).free):
        raise DataError(
            f"the files of {progress.name} take {(total - begun) / 1e6:,.0f} MB more, and {folder} "
            f"has room for {free / 1e6:,.0f}: free some space, or choose another --data_dir"
        )
    names, base = ", ".join(f.name for f in missing), missing[0].url.rpartition("/")[0]
    resumed = f", of which {begun / 1e6:,.1f} are there" if begun else ""
    print_status(
        f"{progress.name}: downloading {names} ({total / 1e6:,.1f} MB{resumed}) from {base}/"
    )
    progress.begin(total - begun)
    for file in missing:
        try:
            download(file, folder, progress)
        except NetworkError as e:
            raise DataError(
                f"cannot download {file.url}: {e}; run the same command again to go on, or bring "
                f"{names} from {base}/ to {folder} and run: {command}"
            ) from e


def part_size(folder: Path, file: RemoteFile) -> int:
    """Return how many bytes of a file have been downloaded to `folder`."""
    part = folder / (file.name + UNFINISHED)
    return part.stat().st_size if part.exists() else 0


def download(file: RemoteFile, folder: Path, progress: Progress) -> None:
    """Download one file to `folder`. A connection that breaks is made again if it brought anything.

    Raises NetworkError if it brings nothing, or another file.
    """
    part = folder / (file.name + UNFINISHED)
    fresh = part_size(folder, file) == 0
    while True:
        while (start := part_size(folder, file)) < file.size:
            try:
                transfer(file, part, start, progress)
            except NetworkError:
                if part_size(folder, file) <= start:
                    raise
        problem = file.digest_problem(part)
        if not problem:
            break
        progress.size += part_size(folder, file)
        part.unlink()
        if fresh:
            raise NetworkError(f"this is another file: {problem}")
        fresh = True  # what an earlier start left may have been damaged: once more from its start
    with open(part, "rb+") as whole:
        os.fsync(whole.fileno())
    part.replace(folder / file.name)


def transfer(file: RemoteFile, part: Path, start: int, progress: Progress) -> None:
    """Append to `part` what follows byte `start` of a file, or write it anew.

    It is written anew if the server cannot begin in the middle. Raises NetworkError if the
    connection breaks, or if what the server sends cannot be this file.
    """
    headers = {"User-Agent": "cnn-archs", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with network_errors():
            response = urllib.request.urlopen(
                urllib.request.Request(file.url, headers=headers), timeout=SECONDS
            )
    except urllib.error.HTTPError as e:
        e.close()
        if not start or e.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise NetworkError(f"HTTP status {e.code} {e.reason}") from e
        progress.size += start
        part.unlink()
        return transfer(file, part, 0, progress)
    with response:
        follows = (response.headers["Content-Range"] or "").startswith(f"bytes {start}-")
        first = start if response.status == 206 and follows else 0
        if response.length not in (None, file.size - first):
            raise NetworkError(
                f"the server has {first + response.length:,} bytes, not {file.size:,}"
            )
        progress.size += start - first
        with open(part, "ab" if first else "wb") as out:
            while block := read_block(response):
                if out.tell() + len(block) > file.size:
                    raise NetworkError(f"the server sends more than {file.size:,} bytes")
                out.write(block)
                progress.report_bytes(file.name, len(block))
            if out.tell() < file.size:
                raise NetworkError(f"the connection ended after {out.tell():,} bytes")


def read_block(response: http.client.HTTPResponse) -> bytes:
    """Return the next bytes of a response, b"" at its end. Raises NetworkError."""
    with network_errors():
        return response.read1(BLOCK)
