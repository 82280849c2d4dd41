"""What the terminal shows: lines as they come, plain aligned tables, lists in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

SHOWN = 8
"""Names in a sentence; the others are counted."""


def say(line: str) -> None:
    """Show a line at once: what a child prints may follow it."""
    print(line, flush=True)


def plain_table(header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns as wide as their longest cell.

    Args:
        header: names of the columns.
        rows: the cells.
        right: columns that are set to the right.
    """
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(widths[column]) if column in right else cell.ljust(widths[column])
            for column, cell in enumerate(line)
        ).rstrip()
        for line in lines
    )


def some(names: Sequence[str]) -> str:
    """The first of many names in a sentence, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
