"""Find the image files in folders, and keep account of what is not read.

Images are files with one of IMAGE_SUFFIXES, in any case, whose names do not begin with a dot. They
need not be regular files here: reading one that is not is an error. Links to files and folders are
followed, but no link into a folder that has been read or that holds it, so that a circle of links
ends. Whatever else lies in a folder is left out, and named to the user in one line.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_archs.errors import DataError, escaped

IMAGE_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp"),
    *(".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm"),
)
NAMED = 3  # entries that a line names of those that are left out


class Contents(NamedTuple):
    """The sorted paths of the folders, the images and the other entries in a folder."""

    folders: list[str]
    images: list[str]
    others: list[str]


class Images(NamedTuple):
    """The sorted paths of images, and the paths of what was left out; those of folders end in /."""

    paths: list[str]
    left_out: list[str]


def is_image(name: str) -> bool:
    """Return whether a file of this name is read as an image."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


def list_folder(folder: str | Path) -> Contents:
    """List a folder. Hidden folders are among the others, with a / at the end of their paths.

    Raises DataError if the folder cannot be read.
    """
    found = Contents([], [], [])
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                hidden, is_folder = entry.name.startswith("."), is_directory(entry)
                if is_folder and not hidden:
                    found.folders.append(entry.path)
                elif is_folder or not is_image(entry.name):
                    found.others.append(entry.path + "/" * is_folder)
                else:
                    found.images.append(entry.path)
    except OSError as e:
        raise DataError(f"cannot read the folder {folder}: {e.strerror}") from e
    return Contents(*map(sorted, found))


def is_directory(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is a folder or a link to one; a link that leads nowhere is not."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk_images(top: str) -> Images:
    """Find the images at any depth below the folder `top`.

    A folder that is reached by a link, after it has been read by another path, is left out. Raises
    DataError if a folder cannot be read.
    """
    read = {file_id(parent) for parent in Path(top).resolve().parents}
    own, linked = [top], list[str]()
    images, left_out = list[str](), list[str]()
    while own or linked:
        by_link = not own
        folder = linked.pop() if by_link else own.pop()
        here = file_id(folder)
        if by_link and here in read:
            left_out.append(f"{folder}/ (a link to a folder that is read already)")
            continue
        read.add(here)
        found = list_folder(folder)
        images += found.images
        left_out += found.others
        for path in found.folders:
            (linked if os.path.islink(path) else own).append(path)
    return Images(sorted(images), sorted(left_out))


def pattern_of_images(folders: Sequence[str]) -> str:
    """Return the pattern, such as `*/`, of the folders below which have the first image.

    folders: paths in one folder. "" if there is no image in any of them.
    """
    for folder in folders:
        if images := walk_images(folder).paths:
            depth = min(len(Path(image).relative_to(folder).parts) for image in images)
            return "*/" * depth
    return ""


def file_id(path: str | Path) -> tuple[int, int]:
    """Return the numbers of the device and of the file. Raises DataError if there is no file."""
    try:
        status = os.stat(path)
    except OSError as e:
        raise DataError(f"cannot read the folder {path}: {e.strerror}") from e
    return status.st_dev, status.st_ino


def distinct_names(paths: Sequence[str]) -> list[str]:
    """Return a name for each of different paths: file names without their last suffix.

    If two of these are equal, all have their suffix; if two are still equal, all are whole paths.
    """
    stems, names = [Path(p).stem for p in paths], [Path(p).name for p in paths]
    kinds = (kind for kind in (stems, names) if len(set(kind)) == len(paths))
    return next(kinds, list(paths))


def left_out_line(where: str | Path, left_out: Sequence[str]) -> str:
    """Return the line that counts what was left out of the folder `where` and names the first.

    left_out: paths in `where`, each with a remark behind it or not. Hidden files come last.
    """

    def is_hidden(path: str) -> bool:
        return any(part.startswith(".") for part in path.removeprefix(f"{where}").split("/"))

    names = [p.removeprefix(f"{where}/") for p in sorted(left_out, key=lambda p: (is_hidden(p), p))]
    some = ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    entries = "1 file or folder is" if len(names) == 1 else f"{len(names):,} files or folders are"
    suffixes = " ".join(IMAGE_SUFFIXES)
    return escaped(f"{entries} left out of {where}: {some} (images end in {suffixes})")
