"""A quality card as Markdown, 80 columns wide. Pure."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

from undercroft.optimize.cards import words
from undercroft.optimize.cards.card import Card
from undercroft.optimize.evaluation.figures import WORDS
from undercroft.planning.report.words import clean

WIDTH = 80
_MEANT = re.compile(r"[\\`*\[\]<>|#]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def markdown_of(card: Card) -> str:
    """The whole card.

    Args:
        card: Any.
    """
    name = words.name_of(card.candidate.subject.name)
    lines = [f"# Quality card: {plain(name)}", "", *wrapped(f"**{plain(words.headline(card)[1])}**")]
    if card.parent is not None:
        lines += ["", *wrapped(f"The parent is {plain(words.name_of(card.parent.subject.name))}.")]
    if error := words.error_sentence(card):
        lines += ["", *wrapped(plain(error) + ".")]
    if card.gate is not None:
        lines += ["", "## Gate", ""]
        for state, sentence in words.gate_rows(card):
            lines += wrapped(f"- {state}: {plain(sentence)}", indent="  ")
    lines += ["", "## Figures", ""]
    rows = words.figure_rows(card)
    if card.parent is not None:
        lines += table(("measure", "candidate", "parent"), rows)
    else:
        lines += table(("measure", "candidate"), [row[:2] for row in rows])
    if tests := words.comparison_sentences(card):
        lines += ["", "## Tests beside the parent", ""]
        for sentence in tests:
            lines += wrapped(f"- {sentence}", indent="  ")
    if languages := words.language_rows(card):
        lines += ["", f"## Languages: {WORDS[words.quality_measure(card)]}", ""]
        if card.parent is not None:
            lines += table(("", "candidate", "parent", "verdict"), languages)
        else:
            lines += table(("", "candidate"), [row[:2] for row in languages])
    if suites := words.suite_rows(card):
        lines += ["", "## Standard suites", ""]
        columns, width = ("suite", "candidate", "parent", "verdict"), 4 if card.parent is not None else 2
        lines += table(columns[:width], [row[:width] for row in suites])
    lines += ["", "## How the figures came about", ""]
    for sentence in words.circumstance_sentences(card):
        lines += wrapped(f"- {plain(sentence)}", indent="  ")
    return "\n".join([*lines, "", f"Made {card.circumstances.made_at} by Undercroft.", ""])


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells one below the other, so that it reads as text, too."""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(3, *(len(row[at]) for row in [columns, *cells])) for at in range(len(columns))]
    lines = [_line(columns, widths), "|" + "|".join("-" * (width + 2) for width in widths) + "|"]
    return lines + [_line(row, widths) for row in cells]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def wrapped(text: str, indent: str = "") -> list[str]:
    """Lines of 80 columns, those after the first indented."""
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def plain(text: str) -> str:
    """A text from outside in which Markdown and HTML mean nothing. Within a word ``_`` means nothing anyhow."""
    return _MEANT.sub(r"\\\g<0>", clean(text))
