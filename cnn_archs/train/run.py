"""A run: everything that `loop.py` schedules, put together from a config."""

import dataclasses
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from cnn_archs.cluster import mesh as meshes
from cnn_archs.data import order, sources
from cnn_archs.data.resident import Resident
from cnn_archs.errors import ConfigError, NotFinite
from cnn_archs.evaluate.counting import count
from cnn_archs.metrics import Counts
from cnn_archs.setup import Network, network, user_errors
from cnn_archs.train import curvature, losses, optimizers, schedules, steps
from cnn_archs.train.checkpoint import Checkpoints

EVENTS = ("log", "evaluate", "checkpoint", "epoch")


@dataclasses.dataclass
class Run:
    """k seeds in training.

    together: they are one vmapped program, and `states` is one state with a leading axis of k;
    otherwise `states` are k states, stepped one after another. loop: steps in one dispatch.
    periods: steps between events of each kind. What changes while it runs: `states`, `step`
    (steps made), `seconds` (spent on them), `settled` (what was due at `step` has been done).
    """

    seeds: tuple[int, ...]
    together: bool
    loop: int
    total: int
    batch_size: int
    eval_batch_size: int
    periods: dict[str, Fraction]
    schedule: optax.Schedule
    mesh: Mesh
    data: dict[str, Resident]
    keys: list[jax.Array]
    train_step: Callable[..., steps.TrainState]
    eval_step: Callable[..., Counts]
    refresh: Callable[..., steps.TrainState] | None
    samples: int
    states: list[steps.TrainState]
    step: int = 0
    seconds: float = 0.0
    settled: bool = True

    def next_due(self, event: str, after: int) -> int:
        """The first step after `after` at which `event` is due: the next of ceil(j period)."""
        period = self.periods[event]
        return ceil((floor(after / period) + 1) * period)

    def due(self, *events: str) -> bool:
        """Is one of `events` due at `step`? All of them are at the end, none at the start."""
        at = any(self.next_due(e, self.step - 1) == self.step for e in events)
        return self.step > 0 and (at or self.step == self.total)

    def advance(self) -> None:
        """The steps to the next event, or one dispatch of them."""
        if self.step == 0 or self.next_due("epoch", self.step - 1) == self.step:
            self.begin_epoch()
        until = min(self.total, *(self.next_due(e, self.step) for e in EVENTS))
        made = min(self.loop, until - self.step)
        train = self.data["train"]
        batches = np.stack(  # [seeds, steps, batch]
            [order.batches(train.examples, s, self.step, made, self.batch_size) for s in self.seeds]
        )
        if self.loop > 1:
            batches = np.pad(batches, ((0, 0), (0, self.loop - made), (0, 0)))
            extra: tuple[Any, ...] = (jnp.int32(made),)
        else:
            batches, extra = batches[:, 0], ()
        per_state = [np.moveaxis(batches, 0, -2)] if self.together else list(batches)
        for i, index in enumerate(per_state):
            self.states[i] = self.train_step(
                self.states[i], self.keys[i], train.images, train.labels, index, *extra
            )
        jax.block_until_ready([s.step for s in self.states])
        self.step += made
        self.settled = not self.due("log", "evaluate", "checkpoint")

    def begin_epoch(self) -> None:
        """Counts of the epoch from 0; new curvature for the optimizer that uses it."""
        self.states = [s.replace(epoch=zeros(s.epoch)) for s in self.states]
        if not self.refresh:
            return
        train = self.data["train"]
        first = self.step * self.batch_size
        index = [order.indices(train.examples, s, first, self.samples) for s in self.seeds]
        per_state = [np.stack(index)] if self.together else index
        for i, samples in enumerate(per_state):
            self.states[i] = self.refresh(self.states[i], train.images, train.labels, samples)

    def end_window(self) -> None:
        """Counts of the log's window from 0."""
        self.states = [s.replace(window=zeros(s.window)) for s in self.states]

    def counts(self, part: str) -> list[dict[str, float]]:
        """The report of `window` or `epoch`, one for each seed."""
        return self.reports([getattr(s, part) for s in self.states])

    def reports(self, counts: list[Counts]) -> list[dict[str, float]]:
        """Counts as they come from the compiled steps -> a report for each seed."""
        if self.together:
            counts = [jax.tree.map(lambda x, i=i: x[i], counts[0]) for i in range(len(self.seeds))]
        return [c.report() for c in counts]

    def evaluate(self, split: str, poll: Callable[[], None]) -> list[dict[str, float]]:
        """A report of `split` for each seed."""
        size, data = self.eval_batch_size, self.data[split]
        return self.reports(
            [count(self.eval_step, s.variables, data, size, self.mesh, poll) for s in self.states]
        )

    def check_finite(self) -> None:
        """NotFinite, with the step and what it was like, once a loss or gradient was not finite."""
        for state in self.states:
            bad = np.atleast_1d(state.bad_step)
            norm = np.atleast_1d(state.bad_norm)
            for i in np.flatnonzero(bad >= 0):
                rate = float(self.schedule(int(bad[i])))
                raise NotFinite(
                    f"the loss or its gradient is not finite at step {bad[i] + 1}: learning rate "
                    f"{rate:.3g}, gradient norm {norm[i]:.3g}; nothing since then is saved"
                )

    def stacked(self) -> steps.TrainState:
        """All seeds as one state with a leading axis, the form in which it is saved."""
        return self.states[0] if self.together else jax.tree.map(stack, *self.states)

    def save(self, checkpoints: Checkpoints) -> None:
        """The state as it is now. A state that is not finite is never saved."""
        self.check_finite()
        notes = {"seconds": self.seconds, "settled": self.settled}
        checkpoints.save(self.step, items_of(self.stacked()), notes)

    def restore(self, checkpoints: Checkpoints) -> bool:
        """Goes to the newest sound checkpoint; False where there is none."""
        whole = NamedSharding(self.mesh, P())
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=whole),
            jax.eval_shape(self.stacked),
        )
        restored = checkpoints.restore(items_of(target))
        if restored is None:
            return False
        state = state_of(restored.items)
        k = len(self.seeds)
        one = [jax.tree.map(lambda x, i=i: x[i], state) for i in range(k)]
        self.states = [state] if self.together else jax.device_put(one, whole)
        self.step, self.seconds = restored.step, restored.notes["seconds"]
        if self.step > self.total:
            raise ConfigError(
                f"the run in {checkpoints.folder.parent} is at step {self.step} already, and this "
                f"config ends at step {self.total}: raise --config.epochs or --config.steps"
            )
        self.settled = restored.notes["settled"]
        return True


def items_of(state: steps.TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint: what a network is, and what only training needs."""
    training = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    variables = {name: training.pop(name) for name in ("params", "batch_stats")}
    return {"variables": variables, "training": training}


def state_of(items: dict[str, Any]) -> steps.TrainState:
    """The inverse of `items_of`."""
    return steps.TrainState(**items["variables"], **items["training"])


def zeros(counts: Counts) -> Counts:
    return jax.tree.map(jnp.zeros_like, counts)


def stack(*leaves: jax.Array) -> jax.Array:
    return jnp.stack(leaves)


def create(config: ConfigDict, together: bool | None = None) -> Run:
    """The run of `config` at step 0, with its data on the devices and nothing compiled yet.

    together: None chooses: on an accelerator, where it is faster, and not on a CPU.
    """
    net = network(config)
    mesh = meshes.data_parallel()
    meshes.check_batch(mesh, config.data.batch_size)
    with user_errors("config"):
        loss = losses.create(**config.loss.to_dict())
        schedules.create(steps_per_epoch=1.0, **config.schedule.to_dict())
        if config.optimizer.name == "sdlm":
            curvature.gauss_newton_diagonal(net.model, loss)
    splits = load_splits(config, net)
    data = {name: Resident(split, mesh) for name, split in splits.items()}

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
    on_cpu = jax.default_backend() == "cpu"
    together = not on_cpu if together is None else together
    # On a CPU a convolution inside a loop body is several times slower than outside, but for
    # single images; there, and on accelerators, it is the dispatch that costs.
    loop = (1000 if config.data.batch_size == 1 else 1) if on_cpu else 100
    seeds = tuple(range(config.seed, config.seed + config.seeds))
    keys, states = begin(net, optimizer, seeds, together, mesh)
    train_step = steps.train_step_of(net.model, loss, optimizer, net.prepare)
    eval_step = steps.eval_step_of(net.model, loss, net.prepare)
    samples = config.optimizer.get("samples", 0)
    return Run(
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
        refresh=refresher(net, loss, together) if samples else None,
        samples=min(samples, data["train"].examples),
        states=states,
    )


def load_splits(config: ConfigDict, net: Network) -> dict[str, sources.Split]:
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

    make = jax.jit(jax.vmap(first) if together else first, out_shardings=whole)
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
