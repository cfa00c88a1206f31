"""Saves a trainer to its members' checkpoints, in a thread, and restores it from them."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import jax
import numpy as np

from cnn_archs.checkpoints import Checkpoints, Restored
from cnn_archs.distributed import mesh as meshes
from cnn_archs.distributed import multihost
from cnn_archs.errors import ConfigError
from cnn_archs.training.history import UNKNOWN
from cnn_archs.training.step_times import StepTimes
from cnn_archs.training.steps import TrainState
from cnn_archs.training.trainer import Trainer


class Saver(AbstractContextManager["Saver"]):
    """Saves the states of a trainer in a thread, one after the other, while it trains on.

    At its end it waits until all is saved. checkpoints: one per member on the first process, none
    on the others.
    """

    def __init__(self, checkpoints: Sequence[Checkpoints]):
        self.checkpoints = checkpoints
        self.thread = ThreadPoolExecutor(1, "saver")
        self.unfinished: Future[None] | None = None

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self.thread.shutdown()
        if not kind:
            self.finish()

    def save(self, trainer: Trainer, first: Sequence[Callable[[], None]] = ()) -> None:
        """Copy the present state of each member to the host, and begin to save it to its own.

        first: called in the thread before the state is written. Raises NotFinite, and saves
        nothing, if a loss, gradient or weight is not finite; and what `finish` raises.
        """
        trainer.check_finite()
        self.finish()
        held = [meshes.to_host(state) for state in trainer.states]
        states = [trainer.axis.take(held, seeds) for seeds in trainer.seed_slices]
        notes = [
            {
                **trainer.times.notes(trainer.share(seeds)),
                "settled": trainer.logged,
                "parts": history,
                "log_lines": lines,
            }
            for seeds, history, lines in zip(
                trainer.seed_slices, trainer.history, trainer.log_lines, strict=True
            )
        ]

        def write(step: int = trainer.step) -> None:
            for action in first:
                action()
            for folder, state, note in zip(self.checkpoints, states, notes, strict=True):
                folder.save(step, items_of_state(state), note)

        if multihost.is_primary():
            self.unfinished = self.thread.submit(write)

    def finish(self) -> None:
        """Wait until all is saved. Raises DataError on all processes if that failed."""

        def wait() -> None:
            unfinished, self.unfinished = self.unfinished, None
            if unfinished:
                unfinished.result()

        multihost.on_primary(wait)


def restore_trainer(trainer: Trainer, checkpoints: Sequence[Checkpoints]) -> bool:
    """Restore the newest sound checkpoint of each member; return False if nothing was saved.

    checkpoints: as for `Saver`. Raises ConfigError if the members are at different steps,
    or past the end of this run.
    """
    targets = [
        items_of_state(jax.eval_shape(partial(trainer.member_state, seeds)))
        for seeds in trainer.seed_slices
    ]
    members = multihost.only_on_primary(lambda: read_members(trainer, checkpoints, targets))
    headers = multihost.on_primary(lambda: [(m.step, m.notes) for m in members or []])
    if not headers:
        return False
    zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), targets)
    items = zeros if members is None else [m.items for m in members]
    items = multihost.broadcast_tree(meshes.to_host(items))
    per_seed = [
        jax.tree.map(lambda x, i=i: x[i], state_of_items(member))
        for member, seeds in zip(items, trainer.seed_slices, strict=True)
        for i in range(len(trainer.seeds[seeds]))
    ]
    trainer.states = [
        meshes.place(state, trainer.state_sharding) for state in trainer.axis.stack(per_seed)
    ]
    notes = [notes for _, notes in headers]
    trainer.step, trainer.times = headers[0][0], StepTimes.of_members(notes)
    trainer.evaluations = {}
    trainer.logged = all(n["settled"] for n in notes)
    trainer.history = [n.get("parts", [UNKNOWN]) for n in notes]
    trainer.log_lines = [n.get("log_lines", {}) for n in notes]
    return True


def read_members(
    trainer: Trainer, checkpoints: Sequence[Checkpoints], targets: list[dict[str, Any]]
) -> list[Restored]:
    """Read the newest sound checkpoint of each member; [] if nothing was saved.

    targets: the items of each member as shapes and dtypes. Raises ConfigError as
    `restore_trainer` does.
    """
    found = [one.restore(target) for one, target in zip(checkpoints, targets, strict=True)]
    without = [one for one, member in zip(checkpoints, found, strict=True) if not member]
    if without and len(without) < len(found):
        raise ConfigError(
            f"{without[0].folder.parent} has no checkpoint, and other runs that are trained with "
            "it have one: train each alone"
        )
    steps = {member.step for member in found if member}
    if len(steps) > 1:
        raise ConfigError(f"these runs are at different steps, {sorted(steps)}: train each alone")
    members = [member for member in found if member]
    if members and members[0].step > trainer.total_steps:
        raise ConfigError(
            f"the run in {checkpoints[0].folder.parent} is at step {members[0].step} already, and "
            f"this config ends at step {trainer.total_steps}: increase --config.epochs or "
            "--config.steps"
        )
    return members


def items_of_state(state: TrainState) -> dict[str, Any]:
    """Return a state as checkpoint items.

    `variables` has what a trained network needs, `training` what only training needs.
    """
    training = {f.name: getattr(state, f.name) for f in dataclasses.fields(state)}
    variables = {name: training.pop(name) for name in ("params", "batch_stats", "average")}
    return {"variables": variables, "training": training}


def state_of_items(items: dict[str, Any]) -> TrainState:
    """Return the state of checkpoint items; the inverse of `items_of_state`."""
    return TrainState(**items["variables"], **items["training"])
