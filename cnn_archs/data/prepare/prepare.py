"""Prepares datasets in tfds' array_record format, so that training needs no TensorFlow.

ImageNet, from its two archives, the datasets of `array_sets`, from their original files, and
folders of images are written here, without TensorFlow. A stopped preparation is resumed: a shard
that has been written from the same source is not written again. The dataset's folder has another
name until all shards are written, so a half prepared dataset never looks like a whole one. The
folder keeps the fingerprints of its source: a source that has changed since is not taken for
prepared.

All other datasets are prepared by tfds, with TensorFlow. tfds keeps what it has downloaded, by
checksum, but writes a stopped dataset from the beginning.
"""

import importlib.util
import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn_archs.data.corruption import data_errors
from cnn_archs.data.datasets import fingerprint, tfds_source
from cnn_archs.data.prepare import raw_datasets, shards
from cnn_archs.data.prepare.array_sets import ARRAY_SETS
from cnn_archs.data.prepare.progress import Progress
from cnn_archs.data.prepare.published import published_arrays
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import lock, remove_unfinished, write_errors, write_json
from cnn_archs.runtime.signals import StopRequest, stop_requests

NOTHING_TO_PREPARE = {
    "digits": "comes with scikit-learn: there is nothing to prepare",
    "shapes": "is drawn by this program: there is nothing to prepare",
    "image_folder": "is read as it is; to copy its images into a few large files, name the new "
    "dataset: cnn-archs prepare NAME --image_folder=DIR",
}


def prepare_dataset(
    name: str, data_dir: str, manual_dir: str = "", image_folder: str = "", source: str = ""
) -> dict[str, Any]:
    """Prepare the dataset `name` in `data_dir` unless that has been done.

    manual_dir: the folder of files that the user has to download (default: tfds', which is
    downloads/manual in data_dir). image_folder: the folder of images to make a new dataset from.
    source: the file or folder to read one of ARRAY_SETS from, which is otherwise downloaded.
    Returns {"name", "path", "splits"}, with the number of images in each split. Raises ConfigError
    for an unknown or unsuitable name and if TensorFlow is needed and missing, DataError if the
    source is missing, damaged or has changed since an earlier start, and Stopped after a signal.
    """
    if name in tfds_source.NOT_OF_TFDS:
        raise ConfigError(f"{name} {NOTHING_TO_PREPARE[name]}")
    given = {"--manual_dir": manual_dir, "--image_folder": image_folder, "--from": source}
    for flag, path in given.items():
        if path and flag == "--from" and not os.path.exists(Path(path).expanduser()):
            raise ConfigError(f"--from: there is no file or folder {path}")
        if path and flag != "--from" and not Path(path).expanduser().is_dir():
            raise ConfigError(f"{flag}: there is no folder {path}")
    published = name in ARRAY_SETS and not image_folder
    check_flags(name, given, published)
    needs_tfds = not image_folder and not published and name != "imagenet2012"
    if needs_tfds and importlib.util.find_spec("tensorflow") is None:
        tfds_source.open_builder(name, "")  # a name that is wrong needs no TensorFlow
        raise ConfigError(
            f"preparing {name} needs TensorFlow (training never does, nor do imagenet2012, folders "
            f"of images, {', '.join(ARRAY_SETS)}): pip install 'cnn-archs[prepare]'"
        )
    where = tfds_source.tfds_dir(data_dir)
    manual = Path(manual_dir).expanduser() if manual_dir else where / "downloads" / "manual"
    command = ["cnn-archs", "prepare", name, f"--data_dir={where.absolute()}"]
    with write_errors(where):
        where.mkdir(parents=True, exist_ok=True)
        if needs_tfds:
            return prepare_with_tfds(name, where, manual)
        if published:
            own = Path(source).expanduser() if source else None
            raw = published_arrays(name, where, own, command)
        elif image_folder:
            raw = raw_datasets.images_folder(name, where, image_folder)
        else:
            raw = raw_datasets.imagenet_archives(where, manual)
        flags = [f"{f}={Path(p).expanduser().absolute()}" for f, p in given.items() if p]
        return prepare_without_tensorflow(raw, shlex.join([*command, *flags]))


def check_flags(name: str, given: Mapping[str, str], published: bool) -> None:
    """Raise ConfigError if a flag is given that means nothing for the dataset `name`.

    given: the value of each flag, or "". published: whether the dataset is one of ARRAY_SETS.
    """
    if given["--from"] and not published:
        raise ConfigError(f"--from: only {', '.join(ARRAY_SETS)} are read from files of one's own")
    if given["--manual_dir"] and published:
        raise ConfigError(f"--manual_dir: {name} is read with --from=PATH")


def prepare_with_tfds(name: str, where: Path, manual_dir: Path) -> dict[str, Any]:
    """Prepare a dataset with tfds' own code for it."""
    import tensorflow_datasets as tfds

    builder = tfds_source.open_builder(name, str(where))
    config = tfds.download.DownloadConfig(manual_dir=str(manual_dir))
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as e:
        raise DataError(f"cannot prepare {name} in {where}: {first_line(e)}") from e
    return summary(name, builder.data_path, builder.info)


def summary(name: str, path: Path, info: Any) -> dict[str, Any]:
    """Return the result of `prepare_dataset`. info: tfds' description of the dataset."""
    splits = {split: found.num_examples for split, found in info.splits.items()}
    return {"name": name, "path": str(path), "splits": splits}


def prepare_without_tensorflow(raw: raw_datasets.RawDataset, command: str) -> dict[str, Any]:
    """Write a dataset unless it exists. command: the command line that resumes this.

    Raises DataError if it exists, but its source has changed since.
    """
    name, path = raw.name, raw.path
    was_there = path.exists()
    if not was_there:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (
            stop_requests() as stop,
            lock(path.parent / ".lock", "--data_dir"),
            Progress(name, stop) as progress,
        ):
            if not path.exists():  # another process may have finished it meanwhile
                write_dataset(raw, command, progress)
    builder = tfds_source.open_builder(name, str(path.parent.parent))
    if not builder.info.splits:
        raise DataError(f"{path} exists but holds no dataset: remove it and run this command again")
    done = summary(name, path, builder.info)
    if was_there:
        check_source(raw, done["splits"])
        note_missing(raw.counts, done["splits"])
    return done


def check_source(raw: raw_datasets.RawDataset, written: Mapping[str, int]) -> None:
    """Raise DataError if the dataset was written from another source than there is now.

    written: the number of pictures in each split. A dataset without fingerprints of its source, as
    older versions wrote it, is compared by these numbers alone.
    """
    file = raw.path / tfds_source.SOURCE_FILE
    if file.is_file():
        now = raw.fingerprints()
        changes = fingerprint.describe_changes(fingerprint.load(file), now) if now else []
    elif raw.counts:  # of an archive, which takes minutes to index
        return
    else:
        with Progress(raw.name, StopRequest()) as progress:
            counts = {split: len(found) for split, found in raw.find(progress).splits.items()}
        pairs = [(split, counts[split], written[split]) for split in counts]
        changes = [f"{n:,} images of {split}, not {was:,}" for split, n, was in pairs if n != was]
    if changes:
        raise DataError(
            f"{raw.path} was prepared from a source that has changed since: {'; '.join(changes)}; "
            "remove that folder and run this command again to prepare it anew"
        )


def note_missing(wanted: Mapping[str, int], found: Mapping[str, int]) -> None:
    """Print a line for each split that has not as many pictures as it should."""
    for split, count in wanted.items():
        if found[split] != count:
            print_status(f"note: {split} has {found[split]:,} of {count:,} images")


def write_dataset(raw: raw_datasets.RawDataset, command: str, progress: Progress) -> None:
    """Write the missing shards in the unfinished folder, and rename it once all are written."""
    path = raw.path
    unfinished = path.with_name(path.name + tfds_source.UNFINISHED_SUFFIX)
    splits, fingerprints = raw.find(progress)
    unfinished.mkdir(exist_ok=True)
    note_missing(raw.counts, {split: len(found) for split, found in splits.items()})
    source = shards.source_digest(splits, raw.info.features["label"].names)
    plan = shards.plan_shards(raw.name, splits)
    write_plan(unfinished, plan, source, command)
    write_missing(unfinished, plan, progress)
    shards.write_description(raw.info, unfinished, plan)
    fingerprint.save(unfinished / tfds_source.SOURCE_FILE, fingerprints)
    unfinished.rename(path)
    (path / tfds_source.PLAN_FILE).unlink()


Plan = dict[str, list[shards.Shard]]  # split -> all of its shards


def write_plan(unfinished: Path, plan: Plan, source: str, command: str) -> None:
    """Write in the folder `unfinished` how many shards there will be, and from which source.

    source: the digest of the source. Raises DataError if the folder was begun from another one.
    """
    path = unfinished / tfds_source.PLAN_FILE
    if path.exists():
        with data_errors(str(path)):
            before = json.loads(path.read_text("utf-8"))["source"]
        if before != source:
            raise DataError(
                f"{unfinished} was begun from other images than there are now: remove it and run "
                "this command again to start over"
            )
    count = sum(map(len, plan.values()))
    write_json(path, {"source": source, "shards": count, "command": command})


def write_missing(unfinished: Path, plan: Plan, progress: Progress) -> None:
    """Write the shards that are missing. Raises DataError if the disk has no room for them."""
    remove_unfinished(unfinished)
    everything = [shard for split in plan.values() for shard in split]
    missing = [s for s in everything if not shards.is_written(unfinished / s.name, s)]
    size, free = sum(s.size for s in missing), shutil.disk_usage(unfinished).free
    if size > free:
        raise DataError(
            f"{progress.name} takes {size / 1e9:,.2f} GB more, and {unfinished} has room for "
            f"{free / 1e9:,.2f}: free some space, or choose another --data_dir"
        )
    progress.begin_shards(len(everything) - len(missing), len(everything), size)
    for shard in missing:
        shards.write_shard(unfinished, shard, progress)
        progress.shards += 1
