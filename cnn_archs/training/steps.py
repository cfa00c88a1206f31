"""The training step: a pure function, and how it is compiled.

Every random number of step k comes from fold_in(key, k): a run needs no other random state, and
a step is the same whether it follows another in this process or a checkpoint.
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
from cnn_archs.distributed.mesh import within
from cnn_archs.metrics import MetricSums
from cnn_archs.optim.losses import Loss
from cnn_archs.optim.weight_averaging import Average


class TrainState(flax.struct.PyTreeNode):
    """All that a run is at a step, for one seed.

    step: i32[], optimizer steps made. average: of params and batch_stats, or {}. window, epoch:
    what was counted since the last line of the log and since the epoch began. bad_step: i32[], the
    first step whose loss or gradient was not finite, else -1; bad_norm, bad_rate: f32[], the norm
    of its gradient and its learning rate.
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
    """The state before the first step. image_shape: (H, W, C) as the network sees it."""
    return begin(models.init(model, key, image_shape), optimizer, average)


def abstract_arguments(
    init: Callable[[jax.Array], TrainState], image: tuple[int, int, int], batch: int
) -> tuple[Any, ...]:
    """Gives shapes and dtypes of a training step's arguments, with which it is traced, never run.

    init: key -> the state before the first step. image: (H, W, C) as the device gets it. Returns
    (state, key, images u8[batch, H, W, C], labels i32[batch]).
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    images = jax.ShapeDtypeStruct((batch, *image), jnp.uint8)
    return jax.eval_shape(init, key), key, images, jax.ShapeDtypeStruct((batch,), jnp.int32)


def begin(
    variables: dict[str, Any], optimizer: optax.GradientTransformation, average: Average
) -> TrainState:
    """The state before the first step from `variables`: params and batch_stats."""
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


def objective_of(
    model: models.Network,
    loss: Loss,
    auxiliary: float,
    batch_stats: Any,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
) -> Callable[[Any], tuple[jax.Array, tuple[jax.Array, jax.Array, Any]]]:
    """params -> (what training makes small, (loss f32[B] and logits of the main head, statistics)).

    auxiliary: the weight of each auxiliary head's loss. key: of dropout.
    """

    def objective(params):
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

    return objective


def train_step_of(
    model: models.Network,
    loss: Loss,
    optimizer: optax.GradientTransformationExtraArgs,
    average: Average,
    prepare: Preprocess,
    *,
    auxiliary: float,
    micro_batch: int,
    mesh: Mesh | None = None,
) -> Callable[..., TrainState]:
    """step(state, key, images u8[B, ...], labels i32[B]) -> the next state.

    auxiliary: the weight of each auxiliary head's loss. micro_batch: see `accumulated`; 0: B.
    mesh: over which each part of a batch is split.
    """

    def gradient(state, images, labels, dropout_key):
        objective = objective_of(
            model, loss, auxiliary, state.batch_stats, images, labels, dropout_key
        )
        (total, (each, logits, batch_stats)), grads = jax.value_and_grad(objective, has_aux=True)(
            state.params
        )
        counts = MetricSums.from_logits(logits, labels, each, jnp.ones_like(labels, bool))
        return (grads, batch_stats, total), counts

    def train_step(state, key, images, labels):
        augment_key, dropout_key = jax.random.split(jax.random.fold_in(key, state.step))
        images = prepare(augment_key, images)
        size = micro_batch or len(labels)
        (grads, batch_stats, total), counts = accumulated(
            gradient, state, images, labels, dropout_key, len(labels) // size, mesh
        )
        error = 1 - counts.top1 / counts.examples
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params, error=error)
        params = optax.apply_updates(state.params, updates)
        variables = {"params": params, "batch_stats": batch_stats}
        norm = optax.tree.norm(grads)
        bad = (state.bad_step < 0) & ~jnp.isfinite(total + norm)
        return TrainState(
            step=state.step + 1,
            **variables,
            average=average.update(state.average, variables, state.step),
            opt_state=opt_state,
            window=state.window + counts,
            epoch=state.epoch + counts,
            bad_step=jnp.where(bad, state.step, state.bad_step),
            bad_norm=jnp.where(bad, norm, state.bad_norm),
            bad_rate=jnp.where(bad, opt_state.learning_rate, state.bad_rate),
        )

    return train_step


def accumulated(gradient, state, images, labels, key, parts, mesh):
    """`gradient` of the batch, computed for one of `parts` equal parts at a time, in order.

    The mean over the parts of (gradients, batch statistics, loss), and the sum of their Counts:
    what the whole batch gives at once where examples do not depend on each other, that is without
    batch norm, or with its groups within the parts; but for the draws of dropout.
    """
    if parts == 1:
        return gradient(state, images, labels, key)
    split = [x.reshape(parts, -1, *x.shape[1:]) for x in (images, labels)]
    if mesh is not None:  # else consecutive images, a part's, are all on one device
        over_devices = meshes.split(mesh, axis=1)
        split = [jax.lax.with_sharding_constraint(x, over_devices) for x in split]
    keys = jax.random.split(key, parts)

    def add(sums, part):
        # A compiler that sees all parts at once would begin them all, and have all activations in
        # memory together. So each part waits for the one before: nothing is added to its images
        # but 0, which takes all of the sums to be known.
        images, labels, key = part
        nothing = 0.0 * sum(x.reshape(-1)[0] for x in jax.tree.leaves(sums[0]))
        found = gradient(state, images + nothing, labels, key)
        return jax.tree.map(jnp.add, sums, found), None

    shapes = jax.eval_shape(gradient, state, *(x[0] for x in (*split, keys)))
    zero = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    # On a CPU convolutions are several times slower inside a loop.
    unroll = jax.default_backend() == "cpu"
    (means, counts), _ = jax.lax.scan(add, zero, (*split, keys), unroll=unroll)
    return jax.tree.map(lambda x: x / parts, means), counts


def gathered(train_step: Callable[..., TrainState]) -> Callable[..., TrainState]:
    """step(state, key, images, labels, index i32[B]): a batch of a split that is on the devices."""
    return lambda state, key, images, labels, index: train_step(
        state, key, images[index], labels[index]
    )


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
    train_step: Callable[..., TrainState],
    mesh: Mesh,
    *,
    held: Any,
    resident: bool,
    seed_axes: int = 0,
    looped: bool = False,
    jit: Callable[..., Callable[..., TrainState]] = jax.jit,
) -> Callable[..., TrainState]:
    """Jit `train_step` over `mesh`: the batch is split along "data", and the state is donated.

    held: the shardings of the state. resident: the step is `gathered`, and takes batches out of a
    split on the devices; else they are its arguments. seed_axes: axes of a gathered step's index
    before that of the batch. looped: make it `repeated`. jit: `jax.jit`, or another function with
    its arguments.
    """
    whole = meshes.whole(mesh)
    step = within(mesh, train_step)
    if not resident:
        split = meshes.split(mesh)
        shardings: tuple[Any, ...] = (held, whole, split, split)
        return jit(step, donate_argnums=0, in_shardings=shardings, out_shardings=held)
    step = repeated(step) if looped else step
    split = meshes.split(mesh, axis=seed_axes + looped)
    shardings = (held, whole, whole, whole, split) + ((whole,) if looped else ())
    return jit(step, donate_argnums=0, in_shardings=shardings, out_shardings=held)
