"""Read what a run ended with, and compare it with the uninterrupted run."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from soak.disturb import steps_of

TIMES = {"time", "seconds", "compile_seconds", "images_per_second", "command", "argv", "started"}
TIMES |= {"ended", "parts"}
LITTER = ("*.part", "*.orbax-checkpoint-tmp*", "failed.json")


def list_runs(workdir: Path) -> list[Path]:
    """Return the folders of the runs: the folder itself, or those of a sweep's cells."""
    cells = sorted(
        p for p in workdir.glob("*/seed*") if p.is_dir() and p.parent.name != "tensorboard"
    )
    return cells or [workdir]


def differences(workdir: Path, reference: Path, lost_lines: bool = False) -> list[str]:
    """Return in what a finished run or sweep differs from another, times excepted.

    lost_lines: whether lines may be missing in its logs.
    """
    found = []
    runs, others = list_runs(workdir), list_runs(reference)
    names = [str(run.relative_to(workdir)) for run in runs]
    wanted = [str(run.relative_to(reference)) for run in others]
    if names != wanted:
        return [f"there are the runs {names} instead of {wanted}"]
    for name, run, other in zip(names, runs, others, strict=True):
        of_run = [*state_differences(run, other), *result_differences(run, other)]
        for log in ("metrics.jsonl", "diagnostics.jsonl"):
            of_run += log_differences(run / log, other / log, lost_lines)
        found += [f"{name}: {what}" if len(runs) > 1 else what for what in of_run]
    for merged in sorted(reference.glob("*/result.json")):
        found += result_differences(workdir / merged.parent.name, merged.parent)
    for pattern in LITTER:
        found += [f"{p.relative_to(workdir)} is left" for p in workdir.rglob(pattern)]
    return found


def state_differences(run: Path, other: Path) -> list[str]:
    """Compare the parameters, batch statistics and optimizer states in the last checkpoints."""
    if not steps_of(run):
        return ["there is no checkpoint"]
    step, wanted = steps_of(run)[-1], steps_of(other)[-1]
    if step.name != wanted.name:
        return [f"the last checkpoint is of step {step.name}, not {wanted.name}"]
    found = [
        f"{name} of step {step.name} is not as it was written"
        for name, digest in json.loads((step / "sha256.json").read_text()).items()
        if not (step / name).is_file()
        or hashlib.sha256((step / name).read_bytes()).hexdigest() != digest
    ]
    ours, theirs = leaves(step), leaves(wanted)
    for leaf in sorted(ours.keys() | theirs.keys()):
        if ours.get(leaf) != theirs.get(leaf):
            found.append(f"{leaf} of step {step.name} differs")
    return found


def leaves(step: Path) -> dict[str, Any]:
    """Return the digest of each array of a checkpoint.

    The sums since the last line of the log are left out: they are zero right after a line.
    """
    digests = json.loads((step / "notes" / "metadata").read_text())["digests"]
    return {
        f"{item}{leaf}": entry
        for item, of_item in digests.items()
        for leaf, entry in of_item.items()
        if not leaf.startswith("['window']")
    }


def result_differences(run: Path, other: Path) -> list[str]:
    """Compare two result.json, except times and command lines."""
    if not (run / "result.json").is_file():
        return ["there is no result.json"]
    trees = [without_times(json.loads((r / "result.json").read_text())) for r in (run, other)]
    keys = sorted(trees[0].keys() | trees[1].keys())
    return [f"{k} of result.json differs" for k in keys if trees[0].get(k) != trees[1].get(k)]


def without_times(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: without_times(v) for k, v in tree.items() if k not in TIMES}
    if isinstance(tree, list):
        return [without_times(value) for value in tree]
    return tree


def log_differences(log: Path, other: Path, lost_lines: bool) -> list[str]:
    """Compare two logs line by line, times excepted.

    lost_lines: whether lines of `other` may be missing.
    """
    ours, theirs = log_lines(log), log_lines(other)
    if ours == theirs:
        return []
    if not is_subsequence(ours, theirs):
        return [f"{log.name} has other lines"]
    if lost_lines:
        return []
    return [f"{log.name} lacks {len(theirs) - len(ours)} of {len(theirs)} lines"]


def log_lines(log: Path) -> list[Any]:
    """Return the lines of a log without times; [] if there is no log.

    A line that is not JSON, such as one that was being written, is returned as text.
    """
    found: list[Any] = []
    for line in log.read_text().splitlines() if log.exists() else []:
        try:
            found.append(without_times(json.loads(line)))
        except ValueError:
            found.append(line)
    return found


def is_subsequence(few: Iterable[Any], many: Iterable[Any]) -> bool:
    rest = iter(many)
    return all(line in rest for line in few)


def snapshot(folder: Path) -> dict[str, str]:
    """Return the digest of each file in a folder, except locks, event files and logs of output."""
    ignored = ("lock", "log.txt")
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.name.startswith(ignored) and "tensorboard" not in p.parts
    }
