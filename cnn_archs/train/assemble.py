"""From a config to a `Run`: data on the devices, first states, compiled steps."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from cnn_archs import models, roles
from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import statistics
from cnn_archs.data.feeds import ResidentFeed, StreamedFeed
from cnn_archs.data.resident import Resident
from cnn_archs.data.streaming import Streamed
from cnn_archs.errors import ConfigError
from cnn_archs.run_dir import RunDir
from cnn_archs.setup import Network, network, once, user_errors
from cnn_archs.splits import load_splits, statistics_of
from cnn_archs.train import (
    averages,
    curvature,
    losses,
    on_one_cpu,
    optimizers,
    schedules,
    steps,
)
from cnn_archs.train.averages import Average
from cnn_archs.train.diagnostics import diagnosis_of
from cnn_archs.train.run import Run, stack
from cnn_archs.train.schedules import Schedule


class Part(NamedTuple):
    """An experiment and its folder, where the statistics of its images are kept; None: nowhere."""

    config: ConfigDict
    workdir: Path | None = None


class Rules(NamedTuple):
    """What a config says of training, but for the network and its images."""

    loss: losses.Loss
    schedule: Schedule
    optimizer: optax.GradientTransformationExtraArgs
    average: Average


def rules(config: ConfigDict, steps_per_epoch: float) -> Rules:
    """The rules of `config`; ConfigError where knobs do not fit together."""
    with user_errors("config"):
        loss = losses.create(**config.loss)
        schedule = schedules.create(steps_per_epoch=steps_per_epoch, **config.schedule)
        schedule = schedules.warm_up(schedule, steps_per_epoch=steps_per_epoch, **config.warmup)
        optimizer = optimizers.create(schedule=schedule, **config.optimizer)
        average = averages.create(steps_per_epoch=steps_per_epoch, **config.average)
    if schedule.evaluated and not config.data.holdout:
        raise ConfigError(
            f"schedule {config.schedule.name} follows the error on held-out images: "
            "set --config.data.holdout"
        )
    return Rules(loss, schedule, optimizer, average)


def assemble(*parts: Part, together: bool | None = None) -> Run:
    """The run of `parts` at step 0, with its data on the devices and nothing compiled yet.

    Their configs differ in seeds and learning rates only; ConfigError else. together: are all seeds
    of all parts one vmapped program? None chooses: on one accelerator, where it is faster. Not on a
    CPU; and not on several devices, over which XLA does not split the grouped convolutions that the
    seeds' kernels become. Never for images that are streamed.
    """
    config = parts[0].config
    check_alike([part.config for part in parts])
    net = network(config)
    resident = net.inputs.resident
    if config.diagnose_every and not resident:
        raise ConfigError("diagnose_every needs a dataset whose images are of one size")
    net, mesh, layers = placed(config, net)
    on_cpu = jax.default_backend() == "cpu"
    alone = mesh.size == 1 and not on_cpu
    together = resident and (alone if together is None else together)
    rules(config, steps_per_epoch=1.0)  # before any data is read
    second_order = config.optimizer.name == "sdlm"
    splits = load_splits(config, net)
    known = statistics_of(config, net, parts[0].workdir, lambda: splits["train"])
    for workdir in filter(None, (p.workdir for p in parts[1:])):
        statistics.kept(RunDir(workdir).statistics, lambda: known)
    prepare = net.inputs.prepare(known)
    data = {
        name: split if isinstance(split, Streamed) else Resident(split, mesh)
        for name, split in splits.items()
    }
    period = Fraction(data["train"].examples, config.data.batch_size)
    loss, schedule, optimizer, average = rules(config, steps_per_epoch=float(period))
    refresh = refresher(net, prepare, loss, together) if second_order else None
    # On a CPU a convolution inside a loop body is several times slower than outside, but for
    # single images; there, and on accelerators, it is the dispatch that costs.
    loop = (1000 if config.data.batch_size == 1 else 1) if on_cpu else 100
    loop = loop if resident else 1
    total = config.steps or ceil(Fraction(str(config.epochs)) * period)  # 1.1 is 11/10
    if total < 1:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    seeds: list[int] = []
    shares, memories = [], []
    for c in (part.config for part in parts):
        shares.append(slice(len(seeds), len(seeds) + c.seeds))
        seeds += range(c.seed, c.seed + c.seeds)
        own = rules(c, steps_per_epoch=float(period)).schedule
        memories += [own.init() for _ in range(c.seeds)]
    keys, states, held = begin(net, optimizer, average, seeds, memories, together, mesh, layers)
    train_step = steps.train_step_of(
        net.model,
        loss,
        optimizer,
        average,
        prepare,
        auxiliary=config.auxiliary,
        micro_batch=config.data.micro_batch,
        mesh=mesh,
    )
    train = data["train"]
    options: Any = dict(together=together, resident=resident)
    jit: Any = jax.jit
    if on_one_cpu.is_one_cpu(mesh) and not together and loop == 1:
        jit = partial(on_one_cpu.jit, onednn=net.model.gains_from_onednn)
    return Run(
        net=net,
        seeds=tuple(seeds),
        shares=tuple(shares),
        together=together,
        loop=loop,
        total=total,
        batch_size=config.data.batch_size,
        eval_batch_size=config.eval_batch_size,
        periods=periods(config, period),
        traced=range(*config.profile),
        schedule=schedule,
        average=average,
        mesh=mesh,
        held=held,
        data=data,
        feeds=feeds(config, train, tuple(seeds), mesh, loop, total, together),
        keys=keys,
        train_step=steps.compile_train(
            train_step, mesh, held=held, looped=loop > 1, jit=jit, **options
        ),
        eval_step=steps.compile_eval(steps.eval_step_of(net.model, loss, prepare), mesh, **options),
        refresh=refresh,
        samples=min(config.optimizer.samples, train.examples) if second_order else 0,
        diagnosis=diagnosis_of(net.model, loss, prepare, config.auxiliary),
        states=states,
    )


class Placed(NamedTuple):
    """A network on its devices. layers: that are split over the mesh's "model", and by what."""

    net: Network
    mesh: Mesh
    layers: dict[str, str]


def placed(config: ConfigDict, net: Network) -> Placed:
    """`net` on the mesh of `config`; ConfigError where the two do not fit."""
    mesh = meshes.create(**config.mesh)
    at_once = config.data.micro_batch or config.data.batch_size
    key = "data.micro_batch" if config.data.micro_batch else "data.batch_size"
    meshes.check_batch(mesh, at_once, key)
    net = net._replace(model=on_devices(net.model, mesh, at_once))
    return Placed(net, mesh, split_layers(net.model, config.model.name, mesh))


def on_devices(model: models.Network, mesh: Mesh, at_once: int) -> models.Network:
    """`model` with bn_group = -1, each device's share of the images `at_once`, as a number."""
    if model.bn_group != -1:
        return model
    return model.clone(bn_group=at_once // mesh.shape["data"])


def split_layers(model: models.Network, name: str, mesh: Mesh) -> dict[str, str]:
    """The layers of `model` that are split over the mesh's "model", and by what.

    ConfigError where it has none, or one that does not split evenly.
    """
    devices = mesh.shape["model"]
    if devices == 1:
        return {}
    with user_errors(f"mesh.model={devices}, model {name}"):
        return models.split(model, devices)


def check_alike(configurations: Sequence[ConfigDict]) -> None:
    """Raises ConfigError unless one compiled program can train them all."""
    first, *others = (c.to_dict() for c in configurations)
    for other in others:
        differ = roles.program_differences(first, other)
        if differ:
            raise ConfigError(f"these cannot be trained together: they differ in {differ[0]}")


def periods(config: ConfigDict, epoch: Fraction) -> dict[str, Fraction]:
    """Steps between events of each kind; `epoch`: those between passes over the images.

    Nothing is diagnosed, unless its period is more than 0.
    """
    diagnose = {"diagnose": Fraction(str(config.diagnose_every)) * epoch}
    return {
        **(diagnose if config.diagnose_every else {}),
        "log": Fraction(config.log_every),
        "evaluate": Fraction(str(config.eval_every)) * epoch,
        "checkpoint": Fraction(str(config.checkpoint_every)) * epoch,
        "epoch": epoch,
    }


def feeds(
    config: ConfigDict,
    train: Resident | Streamed,
    seeds: tuple[int, ...],
    mesh: Mesh,
    loop: int,
    total: int,
    together: bool,
) -> list[ResidentFeed | StreamedFeed]:
    """Where the batches come from: one for each seed, or one for all of them together."""
    size = config.data.batch_size
    if isinstance(train, Resident):
        groups = [seeds] if together else [(s,) for s in seeds]
        split = meshes.split(mesh, axis=together + (loop > 1))
        put: Callable[[np.ndarray], Any] = partial(meshes.place, sharding=split)
        return [ResidentFeed(train, g, size, loop, together, put) for g in groups]
    put = partial(meshes.place, sharding=meshes.split(mesh), length=size)
    return [StreamedFeed(train, s, size, total, put, meshes.rows(mesh, size)) for s in seeds]


def begin(
    net: Network,
    optimizer: optax.GradientTransformationExtraArgs,
    average: Average,
    seeds: Sequence[int],
    memories: Sequence[schedules.Memory],
    together: bool,
    mesh: Mesh,
    layers: dict[str, str],
) -> tuple[list[jax.Array], list[steps.TrainState], Any]:
    """(key of the steps, state) for each seed, or one of each for all of them together; and how
    a state is held, as shardings.

    memories: of each seed's schedule. layers: that are split, see `meshes.shardings`. A seed's
    numbers do not depend on which others there are.
    """

    def first(seed: jax.Array, memory: Any) -> tuple[jax.Array, steps.TrainState]:
        init_key, step_key = jax.random.split(jax.random.key(seed))
        state = steps.init_state(net.model, optimizer, average, init_key, net.image_shape)
        return step_key, state.replace(opt_state=state.opt_state._replace(memory=memory))

    make = jax.vmap(first) if together else first
    each = [(jnp.asarray(s), memory) for s, memory in zip(seeds, memories, strict=True)]
    arguments = [jax.tree.map(stack, *each)] if together else each
    held = meshes.shardings(jax.eval_shape(make, *arguments[0])[1], mesh, layers)
    make = jax.jit(make, out_shardings=(meshes.whole(mesh), held), compiler_options=once())
    made = [make(*a) for a in arguments]
    return [key for key, _ in made], [state for _, state in made], held


def refresher(
    net: Network, prepare: steps.Prepare, loss: losses.Loss, together: bool
) -> Callable[..., steps.TrainState]:
    """(state, images, labels, index) -> the state with the curvature of those examples."""
    if not net.inputs.resident:
        raise ConfigError("optimizer sdlm needs a dataset whose images are of one size")
    with user_errors("config"):
        diagonal = curvature.gauss_newton_diagonal(net.model, loss)

    def refresh(state, images, labels, index):
        h = diagonal(state.params, prepare(None, images[index]), labels[index])
        return state.replace(opt_state=optimizers.refresh(state.opt_state, h))

    return jax.jit(jax.vmap(refresh, in_axes=(0, None, None, 0)) if together else refresh)
