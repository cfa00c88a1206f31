"""Load the trained network of a workdir from its newest sound checkpoint, and images for it.

What a run needs to know of its data is in its folder; see `data/record.py`. Only images themselves
are read from the dataset.
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
    if not dataset.recorded or split not in dataset.recorded.record.splits:
        return images, {}
    now, files = dataset.describe({split: images})
    what = describe_difference(folder, dataset.recorded.record, now, files)
    if not what:
        return images, {}
    print_status(f"note: the images are not those that {label} was trained with: {what}")
    return images, {"changed_data": what}


def restore_run(workdir: Path, experiment: Experiment) -> RestoredRun:
    """Restore the newest sound checkpoint of `workdir`, which `experiment` was trained in.

    The variables are replicated over all devices. Raises DataError if there is no checkpoint, and
    NotFinite if a weight, a batch statistic or an average is not finite.
    """
    variables = models.shapes(experiment.model, experiment.image_shape).variables
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(experiment.seeds), *x.shape), x.dtype),
        {**variables, "average": variables if experiment.recipe.keeps_average else {}},
    )
    folder, label = RunDir(workdir).checkpoints, RunDir(workdir).label()
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(found.items["variables"])):
        raise NotFinite(f"the weights of {label} at step {found.step} are not finite")
    variables = meshes.place(found.items["variables"], meshes.replicated(meshes.make_mesh()))
    average = variables.pop("average")
    return RestoredRun(workdir, label, experiment, variables, average, found.step)
