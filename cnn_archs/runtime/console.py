"""Print what a command found on stdout, and all else that the user reads on stderr."""

import io
import os
import sys
from collections.abc import Iterable
from contextlib import suppress

from cnn_archs.errors import DataError, escaped

SECONDS_PER_LINE = 5.0  # between two plain lines that show progress


def escaped_lines(text: str) -> str:
    """Return the lines of `text`, each as `escaped` returns it."""
    return "\n".join(map(escaped, text.split("\n")))


def prepare_streams() -> None:
    """Make stdout and stderr of this process UTF-8, and open those that are closed.

    A closed stream is opened as /dev/null. Otherwise the next file that is opened would get its
    number, and what a library prints would be written into that file.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = vars(sys)[name]
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def print_result(text: str) -> None:
    """Print what a command found on stdout; unprintable characters are escaped.

    Raises BrokenPipeError if the reader has closed stdout, DataError if it cannot be written.
    """
    try:
        print(escaped_lines(text), flush=True)
    except BrokenPipeError:
        discard_stdout()
        raise
    except OSError as e:
        discard_stdout()
        raise DataError(f"cannot write to the standard output: {e.strerror or e}") from e


def discard_stdout() -> None:
    """Lead stdout to /dev/null, since Python writes what it still holds when the process ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())
        os.close(null)


def format_duration(seconds: float | None) -> str:
    """Format a duration as `1 h 05 min`, `12 min` or `40 s`; `?` for None, NaN or less than 0."""
    if seconds is None or not seconds >= 0:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def print_notes(notes: Iterable[str]) -> None:
    """Print each of `notes` on a line of its own on stderr."""
    for note in notes:
        print_status(f"note: {note}")


def print_status(text: str) -> None:
    """Print lines on stderr. One that cannot be written is lost, since the work should go on."""
    with suppress(OSError, ValueError):
        print(escaped_lines(text), file=sys.stderr, flush=True)
