"""Compiles what a trainer calls: its training step, its evaluation step and its curvature."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax

from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.errors import config_errors
from cnn_archs.evaluate.step import compile_eval, make_eval_step
from cnn_archs.experiment import Classifier
from cnn_archs.metrics import MetricSums
from cnn_archs.optim import gauss_newton, optimizers
from cnn_archs.optim.losses import Loss
from cnn_archs.optim.recipe import Recipe, Rules
from cnn_archs.training import cpu_step, step_loop, steps
from cnn_archs.training.frozen import Frozen
from cnn_archs.training.placement import PlacedModel
from cnn_archs.training.seeds import SeedAxis


def make_steps(
    recipe: Recipe,
    placed: PlacedModel,
    rules: Rules,
    prepare: Preprocess,
    axis: SeedAxis,
    state_sharding: Any,
    loop: int,
    frozen: Frozen,
    compiler_options: dict[str, Any],
) -> tuple[Callable[..., steps.TrainState], Callable[..., MetricSums]]:
    """Return the jitted training step and evaluation step for trees in the form of `axis`.

    state_sharding: the sharding of each array that a call steps; see `SeedAxis.calls`. loop: the
    most steps that one call of the training step makes. frozen: the modules that do not train.
    compiler_options: for both steps, except on a single CPU.
    """
    model, mesh, in_memory = placed.net.model, placed.mesh, placed.net.inputs.resident
    train_step = steps.make_train_step(
        model,
        rules.loss,
        rules.optimizer,
        rules.average,
        prepare,
        auxiliary=recipe.auxiliary,
        micro_batch=recipe.micro_batch,
        mesh=mesh,
        frozen=frozen,
    )
    eval_step = make_eval_step(model, rules.loss, prepare)
    if in_memory:
        train_step = axis.map_training(step_loop.gather_batch(train_step))
        eval_step = axis.map(eval_step, in_axes=(0, None, None, None))
    jit: Any = partial(jax.jit, compiler_options=compiler_options)
    if cpu_step.is_one_cpu(mesh) and not axis.vmapped and loop == 1:
        jit = partial(cpu_step.jit_for_cpu, onednn=model.gains_from_onednn)
    train_step = step_loop.jit_train_step(
        train_step,
        mesh,
        state_sharding=state_sharding,
        in_memory=in_memory,
        seed_axes=int(axis.together),
        loop=loop,
        jit=jit,
    )
    evaluation = compile_eval(
        eval_step, mesh, resident=in_memory, compiler_options=compiler_options
    )
    return train_step, evaluation


def make_refresh(
    net: Classifier, prepare: Preprocess, loss: Loss, axis: SeedAxis
) -> Callable[..., steps.TrainState]:
    """Return (state, images, labels, index) -> the state with the curvature of those examples.

    Raises ConfigError if the network has no such curvature; see `gauss_newton.py`.
    """
    with config_errors("config"):
        diagonal = gauss_newton.gauss_newton_diagonal(net.model, loss)

    def refresh(state, images, labels, index):
        h = diagonal(state.params, prepare(None, images[index]), labels[index])
        return state.replace(opt_state=optimizers.set_curvature(state.opt_state, h))

    return jax.jit(axis.map(refresh, in_axes=(0, None, None, 0)))
