"""Run one side of a comparison in a process of its own, which waits while the other works.

The process is a program with a folder and settings as arguments. It describes itself in one JSON
line, and then reads numbers of steps on stdin, one per line, and answers each with one JSON line.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from common import Turn, timed

HERE = Path(__file__).resolve().parent


class Trained(NamedTuple):
    """Seconds per step, by the clock and of processor time, and the loss of the first step."""

    seconds: float
    cpu_seconds: float
    first_loss: float


def answer(value: Any) -> None:
    """Send `value` to the process that started this one."""
    print(json.dumps(value), flush=True)


def serve(hello: dict[str, Any], train: Callable[[int], float]) -> None:
    """Serve a side until stdin ends. `train(steps)` returns the loss of the first step."""
    answer(hello)
    for line in sys.stdin:
        steps = int(line)
        turn, first_loss = timed(partial(train, steps), steps)
        answer(Trained(*turn, first_loss))


class Side:
    """A running program of this folder, started with `python`.

    hello: the JSON in which it described itself. missing: advice for a program that ends early, in
    the message of the RuntimeError that is then raised.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        settings: Mapping[str, Any],
        environment: Mapping[str, str],
        python: str = sys.executable,
        missing: str = "",
    ):
        self.name = f"{program}, which has ended" + (f": {missing}" if missing else "")
        self.process = subprocess.Popen(
            [python, str(HERE / program), str(folder), json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
        )
        self.hello = self.read_line()

    def read_line(self) -> Any:
        """Read the next JSON line of the process."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.name)
        return json.loads(line)

    def train(self, steps: int) -> Trained:
        """Let the process train `steps` steps."""
        assert self.process.stdin
        print(steps, file=self.process.stdin, flush=True)
        return Trained(*self.read_line())

    def turn(self, steps: int) -> Turn:
        """Let the process train `steps` steps and return the time per step."""
        return Turn(*self.train(steps)[:2])

    def stop(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.communicate()
