"""The training step, a pure function; `step_loop.py` compiles it.

All random numbers of step k come from fold_in(key, k). A run has no other random state, so a step
gives the same result whether it follows another step or a restored checkpoint.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from cnn_archs import models
from cnn_archs.data.transforms.preprocess import Preprocess
from cnn_archs.distributed import mesh as meshes
from cnn_archs.metrics import MetricSums
from cnn_archs.optim.losses import Loss
from cnn_archs.optim.weight_averaging import Average
from cnn_archs.training import frozen as frozen_layers
from cnn_archs.training.frozen import Frozen


class TrainState(flax.struct.PyTreeNode):
    """The training state of one seed.

    step: i32[], optimizer steps done. average: of params and batch_stats, or {}. window, epoch:
    counts since the last line of the log, and since the epoch began. bad_step: i32[], the first
    step whose loss or gradient was not finite, or -1. bad_norm, bad_rate: f32[], the norm of the
    gradient and the learning rate at that step.
    """

    step: jax.Array
    params: Any
    batch_stats: Any
    average: Any
    opt_state: Any
    window: MetricSums
    epoch: MetricSums
    bad_step: jax.Array
    bad_norm: jax.Array
    bad_rate: jax.Array

    @property
    def variables(self) -> dict[str, Any]:
        return {"params": self.params, "batch_stats": self.batch_stats}


def init_state(
    model: models.Network,
    optimizer: optax.GradientTransformation,
    average: Average,
    key: jax.Array,
    image_shape: tuple[int, int, int],
) -> TrainState:
    """Initialize the network, and return the state before the first step.

    image_shape: (H, W, C) that the network sees.
    """
    return state_from_variables(models.init(model, key, image_shape), optimizer, average)


def abstract_arguments(
    init: Callable[[jax.Array], TrainState], image: tuple[int, int, int], batch: int
) -> tuple[Any, ...]:
    """Return the arguments of a training step as shapes and dtypes, to trace it without data.

    init: key -> the state before the first step. image: (H, W, C) of images on the device. Returns
    (state, key, images u8[batch, H, W, C], labels i32[batch]).
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((batch, *image), jnp.uint8)
    return jax.eval_shape(init, key), key, images, jax.ShapeDtypeStruct((batch,), jnp.int32)


def state_from_variables(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, average: Average
) -> TrainState:
    """Return the state before the first step, with the params and batch_stats of `variables`."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        average=average.init(variables),
        opt_state=optimizer.init(variables["params"]),
        window=MetricSums.zeros(),
        epoch=MetricSums.zeros(),
        bad_step=jnp.full((), -1, jnp.int32),
        bad_norm=jnp.zeros((), jnp.float32),
        bad_rate=jnp.zeros((), jnp.float32),
    )


def is_finite(state: TrainState) -> jax.Array:
    """Return whether all params, batch statistics and averages are finite: bool[].

    The loss of a step shows it for the weights before that step only.
    """
    leaves = jax.tree.leaves((state.variables, state.average))
    return jnp.stack([jnp.isfinite(x).all() for x in leaves]).all()


def make_loss_fn(
    model: models.Network,
    loss: Loss,
    auxiliary: float,
    batch_stats: Any,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    frozen: Frozen = frozen_layers.NOTHING,
) -> Callable[[Any], tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]]:
    """Return params -> (total loss, (loss f32[B] and logits of the main head, new batch_stats)).

    auxiliary: the weight of each auxiliary head's loss. key: for dropout. frozen: the modules that
    do not train.
    """

    def loss_fn(params):
        params = frozen_layers.without_gradient(frozen, params)
        with frozen_layers.use_running_statistics(frozen):
            heads, updates = model.apply(
                {"params": params, "batch_stats": batch_stats},
                images,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
        heads = {name: head.astype(jnp.float32) for name, head in heads.items()}
        logits = heads.pop("logits")
        each = loss(logits, labels)
        total = each.mean() + auxiliary * sum(loss(h, labels).mean() for h in heads.values())
        return total, (each, logits, updates.get("batch_stats", {}))

    return loss_fn


def make_train_step(
    model: models.Network,
    loss: Loss,
    optimizer: optax.GradientTransformationExtraArgs,
    average: Average,
    prepare: Preprocess,
    *,
    auxiliary: float,
    micro_batch: int,
    mesh: Mesh | None = None,
    frozen: Frozen = frozen_layers.NOTHING,
) -> Callable[..., TrainState]:
    """Return step(state, key, images u8[B, ...], labels i32[B]) -> the next state.

    auxiliary: the weight of each auxiliary head's loss. micro_batch: number of images whose
    gradients are computed at once; 0 means B. mesh: the devices that each micro-batch is split
    over. frozen: the modules that do not train.
    """

    def gradient(state, images, labels, dropout_key):
        loss_fn = make_loss_fn(
            model, loss, auxiliary, state.batch_stats, images, labels, dropout_key, frozen
        )
        (total, (each, logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params
        )
        counts = MetricSums.from_logits(logits, labels, each, jnp.ones_like(labels, bool))
        return (grads, batch_stats, total), counts

    def keep_each(before, after):
        return {kind: frozen_layers.keep(frozen, before[kind], after[kind]) for kind in after}

    def train_step(state, key, images, labels):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = prepare(augment_key, images)
        size = micro_batch or len(labels)
        (grads, batch_stats, total), counts = accumulate_gradients(
            gradient, state, images, labels, dropout_key, len(labels) // size, mesh
        )
        error = 1 - counts.top1 / counts.examples
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, error=error)
        variables = {
            "params": optax.apply_updates(state.params, updates),
            "batch_stats": batch_stats,
        }
        variables = keep_each(state.variables, variables)
        norm = optax.tree.norm(grads)
        bad = (state.bad_step < 0) & ~jnp.isfinite(total + norm)
        return TrainState(
            step=state.step + 1,
            **variables,
            average=keep_each(state.average, average.update(state.average, variables, state.step)),
            opt_state=opt_state,
            window=state.window + counts,
            epoch=state.epoch + counts,
            bad_step=jnp.where(bad, state.step, state.bad_step),
            bad_norm=jnp.where(bad, norm, state.bad_norm),
            bad_rate=jnp.where(bad, opt_state.learning_rate, state.bad_rate),
        )

    return train_step


def accumulate_gradients(gradient, state, images, labels, key, parts, mesh):
    """Compute `gradient` of a batch in `parts` equal micro-batches, one after the other.

    Returns the mean over the micro-batches of (gradients, batch_stats, loss), and the sum of their
    MetricSums. Up to the random numbers of dropout, this equals the result of the whole batch if
    examples do not depend on each other: without batch normalization, or with its groups within
    the micro-batches. mesh: the devices that each micro-batch is split over, or None.
    """
    if parts == 1:
        return gradient(state, images, labels, key)
    split = [x.reshape(parts, -1, *x.shape[1:]) for x in (images, labels)]
    if mesh is not None:  # else one device would hold the consecutive images of a micro-batch
        sharding = meshes.batch_sharded(mesh, axis=1)
        split = [jax.lax.with_sharding_constraint(x, sharding) for x in split]
    keys = jax.random.split(key, parts)

    def add(sums, part):
        # XLA would interleave independent micro-batches, and hold all their activations in memory
        # at once. Adding 0 times the sums so far makes each depend on those before it.
        images, labels, key = part
        zero = 0.0 * sum(x.reshape(-1)[0] for x in jax.tree.leaves(sums[0]))
        found = gradient(state, images + zero, labels, key)
        return jax.tree.map(jnp.add, sums, found), None

    shapes = jax.eval_shape(gradient, state, *(x[0] for x in (*split, keys)))
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # On a CPU convolutions are several times slower inside a loop.
    unroll = jax.default_backend() == "cpu"
    (means, counts), _ = jax.lax.scan(add, zeros, (*split, keys), unroll=unroll)
    return jax.tree.map(lambda x: x / parts, means), counts
