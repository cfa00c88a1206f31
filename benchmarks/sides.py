"""A side of a comparison in a process of its own, which sleeps on a pipe while another works.

The process is a program that is given a folder and settings. It says hello with one JSON line, and
then answers each line on its stdin, a number of steps, with one JSON line for those steps.
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
    """Seconds of each of some training steps, and the loss of the first of them."""

    seconds: float
    cpu_seconds: float
    first_loss: float


def answer(value: Any) -> None:
    """Says `value` to the process that started this one."""
    print(json.dumps(value), flush=True)


def serve(hello: dict[str, Any], train: Callable[[int], float]) -> None:
    """Serves a side until stdin ends. `train(steps)` returns the loss of the first step."""
    answer(hello)
    for line in sys.stdin:
        steps = int(line)
        turn, first_loss = timed(partial(train, steps), steps)
        answer(Trained(*turn, first_loss))


class Side:
    """The program `program` of this folder, started with `python`.

    hello: what it says of itself. RuntimeError, with the advice `missing`, where it ends early.
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
        self.hello = self.heard()

    def heard(self) -> Any:
        """The next line that the process says."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(self.name)
        return json.loads(line)

    def train(self, steps: int) -> Trained:
        """Lets the process make so many steps."""
        assert self.process.stdin
        print(steps, file=self.process.stdin, flush=True)
        return Trained(*self.heard())

    def turn(self, steps: int) -> Turn:
        """The time of `train`."""
        return Turn(*self.train(steps)[:2])

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.communicate()
