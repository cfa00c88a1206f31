"""A run: the states of its seeds, and every move that `loop.py` schedules."""

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

from cnn_archs.data import order
from cnn_archs.data.resident import Resident
from cnn_archs.errors import ConfigError, NotFinite
from cnn_archs.evaluate.counting import count
from cnn_archs.metrics import Counts
from cnn_archs.setup import Network
from cnn_archs.train import steps
from cnn_archs.train.checkpoint import Checkpoints

EVENTS = ("log", "evaluate", "checkpoint", "epoch")


@dataclasses.dataclass
class Run:
    """k seeds in training.

    together: they are one vmapped program, and `states` is one state with a leading axis of k;
    otherwise `states` are k states, stepped one after another. loop: steps in one dispatch.
    periods: steps between events of each kind. What changes while it runs: `states`, `step`
    (steps made), `seconds` (spent on them), `settled` (what was due at `step` has been done),
    `evaluated` (the reports of the splits at `step`, so that no split is evaluated twice).
    """

    net: Network
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
    evaluated: dict[str, list[dict[str, float]]] = dataclasses.field(default_factory=dict)

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
        self.evaluated = {}
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
        if split not in self.evaluated:
            size, data, mesh = self.eval_batch_size, self.data[split], self.mesh
            self.evaluated[split] = self.reports(
                [count(self.eval_step, s.variables, data, size, mesh, poll) for s in self.states]
            )
        return self.evaluated[split]

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
        self.evaluated = {}
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
