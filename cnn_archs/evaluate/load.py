"""Load the trained network of a workdir from its newest sound checkpoint."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.checkpoints import Checkpoints
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError, DataError, NotFinite
from cnn_archs.experiment import Experiment, resolve
from cnn_archs.run_dir import RunDir


class TrainedNetwork(NamedTuple):
    """A trained network.

    variables: params and batch_stats. config: the complete config of the run, as returned by
    `config.read_config`. step: the training step at which the variables were saved.
    """

    model: models.Network
    variables: dict[str, Any]
    config: configs.Config
    step: int


class RestoredRun(NamedTuple):
    """The variables in a checkpoint of a run.

    variables, average ({} without weight averaging): of all seeds, stacked along a
    leading axis.
    """

    workdir: Path
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
            raise ConfigError(f"{self.workdir} has seeds 0 to {seeds - 1}, not {i}")
        return jax.tree.map(lambda x: x[i], self.average if averaged else self.variables)


def load_network(workdir: str | Path, seed: int = 0) -> TrainedNetwork:
    """Load the network that was trained in `workdir`, from its newest sound checkpoint.

    seed: which of the run's seeds, counted from 0. Raises ConfigError if there is no such run or
    seed, DataError if there is no sound checkpoint.
    """
    config = RunDir(Path(workdir)).config()
    experiment = resolve(config)
    saved = restore_run(Path(workdir), experiment)
    return TrainedNetwork(experiment.model, saved.seed_variables(seed), config, saved.step)


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
    folder = RunDir(workdir).checkpoints
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    if not all(np.isfinite(x).all() for x in jax.tree.leaves(found.items["variables"])):
        raise NotFinite(f"the weights of {workdir} at step {found.step} are not finite")
    variables = meshes.place(found.items["variables"], meshes.replicated(meshes.make_mesh()))
    return RestoredRun(workdir, experiment, variables, variables.pop("average"), found.step)
