"""Play an episode: start a subject again and again under its faults, and compare how it ends."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from soak import compare, disturb, process, subjects
from soak.process import Running
from soak.scene import Injection, Reference, Scene
from soak.schedule import Episode, Subject


@dataclasses.dataclass(frozen=True)
class Played:
    """An episode that was played. differences: of its end from that of an uninterrupted run."""

    episode: Episode
    injections: tuple[Injection, ...]
    differences: tuple[str, ...]

    def findings(self) -> list[str]:
        """Return all that was wrong."""
        return [f for i in self.injections for f in i.findings] + list(self.differences)


class Player:
    """Plays episodes in the folder `home`, which has the subjects and their references.

    brief: leave out the second run of a reference, and the second start of a finished run.
    """

    def __init__(self, home: Path, say: Callable[[str], None], brief: bool = False):
        self.home, self.say, self.brief = home, say, brief
        self.references: dict[Subject, Reference] = {}
        home.mkdir(parents=True, exist_ok=True)
        subjects.prepare(home)
        shutil.copytree(subjects.images_of(home), home / "pristine")

    def reference(self, subject: Subject) -> Reference:
        """Run a subject without any fault, once: twice, since the first run has to compile.

        Raises RuntimeError if that fails or the two differ.
        """
        if subject in self.references:
            return self.references[subject]
        for name in ("reference",) if self.brief else ("first", "reference"):
            workdir = self.home / f"{name}-{subject}"
            command = subjects.train_command(subject, self.home, workdir)
            ended = Running(command, self.home / f"{name}-{subject}-output").end(hit=True)
            if ended.code or (wrong := process.complaints(ended, (0,))):
                raise RuntimeError(f"{subject} fails without any fault: {ended.stderr or wrong}")
        differ = [] if self.brief else compare.differences(workdir, self.home / f"first-{subject}")
        if differ:
            raise RuntimeError(f"two runs of {subject} differ without any fault: {differ}")
        self.say(f"reference {subject}: {ended.work:.1f} s of processor time")
        self.references[subject] = Reference(workdir, ended.work)
        return self.references[subject]

    def play(self, episode: Episode) -> Played:
        """Play one episode in a folder of its own, which is removed unless something was wrong."""
        reference = self.reference(episode.subject)
        room = disturb.SmallDisk(self.home / f"episode-{episode.number}")
        scene = Scene(self.home, room, episode, reference, self.say)
        try:
            injections = [i for attempt in episode.attempts for i in scene.start(attempt)]
            if not scene.ended:
                injections.append(scene.finish())
            lines = scene.lost_lines
            differences = compare.differences(scene.workdir, reference.workdir, lines)
            again = [] if differences or self.brief else scene.finish_again()
            played = Played(episode, tuple(injections), tuple([*differences, *again]))
            if played.findings():
                kept = self.home / f"kept-{episode.number}"
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(room.folder, kept, symlinks=True)
        finally:
            scene.close()
            room.remove()
        return played


def to_json(played: Played) -> dict[str, Any]:
    """Return a played episode as a JSON object."""

    def named(fault: Any) -> Any:
        return fault and {"fault": type(fault).__name__, **dataclasses.asdict(fault)}

    return {
        "number": played.episode.number,
        "subject": played.episode.subject,
        "injections": [
            {
                "fault": named(i.fault),
                "effect": i.effect,
                "code": i.code,
                "findings": list(i.findings),
            }
            for i in played.injections
        ],
        "differences": list(played.differences),
    }
