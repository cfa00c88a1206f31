"""Read the members of uncompressed tar archives, which nobody has to trust."""

import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from cnn_archs.data.corruption import data_errors
from cnn_archs.errors import DataError

Members = Iterator[tuple[tarfile.TarInfo, BinaryIO]]


def archive_members(archive: BinaryIO, what: str, folders: bool = False) -> Members:
    """Yield the files in an uncompressed archive.

    what: names the archive in errors. folders: whether it may have folders, which are left out.
    Raises DataError if it is damaged or cut off, or holds anything else than regular files. tarfile
    takes a damaged header for the end of the archive, so this requires the block of zeros at its
    end.
    """
    with data_errors(what), tarfile.open(fileobj=archive, mode="r:") as listed:
        for member in listed:
            if folders and member.isdir():
                continue
            if not member.isreg() or member.issparse() or member.size < 0:
                raise DataError(f"{what}: {member.name!r} is not a regular file")
            yield member, cast(BinaryIO, listed.extractfile(member))
        archive.seek(listed.offset)
        if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"cut off or damaged at byte {listed.offset:,}")
