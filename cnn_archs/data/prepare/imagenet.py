"""Index ImageNet's two archives, whose pictures are read in place: nothing is unpacked.

ILSVRC2012_img_train.tar is a tar of a thousand tars, one per synset. ILSVRC2012_img_val.tar holds
its pictures side by side; tfds knows their labels, in the order of their numbers. The bytes of all
pictures are kept. tfds re-encodes 23 training pictures, which `decode` reads as they are: 22 in
CMYK, and n02105855_2933.JPEG, which is a PNG.
"""

import re
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.prepare.shards import OnProgress, Picture, in_tfds_order
from cnn_archs.errors import DataError

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
COUNTS = {"train": 1_281_167, "validation": 50_000}
TRAIN_PICTURE = re.compile(r"n\d{8}_\d+\.JPEG")
VALIDATION_PICTURE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def index_archives(
    folder: Path, synsets: Sequence[str], validation: Sequence[str], tick: OnProgress
) -> dict[str, list[Picture]]:
    """List the pictures of the splits train and validation, in tfds' order.

    synsets: in the order of the labels. validation: the synset of each validation picture, in the
    order of their numbers. tick: called with the number of pictures found so far. Raises DataError
    if an archive is missing, damaged, or holds anything but ImageNet's pictures.
    """
    for name in (TRAIN, VALIDATION):
        if not (folder / name).is_file():
            raise DataError(
                f"there is no {folder / name}: register on image-net.org and download both "
                f"{TRAIN} and {VALIDATION} (ILSVRC2012, 148 and 6.7 GB) to {folder}"
            )
    label_of = {name: label for label, name in enumerate(synsets)}
    found = {
        "train": index_train(folder / TRAIN, label_of, tick),
        "validation": index_validation(
            folder / VALIDATION, [label_of[s] for s in validation], tick
        ),
    }
    return {split: in_tfds_order(split, check_unique(split, found[split])) for split in found}


def index_train(path: Path, label_of: dict[str, int], tick: OnProgress) -> list[Picture]:
    """List the pictures in the training archive. label_of: the label of each synset."""
    found: list[Picture] = []
    for synset, inner in file_members(path):
        label = label_of.get(synset.name.removesuffix(".tar"))
        if label is None or not synset.name.endswith(".tar"):
            raise DataError(f"{path}: {synset.name!r} is not the archive of a synset of ImageNet")
        what = f"{path}, in {synset.name}"
        for member, _ in archive_members(inner, what):
            if not TRAIN_PICTURE.fullmatch(member.name):
                raise DataError(f"{what}: {member.name!r} is not a picture of ImageNet")
            found.append(make_picture(path, synset.offset_data, member, label))
        tick(len(found))
    return found


def index_validation(path: Path, labels: Sequence[int], tick: OnProgress) -> list[Picture]:
    """List the pictures in the validation archive. labels: in the order of their numbers."""
    found: list[Picture] = []
    for member, _ in file_members(path):
        number = VALIDATION_PICTURE.fullmatch(member.name)
        if not number or not 1 <= int(number[1]) <= len(labels):
            raise DataError(f"{path}: {member.name!r} is not a picture of ImageNet")
        found.append(make_picture(path, 0, member, labels[int(number[1]) - 1]))
        tick(len(found))
    return found


def make_picture(path: Path, start: int, member: tarfile.TarInfo, label: int) -> Picture:
    """Return the picture of a member of the archive that begins at byte `start` of a file."""
    offset = start + member.offset_data
    return Picture(str(path), offset, member.size, member.mtime, member.name, label)


Members = Iterator[tuple[tarfile.TarInfo, BinaryIO]]


def file_members(path: Path) -> Members:
    """Yield the `archive_members` of the archive in the file `path`."""
    with data_errors(str(path)), open(path, "rb") as file:
        yield from archive_members(file, str(path))


def archive_members(archive: BinaryIO, what: str) -> Members:
    """Yield the files in an uncompressed archive.

    what: names the archive in errors. Raises DataError if it is damaged or cut off, or holds
    anything but regular files. tarfile takes a damaged header for the end of the archive, so this
    requires the block of zeros at its end.
    """
    with data_errors(what), tarfile.open(fileobj=archive, mode="r:") as listed:
        for member in listed:
            if not member.isreg() or member.issparse() or member.size < 0:
                raise DataError(f"{what}: {member.name!r} is not a regular file")
            yield member, cast(BinaryIO, listed.extractfile(member))
        archive.seek(listed.offset)
        if archive.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise ValueError(f"cut off or damaged at byte {listed.offset:,}")


def check_unique(split: str, pictures: list[Picture]) -> list[Picture]:
    """Return the pictures. Raises DataError if two have the same name or if there are none."""
    names: set[str] = set()
    for p in pictures:
        if p.name in names:
            raise DataError(f"{p.path} has two pictures that are named {p.name}")
        names.add(p.name)
    if not names:
        raise DataError(f"imagenet2012 has no pictures in {split}")
    return pictures
