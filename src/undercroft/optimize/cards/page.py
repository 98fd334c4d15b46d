"""A quality card as one page that stands alone: no script, nothing fetched, light and dark."""

from __future__ import annotations

from pathlib import Path

from undercroft.optimize.cards import words
from undercroft.optimize.cards.card import Card
from undercroft.optimize.cards.plots import language_plot, size_plot
from undercroft.optimize.evaluation.figures import WORDS
from undercroft.planning.report.layout import render_page, shown_drawing


def page_of(card: Card) -> str:
    """The whole card as HTML.

    Args:
        card: Any.
    """
    tone, sentence = words.headline(card)
    drawings = [drawing for drawing in (size_plot(card), language_plot(card)) if drawing is not None]
    return render_page(
        "card.html.j2",
        Path(__file__).parent,
        title=words.name_of(card.candidate.subject.name),
        parent=words.name_of(card.parent.subject.name) if card.parent is not None else "",
        tone=tone,
        sentence=sentence,
        error=words.error_sentence(card),
        gate_rows=words.gate_rows(card),
        plots=[shown_drawing(drawing) for drawing in drawings],
        figure_rows=words.figure_rows(card),
        tests=words.comparison_sentences(card),
        language_title=WORDS[words.quality_measure(card)],
        language_rows=words.language_rows(card),
        suite_rows=words.suite_rows(card),
        circumstances=words.circumstance_sentences(card),
        made_at=card.circumstances.made_at,
    )
