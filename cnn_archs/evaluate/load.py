"""Load the trained network of a workdir from its newest sound checkpoint, and images for it.

What a run needs to know of its data is in its folder; see `data/record.py`. Only images themselves
are read from the dataset. Of several processes all read the config and the record of the run, and
the first alone the checkpoint, so that all have the same step.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_archs import models
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading.streaming import Streamed
from cnn_archs.data.record import describe_difference, read_record
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError, DataError, NotFinite
from cnn_archs.experiment import Experiment, resolve, start_experiment
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.console import print_status


class RestoredRun(NamedTuple):
    """The variables in a checkpoint of a run.

    variables, average ({} without weight averaging): of all seeds, stacked along a
    leading axis. label: the name of the run for messages.
    """

    workdir: Path
    label: str
    experiment: Experiment
    variables: dict[str, Any]
    average: dict[str, Any]
    step: int

    def seed_variables(self, i: int, averaged: bool = False) -> dict[str, Any]:
        """Return the variables, or averaged variables, of seed number `i`, counted from 0.

        Raises ConfigError if the run has no such seed.
        """
        seeds = len(self.experiment.seeds)
        if not 0 <= i < seeds:
            raise ConfigError(f"{self.label} has seeds 0 to {seeds - 1}, not {i}")
        return jax.tree.map(lambda x: x[i], self.average if averaged else self.variables)


def load_run(workdir: Path) -> RestoredRun:
    """Load the newest sound checkpoint of `workdir`, in a process that may have used its devices.

    Raises ConfigError if there is no run, DataError if there is no sound checkpoint.
    """
    folder = RunDir(workdir)
    experiment = resolve(folder.config(), read_record(folder))
    dataset = experiment.dataset.where_it_was()
    return restore_run(workdir, dataclasses.replace(experiment, dataset=dataset))


def open_run(workdir: Path, data_dir: str = "") -> Experiment:
    """Configure jax for the run in `workdir`, and return its experiment.

    data_dir: where the images are; empty: where they were. Must run before any device is
    initialized. Raises ConfigError if there is no run.
    """
    folder = RunDir(workdir)
    experiment = start_experiment(folder.config(), read_record(folder), data_dir)
    if data_dir:
        return experiment
    return dataclasses.replace(experiment, dataset=experiment.dataset.where_it_was())


def load_images(
    workdir: Path, experiment: Experiment, split: str
) -> tuple[Split | Streamed, dict[str, str]]:
    """Load the split of the dataset of the run in `workdir`, `experiment`.

    Returns the entry `changed_data` of a result too, if these are not the images that the run had
    when it was trained, and says so on stderr. Raises ConfigError if they are not where they were,
    DataError for a class that the run did not have.
    """
    dataset, folder = experiment.dataset, RunDir(workdir)
    label = folder.label()
    if dataset.data_dir and not Path(dataset.data_dir).expanduser().is_dir():
        raise ConfigError(
            f"there is no folder {dataset.data_dir}, where the images of {label} were: say where "
            "they are with --data_dir=DIR"
        )
    images = dataset.split(split, experiment.inputs.crop)
    multihost.check_equal("numbers of images or classes", [len(images), images.classes])
    if not dataset.recorded or split not in dataset.recorded.record.splits:
        return images, {}
    now, files = dataset.describe({split: images})
    what = describe_difference(folder, dataset.recorded.record, now, files)
    if not what:
        return images, {}
    if multihost.is_primary():
        print_status(f"note: the images are not those that {label} was trained with: {what}")
    return images, {"changed_data": what}


def restore_run(workdir: Path, experiment: Experiment) -> RestoredRun:
    """Return what `read_run` reads on the first process, on all processes.

    The variables are replicated over the devices of each process. Raises ConfigError if a process
    has another config or record of the run.
    """
    recorded = experiment.dataset.recorded
    record = recorded.record.summary() if recorded else {}
    multihost.check_equal(f"the files of the run {workdir}", [experiment.config, record])
    saved = multihost.only_on_primary(lambda: read_run(workdir, experiment))
    step = multihost.on_primary(lambda: saved.step if saved else 0)
    if saved is None:
        empty = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), saved_shapes(experiment))
        saved = made_run(workdir, experiment, empty, step)
    trees = multihost.broadcast_tree(meshes.to_host((saved.variables, saved.average)))
    variables, average = meshes.place(trees, meshes.replicated(meshes.own_mesh()))
    return saved._replace(variables=variables, average=average)


def read_run(workdir: Path, experiment: Experiment) -> RestoredRun:
    """Read the newest sound checkpoint of `workdir`, which `experiment` was trained in.

    The variables are on the first device of this process. Raises DataError if there is no
    checkpoint, and NotFinite if a weight, a batch statistic or an average is not finite.
    """
    folder = RunDir(workdir).checkpoints
    target = {"variables": saved_shapes(experiment)}
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore(target)
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    saved = made_run(workdir, experiment, found.items["variables"], found.step)
    if not all(np.isfinite(x).all() for x in jax.tree.leaves((saved.variables, saved.average))):
        raise NotFinite(f"the weights of {saved.label} at step {found.step} are not finite")
    return saved


def made_run(
    workdir: Path, experiment: Experiment, saved: dict[str, Any], step: int
) -> RestoredRun:
    """Return the run whose checkpoint of `step` has the variables `saved`, as `saved_shapes`."""
    variables = {name: tree for name, tree in saved.items() if name != "average"}
    label = RunDir(workdir).label()
    return RestoredRun(workdir, label, experiment, variables, saved["average"], step)


def saved_shapes(experiment: Experiment) -> dict[str, Any]:
    """Return the variables that a checkpoint of `experiment` has of all its seeds, as shapes."""
    variables = models.shapes(experiment.model, experiment.image_shape).variables
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(experiment.seeds), *x.shape), x.dtype),
        {**variables, "average": variables if experiment.recipe.keeps_average else {}},
    )
