"""From workdirs to numbers: saved networks under a test protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import statistics
from cnn_archs.data.resident import Resident
from cnn_archs.data.sources import Split
from cnn_archs.data.streaming import Streamed
from cnn_archs.environment import environment, provenance
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate import ensemble, precise, protocols, views
from cnn_archs.evaluate.counting import count
from cnn_archs.evaluate.ensemble import Member
from cnn_archs.experiment import Experiment, resolve, start
from cnn_archs.metrics import columns
from cnn_archs.run_dir import RunDir
from cnn_archs.train import steps
from cnn_archs.train.checkpoint import Checkpoints


class Loaded(NamedTuple):
    """A trained network.

    variables: params and batch_stats. config: of its run, complete, as `config.read` returns it.
    step: when the variables were saved.
    """

    model: models.Network
    variables: dict[str, Any]
    config: configs.Config
    step: int


class Saved(NamedTuple):
    """A checkpoint, read. variables, average (or {}): of all seeds, with a leading axis."""

    workdir: Path
    experiment: Experiment
    variables: dict[str, Any]
    average: dict[str, Any]
    step: int

    def of_seed(self, i: int, averaged: bool = False) -> dict[str, Any]:
        """The variables of the seed number `i` from 0, or their average; ConfigError for none."""
        seeds = len(self.experiment.seeds)
        if not 0 <= i < seeds:
            raise ConfigError(f"{self.workdir} has seeds 0 to {seeds - 1}, not {i}")
        return jax.tree.map(lambda x: x[i], self.average if averaged else self.variables)


def load(workdir: str | Path, seed: int = 0) -> Loaded:
    """The network that was trained in `workdir`, at its newest sound checkpoint.

    seed: which of the run's seeds, counted from 0. ConfigError where there is no such run or
    seed, DataError where nothing sound was saved.
    """
    config = RunDir(Path(workdir)).config()
    experiment = resolve(config)
    saved = restore(Path(workdir), experiment)
    return Loaded(experiment.model, saved.of_seed(seed), config, saved.step)


def restore(workdir: Path, experiment: Experiment) -> Saved:
    """The newest sound checkpoint of `workdir`, where `experiment` was trained."""
    variables = models.shapes(experiment.model, experiment.image_shape).variables
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((len(experiment.seeds), *x.shape), x.dtype),
        {**variables, "average": variables if experiment.recipe.averaged else {}},
    )
    folder = RunDir(workdir).checkpoints
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    variables = meshes.place(found.items["variables"], meshes.whole(meshes.create()))
    return Saved(workdir, experiment, variables, variables.pop("average"), found.step)


def evaluate(
    workdirs: Sequence[Path], protocol: str, split: str, precise_stats: int = 0
) -> dict[str, Any]:
    """The errors of runs on `split` under `protocol`, in result.json's form.

    Several runs are an ensemble, of all their networks: see `ensemble.together`. precise_stats:
    training images over which batch statistics are computed anew first; 0: they are not.
    """
    if protocol not in views.PROTOCOLS:
        raise ConfigError(configs.unknown("--protocol", protocol, list(views.PROTOCOLS)))
    experiments = [start(RunDir(workdir).config()) for workdir in workdirs]
    ensemble.check(workdirs, experiments, split)
    alone = len(workdirs) == 1
    if alone and protocol == "single":
        found = single(restore(workdirs[0], experiments[0]), split, precise_stats)
    else:
        members = [
            member(restore(workdir, experiment), protocol, split, precise_stats)
            for workdir, experiment in zip(workdirs, experiments, strict=True)
        ]
        found = members[0].row if alone else ensemble.together(members, split)
    made = [experiment.config for experiment in experiments]
    return {**found, "made": provenance(environment(), *made)}


def single(saved: Saved, split: str, precise_stats: int) -> dict[str, Any]:
    """A run's result as evaluation in training counts it: with the loss that it was trained by."""
    experiment, mesh = saved.experiment, meshes.create()
    net, size = experiment.net, experiment.eval_batch_size
    images = experiment.dataset.split(split, net.inputs.crop)
    data = Resident(images, mesh) if isinstance(images, Split) else images
    prepare = net.inputs.prepare(known(saved.workdir, experiment))
    eval_step = steps.compile_eval(
        steps.eval_step_of(net.model, experiment.recipe.loss, prepare),
        mesh,
        resident=net.inputs.resident,
    )
    networks, used = networks_of(saved, split, precise_stats)
    found = {
        name: columns([count(eval_step, v, data, size, mesh).report() for v in of_seeds])
        for name, of_seeds in networks.items()
    }
    return {**row(saved, "single", 1, []), **used, **found}


def member(saved: Saved, protocol: str, split: str, precise_stats: int) -> Member:
    """A run's networks under `protocol`."""
    experiment, net = saved.experiment, saved.experiment.net
    passes = views.passes(protocol, net.inputs.crop, experiment.test_scales)
    protocols.check(net, protocol, passes)
    networks, used = networks_of(saved, split, precise_stats)
    found = protocols.probabilities(
        net,
        [v for of_seeds in networks.values() for v in of_seeds],
        experiment.dataset.split(split, net.inputs.crop),
        passes,
        known(saved.workdir, experiment),
        experiment.eval_batch_size,
        meshes.create(),
    )
    by_seed = found.of.reshape(len(networks), len(experiment.seeds), *found.of.shape[1:])
    of = dict(zip(networks, by_seed, strict=True))
    reports = {
        name: columns([protocols.counted(p, found.labels, found.seen) for p in of_seeds])
        for name, of_seeds in of.items()
    }
    number = views.count(passes, net.inputs.crop.out)
    scales = list(dict.fromkeys(one.scale for one in passes if one.scale))
    result = {**row(saved, protocol, number, scales), **used, **reports}
    return Member(saved.workdir, result, of, found.labels, found.seen)


def row(saved: Saved, protocol: str, number: int, scales: list[int]) -> dict[str, Any]:
    """What a result says besides errors. scales: shorter sides, where images were resized."""
    return {
        "name": saved.experiment.name,
        "dataset": saved.experiment.dataset.name,
        "protocol": protocol,
        "views": number,
        **({"scales": scales} if scales else {}),
        "steps": saved.step,
        "seeds": list(saved.experiment.seeds),
    }


def networks_of(
    saved: Saved, split: str, precise_stats: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """({split, or its name with averaged weights: variables for each seed}, the images used).

    precise_stats: see `precise.recomputed`; what the second says is for the result.
    """
    experiment, net = saved.experiment, saved.experiment.net
    names = {split: False, **({f"{split}_average": True} if saved.average else {})}
    found = {
        name: [saved.of_seed(i, averaged) for i in range(len(experiment.seeds))]
        for name, averaged in names.items()
    }
    if not precise_stats:
        return found, {}
    mesh, train = meshes.create(), experiment.dataset.split("train", net.inputs.crop)
    batches = precise.batches_of(precise_stats, len(train), experiment.eval_batch_size, mesh)
    prepare = net.inputs.prepare(known(saved.workdir, experiment))
    every = [v for of_seeds in found.values() for v in of_seeds]
    first = experiment.seeds[0]
    made = iter(precise.recomputed(net, every, train, prepare, batches, first, mesh))
    used = {"precise_stats": batches[0] * batches[1]}
    return {name: [next(made) for _ in of_seeds] for name, of_seeds in found.items()}, used


def known(workdir: Path, experiment: Experiment) -> statistics.Statistics:
    """What the inputs of the run in `workdir` need to know of its training images."""
    inputs = experiment.inputs

    def train() -> Split | Streamed:
        return experiment.dataset.split("train", inputs.crop)

    return statistics.kept(RunDir(workdir).statistics, lambda: statistics.fit(inputs, train))
