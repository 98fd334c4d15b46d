"""How rows fit a terminal: as columns where no word has to be broken, else one below the other. No printing."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len

GAP = 2
_INDENT = "  "


def column_widths(rows: Sequence[Sequence[str]], can_wrap: Sequence[bool], available: int) -> list[int] | None:
    """Widths at which every column holds its longest word.

    Args:
        rows: Cells, the headings among them; at least one row, all of the same length.
        can_wrap: For each column, whether its cells may be broken between words.
        available: Width of the terminal; cells of a terminal, of which a CJK letter takes two.

    Returns:
        A width for each column, which with `GAP` between them fit; None where they cannot.
    """
    columns = list(zip(*rows, strict=True))
    natural = [max(cell_len(cell) for cell in column) for column in columns]
    least = [
        max(_longest_word(cell) for cell in column) if wraps else whole
        for column, wraps, whole in zip(columns, can_wrap, natural, strict=True)
    ]
    spare = available - GAP * (len(columns) - 1) - sum(least)
    if spare < 0:
        return None
    widths = list(least)
    # Who needs least is served first, so that what is left over goes to those who need more.
    order = sorted(range(len(columns)), key=lambda index: natural[index] - least[index])
    for place, index in enumerate(order):
        share = min(natural[index] - least[index], spare // (len(order) - place))
        widths[index] += share
        spare -= share
    return widths


def stacked(names: Sequence[str], rows: Sequence[Sequence[str]], available: int) -> list[str]:
    """Each row as lines of its own: its first cell, and below it the others with their names.

    A line is broken between cells; a cell that is wider than the terminal is broken between words. A word is never
    broken, for it may be something to copy.

    Args:
        names: Of the columns.
        rows: Cells of each row; an empty one is left out.
        available: Width of the terminal, in its cells.
    """
    lines = []
    for row in rows:
        lines.append(row[0] or "-")
        line = ""
        for name, cell in zip(names[1:], row[1:], strict=True):
            pair = f"{name} {cell}"
            joined = f"{line}{_INDENT}{pair}"
            if not cell:
                continue
            if line and cell_len(joined) > available:
                lines.append(line)
                joined = _INDENT + pair
            line = joined
            if cell_len(line) > available:
                lines += _broken(pair, available)
                line = ""
        if line:
            lines.append(line)
    return lines


def _broken(text: str, available: int) -> list[str]:
    return textwrap.wrap(
        text,
        max(available, 20),
        initial_indent=_INDENT,
        subsequent_indent=_INDENT * 2,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _longest_word(cell: str) -> int:
    return max((cell_len(word) for word in cell.split()), default=0)
