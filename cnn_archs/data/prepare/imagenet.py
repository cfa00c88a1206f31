"""Index ImageNet's two archives, whose pictures are read in place: nothing is unpacked.

ILSVRC2012_img_train.tar is a tar of a thousand tars, one per synset. ILSVRC2012_img_val.tar holds
its pictures side by side; tfds knows their labels, in the order of their numbers. The bytes of all
pictures are kept. tfds re-encodes 23 training pictures, which `decode` reads as they are: 22 in
CMYK, and n02105855_2933.JPEG, which is a PNG.
"""

import re
import tarfile
from collections.abc import Sequence
from pathlib import Path

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.data.prepare.shards import Picture, in_tfds_order
from cnn_archs.data.prepare.tar_members import Members, archive_members
from cnn_archs.errors import DataError

TRAIN, VALIDATION = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"
COUNTS = {"train": 1_281_167, "validation": 50_000}
TRAIN_PICTURE = re.compile(r"n\d{8}_\d+\.JPEG")
VALIDATION_PICTURE = re.compile(r"ILSVRC2012_val_(\d{8})\.JPEG")


def index_archives(
    folder: Path, synsets: Sequence[str], validation: Sequence[str], progress: Progress
) -> dict[str, list[Picture]]:
    """List the pictures of the splits train and validation, in tfds' order.

    synsets: in the order of the labels. validation: the synset of each validation picture, in the
    order of their numbers. Raises DataError if an archive is missing, damaged, or holds anything
    but ImageNet's pictures.
    """
    for name in (TRAIN, VALIDATION):
        if not (folder / name).is_file():
            raise DataError(
                f"there is no {folder / name}: register on image-net.org and download both "
                f"{TRAIN} and {VALIDATION} (ILSVRC2012, 148 and 6.7 GB) to {folder}"
            )
    label_of = {name: label for label, name in enumerate(synsets)}
    found = {
        "train": index_train(folder / TRAIN, label_of, progress),
        "validation": index_validation(
            folder / VALIDATION, [label_of[s] for s in validation], progress
        ),
    }
    return {split: in_tfds_order(split, check_unique(split, found[split])) for split in found}


def index_train(path: Path, label_of: dict[str, int], progress: Progress) -> list[Picture]:
    """List the pictures in the training archive. label_of: the label of each synset."""
    found: list[Picture] = []
    for synset, inner in file_members(path):
        label = label_of.get(synset.name.removesuffix(".tar"))
        if label is None or not synset.name.endswith(".tar"):
            raise DataError(f"{path}: {synset.name!r} is not the archive of a synset of ImageNet")
        what = f"{path}, in {synset.name}"
        for member, _ in archive_members(inner, what):
            if not TRAIN_PICTURE.fullmatch(member.name):
                raise DataError(f"{what}: {member.name!r} is not an image of ImageNet")
            found.append(make_picture(path, synset.offset_data, member, label))
        progress.report_indexed(len(found))
    return found


def index_validation(path: Path, labels: Sequence[int], progress: Progress) -> list[Picture]:
    """List the pictures in the validation archive. labels: in the order of their numbers."""
    found: list[Picture] = []
    for member, _ in file_members(path):
        number = VALIDATION_PICTURE.fullmatch(member.name)
        if not number or not 1 <= int(number[1]) <= len(labels):
            raise DataError(f"{path}: {member.name!r} is not an image of ImageNet")
        found.append(make_picture(path, 0, member, labels[int(number[1]) - 1]))
        progress.report_indexed(len(found))
    return found


def make_picture(path: Path, start: int, member: tarfile.TarInfo, label: int) -> Picture:
    """Return the picture of a member of the archive that begins at byte `start` of a file."""
    offset = start + member.offset_data
    return Picture(str(path), offset, member.size, member.mtime, member.name, label)


def file_members(path: Path) -> Members:
    """Yield the `archive_members` of the archive in the file `path`."""
    with data_errors(str(path)), open(path, "rb") as file:
        yield from archive_members(file, str(path))


def check_unique(split: str, pictures: list[Picture]) -> list[Picture]:
    """Return the pictures. Raises DataError if two have the same name or if there are none."""
    names: set[str] = set()
    for p in pictures:
        if p.name in names:
            raise DataError(f"{p.path} has two images that are named {p.name}")
        names.add(p.name)
    if not names:
        raise DataError(f"imagenet2012 has no images in {split}")
    return pictures
