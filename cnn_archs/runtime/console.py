"""Print results on stdout and lines for the user on stderr, and format what they say."""

import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TextIO

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
        discard(sys.stdout)
        raise
    except OSError as e:
        discard(sys.stdout)
        raise DataError(f"cannot write to the standard output: {e.strerror or e}") from e


def close_streams() -> None:
    """Flush stdout and stderr, and give up what cannot be written.

    Python would report it at exit, and replace the exit code by 120.
    """
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            discard(stream)


def discard(stream: TextIO) -> None:
    """Lead `stream` to /dev/null, since Python writes what it still holds when the process ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def counted(number: int, noun: str) -> str:
    """Format a number of things: `1 network`, `2 networks`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


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
    """Print each of `notes` as a line of its own; see `print_status`."""
    for note in notes:
        print_status(f"note: {note}")


def print_on_stderr(text: str) -> None:
    """Print lines on stderr, escaped, if it can be written: the work should go on without it."""
    with suppress(OSError, ValueError):
        print(escaped_lines(text), file=sys.stderr, flush=True)


def write_to_log(text: str) -> None:
    """Write lines to the log "cnn_archs" of the module logging, which by default shows none."""
    import logging  # here, because this module is imported before signals are answered

    logging.getLogger("cnn_archs").info("%s", escaped_lines(text))


STATUS: ContextVar[Callable[[str], None]] = ContextVar("STATUS", default=print_on_stderr)


def print_status(text: str) -> None:
    """Print lines for the user on stderr, or write them to a log inside `status_in_log`."""
    STATUS.get()(text)


@contextmanager
def status_if_slow(text: str) -> Iterator[None]:
    """Print a line for the user if the body takes longer than SECONDS_PER_LINE."""
    from threading import Timer  # here, because this module is imported before signals are answered

    timer = Timer(SECONDS_PER_LINE, STATUS.get(), (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def status_in_log() -> Iterator[None]:
    """Let what this thread prints with `print_status` during the body go to `write_to_log`."""
    before = STATUS.set(write_to_log)
    try:
        yield
    finally:
        STATUS.reset(before)


def is_status_printed() -> bool:
    """Return whether the lines of `print_status` go to stderr."""
    return STATUS.get() is print_on_stderr
