"""Faults of files: damage, missing permission, changed images, a full disk, and their repair."""

import os
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from soak import subjects
from soak.schedule import Change, Damage, How, Target

# The files of a run; the older one of two checkpoints is the first.
FILES: dict[Target, str] = {
    "metrics": "metrics.jsonl",
    "config": "config.json",
    "result": "result.json",
    "environment": "environment.json",
    "statistics": "statistics.npz",
}


def files_of(target: Target, runs: list[Path], pick: float) -> list[Path]:
    """Return the files that are to be damaged; [] if there are none of this kind.

    runs: the folders of the runs. pick: which run, and which file of a checkpoint.
    """
    if target == "sweep file":
        return [p for p in {run.parents[1] / "sweep.json" for run in runs} if p.is_file()]
    if target in FILES:
        found = [run / FILES[target] for run in runs if (run / FILES[target]).is_file()]
        return [one_of(found, pick)] if found else []
    saved = [steps for run in runs if (steps := steps_of(run))]
    if not saved:
        return []
    steps = one_of(saved, pick)
    if target == "older checkpoint" and len(steps) < 2:
        return []
    chosen = {"checkpoint": steps[-1:], "older checkpoint": steps[:1]}.get(target, steps)
    found = []
    for step in chosen:
        files = sorted(p for p in step.rglob("*") if p.is_file())
        if target == "every checkpoint":  # what is surely read
            files = [p for p in files if p.relative_to(step).parts[0] == "variables"]
        if files:
            found.append(one_of(files, pick * 97 % 1))
    return found


def steps_of(run: Path) -> list[Path]:
    """Return the folders of the saved steps of a run, in ascending order."""
    found = [p for p in run.glob("checkpoints/*") if p.name.isdigit()]
    return sorted(found, key=lambda p: int(p.name))


def one_of(found: list, pick: float):
    return found[int(pick * len(found))]


def apply_damage(damage: Damage, runs: list[Path]) -> list[Path]:
    """Damage the files of a kind, and return them.

    A flipped bit of a text is its highest one, since no reader can notice another digit.
    """
    found = files_of(damage.target, runs, damage.pick)
    for path in found:
        damage_file(path, damage.how, damage.place)
    return found


def damage_file(path: Path, how: How, place: float) -> None:
    data = bytearray(path.read_bytes())
    at = int(place * len(data))
    if how == "remove":
        path.unlink()
        return
    if how == "empty" or not data:
        data = bytearray()
    elif how == "cut":
        data = data[:at]
    elif how == "flip":
        data[at] ^= 0x80 if path.suffix in (".json", ".jsonl") else 1 << int(place * 1e6) % 8
    else:
        data[at : at + 100] = random.Random(place).randbytes(len(data[at : at + 100]))
    path.write_bytes(data)


def change_images(change: Change, pick: float, home: Path) -> None:
    """Change the training images of the subject `folder`."""
    train = subjects.images_of(home) / "train"
    classes = sorted(p for p in train.iterdir())
    name = one_of(classes, pick)
    image = one_of(sorted(name.iterdir()), pick * 97 % 1)
    numbers = np.random.default_rng(int(pick * 1e9))
    match change:
        case "add":
            subjects.draw(name / "1000.png", numbers, 0)
        case "remove":
            image.unlink()
        case "replace":
            subjects.draw(image, numbers, 0)
        case "rename":
            image.rename(image.with_stem("1000"))
        case "swap classes":
            other = classes[(classes.index(name) + 1) % len(classes)]
            name.rename(train / "swapped")
            other.rename(name)
            (train / "swapped").rename(other)
        case "add class":
            subjects.draw(train / "black" / "0.png", numbers, 0)


class SmallDisk:
    """A folder that can be made full: a tmpfs if this process may mount one.

    Otherwise commands get a limit on the size of each file that they write.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True)
        self.mounted = mount("-t", "tmpfs", "-o", "size=256m", "tmpfs", str(folder))

    def leave(self, room: int) -> int:
        """Leave `room` bytes; return the limit on files that a command needs, 0 if none."""
        if not self.mounted:
            return room
        used = shutil.disk_usage(self.folder).used
        mount("-o", f"remount,size={used + room}", str(self.folder))
        return 0

    def make_room(self) -> None:
        if self.mounted:
            mount("-o", "remount,size=256m", str(self.folder))

    def remove(self) -> None:
        if self.mounted:
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)
        shutil.rmtree(self.folder)


def mount(*arguments: str) -> bool:
    with suppress(OSError):
        return subprocess.run(["mount", *arguments], capture_output=True).returncode == 0
    return False


def hide(paths: list[Path]) -> Callable[[], None]:
    """Take all permissions of files away, and return the function that gives them back."""
    modes = {path: path.stat().st_mode for path in paths}
    for path in paths:
        path.chmod(0)

    def show() -> None:
        for path, mode in modes.items():
            with suppress(FileNotFoundError):
                os.chmod(path, mode)

    return show
