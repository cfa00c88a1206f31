"""Print results on stdout and lines for the user on stderr, and format what they say."""

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import TextIO

from cnn_archs.errors import DataError, escaped

SECONDS_PER_LINE = 5.0  # between two plain lines that show progress


def format_duration(seconds: float | None) -> str:
    """Format a duration as `1 h 05 min`, `12 min` or `40 s`; `?` for None, NaN or less than 0."""
    if seconds is None or not seconds >= 0:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


class BestEffortStream:
    """Writes to `stream`; what cannot be written is lost, and work goes on.

    A stderr may be closed, be on a full disk, or belong to a terminal that is gone.
    """

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()


def print_notes(notes: Iterable[str]) -> None:
    """Print each of `notes` on a line of its own on stderr."""
    for note in notes:
        print_status(f"note: {note}")


def print_status(text: str) -> None:
    """Print lines on stderr, escaped, if it can be written: the work should go on without it."""
    with suppress(OSError, ValueError):
        print("\n".join(map(escaped, text.split("\n"))), file=sys.stderr, flush=True)


def print_result(text: str) -> None:
    """Print the result of a command on stdout. Raises DataError if it cannot be written.

    A BrokenPipeError passes: the reader of stdout has seen enough.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as e:
        raise DataError(f"cannot write to the standard output: {e.strerror}") from e


def open_streams() -> None:
    """Open /dev/null in place of each standard stream that is closed.

    Otherwise the next file that is opened would take its place, and get what libraries print.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (until the process ends)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # characters that the locale lacks are escaped
            stream.reconfigure(errors="backslashreplace")


def close_streams() -> None:
    """Flush stdout and stderr, and give up what cannot be written.

    Python would report it at exit, and replace the exit code by 120.
    """
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except (OSError, ValueError):
            give_up(number)


def give_up(number: int) -> None:
    """Replace the standard stream of this number by /dev/null."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, number)
    os.close(null)
