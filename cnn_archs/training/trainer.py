"""The trainer: the states of all seeds, and the operations that `loop.py` schedules."""

import dataclasses
import math
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

from cnn_archs.data.loading import sampler
from cnn_archs.data.loading.in_memory import Resident
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.distributed.in_flight import InFlight
from cnn_archs.errors import NotFinite
from cnn_archs.evaluate.evaluator import EvaluationData, sum_metrics
from cnn_archs.experiment import Classifier
from cnn_archs.metrics import MetricSums
from cnn_archs.optim import optimizers
from cnn_archs.optim.schedules import Schedule
from cnn_archs.optim.weight_averaging import Average
from cnn_archs.training import steps
from cnn_archs.training.history import Segment
from cnn_archs.training.layer_stats import LayerStats
from cnn_archs.training.seeds import SeedAxis
from cnn_archs.training.step_loop import StepLoop
from cnn_archs.training.step_times import StepTimes

AVERAGE_SUFFIX = "_average"  # marks a split that is evaluated with the averaged weights


@dataclasses.dataclass
class Trainer:
    """Trains all seeds of one or several member runs side by side.

    Members are experiments that differ only in seed and learning rate. Each has its own
    checkpoints and can be resumed alone.

    Fixed for the run:
      net: the network and the preprocessing of its images.
      seeds, seed_slices: all seeds, and the slice of them that belongs to each member.
      axis: how the seeds are trained; `states`, `keys` and `feeds` have this form.
      steps_per_call, total_steps: the most steps in one call of `train_step`, and all of the run.
      batch_size, eval_batch_size: images per step, and per evaluation step.
      periods: for each scheduled event, the number of steps between two occurrences.
      profiled_steps: the steps that are traced.
      schedule, average: the learning rate schedule, and the rule that averages the weights.
      mesh, state_sharding: the devices, and the sharding of each array of a state.
      data: the splits by name.
      feeds: for each call of `train_step`, (step, count) -> its arguments after the key.
      keys: for each state, the random key that steps are folded into.
      in_flight: bounds the calls of `train_step` that the devices have not ended, if each takes
        a batch from the host; None for images in memory, whose calls are waited for.
      train_step, eval_step: compiled functions; see `steps.py` and `evaluate/step.py`.
      refresh_curvature, curvature_samples: renews the second derivatives at the start of each
        epoch from that many examples; None for optimizers that use none.
      finite_fn: a state -> whether all that an evaluation reads of it is finite.
      layer_stats_fn: see `layer_stats.py`.

    Changed by training:
      states: the training states.
      step, times: steps done, and the seconds that they took.
      logged: whether the events that are due at `step` have been handled.
      evaluations: reports per split at `step`, so that no split is evaluated twice.
      history: for each member, the processes that made its steps; see `history.py`.
      log_lines: for each member, the numbers of lines in its logs when it was last saved.
    """

    net: Classifier
    seeds: tuple[int, ...]
    seed_slices: tuple[slice, ...]
    axis: SeedAxis
    steps_per_call: int
    total_steps: int
    batch_size: int
    eval_batch_size: int
    periods: dict[str, Fraction]
    profiled_steps: range
    schedule: Schedule
    average: Average
    mesh: Mesh
    state_sharding: Any
    data: Mapping[str, EvaluationData]
    feeds: Sequence[Callable[[int, int], tuple[Any, ...]]]
    keys: list[jax.Array]
    in_flight: InFlight | None
    train_step: Callable[..., steps.TrainState]
    eval_step: Callable[..., MetricSums]
    refresh_curvature: Callable[..., steps.TrainState] | None
    curvature_samples: int
    finite_fn: Callable[[steps.TrainState], jax.Array]
    layer_stats_fn: Callable[..., LayerStats]
    states: list[steps.TrainState]
    step: int = 0
    times: StepTimes = dataclasses.field(default_factory=StepTimes)
    logged: bool = True
    evaluations: dict[str, list[dict[str, float]]] = dataclasses.field(default_factory=dict)
    history: list[list[Segment]] = dataclasses.field(default_factory=list)
    log_lines: list[dict[str, int]] = dataclasses.field(default_factory=list)

    def __post_init__(self) -> None:
        self.history = self.history or [[] for _ in self.seed_slices]
        self.log_lines = self.log_lines or [{} for _ in self.seed_slices]

    @property
    def device(self) -> str:
        """The devices that train, such as "8 x NVIDIA H200"."""
        return f"{self.mesh.size} x {jax.devices()[0].device_kind}"

    @property
    def epoch(self) -> float:
        """The epochs done so far."""
        return float(self.step / self.periods["epoch"])

    def next_due(self, event: str, after: int) -> int:
        """Return the first step after `after` at which `event` is scheduled.

        Events are scheduled at the steps ceil(j * period), j = 1, 2, ...
        """
        period = self.periods[event]
        return ceil((floor(after / period) + 1) * period)

    def is_due(self, *events: str) -> bool:
        """Return whether any of `events` is due now: as scheduled, and at the end of the run."""
        scheduled = any(self.is_scheduled(event) for event in events)
        return self.step > 0 and (scheduled or self.step == self.total_steps)

    def is_scheduled(self, event: str) -> bool:
        """Return whether `event` is scheduled at `step`, whatever the length of the run."""
        return event in self.periods and self.next_due(event, self.step - 1) == self.step

    def run_steps(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Run one call of the training step: at most the steps until the next event.

        The last calls may still run afterwards if images are streamed; see `is_waited_for`. clock:
        returns the seconds by which the call is timed.
        """
        self.times.start(clock())
        if self.step == 0 or self.is_scheduled("epoch"):
            self.begin_epoch()
        stop = min(self.profile_limit(), *(self.next_due(e, self.step) for e in self.periods))
        made = 1
        if self.steps_per_call > 1:
            made = multihost.on_primary(
                lambda: min(self.times.call_length(self.steps_per_call), stop - self.step)
            )
        calls = (self.axis.calls(self.states), self.axis.calls(self.keys), self.feeds)
        found = []
        for state, key, feed in zip(*calls, strict=True):
            found.append(self.train_step(state, key, *feed(self.step, made)))
            if self.in_flight:
                self.in_flight.add(jnp.copy(found[-1].step))  # the next call takes the state itself
        self.states = self.axis.of_calls(found)
        self.step += made
        self.evaluations = {}
        self.logged = not self.is_due("log", "evaluate", "checkpoint", "diagnose")
        whole = isinstance(self.train_step, StepLoop) and self.train_step.makes_all(made)
        program = "whole" if whole else "part"
        if waited := self.is_waited_for(program):
            jax.block_until_ready([s.step for s in self.states])
        self.times.count(program, made, self.times.lap(clock(), running=not waited))

    def is_waited_for(self, program: str) -> bool:
        """Return whether the host waits until the devices have made all steps so far.

        It does for images in memory, before an event, around a traced step, and where the call has
        compiled `program`, whose seconds are counted apart.
        """
        traced = self.profiled_steps.start <= self.step <= self.profiled_steps.stop
        compiled = program not in self.times.called
        return not self.in_flight or not self.logged or traced or compiled

    def finish_steps(self, clock: Callable[[], float]) -> None:
        """Wait until the devices have made all steps, and count the seconds."""
        jax.block_until_ready([s.step for s in self.states])
        self.times.seconds += self.times.lap(clock(), running=False)

    def profile_limit(self) -> int:
        """Return the last step that a call may reach; each traced step must have its own call."""
        if self.step in self.profiled_steps:
            return self.step + 1
        return min(s for s in (self.profiled_steps.start, self.total_steps) if s > self.step)

    def begin_epoch(self) -> None:
        """Reset the counts of the epoch; renew the curvature where the optimizer uses it."""
        self.states = [s.replace(epoch=zero_counts(s.epoch)) for s in self.states]
        if not self.refresh_curvature:
            return
        train = self.data["train"]
        assert isinstance(train, Resident)
        first, count = self.step * self.batch_size, self.curvature_samples
        index = [sampler.indices(train.examples, s, first, count) for s in self.seeds]
        for i, samples in enumerate(self.axis.stack(index)):
            self.states[i] = self.refresh_curvature(
                self.states[i], train.images, train.labels, samples
            )

    def reset_window(self) -> None:
        """Reset the counts since the last line of the log."""
        self.states = [s.replace(window=zero_counts(s.window)) for s in self.states]

    def metrics(self, counts: str) -> list[dict[str, float]]:
        """Return a report per seed of the training metrics.

        counts: "window", since the last line of the log, or "epoch", since the epoch began.
        """
        return self.reports([getattr(s, counts) for s in self.states])

    def reports(self, counts: list[MetricSums]) -> list[dict[str, float]]:
        """Return a report per seed of counts in the form of `axis`."""
        return [c.report() for c in self.axis.unstack(counts)]

    def learning_rates(self) -> list[float]:
        """Return the learning rate of the last step for each seed."""
        rates = np.stack([s.opt_state.learning_rate for s in self.states])
        return [float(r) for r in rates.reshape(-1)]

    def available_splits(self, *names: str) -> list[str]:
        """Return the splits among `names` that exist, then their averaged variants if any.

        The averaged variant of a split has AVERAGE_SUFFIX after its name.
        """
        available = [name for name in names if name in self.data]
        if not self.states[0].average:
            return available
        return available + [name + AVERAGE_SUFFIX for name in available]

    def evaluate(self, split: str, poll: Callable[[], None]) -> list[dict[str, float]]:
        """Return a report per seed for `split`; with AVERAGE_SUFFIX, of the averaged weights.

        poll: called between batches; it may raise to stop the evaluation.
        """
        if split not in self.evaluations:
            data = self.data[split.removesuffix(AVERAGE_SUFFIX)]
            averaged = split.endswith(AVERAGE_SUFFIX)
            variables = [s.average if averaged else s.variables for s in self.states]
            size, mesh = self.eval_batch_size, self.mesh
            found = self.reports(
                [sum_metrics(self.eval_step, v, data, size, mesh, poll) for v in variables]
            )
            self.check_reports(split, found)
            self.evaluations[split] = found
        return self.evaluations[split]

    def layer_stats(self) -> list[LayerStats]:
        """Return the statistics of the layers per seed, on its first batch of training images."""
        train = self.data["train"]
        assert isinstance(train, Resident)
        found = []
        for seed, variables in zip(self.seeds, self.seed_variables(), strict=True):
            index = sampler.indices(train.examples, seed, 0, self.batch_size)
            key = jax.random.fold_in(jax.random.key(seed), self.step)
            images, labels = train.images[index], train.labels[index]
            found.append(self.layer_stats_fn(variables, images, labels, key))
        return found

    def report_validation(self, reports: list[dict[str, float]]) -> None:
        """Pass each seed's error on held-out images to its learning rate schedule."""
        errors = self.axis.stack([np.float32(r["top1_error"]) for r in reports])
        update = self.axis.map(partial(optimizers.report_validation_error, self.schedule))
        for i, (state, error) in enumerate(zip(self.states, errors, strict=True)):
            opt_state = update(state.opt_state, jnp.asarray(error))
            self.states[i] = state.replace(opt_state=opt_state)

    def seed_variables(self) -> list[dict[str, Any]]:
        """Return params and batch_stats of each seed as they are now."""
        return self.axis.unstack([s.variables for s in self.states])

    def set_variables(self, variables: list[dict[str, Any]]) -> None:
        """Replace the initial params and batch_stats of each seed, and restart the averages."""
        for i, v in enumerate(self.axis.stack(variables)):
            state = self.states[i].replace(average=self.average.init(v), **v)
            self.states[i] = meshes.place(state, self.state_sharding)

    def check_finite(self) -> None:
        """Raise NotFinite, with the step, if a loss, a gradient or a weight is not finite."""
        bad, norm, rate = (
            np.concatenate([np.atleast_1d(getattr(s, name)) for s in self.states])
            for name in ("bad_step", "bad_norm", "bad_rate")
        )
        if members := self.members_where(bad >= 0):
            i = np.flatnonzero(bad >= 0)[0]
            raise NotFinite(
                f"the loss or its gradient is not finite at step {bad[i] + 1}: learning rate "
                f"{rate[i]:.3g}, gradient norm {norm[i]:.3g}; nothing since then is saved",
                members,
            )
        broken = ~np.concatenate([np.atleast_1d(self.finite_fn(s)) for s in self.states])
        if members := self.members_where(broken):
            rate = self.learning_rates()[np.flatnonzero(broken)[0]]
            what = f"the weights or batch statistics are not finite after step {self.step}"
            raise NotFinite(f"{what}: learning rate {rate:.3g}; they are not saved", members)

    def check_reports(self, split: str, reports: Sequence[dict[str, float]]) -> None:
        """Raise NotFinite if the loss of a seed on `split` is not finite."""
        bad = np.array([not math.isfinite(report["loss"]) for report in reports])
        if members := self.members_where(bad):
            what = f"the loss on {split} is not finite at step {self.step}"
            raise NotFinite(f"{what}; nothing since the last checkpoint is saved", members)

    def members_where(self, bad: np.ndarray) -> list[int]:
        """Return the indices of the members with a seed that is `bad`, bool[seeds]."""
        return [m for m, seeds in enumerate(self.seed_slices) if bad[seeds].any()]

    def member_state(self, seeds: slice) -> steps.TrainState:
        """Return the state of a member's seeds with a leading seed axis, as it is saved."""
        return self.axis.take(self.states, seeds)

    def share(self, seeds: slice) -> float:
        """Return the part of all training seconds that a member's seeds took."""
        return len(self.seeds[seeds]) / len(self.seeds)


def zero_counts(counts: MetricSums) -> MetricSums:
    return jax.tree.map(jnp.zeros_like, counts)
