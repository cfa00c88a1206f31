"""What a person sees while a run goes on: a live bar on a terminal, plain lines elsewhere."""

import sys
import time
from contextlib import AbstractContextManager, suppress
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

SECONDS_PER_LINE = 5.0  # between plain lines


class ProgressLine(AbstractContextManager["ProgressLine"]):
    """step, loss, error, learning rate, images/s and time left, on stderr.

    Images/s and time left count from the second update on: the first has the compilation in it.
    silent: nothing is said, since another process does.
    """

    def __init__(self, total: int, images_per_step: int, first: int, silent: bool = False):
        self.total, self.images_per_step = total, images_per_step
        self.start_step, self.start = first, time.monotonic()
        self.warm = False
        self.shown = -SECONDS_PER_LINE
        self.silent = silent
        self.bar: Progress | None = None
        if sys.stderr.isatty() and not silent:
            columns = (BarColumn(20), MofNCompleteColumn(), TextColumn("{task.fields[text]}"))
            self.bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self.task = self.bar.add_task("", total=total, completed=first, text="compiling")

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self.bar:
            self.bar.stop()

    def is_due(self) -> bool:
        """Is it time for another plain line?"""
        return not (self.bar or self.silent) and time.monotonic() - self.shown >= SECONDS_PER_LINE

    def tick(self, step: int) -> None:
        """A dispatch ended at `step`."""
        if not self.warm:
            self.start_step, self.start, self.warm = step, time.monotonic(), True
        if self.bar:
            self.bar.update(self.task, completed=step)

    def images_per_second(self, step: int) -> float:
        """Images a second since the first dispatch; 0 where that cannot be said yet."""
        seconds = time.monotonic() - self.start
        return (step - self.start_step) * self.images_per_step / seconds if seconds > 0.05 else 0.0

    def show(self, step: int, loss: float, error: float, learning_rate: float) -> None:
        """The line itself."""
        rate = self.images_per_second(step)
        left = (self.total - step) * self.images_per_step / rate if rate else float("nan")
        text = (
            f"loss {loss:.4f}  error {100 * error:.2f} %  lr {learning_rate:.3g}  "
            f"{rate:,.0f} images/s  {format_duration(left)} left"
        )
        if self.bar:
            self.bar.update(self.task, completed=step, text=text)
        elif self.is_due():
            self.shown = time.monotonic()
            print_status(f"step {step}/{self.total}  {text}")

    def print_line(self, text: str) -> None:
        """A line that stays."""
        if self.bar:
            self.bar.console.print(text, highlight=False)
        elif not self.silent:
            print_status(text)


def format_duration(seconds: float | None) -> str:
    """Returns `1 h 05 min`, `12 min` or `40 s`; `?` for None, NaN and a negative number."""
    if seconds is None or not seconds >= 0:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def print_status(text: str) -> None:
    """A line on stderr, for whoever still reads it: work does not end because nobody does."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)
