"""Play an episode: start a subject again and again under its faults, and compare how it ends."""

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

from soak import compare, disturb, process, schedule, subjects
from soak.process import Ended, Running
from soak.schedule import (
    Attempt,
    Before,
    ChangedData,
    Damage,
    During,
    Episode,
    FullDisk,
    FullStderr,
    SecondStart,
    Signals,
    Subject,
    Unreadable,
)

# What came of a fault: the command took no harm (it went on, or stopped and resumed); it refused
# with one line until the fault was mended; there was nothing to disturb (any more).
Effect = Literal["survived", "refused", "missed"]
STOPS = {"SIGTERM": 15, "SIGINT": 2, "SIGHUP": 1, "SIGKILL": 9}


@dataclasses.dataclass(frozen=True)
class Injection:
    """A fault that was caused, what came of it, and what was wrong."""

    fault: Before | During | None
    effect: Effect
    code: int
    findings: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Played:
    """An episode that was played. differences: of its end from that of an uninterrupted run."""

    episode: Episode
    injections: tuple[Injection, ...]
    differences: tuple[str, ...]

    def findings(self) -> list[str]:
        """Return all that was wrong."""
        return [f for i in self.injections for f in i.findings] + list(self.differences)


@dataclasses.dataclass(frozen=True)
class Reference:
    """An uninterrupted run. work: the seconds of processor time that it took."""

    workdir: Path
    work: float


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
            room.remove()
        return played


class Scene:
    """The folder of one episode and what has happened in it."""

    def __init__(
        self,
        home: Path,
        disk: disturb.SmallDisk,
        episode: Episode,
        reference: Reference,
        say: Callable[[str], None],
    ):
        self.home, self.disk, self.episode, self.say = home, disk, episode, say
        self.work = reference.work
        self.workdir = disk.folder / "run"
        self.starts = 0
        self.ended = False  # whether the last start has ended the run
        self.lost_lines = False  # whether a damaged log may lack lines by now

    def runs(self) -> list[Path]:
        return compare.list_runs(self.workdir)

    def command(self, name: str) -> list[str]:
        if name == "report":
            return ["report", str(self.workdir), "-o", str(self.disk.folder / "report.html")]
        if name == "evaluate":
            return ["evaluate", f"--workdir={self.workdir}"]
        return subjects.train_command(self.episode.subject, self.home, self.workdir)

    def run(
        self, name: str, during: During | None = None, limit: int = 0, full_output: bool = False
    ) -> Ended:
        """Run a command to its end, with a fault while it runs."""
        self.starts += 1
        output = self.disk.folder / f"output-{self.starts}"
        running = Running(self.command(name), output, limit, full_output)
        if during is None:
            return running.end(hit=True)
        moment = process.reached(during.moment, running, self.runs, self.work)
        if not isinstance(during, SecondStart):
            return running.end(running.wait_for(moment) and process.cause(during, running))
        if not running.wait_for(lambda: moment() and self.is_locked()):
            return running.end(hit=False)
        process.cause(during, running)
        self.starts += 1
        second = Running(self.command(name), output.with_name(f"output-{self.starts}")).end(True)
        running.go_on()
        return running.end(True, second)

    def is_locked(self) -> bool:
        return any(p.stat().st_size for p in self.workdir.glob("*lock*"))

    def start(self, attempt: Attempt) -> list[Injection]:
        """Start once under the faults of `attempt`, and mend what made the command refuse."""
        before, refusal = attempt.before, self.must_refuse(attempt.before)
        undo, limit = self.prepare(before)
        if before and undo is None:
            return [self.told(before, "missed", 0, [])]
        kept = compare.snapshot(self.workdir) if attempt.command != "train" else {}
        full = isinstance(before, FullStderr)
        ended = self.run(attempt.command, attempt.during, limit, full)
        self.ended = ended.code == 0 and attempt.command == "train"
        wrong = process.complaints(ended, sorted(self.allowed(attempt)))
        if full:  # there is nothing to read
            wrong = [w for w in wrong if "error lines" not in w]
        if attempt.command != "train" and compare.snapshot(self.workdir) != kept:
            wrong.append(f"{attempt.command} has changed the run")
        if before and refusal and attempt.command == "train" and ended.code == 0:
            wrong.append("this was not refused")
        if undo:
            wrong += undo(ended)
        found = []
        effect: Effect = "refused" if ended.refused() else "survived"
        if before:
            found.append(self.told(before, effect, ended.code, wrong))
        if attempt.during:
            hit: Effect = "survived" if ended.hit else "missed"
            found.append(self.told(attempt.during, hit, ended.code, [] if before else wrong))
        return found

    def finish(self) -> Injection:
        """Start without a fault, which must end the run."""
        ended = self.run("train")
        return self.told(None, "survived", ended.code, process.complaints(ended, (0,)))

    def finish_again(self) -> list[str]:
        """Start the finished run once more, which must change no file of it."""
        kept = compare.snapshot(self.workdir)
        ended = self.run("train")
        wrong = process.complaints(ended, (0,))
        now = compare.snapshot(self.workdir)
        changed = sorted(n for n in kept.keys() | now.keys() if kept.get(n) != now.get(n))
        if changed:
            wrong.append(f"a second start of the finished run changed {', '.join(changed):.150}")
        return wrong

    def told(
        self, fault: Before | During | None, effect: Effect, code: int, wrong: Sequence[str]
    ) -> Injection:
        what = schedule.describe(fault) if fault else "a start without a fault"
        line = f"{self.episode.number} {self.episode.subject}: {what}: {effect}, exit code {code}"
        self.say("".join([line, *(f"\n    WRONG: {w}" for w in wrong)]))
        return Injection(fault, effect, code, tuple(wrong))

    def must_refuse(self, before: Before | None) -> bool:
        """Return whether a run that is resumed with this fault must not go on.

        A finished run may only be looked at, and one that has saved nothing may start anew.
        """
        if (self.workdir / "result.json").is_file() or not disturb.steps_of(self.workdir):
            return False
        if isinstance(before, Damage):
            return before.target in ("every checkpoint", "config")
        return isinstance(before, ChangedData)

    def allowed(self, attempt: Attempt) -> set[int]:
        """Return the exit codes that are promised under the faults of an attempt."""
        codes = {0}
        if attempt.before and not isinstance(attempt.before, FullStderr):
            codes |= {2, 3} | ({1} if self.episode.subject == "sweep" else set())
        if attempt.command != "train":
            codes |= {2, 3}
        if isinstance(attempt.during, Signals):
            names = attempt.during.names
            codes |= {-9} if "SIGKILL" in names else {75}
            if len(names) == 2:
                codes |= {128 + STOPS[n] for n in names} | {-STOPS[n] for n in names}
        return codes

    def prepare(self, before: Before | None) -> tuple[Callable[[Ended], list[str]] | None, int]:
        """Cause a fault of files -> (the function that mends it, a limit on the size of files).

        The function is given the end of the command, and returns what is wrong after it. It is None
        if there is nothing to cause the fault to.
        """
        match before:
            case Damage():
                return self.prepare_damage(before), 0
            case Unreadable(target, pick):
                return self.prepare_unreadable(disturb.files_of(target, self.runs(), pick)), 0
            case ChangedData(change, pick):
                disturb.change_images(change, pick, self.home)
                return self.restore_images, 0
            case FullDisk(room):
                return self.give_room, self.disk.leave(room)
            case FullStderr():
                return lambda _: [], 0
        return None, 0

    def prepare_damage(self, damage: Damage) -> Callable[[Ended], list[str]] | None:
        saved = self.disk.folder / "saved"
        shutil.rmtree(saved, ignore_errors=True)
        if self.workdir.is_dir():
            shutil.copytree(self.workdir, saved)
        if not disturb.apply_damage(damage, self.runs()):
            return None

        def mend(ended: Ended) -> list[str]:
            if ended.refused():
                shutil.rmtree(self.workdir)
                shutil.copytree(saved, self.workdir)
                return []
            if damage.target == "metrics":
                self.lost_lines = True
                if "metrics.jsonl" not in ended.stderr and ended.code in (0, 75):
                    lost = len((saved_log := self.log(saved)).splitlines())
                    if not self.log(self.workdir).startswith(saved_log):
                        return [f"of {lost} lines of a damaged metrics.jsonl some are lost unsaid"]
            return []

        return mend

    def log(self, workdir: Path) -> str:
        return "".join(p.read_text() for p in sorted(workdir.rglob("metrics.jsonl")))

    def prepare_unreadable(self, paths: list[Path]) -> Callable[[Ended], list[str]] | None:
        if not paths:
            return None
        steps = {step for run in self.runs() for step in disturb.steps_of(run)}
        show = disturb.hide(paths)

        def mend(ended: Ended) -> list[str]:
            show()
            if ended.refused() and (gone := [p for p in steps if not p.exists()]):
                return [f"checkpoint {p.name} was set aside, which could not be read" for p in gone]
            return self.retry_failed(ended)

        return mend

    def restore_images(self, ended: Ended) -> list[str]:
        shutil.rmtree(subjects.images_of(self.home))
        shutil.copytree(self.home / "pristine", subjects.images_of(self.home))
        return []

    def give_room(self, ended: Ended) -> list[str]:
        self.disk.make_room()
        return self.retry_failed(ended)

    def retry_failed(self, ended: Ended) -> list[str]:
        """Remove the notes of failed cells, as the message of a sweep says."""
        if ended.code == 1:
            for note in self.workdir.rglob("failed.json"):
                note.unlink()
        return []


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
