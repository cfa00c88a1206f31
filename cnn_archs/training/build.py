"""From experiments to a `Run`: data on the devices, first states, compiled steps."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs import roles
from cnn_archs.data.loading import pixel_statistics
from cnn_archs.data.loading.in_memory import Resident, ResidentFeed
from cnn_archs.data.loading.streaming import Streamed, StreamedFeed
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import Classifier, Experiment
from cnn_archs.metrics import MetricSums
from cnn_archs.optim import gauss_newton, optimizers, schedules
from cnn_archs.optim.losses import Loss
from cnn_archs.optim.recipe import Recipe, Rules
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.compiler_options import fast_compile_options
from cnn_archs.training import cpu_step, steps
from cnn_archs.training.layer_stats import diagnosis_of
from cnn_archs.training.placement import Placed, placed
from cnn_archs.training.seeds import SeedAxis, fastest
from cnn_archs.training.trainer import Run


class Part(NamedTuple):
    """An experiment and its folder, where the statistics of its images are kept; None: nowhere."""

    experiment: Experiment
    workdir: Path | None = None


def assemble(*parts: Part, axis: SeedAxis | None = None) -> Run:
    """The run of `parts` at step 0, with its data on the devices and nothing compiled yet.

    Their configs differ in seeds and learning rates only; ConfigError else. axis: the form in which
    the seeds of all parts are trained, of images that are in memory; None: the fastest.
    """
    check_alike(parts)
    experiment = parts[0].experiment
    recipe, intervals, in_memory = (
        experiment.recipe,
        experiment.intervals,
        experiment.dataset.in_memory,
    )
    on = placed(experiment)
    platform = jax.default_backend()
    axis = axis or fastest(in_memory=in_memory, devices=on.mesh.size, platform=platform)
    data, prepare = loaded(parts, on.mesh)
    train = data["train"]
    epoch, total = recipe.steps_per_epoch(train.examples), recipe.total_steps(train.examples)
    made = recipe.rules(float(epoch))
    loop = steps_at_once(recipe.batch_size, on_cpu=platform == "cpu") if in_memory else 1
    seeds = tuple(seed for part in parts for seed in part.experiment.seeds)
    memories = [m for part in parts for m in memories_of(part.experiment, float(epoch))]
    keys, states, held = begin(on, made, axis, seeds, memories)
    train_step, eval_step = compiled(recipe, on, made, prepare, axis, held, loop)
    samples = min(recipe.curvature_examples, train.examples)
    return Run(
        net=on.net,
        seeds=seeds,
        shares=shares(parts),
        axis=axis,
        loop=loop,
        total=total,
        batch_size=recipe.batch_size,
        eval_batch_size=experiment.eval_batch_size,
        periods=intervals.periods(epoch),
        traced=intervals.profile,
        schedule=made.schedule,
        average=made.average,
        mesh=on.mesh,
        held=held,
        data=data,
        feeds=feeds(train, axis, seeds, recipe.batch_size, on.mesh, loop, total),
        keys=keys,
        train_step=train_step,
        eval_step=eval_step,
        refresh=refresher(on.net, prepare, made.loss, axis) if samples else None,
        samples=samples,
        diagnosis=diagnosis_of(on.net.model, made.loss, prepare, recipe.auxiliary),
        states=states,
    )


def check_alike(parts: Sequence[Part]) -> None:
    """Raises ConfigError unless one compiled program can train all parts."""
    first, *others = (part.experiment.config for part in parts)
    for other in others:
        differ = roles.program_differences(first, other)
        if differ:
            raise ConfigError(f"these cannot be trained together: they differ in {differ[0]}")


def loaded(parts: Sequence[Part], mesh: Mesh) -> tuple[dict[str, Resident | Streamed], Preprocess]:
    """The splits of `parts` on the devices, or to be streamed to them; how images become input.

    Each part's folder has the statistics of the training images afterwards.
    """
    first, net = parts[0], parts[0].experiment.net
    splits = first.experiment.dataset.splits(net.inputs.crop)
    files = [RunDir(part.workdir).statistics if part.workdir else None for part in parts]
    known = pixel_statistics.load_or_compute(
        files[0], lambda: pixel_statistics.compute_statistics(net.inputs, lambda: splits["train"])
    )
    for file in files[1:]:
        pixel_statistics.load_or_compute(file, lambda: known)
    data = {
        name: split if isinstance(split, Streamed) else Resident(split, mesh)
        for name, split in splits.items()
    }
    return data, net.inputs.make_preprocess(known)


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
    axis: SeedAxis,
    seeds: tuple[int, ...],
    size: int,
    mesh: Mesh,
    loop: int,
    total: int,
) -> list[ResidentFeed | StreamedFeed]:
    """Where the batches of `size` images come from, for each state that is held."""
    groups = axis.groups(seeds)
    if isinstance(train, Resident):
        split = meshes.split(mesh, axis=axis.ndim + (loop > 1))
        put: Callable[[np.ndarray], Any] = partial(meshes.place, sharding=split)
        return [ResidentFeed(train, g, size, loop, axis.index, put) for g in groups]
    put = partial(meshes.place, sharding=meshes.split(mesh), length=size)
    rows = meshes.rows(mesh, size)
    return [StreamedFeed(train, seed, size, total, put, rows) for (seed,) in groups]


def begin(
    on: Placed,
    made: Rules,
    axis: SeedAxis,
    seeds: Sequence[int],
    memories: Sequence[schedules.Memory],
) -> tuple[list[jax.Array], list[steps.TrainState], Any]:
    """(keys of the steps, first states), both as `axis` holds them, and how a state is held over
    the mesh, as shardings.

    memories: of each seed's schedule. A seed's numbers do not depend on which others there are.
    """
    net, mesh, layers = on

    def first(seed: jax.Array, memory: Any) -> tuple[jax.Array, steps.TrainState]:
        init_key, step_key = jax.random.split(jax.random.key(seed))
        state = steps.init_state(net.model, made.optimizer, made.average, init_key, net.image_shape)
        opt_state = state.opt_state._replace(memory=memory)
        return step_key, state.replace(opt_state=opt_state)

    each = [(jnp.asarray(s), memory) for s, memory in zip(seeds, memories, strict=True)]
    make, arguments = axis.map(first), axis.stack(each)
    held = meshes.shardings(jax.eval_shape(make, *arguments[0])[1], mesh, layers)
    make = jax.jit(
        make, out_shardings=(meshes.whole(mesh), held), compiler_options=fast_compile_options()
    )
    found = [make(*a) for a in arguments]
    return [key for key, _ in found], [state for _, state in found], held


def compiled(
    recipe: Recipe,
    on: Placed,
    made: Rules,
    prepare: Preprocess,
    axis: SeedAxis,
    held: Any,
    loop: int,
) -> tuple[Callable[..., steps.TrainState], Callable[..., MetricSums]]:
    """(training step, evaluation step) of what `axis` holds, to be compiled at their first call.

    held: the shardings of a state. loop: the most steps that one call of the training step makes.
    """
    model, mesh, resident = on.net.model, on.mesh, on.net.inputs.resident
    train_step = steps.train_step_of(
        model,
        made.loss,
        made.optimizer,
        made.average,
        prepare,
        auxiliary=recipe.auxiliary,
        micro_batch=recipe.micro_batch,
        mesh=mesh,
    )
    eval_step = make_eval_step(model, made.loss, prepare)
    if resident:
        gathered = steps.gathered(train_step)
        train_step = axis.map(gathered, in_axes=(0, 0, None, None, 0))
        eval_step = axis.map(eval_step, in_axes=(0, None, None, None))
    jit: Any = jax.jit
    if cpu_step.is_one_cpu(mesh) and not axis.vmapped and loop == 1:
        jit = partial(cpu_step.jit, onednn=model.gains_from_onednn)
    options: Any = dict(held=held, seed_axes=axis.ndim, looped=loop > 1, jit=jit)
    return (
        steps.compile_train(train_step, mesh, resident=resident, **options),
        compile_eval(eval_step, mesh, resident=resident),
    )


def refresher(
    net: Classifier, prepare: Preprocess, loss: Loss, axis: SeedAxis
) -> Callable[..., steps.TrainState]:
    """(state, images, labels, index) -> the state with the curvature of those examples."""
    with config_errors("config"):
        diagonal = gauss_newton.gauss_newton_diagonal(net.model, loss)

    def refresh(state, images, labels, index):
        h = diagonal(state.params, prepare(None, images[index]), labels[index])
        return state.replace(opt_state=optimizers.refresh(state.opt_state, h))

    return jax.jit(axis.map(refresh, in_axes=(0, None, None, 0)))
