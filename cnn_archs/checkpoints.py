"""Checkpoints, written by orbax, with digests that are verified when they are restored.

Checkpoint formats do not notice a flipped bit in array data, so the SHA-256 of each array and of
each file is saved with the step, and compared when it is restored. A damaged step is set aside, and
the step before it is used. A step that cannot be read, or that a training replaces while it is
read, is not damaged: it is tried again. This is the only file that imports orbax.
"""

import dataclasses
import hashlib
import logging
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import SingleDeviceSharding

from cnn_archs.checkpoint_files import (
    DIGESTS_FILE,
    DamagedCheckpoint,
    check_files,
    file_digests,
    held,
    is_held,
    read_all,
)
from cnn_archs.errors import ConfigError, DataError, first_line
from cnn_archs.runtime.console import print_status
from cnn_archs.runtime.files import read_errors, write_json

for logger in ("absl", "asyncio"):  # where orbax logs what is raised here, in many lines
    logging.getLogger(logger).setLevel(logging.CRITICAL)

TRIES = 8  # to read checkpoints that cannot be read, or are replaced meanwhile
SECONDS_BETWEEN = 0.1  # before the second try; twice as many before each further one
LOOP_CLOSED = "Event loop is closed"  # what late callbacks of a save that failed say
T = TypeVar("T")
FINDINGS = 3  # tries that find a step damaged, before a reader beside a training believes it


def report_unraisable(unraisable: Any, report: Any = sys.unraisablehook) -> None:
    """Report an exception that nobody can catch, except those of late callbacks.

    After a save has failed, threads of tensorstore finish writes that orbax no longer waits for,
    and Python would print a traceback for each.
    """
    if str(unraisable.exc_value) != LOOP_CLOSED:
        report(unraisable)


sys.unraisablehook = report_unraisable


@dataclasses.dataclass(frozen=True)
class Restored:
    """A restored step: `items`, the trees that were asked for, and `notes`, a JSON object."""

    step: int
    items: dict[str, Any]
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run, one folder per step, of which the newest `keep` are kept.

    A step holds named items (trees of arrays) and `notes`, a JSON object of the digests and what
    the caller adds. Restoring only some of the items reads only those. Only one process may use a
    folder, unless it is read_only.
    """

    def __init__(self, folder: Path, keep: int = 2, read_only: bool = False):
        self.folder = folder.resolve()
        self.keep, self.read_only = keep, read_only
        if not read_only:
            check_name(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean()
        alone = jax.process_index()  # orbax would wait for all processes, but only one writes
        options = ocp.CheckpointManagerOptions(
            create=False,
            enable_async_checkpointing=False,
            read_only=read_only,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=alone, active_processes={alone}
            ),
        )
        with read_errors(self.folder):
            self._manager = tried_again(
                lambda: ocp.CheckpointManager(self.folder, options=options), self.folder
            )

    def steps(self) -> list[int]:
        """Return the saved steps in ascending order."""
        return sorted(self._manager.all_steps())

    def save(self, step: int, items: dict[str, Any], notes: dict[str, Any]) -> None:
        """Save `items` and `notes` as `step`, unless that step exists.

        Raises DataError if the disk is full or cannot be written.
        """
        if step in self._manager.all_steps():
            return
        what = f"cannot save step {step} in {self.folder}"
        size = sum(leaf.nbytes for leaf in jax.tree.leaves(items))
        free = shutil.disk_usage(self.folder).free
        if size > free:  # orbax would fail in the middle, with many lines
            raise DataError(f"{what}: {size / 1e6:.1f} MB needed, {free / 1e6:.1f} MB free")
        digests = {name: leaf_digests(tree) for name, tree in items.items()}
        args = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
        args["notes"] = ocp.args.JsonSave({"digests": digests, **notes})
        try:
            self._manager.save(step, args=ocp.args.Composite(**args), force=True)
            self._manager.wait_until_finished()
            write_json(
                self.folder / str(step) / DIGESTS_FILE, file_digests(self.folder / str(step))
            )
            for old in self.steps()[: -self.keep]:
                if not is_held(self.folder / str(old)):
                    self._manager.delete(old)
        except Exception as e:  # tensorstore has exception types of its own for a full disk
            raise DataError(f"{what}: {short_reason(e)}") from e

    def restore(self, targets: dict[str, Any]) -> Restored | None:
        """Restore the newest sound step; return None if nothing was ever saved.

        targets: for each item to restore, a tree of jax.ShapeDtypeStruct. The arrays are put on the
        first device of this process. Damaged steps are set aside, with a line on stderr. Raises
        DataError if every step is damaged or the steps cannot be read, and ConfigError if the
        newest sound one has other arrays than `targets`.
        """
        here = SingleDeviceSharding(jax.local_devices()[0])  # which orbax requires
        targets = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=here), targets
        )
        found: dict[int, int] = {}  # how often a step was found damaged

        def reload_and_restore() -> Restored | None:
            self._manager.reload()
            return self._restore_newest(targets, found)

        return tried_again(reload_and_restore, self.folder)

    def _restore_newest(self, targets: dict[str, Any], found: dict[int, int]) -> Restored | None:
        """Make one try to restore the newest sound step; see `restore`.

        Raises OSError if a step cannot be read, and DamagedCheckpoint if a step seems damaged that
        a training may be about to remove.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                with held(self.folder / str(step)):
                    return self._restore_step(step, targets)
            except DamagedCheckpoint as e:
                found[step] = found.get(step, 0) + 1
                if self.read_only and found[step] < FINDINGS:
                    raise
                what = "left as it is" if self.read_only else "set aside"
                print_status(f"checkpoint {step} is damaged ({e}); {what}")
                self._set_aside(step)
        if steps or any(self.folder.glob("damaged-*")):
            raise DataError(
                f"every checkpoint in {self.folder} is damaged; to start over, remove that folder"
            )
        return None

    def _restore_step(self, step: int, targets: dict[str, Any]) -> Restored:
        check_files(self.folder / str(step), {*targets, "notes"})
        manager = self._manager
        try:
            notes = manager.restore(step, args=ocp.args.Composite(notes=ocp.args.JsonRestore()))
            notes = notes["notes"]
            saved = {name: notes["digests"][name] for name in targets}
        except Exception as e:
            read_all(self.folder / str(step))
            raise DamagedCheckpoint(f"notes: {type(e).__name__}") from e
        for name, target in targets.items():
            check_target(self.folder / str(step), name, saved[name], target)
        args = {name: ocp.args.StandardRestore(target) for name, target in targets.items()}
        try:
            items = dict(manager.restore(step, args=ocp.args.Composite(**args)).items())
        except Exception as e:
            read_all(self.folder / str(step))
            raise DamagedCheckpoint(short_reason(e)) from e
        for name, tree in items.items():
            for leaf, entry in leaf_digests(tree).items():
                if entry != saved[name][leaf]:
                    raise DamagedCheckpoint(f"the digest of {name}{leaf} does not match")
        return Restored(step, items, {k: v for k, v in notes.items() if k != "digests"})

    def _set_aside(self, step: int) -> None:
        if self.read_only:
            return
        target = self.folder / f"damaged-{step}"
        shutil.rmtree(target, ignore_errors=True)
        (self.folder / str(step)).rename(target)
        self._manager.reload()

    def _clean(self) -> None:
        """Remove the unfinished steps of saves that were killed."""
        for unfinished in self.folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(unfinished, ignore_errors=True)


def tried_again(action: Callable[[], T], folder: Path) -> T:
    """Return what `action` returns, which reads the checkpoints in `folder`.

    It is called again, after a while, when it raises OSError or DamagedCheckpoint: a training may
    have removed a step while it was listed or read. Raises DataError after the last of `TRIES`.
    """
    reason = ""
    for i in range(TRIES):
        if i:
            time.sleep(SECONDS_BETWEEN * 2 ** (i - 1))
        try:
            return action()
        except (OSError, DamagedCheckpoint) as e:
            reason = (e.strerror if isinstance(e, OSError) else None) or str(e)
    raise DataError(f"cannot read the checkpoints in {folder}: {reason}; nothing was changed there")


def short_reason(e: Exception) -> str:
    """Return an exception as one line: the operating system's message, if tensorstore gives it."""
    line = first_line(e)
    system = re.search(r": ([^:]+) \[os_error_code", line)
    return system[1] if system else line[:200]


def leaf_digests(tree: Any) -> dict[str, dict[str, Any]]:
    """Return {key path: {"shape", "dtype", "sha256" of the bytes}} for the arrays of a tree."""
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        value = np.asarray(jax.device_get(leaf))  # tobytes() is in C order
        sha = hashlib.sha256(value.tobytes()).hexdigest()
        entries[jax.tree_util.keystr(path)] = {
            "shape": list(value.shape),
            "dtype": str(value.dtype),
            "sha256": sha,
        }
    return entries


def check_name(folder: Path) -> None:
    """Raise ConfigError if the path of `folder` is not UTF-8, which orbax needs to write there."""
    try:
        str(folder).encode()
    except UnicodeError:
        raise ConfigError(f"{folder} is not UTF-8: checkpoints need another --workdir") from None


def check_target(where: Path, name: str, saved: dict[str, Any], target: Any) -> None:
    """Raise ConfigError, with the first difference, unless a saved item has the arrays of `target`.

    where: the folder of the step. name: the name of the item. saved: the `leaf_digests` of the
    item.
    """
    wanted = {
        jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(target)
    }
    found = {path: f"{e['dtype']}{e['shape']}" for path, e in saved.items()}
    for path in sorted({*wanted, *found}):
        a, b = found.get(path, "nothing"), wanted.get(path, "nothing")
        if a != b:
            raise ConfigError(
                f"the checkpoint in {where} belongs to another network or optimizer: {name}{path} "
                f"is saved as {a}, needed as {b}; use another --workdir"
            )
