"""Show the progress of work on stderr: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import IO, Self, cast

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from cnn_archs.runtime.console import (
    SECONDS_PER_LINE,
    BestEffortStream,
    format_duration,
    is_status_printed,
    print_status,
)


class Terminal(Console):
    """The terminal of stderr, which keeps its cursor: the process may end at any moment."""

    def __init__(self) -> None:
        super().__init__(file=cast(IO[str], BestEffortStream(sys.stderr)))

    def show_cursor(self, show: bool = True) -> bool:
        return False


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """Show step, loss, error, learning rate, images/s and remaining time of a training.

    total: steps of the training; first: the step at which this process starts. Images/s and
    remaining time are measured without the calls that compile. silent: show nothing, because
    another process of the run does. now: the clock, in seconds.
    """

    def __init__(
        self,
        total: int,
        images_per_step: int,
        first: int,
        silent: bool = False,
        now: Callable[[], float] = time.monotonic,
    ):
        self.total, self.images_per_step, self.now = total, images_per_step, now
        self.start_step, self.start = first, now()
        self.shown = -SECONDS_PER_LINE
        self.silent = silent
        self.bar: Progress | None = None
        if sys.stderr.isatty() and is_status_printed() and not silent:
            columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
            self.bar = Progress(*columns, console=Terminal(), transient=True)
            self.task = self.bar.add_task("", total=total, completed=first, text="compiling")

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def is_due(self) -> bool:
        """Return whether it is time for another plain line."""
        return not (self.bar or self.silent) and time.monotonic() - self.shown >= SECONDS_PER_LINE

    def tick(self, step: int, compile_steps: int, compile_seconds: float) -> None:
        """Update the bar after a call that ended at `step`.

        compile_steps, compile_seconds: the steps and seconds of the call if it compiled a program,
        else 0. They do not count for images/s.
        """
        self.start_step += compile_steps
        self.start += compile_seconds
        if compile_seconds >= SECONDS_PER_LINE:
            self.print_line(f"compiled in {format_duration(compile_seconds)}")
        if self.bar:
            self.bar.update(self.task, completed=step)

    def images_per_second(self, step: int) -> float:
        """Return images per second, without compilation; 0 if too little time has passed."""
        seconds = self.now() - self.start
        return (step - self.start_step) * self.images_per_step / seconds if seconds > 0.05 else 0.0

    def show(self, step: int, loss: float, error: float, learning_rate: float) -> None:
        """Show the state of the training at `step`. error: a fraction of 1."""
        text = f"loss {loss:.4f}  error {100 * error:.2f} %  lr {learning_rate:.3g}"
        if rate := self.images_per_second(step):
            left = format_duration((self.total - step) * self.images_per_step / rate)
            text += f"  {rate:,.0f} images/s  {left} left"
        if self.bar:
            self.bar.update(self.task, completed=step, text=text)
        elif self.is_due():
            self.shown = time.monotonic()
            print_status(f"step {step}/{self.total}  {text}")

    def print_line(self, text: str) -> None:
        """Print a line that stays on the screen."""
        if self.bar:
            self.bar.console.print(text, highlight=False, markup=False)
        elif not self.silent:
            print_status(text)


class WorkLine(AbstractContextManager["WorkLine"]):
    """Show how much of a piece of work is done, and what is being done."""

    def __init__(self, name: str):
        self.name = name
        self.shown = time.monotonic()
        self.bar: Progress | None = None
        if sys.stderr.isatty():
            columns = (BarColumn(20), TextColumn("{task.description}", markup=False))
            self.bar = Progress(*columns, console=Terminal(), transient=True)
            self.task = self.bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def is_due(self) -> bool:
        """Return whether to print a plain line now; if so, the time until the next one starts."""
        if time.monotonic() - self.shown < SECONDS_PER_LINE:
            return False
        self.shown = time.monotonic()
        return True

    def show(self, text: Callable[[], str], done: float, total: float | None) -> None:
        """Show that `done` of `total` is done. total: None if it is not known.

        text: what to say of it, asked for only when it is shown.
        """
        if self.bar:
            line = f"{self.name}: {text()}"
            self.bar.update(self.task, completed=done, total=total, description=line)
        elif self.is_due():
            print_status(f"{self.name}: {text()}")
