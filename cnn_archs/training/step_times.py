"""The seconds that the steps of a run take, with those of compilation counted apart."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

MAX_CALL_SECONDS = 2.0  # the longest that a signal waits for a call of several steps


@dataclasses.dataclass
class StepTimes:
    """Counts the seconds of a run's steps.

    seconds: of all calls. compile_steps, compile_seconds: the part of all that is of calls which
    compiled, as the first call of each program in a process does. per_step: the seconds of a step
    in the last call that compiled nothing; 0 before there is one. called: the programs that this
    process has called. since: the time at which the lap of the calls that run began; None if none
    runs.
    """

    seconds: float = 0.0
    compile_steps: int = 0
    compile_seconds: float = 0.0
    per_step: float = 0.0
    called: set[str] = dataclasses.field(default_factory=set)
    since: float | None = None

    @classmethod
    def of_members(cls, notes: Sequence[Mapping[str, Any]]) -> Self:
        """Return the sum of what `notes` returned for each member. Older versions knew less."""
        return cls(
            seconds=sum(n["seconds"] for n in notes),
            compile_steps=max(n.get("compile_steps", 0) for n in notes),
            compile_seconds=sum(n.get("compile_seconds", 0.0) for n in notes),
        )

    def notes(self, share: float) -> dict[str, Any]:
        """Return what a checkpoint keeps of a member that takes a `share` of the seconds."""
        return {
            "seconds": share * self.seconds,
            "compile_seconds": share * self.compile_seconds,
            "compile_steps": self.compile_steps,
        }

    def start(self, now: float) -> None:
        """Note that a call begins at `now`. If another one runs, its lap goes on."""
        if self.since is None:
            self.since = now

    def lap(self, now: float, *, running: bool) -> float:
        """Return the seconds from the last lap or start to `now`; 0 if no call has run since.

        running: whether a call still runs at `now`, so that the next seconds are in the next lap.
        """
        seconds = 0.0 if self.since is None else now - self.since
        self.since = now if running else None
        return seconds

    def count(self, program: str, steps: int, seconds: float) -> None:
        """Count a call of `program` that made `steps` steps."""
        self.seconds += seconds
        if program in self.called:
            self.per_step = seconds / steps
            return
        self.called.add(program)
        self.compile_steps += steps
        self.compile_seconds += seconds

    def call_length(self, most: int) -> int:
        """Return the number of steps for one call: at most `most`, or MAX_CALL_SECONDS of them.

        It is 1 until a step has been timed. On a CPU the number does not change any bit of the
        result; see `step_loop.repeat_steps`.
        """
        if not self.per_step:
            return 1
        return max(1, min(most, int(MAX_CALL_SECONDS / self.per_step)))

    def steps_per_second(self, steps: int) -> float:
        """Return the speed of the calls that compiled nothing, of all calls if there are no others.

        steps: those of the run so far.
        """
        steady, seconds = steps - self.compile_steps, self.seconds - self.compile_seconds
        return steady / seconds if steady > 0 and seconds > 0 else steps / self.seconds
