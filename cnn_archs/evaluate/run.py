"""From workdirs to numbers: saved networks under a test protocol."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from cnn_archs import config as configs
from cnn_archs import models
from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import sources
from cnn_archs.data.resident import Resident
from cnn_archs.environment import environment, provenance
from cnn_archs.errors import ConfigError, DataError
from cnn_archs.evaluate import ensemble, precise, protocols, views
from cnn_archs.evaluate.counting import count
from cnn_archs.evaluate.ensemble import Member
from cnn_archs.metrics import columns
from cnn_archs.run_dir import RunDir
from cnn_archs.setup import Network, devices, network
from cnn_archs.splits import load_split, statistics_of
from cnn_archs.train import averages, losses, steps
from cnn_archs.train.checkpoint import Checkpoints


class Loaded(NamedTuple):
    """A trained network. variables: params and batch_stats; step: when they were saved."""

    model: models.Network
    variables: dict[str, Any]
    config: ConfigDict
    step: int


class Saved(NamedTuple):
    """A checkpoint, read. variables, average (or {}): of all seeds, with a leading axis."""

    net: Network
    variables: dict[str, Any]
    average: dict[str, Any]
    step: int

    def of_seed(self, i: int, averaged: bool = False) -> dict[str, Any]:
        """The variables of the seed number `i`, from 0, or their average."""
        return jax.tree.map(lambda x: x[i], self.average if averaged else self.variables)


def load(workdir: str | Path, seed: int = 0) -> Loaded:
    """The network that was trained in `workdir`, at its newest sound checkpoint.

    seed: which of the run's seeds, counted from 0. ConfigError where there is no such run or
    seed, DataError where nothing sound was saved.
    """
    config = RunDir(Path(workdir)).config()
    if not 0 <= seed < config.seeds:
        raise ConfigError(f"{workdir} has seeds 0 to {config.seeds - 1}, not {seed}")
    saved = restore(Path(workdir), config)
    return Loaded(saved.net.model, saved.of_seed(seed), config, saved.step)


def restore(workdir: Path, config: ConfigDict) -> Saved:
    """The newest sound checkpoint of `workdir`, whose config is `config`."""
    net = network(config)

    average = averages.create(steps_per_epoch=1.0, **config.average)
    variables = models.shapes(net.model, net.image_shape).variables
    target = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((config.seeds, *x.shape), x.dtype),
        {**variables, "average": jax.eval_shape(average.init, variables)},
    )
    folder = RunDir(workdir).checkpoints
    found = folder.is_dir() and Checkpoints(folder, read_only=True).restore({"variables": target})
    if not found:
        raise DataError(f"{workdir} holds no checkpoint yet: train it first")
    variables = meshes.place(found.items["variables"], meshes.whole(meshes.create()))
    return Saved(net, variables, variables.pop("average"), found.step)


def evaluate(
    workdirs: Sequence[Path], protocol: str, split: str, precise_stats: int = 0
) -> dict[str, Any]:
    """The errors of runs on `split` under `protocol`, in result.json's form.

    Several runs are an ensemble, of all their networks: see `ensemble.together`. precise_stats:
    training images over which batch statistics are computed anew first; 0: they are not.
    """
    if protocol not in views.PROTOCOLS:
        raise ConfigError(configs.unknown("--protocol", protocol, list(views.PROTOCOLS)))
    configurations = [RunDir(workdir).config() for workdir in workdirs]
    ensemble.check(workdirs, configurations, split)
    for config in configurations:
        devices(config)
    alone = len(workdirs) == 1
    if alone and protocol == "single":
        found = single(workdirs[0], configurations[0], split, precise_stats)
    else:
        members = [
            member(workdir, config, protocol, split, precise_stats)
            for workdir, config in zip(workdirs, configurations, strict=True)
        ]
        found = members[0].row if alone else ensemble.together(members, split)
    made = [json.loads(config.to_json()) for config in configurations]
    return {**found, "made": provenance(environment(), *made)}


def single(workdir: Path, config: ConfigDict, split: str, precise_stats: int) -> dict[str, Any]:
    """A run's result as evaluation in training counts it: with the loss that it was trained by."""
    saved = restore(workdir, config)
    net, mesh = saved.net, meshes.create()
    images = load_split(config, net, split)
    data = Resident(images, mesh) if isinstance(images, sources.Split) else images
    loss = losses.create(**config.loss)
    prepare = net.inputs.prepare(known(workdir, config, net))
    eval_step = steps.compile_eval(
        steps.eval_step_of(net.model, loss, prepare),
        mesh,
        together=False,
        resident=net.inputs.resident,
    )
    networks, used = networks_of(workdir, config, saved, split, precise_stats)
    found = {
        name: columns(
            [count(eval_step, v, data, config.eval_batch_size, mesh).report() for v in of_seeds]
        )
        for name, of_seeds in networks.items()
    }
    return {**row(config, saved, "single", 1, []), **used, **found}


def member(
    workdir: Path, config: ConfigDict, protocol: str, split: str, precise_stats: int
) -> Member:
    """A run's networks under `protocol`."""
    saved = restore(workdir, config)
    net = saved.net
    passes = views.passes(protocol, net.inputs.crop, config.test_scales)
    protocols.check(net, protocol, passes)
    networks, used = networks_of(workdir, config, saved, split, precise_stats)
    found = protocols.probabilities(
        net,
        [v for of_seeds in networks.values() for v in of_seeds],
        load_split(config, net, split),
        passes,
        known(workdir, config, net),
        config.eval_batch_size,
        meshes.create(),
    )
    by_seed = found.of.reshape(len(networks), config.seeds, *found.of.shape[1:])
    of = dict(zip(networks, by_seed, strict=True))
    reports = {
        name: columns([protocols.counted(p, found.labels, found.seen) for p in of_seeds])
        for name, of_seeds in of.items()
    }
    number = views.count(passes, net.inputs.crop.out)
    scales = list(dict.fromkeys(one.scale for one in passes if one.scale))
    result = {**row(config, saved, protocol, number, scales), **used, **reports}
    return Member(workdir, result, of, found.labels, found.seen)


def row(
    config: ConfigDict, saved: Saved, protocol: str, number: int, scales: list[int]
) -> dict[str, Any]:
    """What a result says besides errors. scales: shorter sides, where images were resized."""
    return {
        "name": config.model.name,
        "dataset": config.data.name,
        "protocol": protocol,
        "views": number,
        **({"scales": scales} if scales else {}),
        "steps": saved.step,
        "seeds": list(range(config.seed, config.seed + config.seeds)),
    }


def networks_of(
    workdir: Path, config: ConfigDict, saved: Saved, split: str, precise_stats: int
) -> tuple[dict[str, list[dict[str, Any]]], dict[str, int]]:
    """({split, or its name with averaged weights: variables for each seed}, the images used).

    precise_stats: see `precise.recomputed`; what the second says is for the result.
    """
    names = {split: False, **({f"{split}_average": True} if saved.average else {})}
    found = {
        name: [saved.of_seed(i, averaged) for i in range(config.seeds)]
        for name, averaged in names.items()
    }
    if not precise_stats:
        return found, {}
    mesh, train = meshes.create(), load_split(config, saved.net, "train")
    batches = precise.batches_of(precise_stats, len(train), config.eval_batch_size, mesh)
    prepare = saved.net.inputs.prepare(known(workdir, config, saved.net))
    every = [v for of_seeds in found.values() for v in of_seeds]
    made = iter(precise.recomputed(saved.net, every, train, prepare, batches, config.seed, mesh))
    used = {"precise_stats": batches[0] * batches[1]}
    return {name: [next(made) for _ in of_seeds] for name, of_seeds in found.items()}, used


def known(workdir: Path, config: ConfigDict, net: Network) -> dict[str, Any]:
    """What a run's inputs need to know of its training images."""
    return statistics_of(config, net, workdir, lambda: load_split(config, net, "train"))
