"""Print lines for the user on stderr, and format what they say."""

import sys
from contextlib import suppress

SECONDS_PER_LINE = 5.0  # between two plain lines that show progress


def format_duration(seconds: float | None) -> str:
    """Format a duration as `1 h 05 min`, `12 min` or `40 s`; `?` for None, NaN or less than 0."""
    if seconds is None or not seconds >= 0:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def print_status(text: str) -> None:
    """Print a line on stderr. A closed stderr is ignored, because the work should continue."""
    with suppress(BrokenPipeError):
        print(text, file=sys.stderr, flush=True)
