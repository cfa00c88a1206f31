"""The record of the data that a run was made of, which its folder keeps.

It is written before the first step. Everything later asks the record, and not the data of that
day, for the classes and their order, the shape of the images and which images are the test images;
and it can say whether the images have changed.
"""

import dataclasses
from collections.abc import Mapping, Set
from typing import Any

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets import fingerprint
from cnn_archs.data.datasets.fingerprint import Fingerprints
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.files import write_json
from cnn_archs.runtime.json_files import read_json

Files = Mapping[str, Fingerprints]  # name of a split -> the fingerprints of its files


@dataclasses.dataclass(frozen=True)
class SplitRecord:
    """A split of a dataset, as a run used it.

    images: their number. source: the folder, or the split of tfds, that they are from; "" for
    images that are made in memory. by_content: whether the fingerprints cover the content of the
    files. digest: of all fingerprints.
    """

    images: int
    source: str
    by_content: bool
    digest: str


@dataclasses.dataclass(frozen=True)
class DataRecord:
    """The data that a run was made of.

    dataset: its name. folder: where it was, as an absolute path; "" if it is not in files. classes:
    their names in the order of the labels. stored_shape: see `Dataset`. chosen: whether images of
    one folder were divided into several splits, so that only the list of files says which image is
    in which. changes: {"step", "what"} of each change of the data that the user has accepted.
    background: the mean value at the borders of the training images, from 0 to 255; None if they
    are not in memory, or in the record of an older version.
    """

    dataset: str
    folder: str
    classes: tuple[str, ...]
    stored_shape: tuple[int, int, int]
    chosen: bool
    splits: dict[str, SplitRecord]
    changes: tuple[dict[str, Any], ...] = ()
    background: float | None = None

    def summary(self) -> dict[str, Any]:
        """Return the number of images and the digest of each split, for the result of a run."""
        return {
            name: {"images": split.images, "digest": split.digest[:16]}
            for name, split in self.splits.items()
        }


@dataclasses.dataclass(frozen=True)
class Recorded:
    """A record, with what it takes to divide the images as before.

    kept: for each split, the names of its files; {} unless images of one folder were divided.
    """

    record: DataRecord
    kept: Mapping[str, Set[str]]

    def to_json(self) -> dict[str, Any]:
        """Return this as a JSON value, which `from_json` takes."""
        kept = {split: sorted(names) for split, names in self.kept.items()}
        return {"record": dataclasses.asdict(self.record), "kept": kept}


def from_json(tree: Mapping[str, Any]) -> Recorded:
    """Return what `Recorded.to_json` has made a JSON value of."""
    kept = {split: frozenset(names) for split, names in tree["kept"].items()}
    return Recorded(parse_record(tree["record"]), kept)


def parse_record(tree: Mapping[str, Any]) -> DataRecord:
    """Return the record of a JSON value. Raises TypeError or ValueError if it is none."""
    height, width, channels = tree["stored_shape"]
    if not {"train", "test"} <= tree["splits"].keys():
        raise ValueError("splits has no train or no test")
    return DataRecord(
        **{
            **tree,
            "classes": tuple(tree["classes"]),
            "stored_shape": (height, width, channels),
            "splits": {name: SplitRecord(**split) for name, split in tree["splits"].items()},
            "changes": tuple(tree["changes"]),
        }
    )


def read_record(folder: RunDir) -> Recorded | None:
    """Read the record of the run in `folder`; None if it has none, as runs of older versions.

    Raises DataError if a file is damaged.
    """
    if not folder.data_file.is_file():
        return None
    remedy = "remove it to have it written from the data as they are now"
    with data_errors(f"{folder.data_file} ({remedy})"):
        record = parse_record(read_json(folder.data_file))
    files = read_files(folder, record) if record.chosen else {}
    return Recorded(record, {split: frozenset(names) for split, names in files.items()})


def read_files(folder: RunDir, record: DataRecord) -> Files:
    """Read the fingerprints of all files of the run's splits; {} for images without files.

    Raises DataError if they are not those of `record`.
    """
    path = folder.data_files(len(record.changes))
    if not path.is_file() and not record.chosen:
        return {}
    with data_errors(str(path)):
        files: Files = fingerprint.load(path)
        for split, found in files.items():
            if record.splits[split].digest != fingerprint.digest(found):
                raise ValueError(f"these are not the files of {split} in {folder.data_file.name}")
    return files


def write_record(folder: RunDir, record: DataRecord, files: Files) -> None:
    """Write the record of a run and the fingerprints of its files, the record last.

    Each accepted change begins a list of files of its own, so that the record never stands beside
    another one's.
    """
    if files:
        fingerprint.save(folder.data_files(len(record.changes)), files)
    write_json(folder.data_file, dataclasses.asdict(record))


def describe_difference(folder: RunDir, record: DataRecord, now: DataRecord, files: Files) -> str:
    """Describe how the images of `now` differ from those of the run in `folder`; "" if they do not.

    now, files: the record of the same splits, or of some of them, as they are today, and the
    fingerprints of their files. A split that the run's record does not have is left out.
    """
    pairs = {name: (record.splits.get(name), new) for name, new in now.splits.items()}
    differing = {
        name: (old, new)
        for name, (old, new) in pairs.items()
        if old and (old.digest, old.images) != (new.digest, new.images)
    }
    before = read_files(folder, record) if differing else {}
    return ", and ".join(
        f"{name} has "
        + "; ".join([count_images(old, new), *describe_files(name, before, files, old, new)])
        for name, (old, new) in differing.items()
    )


def count_images(old: SplitRecord, new: SplitRecord) -> str:
    """Describe the numbers of images of a split whose images differ."""
    if old.images != new.images:
        return f"{new.images:,} images, not {old.images:,}"
    return f"{new.images:,} images, but not the same ones"


def describe_files(
    name: str, before: Files, now: Files, old: SplitRecord, new: SplitRecord
) -> list[str]:
    """Describe how the files of the split `name` have changed; [] if that is not known."""
    if old.source != new.source:
        return [f"they are from {new.source!r}, not from {old.source!r}"]
    if name not in before or name not in now:
        return []
    return fingerprint.describe_changes(before[name], now[name])
