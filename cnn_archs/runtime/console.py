"""Print what a command found on stdout, and all else that the user reads on stderr."""

import io
import os
import re
import sys
from contextlib import suppress

from cnn_archs.errors import DataError

SECONDS_PER_LINE = 5.0  # between two plain lines that show progress

# Control characters, marks that reverse the direction of text, line and paragraph separators,
# and bytes of file names that are not UTF-8, which Python keeps as surrogates.
UNPRINTABLE = re.compile(
    "[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


def printable(text: object) -> str:
    """Return str(text) in one line, in which unprintable characters are escaped, as in `\\x1b`."""
    return UNPRINTABLE.sub(lambda match: escape(match[0]), decoded(str(text)))


def printable_lines(text: str) -> str:
    """Return `text` as `printable` does, but with its line feeds and tabs."""
    return UNPRINTABLE.sub(
        lambda match: match[0] if match[0] in "\n\t" else escape(match[0]), decoded(text)
    )


def escape(character: str) -> str:
    """Return a character as Python's escape sequence."""
    return ascii(character)[1:-1]


def decoded(text: str) -> str:
    """Return `text` with names of files as UTF-8, where the locale had them read as other bytes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode()
    except UnicodeError:
        return text


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
        print(printable_lines(text), flush=True)
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


def print_status(text: str) -> None:
    """Print a line on stderr. One that cannot be written is lost, since the work should go on."""
    with suppress(OSError, ValueError):
        print(printable_lines(text), file=sys.stderr, flush=True)
