"""Find the memory that a training step takes, by XLA's analysis of the compiled program.

The program is the one that trains, split over as many simulated CPU devices as are planned. It is
compiled with abstract arguments and never run; any mesh and any optimizer is therefore included.
XLA treats three things on a CPU differently from an accelerator. It widens bfloat16 to float32:
such a network is compiled in float32, and the bytes that depend on it are halved. It undoes
rematerialization outside of loops (`scan_blocks`). And convolutions have other buffers and layouts,
which no compilation here can show.
"""

import math
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn_archs import models
from cnn_archs.arithmetic import ceil_div
from cnn_archs.distributed import mesh as meshes
from cnn_archs.errors import ConfigError, config_errors
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import Classifier, Experiment
from cnn_archs.optim.recipe import Rules
from cnn_archs.runtime.compiler_options import fast_compile_options, supported_options
from cnn_archs.training import step_loop, steps
from cnn_archs.training.placement import PlacedModel

# Options that compile quickly; the buffers differ from the default options' by a few bytes at most.
QUICK = {"xla_cpu_use_fusion_emitters": False, "xla_cpu_parallel_codegen_split_count": 1}


class StepBytes(NamedTuple):
    """The bytes that one device holds during a step, and that it moves from and to its memory.

    optimizer: the optimizer's state. rest: batch statistics, averages, counts. gradients: one per
    parameter. activations: all other temporaries. traffic: None if the program has a loop, whose
    body XLA counts only once.
    """

    params: int
    optimizer: int
    rest: int
    gradients: int
    activations: int
    traffic: int | None


def simulate_devices(devices: int) -> None:
    """Make jax use this many CPU devices and no accelerator.

    Raises ConfigError if jax has already started in this process with another number.
    """
    jax.config.update("jax_platforms", "cpu")
    with suppress(RuntimeError):  # raised if jax has begun; the number may be right
        jax.config.update("jax_num_cpu_devices", devices)
    if jax.device_count() != devices:
        raise ConfigError(f"--devices={devices}: this process has {jax.device_count()} already")


def training_bytes(experiment: Experiment, on: PlacedModel, made: Rules, batch: int) -> StepBytes:
    """Analyze a training step that computes `batch` images at once over the whole mesh.

    made: the experiment's rules.
    """
    net = on.net
    model, halves = as_float32(net.model)
    on = on._replace(net=net._replace(model=model))
    jitted, arguments = jitted_step(experiment, on, made, batch)
    program = compile_quickly(experiment.name, jitted, *arguments)
    by_one = bytes_of_one_device(arguments[0], program.input_shardings[0][0])
    temporary = program.memory_analysis().temp_size_in_bytes
    gradients = min(by_one.params, temporary)
    looped = net.model.scan_blocks
    return StepBytes(
        params=by_one.params,
        optimizer=by_one.opt_state,
        rest=by_one.batch_stats + by_one.average,
        gradients=gradients,
        activations=(temporary - gradients) // halves,
        traffic=None if looped else int(program.cost_analysis()["bytes accessed"]) // halves,
    )


def jitted_step(
    experiment: Experiment, on: PlacedModel, made: Rules, batch: int
) -> tuple[Any, tuple[Any, ...]]:
    """Return the jitted training step of `batch` images at once, and its abstract arguments."""
    net, mesh, layers = on
    step = steps.make_train_step(
        net.model,
        made.loss,
        made.optimizer,
        made.average,
        net.inputs.make_preprocess(placeholder_statistics(experiment)),
        auxiliary=experiment.recipe.auxiliary,
        micro_batch=0,
        mesh=mesh,
        frozen=experiment.frozen,
    )
    arguments = steps.abstract_arguments(
        partial(initial_state, net, made), delivered_shape(experiment), batch
    )
    held = meshes.tree_shardings(arguments[0], mesh, layers)
    return step_loop.jit_train_step(step, mesh, state_sharding=held, in_memory=False), arguments


def evaluation_bytes(experiment: Experiment, on: PlacedModel, made: Rules, batch: int) -> int:
    """Count the temporary bytes of one device while `batch` images are evaluated.

    `batch` is rounded up to a multiple of the mesh's axis "data".
    """
    net, mesh, layers = on
    batch = ceil_div(batch, mesh.shape["data"]) * mesh.shape["data"]
    model, halves = as_float32(net.model)
    step = make_eval_step(
        model, made.loss, net.inputs.make_preprocess(placeholder_statistics(experiment))
    )
    arguments = [
        jax.ShapeDtypeStruct((batch, *delivered_shape(experiment)), np.uint8),
        jax.ShapeDtypeStruct((batch,), np.int32),
        jax.ShapeDtypeStruct((batch,), np.bool_),
    ]
    jitted = compile_eval(step, mesh, resident=False)
    variables = abstract_state(net, made).variables
    variables = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        variables,
        meshes.tree_shardings(variables, mesh, layers),
    )
    program = compile_quickly(experiment.name, jitted, variables, *arguments)
    return program.memory_analysis().temp_size_in_bytes // halves


def compile_quickly(name: str, jitted: Any, *arguments: Any) -> Any:
    """Compile for the CPU. Raises ConfigError if the network `name` refuses its input."""
    with config_errors(f"model {name}"):
        lowered = jitted.lower(*arguments)
    return lowered.compile({**(fast_compile_options() or {}), **supported_options(QUICK)})


def as_float32(model: models.Network) -> tuple[models.Network, int]:
    """Return the network in float32, and the factor by which that enlarges its activations."""
    if model.dtype != "bfloat16":
        return model, 1
    return model.clone(dtype="float32"), 2  # type: ignore[call-arg]


def initial_state(net: Classifier, made: Rules, key: jax.Array) -> steps.TrainState:
    """Make the state with which a run begins."""
    return steps.init_state(net.model, made.optimizer, made.average, key, net.image_shape)


def abstract_state(net: Classifier, made: Rules) -> steps.TrainState:
    """Return the shapes and dtypes of `initial_state`."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(partial(initial_state, net, made), key)


def bytes_of_one_device(state: steps.TrainState, shardings: steps.TrainState) -> steps.TrainState:
    """Return `state` with each part replaced by the number of its bytes that one device holds."""

    def part(leaf: Any, sharding: Any) -> int:  # no sharding: the step does not read it
        shape = sharding.shard_shape(leaf.shape) if sharding else leaf.shape
        return math.prod(shape) * leaf.dtype.itemsize

    sizes = jax.tree.map(part, state, shardings)
    names = ("params", "batch_stats", "average", "opt_state")
    return state.replace(**{name: sum(jax.tree.leaves(getattr(sizes, name))) for name in names})


def delivered_shape(experiment: Experiment) -> tuple[int, int, int]:
    """Return the (H, W, C) of the images as the devices get them."""
    if experiment.dataset.in_memory:
        return experiment.dataset.stored_shape
    return (*experiment.inputs.crop.host_size, experiment.image_shape[2])


def placeholder_statistics(experiment: Experiment) -> dict[str, np.ndarray]:
    """Return ones in place of the training images' statistics, so that no image is read."""
    (h, w, c), inputs = delivered_shape(experiment), experiment.inputs
    mean = (h, w, c) if inputs.mean == "pixel" else (1, 1, c)
    found: dict[str, tuple[int, ...]] = {"mean": mean, "std": (1, 1, c)}
    if inputs.standardize:
        found |= inputs.standardize.statistic_shapes(experiment.image_shape)
    return {name: np.ones(shape, np.float32) for name, shape in found.items()}
