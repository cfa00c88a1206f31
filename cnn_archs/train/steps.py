"""The training and evaluation steps: pure functions, and how they are compiled.

Every random number of step k comes from fold_in(key, k): a run needs no other random state, and
a step is the same whether it follows another in this process or a checkpoint.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from cnn_archs import models
from cnn_archs.metrics import Counts
from cnn_archs.train.losses import Loss

Prepare = Callable[[jax.Array | None, jax.Array], jax.Array]  # (key, u8 images) -> f32 images


class TrainState(flax.struct.PyTreeNode):
    """All that a run is at a step, for one seed.

    step: i32[], optimizer steps made. window, epoch: what was counted since the last line of the
    log and since the epoch began. bad_step: i32[], the first step whose loss or gradient was not
    finite, else -1; bad_norm: f32[], the norm of its gradient.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    opt_state: Any
    window: Counts
    epoch: Counts
    bad_step: jax.Array
    bad_norm: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """The state before the first step. image_shape: (H, W, C) as the network sees it."""
    return begin(models.init(model, key, image_shape), optimizer)


def begin(variables: dict[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step from `variables`: params and batch_stats."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=optimizer.init(variables["params"]),
        window=Counts.zero(),
        epoch=Counts.zero(),
        bad_step=jnp.full((), -1, jnp.int32),
        bad_norm=jnp.zeros((), jnp.float32),
    )


def train_step_of(
    model: nn.Module, loss: Loss, optimizer: optax.GradientTransformation, prepare: Prepare
) -> Callable[..., TrainState]:
    """step(state, key, images u8[N, ...], labels i32[N], index i32[B]) -> the next state."""

    def train_step(state, key, images, labels, index):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        image, label = prepare(augment_key, images[index]), labels[index]

        def objective(params):
            heads, updates = model.apply(
                {"params": params, "batch_stats": state.batch_stats},
                image,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": dropout_key},
            )
            logits = heads["logits"].astype(jnp.float32)
            each = loss(logits, label)
            return each.mean(), (each, logits, updates.get("batch_stats", {}))

        gradient = jax.value_and_grad(objective, has_aux=True)
        (mean, (each, logits, batch_stats)), grads = gradient(state.params)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        counts = Counts.of(logits, label, each, jnp.ones_like(label, bool))
        norm = optax.tree.norm(grads)
        bad = (state.bad_step < 0) & ~jnp.isfinite(mean + norm)
        return TrainState(
            step=state.step + 1,
            params=optax.apply_updates(state.params, updates),
            batch_stats=batch_stats,
            opt_state=opt_state,
            window=state.window + counts,
            epoch=state.epoch + counts,
            bad_step=jnp.where(bad, state.step, state.bad_step),
            bad_norm=jnp.where(bad, norm, state.bad_norm),
        )

    return train_step


def eval_step_of(model: nn.Module, loss: Loss, prepare: Prepare) -> Callable[..., Counts]:
    """step(variables, images, labels, index i32[B], mask bool[B]) -> Counts where mask is True."""

    def eval_step(variables, images, labels, index, mask):
        image, label = prepare(None, images[index]), labels[index]
        heads: Any = model.apply(variables, image, train=False)
        logits = heads["logits"].astype(jnp.float32)
        return Counts.of(logits, label, loss(logits, label), mask)

    return eval_step


def repeated(train_step: Callable[..., TrainState]) -> Callable[..., TrainState]:
    """`count` steps in one call: index has a leading axis, of which the first `count` are used.

    The count is not part of the compiled program, so that any number of steps between two events
    runs the same code and gives the same bits.
    """

    def steps(state, key, images, labels, index, count):
        def body(i, state):
            return train_step(state, key, images, labels, index[i])

        return jax.lax.fori_loop(0, count, body, state)

    return steps


def compile_train(
    train_step: Callable[..., TrainState], mesh: Mesh, *, together: bool, looped: bool
) -> Callable[..., TrainState]:
    """`train_step` jitted over `mesh`: the batch split along "data", the state donated, whole.

    together: state, key and index have a leading axis of seeds, vmapped. looped: `repeated`.
    """
    step = jax.vmap(train_step, in_axes=(0, 0, None, None, 0)) if together else train_step
    step = repeated(step) if looped else step
    whole = NamedSharding(mesh, P())
    leading = (None,) * (together + looped)
    split = NamedSharding(mesh, P(*leading, "data"))
    shardings = (whole, whole, whole, whole, split) + ((whole,) if looped else ())
    return jax.jit(step, donate_argnums=0, in_shardings=shardings, out_shardings=whole)


def compile_eval(
    eval_step: Callable[..., Counts], mesh: Mesh, *, together: bool
) -> Callable[..., Counts]:
    """`eval_step` jitted over `mesh`. together: variables and Counts have an axis of seeds."""
    step = jax.vmap(eval_step, in_axes=(0, None, None, None, None)) if together else eval_step
    whole, split = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    return jax.jit(step, in_shardings=(whole, whole, whole, split, split), out_shardings=whole)
