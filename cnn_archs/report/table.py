"""The one table type: rows of text, printed as aligned text, Markdown, or HTML."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from cnn_archs.errors import escaped


class Table(NamedTuple):
    """Rows of text under `heads`, which may be empty.

    words: the columns that hold words and are flush left; the others hold numbers and are flush
    right. Only a report uses the rest. caption: a description of all values. order: the column by
    whose numbers the rows are sorted, the least first, if any. best: the number of rows at the top
    that are marked as the best.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: Collection[int] = (0,)
    caption: str = ""
    order: int | None = None
    best: int = 0

    def text(self) -> str:
        """Format the table for a terminal, with columns aligned by spaces."""
        printed = [self.heads, *self.rows] if self.heads else self.rows
        lines = [[escaped(cell) for cell in line] for line in printed]
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
        printed = (self.heads, rule, *self.rows)
        lines = [[escaped(cell).replace("|", "\\|") for cell in line] for line in printed]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
