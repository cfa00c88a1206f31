"""From experiments to a `Run`: data on the devices, first states, compiled steps."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs import models, roles
from cnn_archs.cluster import mesh as meshes
from cnn_archs.compiler_options import once
from cnn_archs.data import statistics
from cnn_archs.data.feeds import ResidentFeed, StreamedFeed
from cnn_archs.data.inputs import Prepare
from cnn_archs.data.resident import Resident
from cnn_archs.data.streaming import Streamed
from cnn_archs.errors import ConfigError, user_errors
from cnn_archs.experiment import Classifier, Experiment
from cnn_archs.run_dir import RunDir
from cnn_archs.train import curvature, on_one_cpu, optimizers, schedules, steps
from cnn_archs.train.diagnostics import diagnosis_of
from cnn_archs.train.losses import Loss
from cnn_archs.train.recipe import Rules
from cnn_archs.train.run import Run, stack


class Part(NamedTuple):
    """An experiment and its folder, where the statistics of its images are kept; None: nowhere."""

    experiment: Experiment
    workdir: Path | None = None


def assemble(*parts: Part, together: bool | None = None) -> Run:
    """The run of `parts` at step 0, with its data on the devices and nothing compiled yet.

    Their configs differ in seeds and learning rates only; ConfigError else. together: are all seeds
    of all parts one vmapped program? None chooses: on one accelerator, where it is faster. Not on a
    CPU; and not on several devices, over which XLA does not split the grouped convolutions that the
    seeds' kernels become. Never for images that are streamed.
    """
    check_alike(parts)
    experiment = parts[0].experiment
    recipe, (net, mesh, layers) = experiment.recipe, placed(experiment)
    resident, on_cpu = net.inputs.resident, jax.default_backend() == "cpu"
    alone = mesh.size == 1 and not on_cpu
    together = resident and (alone if together is None else together)
    data, prepare = loaded(parts, mesh)
    train = data["train"]
    epoch, total = recipe.steps_per_epoch(train.examples), recipe.total_steps(train.examples)
    made = recipe.rules(float(epoch))
    loop = steps_at_once(recipe.batch_size, on_cpu=on_cpu) if resident else 1
    seeds = tuple(seed for part in parts for seed in part.experiment.seeds)
    memories = [m for part in parts for m in memories_of(part.experiment, float(epoch))]
    keys, states, held = begin(net, made, seeds, memories, together, mesh, layers)
    train_step = steps.train_step_of(
        net.model,
        made.loss,
        made.optimizer,
        made.average,
        prepare,
        auxiliary=recipe.auxiliary,
        micro_batch=recipe.micro_batch,
        mesh=mesh,
    )
    options: Any = dict(together=together, resident=resident)
    jit: Any = jax.jit
    if on_one_cpu.is_one_cpu(mesh) and not together and loop == 1:
        jit = partial(on_one_cpu.jit, onednn=net.model.gains_from_onednn)
    samples = min(recipe.curvature_examples, train.examples)
    return Run(
        net=net,
        seeds=seeds,
        shares=shares(parts),
        together=together,
        loop=loop,
        total=total,
        batch_size=recipe.batch_size,
        eval_batch_size=experiment.eval_batch_size,
        periods=experiment.upkeep.periods(epoch),
        traced=experiment.upkeep.profile,
        schedule=made.schedule,
        average=made.average,
        mesh=mesh,
        held=held,
        data=data,
        feeds=feeds(train, seeds, recipe.batch_size, mesh, loop, total, together),
        keys=keys,
        train_step=steps.compile_train(
            train_step, mesh, held=held, looped=loop > 1, jit=jit, **options
        ),
        eval_step=steps.compile_eval(
            steps.eval_step_of(net.model, made.loss, prepare), mesh, **options
        ),
        refresh=refresher(net, prepare, made.loss, together) if samples else None,
        samples=samples,
        diagnosis=diagnosis_of(net.model, made.loss, prepare, recipe.auxiliary),
        states=states,
    )


class Placed(NamedTuple):
    """A network on its devices. layers: that are split over the mesh's "model", and by what."""

    net: Classifier
    mesh: Mesh
    layers: dict[str, str]


def placed(experiment: Experiment) -> Placed:
    """The network of `experiment` on its mesh; ConfigError where the two do not fit."""
    net, recipe = experiment.net, experiment.recipe
    mesh = meshes.create(*experiment.mesh_shape)
    key = "data.micro_batch" if recipe.micro_batch else "data.batch_size"
    meshes.check_batch(mesh, recipe.at_once, key)
    net = net._replace(model=on_devices(net.model, mesh, recipe.at_once))
    return Placed(net, mesh, split_layers(net.model, experiment.name, mesh))


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


def check_alike(parts: Sequence[Part]) -> None:
    """Raises ConfigError unless one compiled program can train all parts."""
    first, *others = (part.experiment.config for part in parts)
    for other in others:
        differ = roles.program_differences(first, other)
        if differ:
            raise ConfigError(f"these cannot be trained together: they differ in {differ[0]}")


def loaded(parts: Sequence[Part], mesh: Mesh) -> tuple[dict[str, Resident | Streamed], Prepare]:
    """The splits of `parts` on the devices, or to be streamed to them; how images become input.

    Each part's folder has the statistics of the training images afterwards.
    """
    first, net = parts[0], parts[0].experiment.net
    splits = first.experiment.dataset.splits(net.inputs.crop)
    files = [RunDir(part.workdir).statistics if part.workdir else None for part in parts]
    known = statistics.kept(files[0], lambda: statistics.fit(net.inputs, lambda: splits["train"]))
    for file in files[1:]:
        statistics.kept(file, lambda: known)
    data = {
        name: split if isinstance(split, Streamed) else Resident(split, mesh)
        for name, split in splits.items()
    }
    return data, net.inputs.prepare(known)


def steps_at_once(batch_size: int, *, on_cpu: bool) -> int:
    """How many steps one dispatch has room for, of images that are on the devices.

    On a CPU a convolution inside a loop body is several times slower than outside, but for single
    images; there, and on accelerators, it is the dispatch that costs.
    """
    if on_cpu:
        return 1000 if batch_size == 1 else 1
    return 100


def shares(parts: Sequence[Part]) -> tuple[slice, ...]:
    """Which of all seeds are of which part."""
    ends = np.cumsum([len(part.experiment.seeds) for part in parts]).tolist()
    return tuple(slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False))


def memories_of(experiment: Experiment, steps_per_epoch: float) -> list[schedules.Memory]:
    """What the schedule of each seed remembers before the first step."""
    schedule = experiment.recipe.rules(steps_per_epoch).schedule
    return [schedule.init() for _ in experiment.seeds]


def feeds(
    train: Resident | Streamed,
    seeds: tuple[int, ...],
    size: int,
    mesh: Mesh,
    loop: int,
    total: int,
    together: bool,
) -> list[ResidentFeed | StreamedFeed]:
    """Where the batches of `size` images come from: one for each seed, or one for all together."""
    if isinstance(train, Resident):
        groups = [seeds] if together else [(s,) for s in seeds]
        split = meshes.split(mesh, axis=together + (loop > 1))
        put: Callable[[np.ndarray], Any] = partial(meshes.place, sharding=split)
        return [ResidentFeed(train, g, size, loop, together, put) for g in groups]
    put = partial(meshes.place, sharding=meshes.split(mesh), length=size)
    return [StreamedFeed(train, s, size, total, put, meshes.rows(mesh, size)) for s in seeds]


def begin(
    net: Classifier,
    made: Rules,
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
        state = steps.init_state(net.model, made.optimizer, made.average, init_key, net.image_shape)
        return step_key, state.replace(opt_state=state.opt_state._replace(memory=memory))

    make = jax.vmap(first) if together else first
    each = [(jnp.asarray(s), memory) for s, memory in zip(seeds, memories, strict=True)]
    arguments = [jax.tree.map(stack, *each)] if together else each
    held = meshes.shardings(jax.eval_shape(make, *arguments[0])[1], mesh, layers)
    make = jax.jit(make, out_shardings=(meshes.whole(mesh), held), compiler_options=once())
    found = [make(*a) for a in arguments]
    return [key for key, _ in found], [state for _, state in found], held


def refresher(
    net: Classifier, prepare: Prepare, loss: Loss, together: bool
) -> Callable[..., steps.TrainState]:
    """(state, images, labels, index) -> the state with the curvature of those examples."""
    with user_errors("config"):
        diagonal = curvature.gauss_newton_diagonal(net.model, loss)

    def refresh(state, images, labels, index):
        h = diagonal(state.params, prepare(None, images[index]), labels[index])
        return state.replace(opt_state=optimizers.refresh(state.opt_state, h))

    return jax.jit(jax.vmap(refresh, in_axes=(0, None, None, 0)) if together else refresh)
