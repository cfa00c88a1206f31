"""Schedule the faults as a pure function of a seed, so that a soak can be replayed.

A soak is a sequence of episodes. In each, one subject is started several times in one folder until
it ends, and faults come before or during these starts. Numbers in the faults are fractions of what
there is when they come: of the files, of the bytes of a file, of the processor time of the run.
"""

import dataclasses
import random
from typing import Any, Literal

Subject = Literal["digits", "folder", "sweep"]
Command = Literal["train", "report", "evaluate"]
Target = Literal[
    "checkpoint",
    "older checkpoint",
    "every checkpoint",
    "metrics",
    "config",
    "result",
    "environment",
    "statistics",
    "sweep file",
]
How = Literal["flip", "cut", "empty", "remove", "overwrite"]
On = Literal["clock", "save", "result"]
Change = Literal["add", "remove", "replace", "rename", "swap classes", "add class"]

SUBJECTS: dict[Subject, int] = {"digits": 4, "folder": 4, "sweep": 2}  # with their weights
TARGETS: dict[Target, int] = {
    "checkpoint": 6,
    "older checkpoint": 2,
    "every checkpoint": 2,
    "metrics": 3,
    "config": 2,
    "result": 2,
    "environment": 1,
    "statistics": 1,
    "sweep file": 1,
}
HOWS: tuple[How, ...] = ("flip", "cut", "empty", "remove", "overwrite")
CHANGES: tuple[Change, ...] = ("add", "remove", "replace", "rename", "swap classes", "add class")


@dataclasses.dataclass(frozen=True)
class Moment:
    """When a fault comes: after `share` of the processor time that an uninterrupted run takes.

    on: "clock": at once then; "save": when the nth checkpoint from then on begins to be written;
    "result": when result.json is written.
    """

    share: float
    on: On = "clock"
    nth: int = 1


@dataclasses.dataclass(frozen=True)
class Signals:
    """One signal, or two that follow each other at once, to the process that was started."""

    names: tuple[str, ...]
    moment: Moment


@dataclasses.dataclass(frozen=True)
class Stall:
    """SIGSTOP, and SIGCONT after some seconds."""

    seconds: float
    moment: Moment


@dataclasses.dataclass(frozen=True)
class KilledWorker:
    """SIGKILL to one of the processes that a sweep has started."""

    pick: float
    moment: Moment


@dataclasses.dataclass(frozen=True)
class SecondStart:
    """A second process starts with the same command while the first still runs."""

    moment: Moment


@dataclasses.dataclass(frozen=True)
class Damage:
    """A changed, shortened or missing file. pick: which of several; place: where in the file."""

    target: Target
    how: How
    pick: float
    place: float


@dataclasses.dataclass(frozen=True)
class Unreadable:
    """A file that may not be read, until it may be again."""

    target: Target
    pick: float


@dataclasses.dataclass(frozen=True)
class FullDisk:
    """A disk, or a limit on the size of files, with `room` bytes."""

    room: int


@dataclasses.dataclass(frozen=True)
class ChangedData:
    """Training images that are not those that the run began with."""

    change: Change
    pick: float


@dataclasses.dataclass(frozen=True)
class FullStderr:
    """Standard error goes to a full device."""


Before = Damage | Unreadable | FullDisk | ChangedData | FullStderr
During = Signals | Stall | KilledWorker | SecondStart


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One start: the fault that is there when it starts, and the one that comes while it runs."""

    command: Command = "train"
    before: Before | None = None
    during: During | None = None


@dataclasses.dataclass(frozen=True)
class Episode:
    """One subject, from an empty folder to its end. `number` is its place in the soak."""

    number: int
    subject: Subject
    attempts: tuple[Attempt, ...]


def episode(seed: int, number: int) -> Episode:
    """Return the episode `number` of the soak with this seed."""
    dice = random.Random(f"{seed}/{number}")
    subject = pick(dice, SUBJECTS)
    attempts = [Attempt(during=interruption(dice, subject))]  # something to resume from
    for _ in range(dice.randint(1, 4)):
        attempts.append(attempt(dice, subject))
    return Episode(number, subject, tuple(attempts))


def attempt(dice: random.Random, subject: Subject) -> Attempt:
    """Draw one start of an episode after its first."""
    kind = dice.choices(("damage", "world", "during", "read"), (5, 3, 4, 1))[0]
    if kind == "during":
        return Attempt(during=during(dice, subject))
    if kind == "read":
        command: Command = dice.choice(("report", "evaluate")) if subject != "sweep" else "report"
        return Attempt(command, before=damage(dice, subject))
    if kind == "damage":
        then = interruption(dice, subject) if dice.random() < 0.3 else None
        return Attempt(before=damage(dice, subject), during=then)
    worlds: list[Before] = [
        FullDisk(int(10 ** dice.uniform(3, 5))),
        Unreadable(pick(dice, targets(subject)), dice.random()),
        FullStderr(),
    ]
    if subject == "folder":
        worlds += [ChangedData(dice.choice(CHANGES), dice.random()) for _ in range(3)]
    return Attempt(before=dice.choice(worlds))


def targets(subject: Subject) -> dict[Target, int]:
    """Return the kinds of files that the folder of a subject may have, with their weights."""
    return {t: w for t, w in TARGETS.items() if subject == "sweep" or t != "sweep file"}


def damage(dice: random.Random, subject: Subject) -> Damage:
    return Damage(pick(dice, targets(subject)), dice.choice(HOWS), dice.random(), dice.random())


def interruption(dice: random.Random, subject: Subject) -> Signals:
    """Draw what ends a process early."""
    name = dice.choice(("SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGHUP"))
    return Signals((name,), moment(dice, earliest=0.5 if subject == "sweep" else 0.4))


def during(dice: random.Random, subject: Subject) -> During:
    """Draw what comes while a process runs."""
    kinds = ["one", "one", "early", "two", "stall", "second"] + ["worker"] * 2 * (
        subject == "sweep"
    )
    kind = dice.choice(kinds)
    if kind == "one":
        return interruption(dice, subject)
    if kind == "stall":
        return Stall(dice.uniform(1, 5), moment(dice))
    if kind == "second":
        return SecondStart(moment(dice, earliest=0.3))
    if kind == "worker":
        return KilledWorker(dice.random(), moment(dice, earliest=0.3))
    of_request = ("SIGTERM", "SIGINT", "SIGHUP")
    if kind == "early":  # while it imports; before that Python itself ends by the signal
        return Signals((dice.choice(of_request),), Moment(round(dice.uniform(0.03, 0.3), 3)))
    return Signals((dice.choice(of_request), dice.choice(of_request)), moment(dice))


def moment(dice: random.Random, earliest: float = 0.03) -> Moment:
    on: On = pick(dice, {"clock": 6, "save": 2, "result": 1})
    share = dice.uniform(earliest, 0.85)  # a run that is resumed ends earlier
    return Moment(round(share if on == "clock" else 0.0, 3), on, dice.randint(1, 3))


def pick(dice: random.Random, weights: dict[Any, int]) -> Any:
    return dice.choices(list(weights), list(weights.values()))[0]


def describe(fault: Before | During) -> str:
    """Return a fault in a few words."""
    match fault:
        case Signals(names, at):
            return f"{' '.join(names)} {when(at)}"
        case Stall(seconds, at):
            return f"SIGSTOP for {seconds:.1f} s {when(at)}"
        case KilledWorker(_, at):
            return f"SIGKILL to a worker {when(at)}"
        case SecondStart(at):
            return f"a second start {when(at)}"
        case Damage(target, how, _, _):
            return f"{how} {target}"
        case Unreadable(target, _):
            return f"unreadable {target}"
        case FullDisk(room):
            return f"full disk, {room:,} bytes left"
        case ChangedData(change, _):
            return f"changed data: {change}"
        case FullStderr():
            return "full standard error"


def when(moment: Moment) -> str:
    return {
        "clock": f"at {moment.share:.0%}",
        "save": f"in save {moment.nth} from {moment.share:.0%} on",
        "result": "at result.json",
    }[moment.on]


def kind(fault: Before | During) -> str:
    """Return the name of the row of the table that counts a fault."""
    match fault:
        case Signals(names, _):
            return " ".join(names) if len(names) == 1 else "two signals"
        case Damage(target, _, _, _):
            return f"damaged {target}"
        case Unreadable():
            return "unreadable file"
        case Stall():
            return "SIGSTOP, SIGCONT"
        case KilledWorker():
            return "killed worker"
        case SecondStart():
            return "second start"
        case FullDisk():
            return "full disk"
        case ChangedData():
            return "changed data"
        case FullStderr():
            return "full standard error"
