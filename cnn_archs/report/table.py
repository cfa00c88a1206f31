"""The one table type: rows of text, printed as aligned text, Markdown, or HTML."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from cnn_archs.runtime.console import printable


class Table(NamedTuple):
    """Rows of text under `heads`, which may be empty.

    words: the columns that hold words and are flush left; the others hold numbers and are flush
    right. caption: a description of all values, which only a report prints.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[int] = (0,)
    caption: str = ""

    def text(self) -> str:
        """Format the table for a terminal, with columns aligned by spaces."""
        rows = [list(map(printable, row)) for row in self.rows]
        lines = [self.heads, *rows] if self.heads else rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i in self.words else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """Format the table in Markdown; `heads` must not be empty."""
        rule = ["---" if i in self.words else "---:" for i in range(len(self.heads))]
        lines = [
            [printable(cell).replace("|", "\\|") for cell in line]
            for line in (self.heads, rule, *self.rows)
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
