"""What a step of a config holds in memory, by XLA's own analysis of the compiled program.

The program is the one that trains, split over as many simulated CPUs as there are to be devices;
shapes are its arguments, and it is never run. So what changes it is counted: a mesh, another
optimizer. Three things XLA does on a CPU as on no accelerator. It widens bfloat16 to float32: such
a network is compiled in float32, and what depends on it is halved. It undoes rematerialisation,
but in loops (`scan_blocks`). And convolutions have other buffers, and maps another layout, which no
compilation here can tell.
"""

import math
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_archs import models
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError, user_errors
from cnn_archs.evaluate.step import compile_eval, eval_step_of
from cnn_archs.experiment import Classifier, Experiment
from cnn_archs.optim.recipe import Rules
from cnn_archs.runtime.compiler_options import known, once
from cnn_archs.training import steps
from cnn_archs.training.placement import PlacedModel

# Quick to compile; the buffers are those of the default options, or a few bytes from them.
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


class Program(NamedTuple):
    """Bytes that one device holds in a step, and those that it moves from and to its memory.

    params; optimizer: its state; rest: batch statistics, averages, counts. gradients: one for each
    parameter. activations: all else that XLA puts aside. traffic: None where the program has a
    loop, whose body XLA counts once.
    """

    params: int
    optimizer: int
    rest: int
    gradients: int
    activations: int
    traffic: int | None


def simulate(devices: int) -> None:
    """So many CPUs, and no accelerator, for a process that has not used jax yet."""
    jax.config.update("jax_platforms", "cpu")
    with suppress(RuntimeError):  # where it has, they must be as many by chance
        jax.config.update("jax_num_cpu_devices", devices)
    if jax.device_count() != devices:
        raise ConfigError(f"--devices={devices}: this process has {jax.device_count()} already")


def training(experiment: Experiment, on: PlacedModel, made: Rules, batch: int) -> Program:
    """Of a step with `batch` images at once, over all of the mesh. made: the experiment's rules."""
    net = on.net
    model, halves = widened(net.model)
    on = on._replace(net=net._replace(model=model))
    jitted, arguments = step_of(experiment, on, made, batch)
    program = compiled(experiment.name, jitted, *arguments)
    by_one = held_by_one(arguments[0], program.input_shardings[0][0])
    temporary = program.memory_analysis().temp_size_in_bytes
    gradients = min(by_one.params, temporary)
    looped = net.model.scan_blocks
    return Program(
        params=by_one.params,
        optimizer=by_one.opt_state,
        rest=by_one.batch_stats + by_one.average,
        gradients=gradients,
        activations=(temporary - gradients) // halves,
        traffic=None if looped else int(program.cost_analysis()["bytes accessed"]) // halves,
    )


def step_of(
    experiment: Experiment, on: PlacedModel, made: Rules, batch: int
) -> tuple[Any, tuple[Any, ...]]:
    """(jitted training step of `batch` images at once, its abstract arguments)."""
    net, mesh, layers = on
    step = steps.make_train_step(
        net.model,
        made.loss,
        made.optimizer,
        made.average,
        net.inputs.prepare(ones(experiment)),
        auxiliary=experiment.recipe.auxiliary,
        micro_batch=0,
        mesh=mesh,
    )
    arguments = steps.abstract_arguments(partial(begun, net, made), delivered(experiment), batch)
    held = meshes.tree_shardings(arguments[0], mesh, layers)
    return steps.jit_train_step(step, mesh, state_sharding=held, in_memory=False), arguments


def evaluating(experiment: Experiment, on: PlacedModel, made: Rules, batch: int) -> int:
    """Bytes that one device puts aside while `batch` images are evaluated, or a few more."""
    net, mesh, layers = on
    batch = -(-batch // mesh.shape["data"]) * mesh.shape["data"]
    model, halves = widened(net.model)
    step = eval_step_of(model, made.loss, net.inputs.prepare(ones(experiment)))
    arguments = [
        jax.ShapeDtypeStruct((batch, *delivered(experiment)), np.uint8),
        jax.ShapeDtypeStruct((batch,), np.int32),
        jax.ShapeDtypeStruct((batch,), np.bool_),
    ]
    jitted = compile_eval(step, mesh, resident=False)
    variables = first_state(net, made).variables
    variables = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        variables,
        meshes.tree_shardings(variables, mesh, layers),
    )
    program = compiled(experiment.name, jitted, variables, *arguments)
    return program.memory_analysis().temp_size_in_bytes // halves


def compiled(name: str, jitted: Any, *arguments: Any) -> Any:
    """For the CPU, quickly; what the network `name` refuses is the config's fault."""
    with user_errors(f"model {name}"):
        lowered = jitted.lower(*arguments)
    return lowered.compile({**(once() or {}), **known(QUICK)})


def widened(model: models.Network) -> tuple[models.Network, int]:
    """The network in float32, and how many times as large its maps are then."""
    if model.dtype != "bfloat16":
        return model, 1
    return model.clone(dtype="float32"), 2  # type: ignore[call-arg]


def begun(net: Classifier, made: Rules, key: jax.Array) -> steps.TrainState:
    """The state with which a run begins."""
    return steps.init_state(net.model, made.optimizer, made.average, key, net.image_shape)


def first_state(net: Classifier, made: Rules) -> steps.TrainState:
    """Its shapes."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(partial(begun, net, made), key)


def held_by_one(state: steps.TrainState, shardings: steps.TrainState) -> steps.TrainState:
    """`state` with bytes in place of its parts: those that one device has of each."""

    def part(leaf: Any, sharding: Any) -> int:  # None: of what the step does not read
        shape = sharding.shard_shape(leaf.shape) if sharding else leaf.shape
        return math.prod(shape) * leaf.dtype.itemsize

    sizes = jax.tree.map(part, state, shardings)
    names = ("params", "batch_stats", "average", "opt_state")
    return state.replace(**{name: sum(jax.tree.leaves(getattr(sizes, name))) for name in names})


def delivered(experiment: Experiment) -> tuple[int, int, int]:
    """(H, W, C) of the images as the devices get them."""
    if experiment.dataset.in_memory:
        return experiment.dataset.stored_shape
    return (*experiment.inputs.crop.delivered, experiment.image_shape[2])


def ones(experiment: Experiment) -> dict[str, np.ndarray]:
    """In place of the training images' statistics, which would take the images."""
    (h, w, c), inputs = delivered(experiment), experiment.inputs
    mean = (h, w, c) if inputs.mean == "pixel" else (1, 1, c)
    found: dict[str, tuple[int, ...]] = {"mean": mean, "std": (1, 1, c)}
    if inputs.standardize and inputs.standardize.zca_whitening:
        found["whitening"] = (math.prod(experiment.image_shape),) * 2
    return {name: np.ones(shape, np.float32) for name, shape in found.items()}
