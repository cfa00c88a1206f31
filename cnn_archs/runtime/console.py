"""Print lines for the user on stderr, and format what they say."""

import sys
from collections.abc import Iterable
from contextlib import suppress

from cnn_archs.errors import escaped

SECONDS_PER_LINE = 5.0  # between two plain lines that show progress


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
    """Print lines on stderr, escaped. A closed stderr is ignored: the work should continue."""
    with suppress(BrokenPipeError):
        print("\n".join(map(escaped, text.split("\n"))), file=sys.stderr, flush=True)
