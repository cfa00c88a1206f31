"""The one table type: rows of text that are printed aligned, as Markdown, or by a page as HTML."""

from collections.abc import Collection, Sequence
from typing import NamedTuple


class Table(NamedTuple):
    """Rows of text under `heads`, or without heads where these are empty.

    words: the columns that hold words and are flush left; the others hold numbers and are flush
    right. caption: what all values have in common; it is printed by a report only.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[int] = (0,)
    caption: str = ""

    def text(self) -> str:
        """Formats the table for a terminal, columns aligned with spaces."""
        lines = [self.heads, *self.rows] if self.heads else self.rows
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if i in self.words else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    def markdown(self) -> str:
        """Formats the table in Markdown, which needs heads."""
        rule = ["---" if i in self.words else "---:" for i in range(len(self.heads))]
        lines = [
            [cell.replace("|", "\\|") for cell in line] for line in (self.heads, rule, *self.rows)
        ]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
