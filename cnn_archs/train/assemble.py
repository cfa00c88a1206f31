"""From a config to a `Run`: data on the devices, first states, compiled steps."""

from collections.abc import Callable
from fractions import Fraction
from math import ceil

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import sources
from cnn_archs.data.resident import Resident
from cnn_archs.errors import ConfigError
from cnn_archs.setup import Network, network, once, user_errors
from cnn_archs.train import curvature, losses, optimizers, schedules, steps
from cnn_archs.train.run import Run


def assemble(config: ConfigDict, together: bool | None = None) -> Run:
    """The run of `config` at step 0, with its data on the devices and nothing compiled yet.

    together: None chooses: on an accelerator, where it is faster, and not on a CPU.
    """
    net = network(config)
    mesh = meshes.data_parallel()
    meshes.check_batch(mesh, config.data.batch_size)
    on_cpu = jax.default_backend() == "cpu"
    together = not on_cpu if together is None else together
    second_order = config.optimizer.name == "sdlm"
    with user_errors("config"):  # before any data is read: hence a schedule of no use but that
        loss = losses.create(**config.loss.to_dict())
        schedules.create(steps_per_epoch=1.0, **config.schedule.to_dict())
        refresh = refresher(net, loss, together) if second_order else None
    data = {name: Resident(split, mesh) for name, split in load_splits(config).items()}

    period = Fraction(data["train"].examples, config.data.batch_size)
    total = config.steps or ceil(Fraction(str(config.epochs)) * period)  # 1.1 is 11/10
    if total < 1:
        raise ConfigError("nothing to train: set --config.epochs or --config.steps")
    periods = {
        "log": Fraction(config.log_every),
        "evaluate": Fraction(str(config.eval_every)) * period,
        "checkpoint": Fraction(str(config.checkpoint_every)) * period,
        "epoch": period,
    }
    schedule = schedules.create(steps_per_epoch=float(period), **config.schedule.to_dict())
    optimizer = optimizers.create(schedule=schedule, **config.optimizer.to_dict())
    # On a CPU a convolution inside a loop body is several times slower than outside, but for
    # single images; there, and on accelerators, it is the dispatch that costs.
    loop = (1000 if config.data.batch_size == 1 else 1) if on_cpu else 100
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    keys, states = begin(net, optimizer, seeds, together, mesh)
    train_step = steps.train_step_of(net.model, loss, optimizer, net.prepare)
    eval_step = steps.eval_step_of(net.model, loss, net.prepare)
    return Run(
        net=net,
        seeds=seeds,
        together=together,
        loop=loop,
        total=total,
        batch_size=config.data.batch_size,
        eval_batch_size=config.eval_batch_size,
        periods=periods,
        schedule=schedule,
        mesh=mesh,
        data=data,
        keys=keys,
        train_step=steps.compile_train(train_step, mesh, together=together, looped=loop > 1),
        eval_step=steps.compile_eval(eval_step, mesh, together=together),
        refresh=refresh,
        samples=min(config.optimizer.samples, data["train"].examples) if second_order else 0,
        states=states,
    )


def load_splits(config: ConfigDict) -> dict[str, sources.Split]:
    """train, test, and val where data.holdout sets some of train aside."""
    load = {s: sources.load(config.data.name, s, config.data.data_dir) for s in ("train", "test")}
    if config.data.holdout:
        load["train"], load["val"] = sources.hold_out(
            load["train"], config.data.holdout, config.seed
        )
    return load


def begin(
    net: Network,
    optimizer: optax.GradientTransformation,
    seeds: tuple[int, ...],
    together: bool,
    mesh: Mesh,
) -> tuple[list[jax.Array], list[steps.TrainState]]:
    """(key of the steps, state) for each seed, or one of each for all of them together.

    A seed's numbers do not depend on which other seeds there are.
    """
    whole = NamedSharding(mesh, P())

    def first(seed: jax.Array) -> tuple[jax.Array, steps.TrainState]:
        init_key, step_key = jax.random.split(jax.random.key(seed))
        return step_key, steps.init_state(net.model, optimizer, init_key, net.image_shape)

    make = jax.jit(
        jax.vmap(first) if together else first, out_shardings=whole, compiler_options=once()
    )
    arguments = [jnp.asarray(seeds)] if together else [jnp.asarray(s) for s in seeds]
    made = [make(a) for a in arguments]
    return [key for key, _ in made], [state for _, state in made]


def refresher(net: Network, loss: losses.Loss, together: bool) -> Callable[..., steps.TrainState]:
    """(state, images, labels, index) -> the state with the curvature of those examples."""
    diagonal = curvature.gauss_newton_diagonal(net.model, loss)

    def refresh(state, images, labels, index):
        h = diagonal(state.params, net.prepare(None, images[index]), labels[index])
        return state.replace(opt_state=optimizers.refresh(state.opt_state, h))

    return jax.jit(jax.vmap(refresh, in_axes=(0, None, None, 0)) if together else refresh)
