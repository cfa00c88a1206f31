"""Check that a run that goes on has the images that it began with, by the record in its folder.

A run whose images have changed is refused, unless the user accepts the change. Then all images
that are still there stay in the split that they were in, and the record, the history of the run
and its result say what has changed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cnn_archs.config import Config
from cnn_archs.data import record as records
from cnn_archs.data.dataset import Dataset
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.record import DataRecord, Files, Recorded
from cnn_archs.distributed import multihost
from cnn_archs.errors import DataError
from cnn_archs.experiment import Experiment
from cnn_archs.experiment_inputs import check_changed_places
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status

MemberRuns = Sequence[tuple[Experiment, Path]]  # each with the folder of its run
Splits = Mapping[str, Split | Streamed]


class CheckedRecord(NamedTuple):
    """The record of a run that its images have been checked against.

    new: whether it has still to be written. files: the fingerprints of the images' files.
    """

    folder: RunDir
    record: DataRecord
    new: bool
    files: Files


def read_saved_record(workdir: Path) -> Recorded | None:
    """Return the record of the run in `workdir`; None if no step is saved."""
    folder = RunDir(workdir)
    return records.read_record(folder) if folder.has_checkpoints() else None


def record_to_resume(workdir: Path, config: Config) -> Recorded | None:
    """Return the record of the run in `workdir` that `config` shall train; None if none is saved.

    Raises ConfigError if `config` names a dataset, a folder or a run that does not exist, and that
    the run's own config does not name.
    """
    folder = RunDir(workdir)
    if folder.has_config():
        check_changed_places(folder.config(), config)
    return read_saved_record(workdir)


def share_saved_record(workdir: Path) -> Recorded | None:
    """Return `read_saved_record` of the first process on all processes."""

    def read() -> dict[str, object] | None:
        found = read_saved_record(workdir)
        return found.to_json() if found else None

    tree = multihost.on_primary(read)
    return records.from_json(tree) if tree else None


def with_records(members: MemberRuns, accept: bool) -> MemberRuns:
    """Return the members with datasets that are divided and labeled by the records of their runs.

    accept: whether the data may have changed. Raises DataError if there are classes that the run
    does not have, unless `accept` and its network has outputs for them.
    """
    found = []
    for experiment, workdir in members:
        recorded = share_saved_record(workdir)
        if recorded:
            recorded = add_new_classes(experiment, workdir, recorded, accept)
        dataset = dataclasses.replace(experiment.dataset, recorded=recorded)
        found.append((dataclasses.replace(experiment, dataset=dataset), workdir))
    return found


def add_new_classes(
    experiment: Experiment, workdir: Path, recorded: Recorded, accept: bool
) -> Recorded:
    """Return the record of a run with the classes that its dataset has got since, as the last."""
    old = recorded.record.classes
    now = dataclasses.replace(experiment.dataset, recorded=None).class_names()
    new = tuple(name for name in now if name not in old)
    if not new:
        return recorded
    fits = len(old) + len(new) <= experiment.classes
    if not (accept and fits):
        what = f"its classes are now {', '.join(now)}, not {', '.join(old)}"
        raise change_error(workdir, experiment.dataset, what, acceptable=fits)
    record = dataclasses.replace(recorded.record, classes=old + new)
    return dataclasses.replace(recorded, record=record)


def check_images(members: MemberRuns, splits: Splits, accept: bool) -> list[CheckedRecord]:
    """Check the images of `splits` against the records of the members' runs, and return these.

    Returns [] on all processes but the first. A run without a record gets that of the images as
    they are. Raises DataError if the images have changed, unless `accept`; and in any case if
    another division into splits would follow from the change.
    """
    dataset = members[0][0].dataset
    now, files = dataset.describe(splits)
    counts = {name: split.images for name, split in now.splits.items()}
    multihost.check_equal("numbers of images or classes", [counts, now.classes])
    checked = multihost.only_on_primary(
        lambda: [
            check_member(experiment.dataset, RunDir(workdir), now, files, accept)
            for experiment, workdir in members
        ]
    )
    return checked or []


def check_member(
    dataset: Dataset, folder: RunDir, now: DataRecord, files: Files, accept: bool
) -> CheckedRecord:
    """Check the images `now` against the record of one run; see `check_images`."""
    if not dataset.recorded:
        if step := folder.newest_step():
            print_status(
                f"note: {folder.path}, at step {step:,}, has no record of its images, as runs of "
                f"older versions: {folder.data_file.name} is written now, from "
                f"{dataset.place()} as it is"
            )
        return CheckedRecord(folder, now, True, files)
    old = dataset.recorded.record
    what = records.describe_difference(folder, old, now, files)
    if not what:
        return CheckedRecord(folder, old, False, files)
    if not accept:
        raise change_error(folder.path, dataset, what, acceptable=True)
    if now.folder and not now.chosen and is_divided(dataset, now) and counts(old) != counts(now):
        what += "; which of them are test or validation images would change too"
        raise change_error(folder.path, dataset, what, acceptable=False)
    change = {"step": folder.newest_step(), "what": what}
    record = dataclasses.replace(now, changes=(*old.changes, change))
    print_status(f"note: {folder.path} goes on with changed images: {what}")
    return CheckedRecord(folder, record, True, files)


def is_divided(dataset: Dataset, record: DataRecord) -> bool:
    """Return whether images of one source are in several splits, chosen by their places in it."""
    sources = {split.source for split in record.splits.values()}
    return bool(dataset.holdout or dataset.examples) or len(sources) < len(record.splits)


def counts(record: DataRecord) -> dict[str, int]:
    """Return the number of images of each split."""
    return {name: split.images for name, split in record.splits.items()}


def change_error(workdir: Path, dataset: Dataset, what: str, *, acceptable: bool) -> DataError:
    """Return the error for a run whose data have changed.

    what: describes the change. acceptable: whether the run can go on with the changed data.
    """
    accept = ", accept the change with --accept_changed_data," if acceptable else ""
    return DataError(
        f"the images of {dataset.place()} are not those that {workdir} was trained on: {what}; "
        f"restore them{accept} or start a new run in another --workdir"
    )


def write_records(checked: Sequence[CheckedRecord]) -> None:
    """Write the records that are new."""
    for one in checked:
        if one.new:
            records.write_record(one.folder, one.record, one.files)
