"""A run: the states of its seeds, and every move that `loop.py` schedules.

Its seeds are shared out among its parts: experiments that differ in seeds and learning rates alone,
each of which is saved by itself, and can go on by itself.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from math import ceil, floor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cnn_archs.checkpoints import Checkpoints
from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError, NotFinite
from cnn_archs.evaluate.evaluator import EvaluationData, sum_metrics
from cnn_archs.experiment import Classifier
from cnn_archs.metrics import MetricSums
from cnn_archs.optim import optimizers
from cnn_archs.optim.schedules import Schedule
from cnn_archs.optim.weight_averaging import Average
from cnn_archs.training import steps
from cnn_archs.training.history import UNKNOWN, Part
from cnn_archs.training.layer_stats import Layers
from cnn_archs.training.seeds import SeedAxis

WAIT = 2.0  # seconds that a dispatch of several steps takes at most
AVERAGE = "_average"  # after the name of a split: evaluated with the averaged weights


@dataclasses.dataclass
class Run:
    """k seeds in training.

    shares: which of the seeds are of which part. axis: the form in which the seeds are held, as
    `states`, `keys` and `feeds` are. loop: steps in one dispatch. periods: steps between events, of
    the kinds that there are. traced: the steps that a trace is made of. held: the shardings of each
    of `states`, over `mesh`. feeds: (step, count) -> the compiled step's arguments that follow the
    key. What changes while it runs: `states`, `step` (steps made), `seconds` (spent on them),
    `pace` (seconds a step of the last dispatch), `settled` (what was due at `step` has been done),
    `evaluated` (the reports of the splits at `step`, so that no split is evaluated twice),
    `history` (for each of `shares`, who made its steps: see `history.py`).
    """

    net: Classifier
    seeds: tuple[int, ...]
    shares: tuple[slice, ...]
    axis: SeedAxis
    loop: int
    total: int
    batch_size: int
    eval_batch_size: int
    periods: dict[str, Fraction]
    traced: range
    schedule: Schedule
    average: Average
    mesh: Mesh
    held: Any
    data: Mapping[str, EvaluationData]
    feeds: Sequence[Callable[[int, int], tuple[Any, ...]]]
    keys: list[jax.Array]
    train_step: Callable[..., steps.TrainState]
    eval_step: Callable[..., MetricSums]
    refresh: Callable[..., steps.TrainState] | None
    samples: int
    diagnosis: Callable[..., Layers]
    states: list[steps.TrainState]
    step: int = 0
    seconds: float = 0.0
    pace: float = 0.0
    settled: bool = True
    evaluated: dict[str, list[dict[str, float]]] = dataclasses.field(default_factory=dict)
    history: list[list[Part]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = self.history or [[] for _ in self.shares]

    def next_due(self, event: str, after: int) -> int:
        """The first step after `after` at which `event` is due: the next of ceil(j period)."""
        period = self.periods[event]
        return ceil((floor(after / period) + 1) * period)

    def due(self, *events: str) -> bool:
        """Is one of `events` due at `step`? All of them are at the end, none at the start."""
        at = any(self.falls(e) for e in events)
        return self.step > 0 and (at or self.step == self.total)

    def falls(self, event: str) -> bool:
        """Is `step` one of `event`'s own, wherever the run ends?"""
        return event in self.periods and self.next_due(event, self.step - 1) == self.step

    def advance(self) -> None:
        """The steps to the next event, or one dispatch of them."""
        if self.step == 0 or self.falls("epoch"):
            self.begin_epoch()
        until = min(self.untraced(), *(self.next_due(e, self.step) for e in self.periods))
        made = 1
        if self.loop > 1:
            made = multihost.on_first(lambda: min(self.at_once(), until - self.step))
        started = time.monotonic()
        for i, feed in enumerate(self.feeds):
            self.states[i] = self.train_step(self.states[i], self.keys[i], *feed(self.step, made))
        jax.block_until_ready([s.step for s in self.states])
        self.pace = (time.monotonic() - started) / made
        self.step += made
        self.evaluated = {}
        self.settled = not self.due("log", "evaluate", "checkpoint", "diagnose")

    def at_once(self) -> int:
        """Steps for a dispatch: as many as `loop`, but no longer than somebody waits who stops us.

        How many there are changes no bit: see `steps.repeated`.
        """
        return max(1, min(self.loop, int(WAIT / self.pace) if self.pace else self.loop))

    def untraced(self) -> int:
        """The step that a dispatch may reach at most: one that is traced has it for itself."""
        if self.step in self.traced:
            return self.step + 1
        return min(s for s in (self.traced.start, self.total) if s > self.step)

    def begin_epoch(self) -> None:
        """Counts of the epoch from 0; new curvature for the optimizer that uses it."""
        self.states = [s.replace(epoch=zeros(s.epoch)) for s in self.states]
        if not self.refresh:
            return
        train = self.data["train"]
        assert isinstance(train, Resident)
        first = self.step * self.batch_size
        index = [sampler.indices(train.examples, s, first, self.samples) for s in self.seeds]
        for i, samples in enumerate(self.axis.stack(index)):
            self.states[i] = self.refresh(self.states[i], train.images, train.labels, samples)

    def end_window(self) -> None:
        """Counts of the log's window from 0."""
        self.states = [s.replace(window=zeros(s.window)) for s in self.states]

    def counts(self, part: str) -> list[dict[str, float]]:
        """The report of `window` or `epoch`, one for each seed."""
        return self.reports([getattr(s, part) for s in self.states])

    def reports(self, counts: list[MetricSums]) -> list[dict[str, float]]:
        """Counts as they come from the compiled steps -> a report for each seed."""
        return [c.report() for c in self.axis.unstack(counts)]

    def learning_rates(self) -> list[float]:
        """The rate of the last step, one for each seed."""
        rates = np.stack([s.opt_state.learning_rate for s in self.states])
        return [float(r) for r in rates.reshape(-1)]

    def splits(self, *names: str) -> list[str]:
        """Those of `names` that there are, and again where there is an average to evaluate."""
        there = [name for name in names if name in self.data]
        averaged = [name + AVERAGE for name in there] if self.states[0].average else []
        return there + averaged

    def evaluate(self, split: str, poll: Callable[[], None]) -> list[dict[str, float]]:
        """A report of `split`, or of `split` + AVERAGE with the averaged weights, for each seed."""
        if split not in self.evaluated:
            data = self.data[split.removesuffix(AVERAGE)]
            averaged = split.endswith(AVERAGE)
            of_states = [s.average if averaged else s.variables for s in self.states]
            size, mesh = self.eval_batch_size, self.mesh
            self.evaluated[split] = self.reports(
                [sum_metrics(self.eval_step, v, data, size, mesh, poll) for v in of_states]
            )
        return self.evaluated[split]

    def diagnose(self) -> list[Layers]:
        """What the layers are like, for each seed: on its first batch of training images."""
        train = self.data["train"]
        assert isinstance(train, Resident)
        found = []
        for seed, variables in zip(self.seeds, self.variables(), strict=True):
            index = sampler.indices(train.examples, seed, 0, self.batch_size)
            key = jax.random.fold_in(jax.random.key(seed), self.step)
            found.append(self.diagnosis(variables, train.images[index], train.labels[index], key))
        return found

    def observe(self, reports: list[dict[str, float]]) -> None:
        """Lets the schedule know the held-out error of each seed."""
        errors = self.axis.stack([np.float32(r["top1_error"]) for r in reports])
        observe = self.axis.map(partial(optimizers.observe, self.schedule))
        for i, (state, error) in enumerate(zip(self.states, errors, strict=True)):
            opt_state = observe(state.opt_state, jnp.asarray(error))
            self.states[i] = state.replace(opt_state=opt_state)

    def variables(self) -> list[dict[str, Any]]:
        """params and batch_stats as they are, one of each for each seed."""
        return self.axis.unstack([s.variables for s in self.states])

    def start_from(self, variables: list[dict[str, Any]]) -> None:
        """Takes `variables` (params and batch_stats, for each seed) for the initial ones."""
        for i, v in enumerate(self.axis.stack(variables)):
            started = self.states[i].replace(average=self.average.init(v), **v)
            self.states[i] = meshes.place(started, self.held)

    def check_finite(self) -> None:
        """NotFinite, with the step and what it was like, once a loss or gradient was not finite."""
        bad, norm, rate = (
            np.concatenate([np.atleast_1d(getattr(s, name)) for s in self.states])
            for name in ("bad_step", "bad_norm", "bad_rate")
        )
        parts = [p for p, share in enumerate(self.shares) if (bad[share] >= 0).any()]
        if parts:
            i = np.flatnonzero(bad >= 0)[0]
            raise NotFinite(
                f"the loss or its gradient is not finite at step {bad[i] + 1}: learning rate "
                f"{rate[i]:.3g}, gradient norm {norm[i]:.3g}; nothing since then is saved",
                parts,
            )

    def stacked(self, share: slice) -> steps.TrainState:
        """A part's seeds as one state with a leading axis, the form in which it is saved."""
        return self.axis.share(self.states, share)

    def seconds_of(self, share: slice) -> float:
        """What a part has of the seconds: as much as of the seeds."""
        return self.seconds * len(self.seeds[share]) / len(self.seeds)

    def save(self, *checkpoints: Checkpoints) -> None:
        """The state as it is now, each part's to its own. One that is not finite is never saved.

        checkpoints: the first process's; the others have none, and wait until all is saved.
        """
        self.check_finite()
        states = [meshes.on_host(self.stacked(share)) for share in self.shares]

        def write() -> None:
            for i, (folder, state) in enumerate(zip(checkpoints, states, strict=True)):
                seconds = self.seconds_of(self.shares[i])
                notes = {"seconds": seconds, "settled": self.settled, "parts": self.history[i]}
                folder.save(self.step, items_of(state), notes)

        multihost.on_first(write)

    def restore(self, *checkpoints: Checkpoints) -> bool:
        """Goes to the newest sound checkpoint; False where there is none.

        checkpoints: as for `save`. ConfigError where the parts' are of different steps.
        """
        targets = [
            items_of(jax.eval_shape(lambda share=share: self.stacked(share)))
            for share in self.shares
        ]
        items: list[dict[str, Any]] = []

        def read() -> list[tuple[int, dict[str, Any]]]:
            pairs = zip(checkpoints, targets, strict=True)
            found = [folder.restore(target) for folder, target in pairs]
            steps = {part.step if part else 0 for part in found}
            if len(steps) > 1:
                raise ConfigError(
                    f"these are at different steps, {sorted(steps)}: train each alone"
                )
            there = [part for part in found if part]
            if there and there[0].step > self.total:
                raise ConfigError(
                    f"the run in {checkpoints[0].folder.parent} is at step {there[0].step} "
                    f"already, and this config ends at step {self.total}: raise --config.epochs "
                    "or --config.steps"
                )
            items.extend(part.items for part in there)
            return [(part.step, part.notes) for part in there]

        there = multihost.on_first(read)
        if not there:
            return False
        items = items or jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), targets)
        of_parts = [state_of(part) for part in multihost.tree_of_first(meshes.on_host(items))]
        one = [
            jax.tree.map(lambda x, i=i: x[i], state)
            for state, share in zip(of_parts, self.shares, strict=True)
            for i in range(len(self.seeds[share]))
        ]
        self.states = [meshes.place(state, self.held) for state in self.axis.stack(one)]
        self.step, self.seconds = there[0][0], sum(notes["seconds"] for _, notes in there)
        self.evaluated = {}
        self.settled = all(notes["settled"] for _, notes in there)
        self.history = [notes.get("parts", [UNKNOWN]) for _, notes in there]
        return True


def items_of(state: steps.TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint: what a network is, and what only training needs."""
    training = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    variables = {name: training.pop(name) for name in ("params", "batch_stats", "average")}
    return {"variables": variables, "training": training}


def state_of(items: dict[str, Any]) -> steps.TrainState:
    """The inverse of `items_of`."""
    return steps.TrainState(**items["variables"], **items["training"])


def zeros(counts: MetricSums) -> MetricSums:
    return jax.tree.map(jnp.zeros_like, counts)
