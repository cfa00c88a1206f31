"""Builds a `Trainer` from experiments: data on the devices, initial states and jitted steps."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs import roles
from cnn_archs.data.datasets.splits import Split
from cnn_archs.data.loading import pixel_statistics
from cnn_archs.data.loading.in_memory import Resident, ResidentFeed
from cnn_archs.data.loading.streaming import Streamed, StreamedFeed
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.distributed.in_flight import InFlight
from cnn_archs.errors import ConfigError
from cnn_archs.experiment import Experiment
from cnn_archs.optim import schedules
from cnn_archs.optim.recipe import Rules
from cnn_archs.run_dir import RunDir
from cnn_archs.runtime.compiler_options import cuda_graph_options, fast_compile_options
from cnn_archs.runtime.console import print_notes
from cnn_archs.training import steps
from cnn_archs.training.layer_stats import make_layer_stats_fn
from cnn_archs.training.placement import PlacedModel, place_model
from cnn_archs.training.programs import make_refresh, make_steps
from cnn_archs.training.seeds import SeedAxis, choose_axis
from cnn_archs.training.status_lines import batch_notes
from cnn_archs.training.trainer import Trainer


class Member(NamedTuple):
    """One of the experiments that a trainer trains side by side.

    workdir: the folder of its run, where the statistics of its images are stored; None stores none.
    """

    experiment: Experiment
    workdir: Path | None = None


def build_trainer(
    *members: Member,
    axis: SeedAxis | None = None,
    splits: Mapping[str, Split | Streamed] | None = None,
) -> Trainer:
    """Build the trainer of `members` at step 0: data on the devices, nothing compiled yet.

    axis: the form of the seeds of all members; None takes that of the config. splits: those
    of the members' dataset, if they are loaded already. Raises
    ConfigError unless the configs of the members differ in seeds and learning rates only.
    """
    check_same_program(members)
    experiment = members[0].experiment
    recipe, intervals, in_memory = (
        experiment.recipe,
        experiment.intervals,
        experiment.dataset.in_memory,
    )
    placed = place_model(experiment)
    platform = jax.default_backend()
    axis = axis or choose_axis(
        experiment.seeds_form, in_memory=in_memory, devices=placed.mesh.size, platform=platform
    )
    data, prepare = load_data(members, placed.mesh, splits)
    train = data["train"]
    epoch, total = recipe.steps_per_epoch(train.examples), recipe.total_steps(train.examples)
    rules = recipe.make_rules(float(epoch))
    loop = max_steps_per_call(recipe.batch_size, on_cpu=platform == "cpu") if in_memory else 1
    seeds = tuple(seed for member in members for seed in member.experiment.seeds)
    schedule_states = [s for m in members for s in init_schedules(m.experiment, float(epoch))]
    keys, states, sharding = init_states(placed, rules, axis, seeds, schedule_states)
    train_step, eval_step = make_steps(
        recipe,
        placed,
        rules,
        prepare,
        axis,
        axis.calls([sharding] * len(states))[0],
        loop,
        experiment.frozen,
        cuda_graph_options(experiment.cuda_graph),
    )
    samples = min(recipe.curvature_examples, train.examples)
    net = placed.net
    return Trainer(
        net=net,
        seeds=seeds,
        seed_slices=seed_slices(members),
        axis=axis,
        steps_per_call=loop,
        total_steps=total,
        batch_size=recipe.batch_size,
        eval_batch_size=experiment.eval_batch_size,
        periods=intervals.periods(epoch),
        profiled_steps=intervals.profile,
        schedule=rules.schedule,
        average=rules.average,
        mesh=placed.mesh,
        state_sharding=sharding,
        data=data,
        feeds=make_feeds(train, axis, seeds, recipe.batch_size, placed.mesh, loop, total),
        keys=keys,
        in_flight=None if in_memory else InFlight(placed.mesh, chained=True),
        train_step=train_step,
        eval_step=eval_step,
        refresh_curvature=make_refresh(net, prepare, rules.loss, axis) if samples else None,
        curvature_samples=samples,
        finite_fn=jax.jit(
            axis.map(steps.is_finite),
            out_shardings=meshes.replicated(placed.mesh),
            compiler_options=fast_compile_options(),
        ),
        layer_stats_fn=make_layer_stats_fn(
            net.model, rules.loss, prepare, recipe.auxiliary, experiment.frozen
        ),
        states=states,
    )


def check_same_program(members: Sequence[Member]) -> None:
    """Raise ConfigError unless one compiled program can train all members."""
    first, *others = (member.experiment.config for member in members)
    for other in others:
        differ = roles.program_differences(first, other)
        if differ:
            raise ConfigError(f"these runs cannot be trained together: they differ in {differ[0]}")


def load_data(
    members: Sequence[Member], mesh: Mesh, splits: Mapping[str, Split | Streamed] | None
) -> tuple[dict[str, Resident | Streamed], Preprocess]:
    """Return the splits of the members' dataset, and the function that preprocesses its images.

    splits: as they were loaded; None loads them. A dataset in memory is put on the devices of
    `mesh`. The statistics of the training images are read from the first member's folder or
    computed, and are in each member's folder afterwards.
    """
    first, net = members[0], members[0].experiment.net
    splits = splits or first.experiment.dataset.splits(net.inputs.crop)
    notes = batch_notes(first.experiment.recipe.batch_size, len(splits["train"]))
    multihost.on_primary(lambda: print_notes([*first.experiment.notes(), *notes]))
    files = [RunDir(m.workdir).statistics if m.workdir else None for m in members]
    statistics = pixel_statistics.load_or_compute(
        files[0], lambda: pixel_statistics.compute_statistics(net.inputs, lambda: splits["train"])
    )
    for file in files[1:]:
        pixel_statistics.load_or_compute(file, lambda: statistics)
    data = {
        name: split if isinstance(split, Streamed) else Resident(split, mesh)
        for name, split in splits.items()
    }
    return data, net.inputs.make_preprocess(statistics)


def max_steps_per_call(batch_size: int, *, on_cpu: bool) -> int:
    """Return the most steps that one call of the training step makes, for images in memory.

    On a CPU a convolution inside a loop body is several times slower than outside, except for
    single images. For these, and on accelerators, the dispatch of each step costs more.
    """
    if on_cpu:
        return 1000 if batch_size == 1 else 1
    return 100


def seed_slices(members: Sequence[Member]) -> tuple[slice, ...]:
    """Return the slice of all seeds that belongs to each member."""
    ends = np.cumsum([len(member.experiment.seeds) for member in members]).tolist()
    return tuple(slice(begin, end) for begin, end in zip([0, *ends], ends, strict=False))


def init_schedules(experiment: Experiment, steps_per_epoch: float) -> list[schedules.ScheduleState]:
    """Return the state of the learning rate schedule before the first step, for each seed."""
    schedule = experiment.recipe.make_rules(steps_per_epoch).schedule
    return [schedule.init() for _ in experiment.seeds]


def make_feeds(
    train: Resident | Streamed,
    axis: SeedAxis,
    seeds: tuple[int, ...],
    size: int,
    mesh: Mesh,
    loop: int,
    total: int,
) -> list[ResidentFeed | StreamedFeed]:
    """Return the source of batches for each call of the training step.

    size: images per batch. loop: the most steps in one call. total: the step at which the run ends.
    """
    groups = axis.groups(seeds)
    if isinstance(train, Resident):
        batch_axis = axis.together + (loop > 1)
        sharding = meshes.batch_sharded(mesh, axis=batch_axis)
        put: Callable[[np.ndarray], Any] = partial(meshes.place, sharding=sharding)
        return [ResidentFeed(train, g, size, loop, axis.join_indices, put) for g in groups]
    put = partial(meshes.place, sharding=meshes.batch_sharded(mesh), length=size)
    rows = meshes.local_rows(mesh, size)
    return [StreamedFeed(train, seed, size, total, put, rows) for (seed,) in groups]


def init_states(
    placed: PlacedModel,
    rules: Rules,
    axis: SeedAxis,
    seeds: Sequence[int],
    schedule_states: Sequence[schedules.ScheduleState],
) -> tuple[list[jax.Array], list[steps.TrainState], Any]:
    """Initialize the training of each seed.

    schedule_states: one per seed. Returns the random keys of the steps and the first states, both
    in the form of `axis`, and the sharding of each array of a state. The values of a seed do not
    depend on the other seeds.
    """
    net, mesh, split_layers = placed

    def init(seed: jax.Array, schedule_state: Any) -> tuple[jax.Array, steps.TrainState]:
        init_key, step_key = jax.random.split(jax.random.key(seed))
        state = steps.init_state(
            net.model, rules.optimizer, rules.average, init_key, net.image_shape
        )
        opt_state = state.opt_state._replace(memory=schedule_state)
        return step_key, state.replace(opt_state=opt_state)

    of_seeds = zip(seeds, schedule_states, strict=True)
    per_seed = [(jnp.asarray(seed, jnp.uint32), state) for seed, state in of_seeds]
    make, arguments = axis.map(init), axis.stack(per_seed)
    sharding = meshes.tree_shardings(jax.eval_shape(make, *arguments[0])[1], mesh, split_layers)
    shardings = (meshes.replicated(mesh), sharding)
    make = jax.jit(make, out_shardings=shardings, compiler_options=fast_compile_options())
    found = [make(*a) for a in arguments]
    return [key for key, _ in found], [state for _, state in found], sharding
