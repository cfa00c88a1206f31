"""One run of a soak: the starts of its command, the faults that come to it, and their repair."""

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
class Reference:
    """An uninterrupted run. work: the seconds of processor time that it took."""

    workdir: Path
    work: float


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
        self.running: Running | None = None  # the command that was started last
        self.starts = 0
        self.retry = False  # whether cells of a sweep have failed
        self.ended = False  # whether the last start has ended the run
        self.lost_lines = False  # whether a damaged log may lack lines by now

    def runs(self) -> list[Path]:
        return compare.list_runs(self.workdir)

    def command(self, name: str) -> list[str]:
        if name == "report":
            return ["report", str(self.workdir), "-o", str(self.disk.folder / "report.html")]
        if name == "evaluate":
            return ["evaluate", f"--workdir={self.workdir}"]
        command = subjects.train_command(self.episode.subject, self.home, self.workdir)
        return [*command, "--retry_failed"] if self.retry else command

    def run(
        self, name: str, during: During | None = None, limit: int = 0, full_stderr: bool = False
    ) -> Ended:
        """Run a command to its end, with a fault while it runs."""
        self.starts += 1
        output = self.disk.folder / f"output-{self.starts}"
        self.running = running = Running(self.command(name), output, limit, full_stderr)
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

    def close(self) -> None:
        """End the command that still runs because the soak itself was stopped."""
        if self.running and self.running.popen.poll() is None:
            self.running.popen.kill()
            self.running.popen.wait()

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
                    lost = len(saved_log := self.log(saved))
                    if self.log(self.workdir)[:lost] != saved_log:
                        return [f"of {lost} lines of a damaged metrics.jsonl some are lost unsaid"]
            return []

        return mend

    def log(self, workdir: Path) -> list[Any]:
        """Return the whole lines of all logs in a folder, without times."""
        lines = [x for p in sorted(workdir.rglob("metrics.jsonl")) for x in compare.log_lines(p)]
        return [line for line in lines if isinstance(line, dict)]

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
        """Let the next starts try failed cells again, as the message of a sweep says."""
        self.retry = self.retry or ended.code == 1
        return []
