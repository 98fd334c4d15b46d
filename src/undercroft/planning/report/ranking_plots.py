"""Plots of a ranking: what a model's size costs at least, and why pairs are out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from undercroft.core.units import format_count
from undercroft.planning.ranking import Candidate, Ranking
from undercroft.planning.report.axes import Frame, draw_label
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.ranking_tables import device_text, parameters_of
from undercroft.planning.report.scales import linear, logarithmic
from undercroft.planning.report.words import money, shortened

_MOST_REASONS = 9
Priced = tuple[int, float, Candidate]


def choices_plot(candidates: Sequence[Candidate]) -> Drawing:
    """Price over the size of the model; those that nothing cheaper and larger beats are joined.

    Args:
        candidates: One or more.
    """
    priced = [(parameters_of(c), c.price, c) for c in candidates if c.price]
    best = larger_ones(candidates)
    described = "; ".join(
        f"{format_count(size)} parameters from {money(price, c.cost.currency)} ({c.model.name} on {device_text(c)})"
        for size, price, c in best
    )
    unpriced = len(candidates) - len(priced)
    beside = f" {unpriced} without a list price are not in the picture." if unpriced else ""
    drawing = Drawing("choices", "What a larger model costs", f"{described or 'No price is known'}.{beside}")
    sizes = [size for size, _, _ in priced] or [1]
    prices = [price for _, price, _ in priced] or [1.0]
    across = logarithmic(min(sizes) / 1.3, max(sizes) * 1.3, 62, 466)
    up = logarithmic(min(prices) / 1.3, max(prices) * 1.3, 252, 40)
    currency = candidates[0].cost.currency
    frame = Frame(across, up, "parameters of the model", f"{currency} to buy", _count, _count)
    frame.draw(drawing)
    for size, price, _ in priced:
        drawing.dot(*frame.point(size, price), 3.5, "f-poor")
    steps = [point for (a, low, _), (b, high, _) in pairwise(best) for point in _step(a, low, b, high)]
    drawing.curve([frame.point(*p) for p in steps or [(s, p) for s, p, _ in best]], "line s-owning")
    for size, price, _ in best:
        drawing.dot(*frame.point(size, price), 5.5, "f-owning edge")
    for size, price, found in {best[0][0]: best[0], best[-1][0]: best[-1]}.values() if best else ():
        x, y = frame.point(size, price)
        # Below the joined ones nothing lies: that would be cheaper and larger.
        draw_label(drawing, x, y + (20 if size > best[0][0] else 5), shortened(found.model.name, 28), "strong t-words")
    return drawing


def larger_ones(candidates: Iterable[Candidate]) -> list[Priced]:
    """From the cheapest on, each that is larger than all that cost no more.

    Args:
        candidates: In any order; those without a price are left out.

    Returns:
        Parameters of the model, price, candidate.
    """
    priced = [(parameters_of(c), c.price, c) for c in candidates if c.price is not None]
    best: list[Priced] = []
    for entry in sorted(priced, key=lambda p: (p[1], -p[0])):
        if not best or entry[0] > best[-1][0]:
            best.append(entry)
    return best


def _step(size: int, price: float, next_size: int, next_price: float) -> list[tuple[float, float]]:
    """What a size between two costs is the price of the larger."""
    return [(size, price), (size, next_price), (next_size, next_price)]


def reasons_plot(ranking: Ranking) -> Drawing:
    """Pairs of model and device by the first reason that they are out.

    Args:
        ranking: With a rejection.
    """
    rows = [(kind, first) for kind, first, _ in ranking.grouped() if first][:_MOST_REASONS]
    described = "; ".join(f"{kind}: {count:,} pairs" for kind, count in rows)
    drawing = Drawing("reasons", "Why the others are out, first reason", f"{described}.")
    scale = linear(max(count for _, count in rows), 132, 420)
    for index, (kind, count) in enumerate(rows):
        y = 12 + 31 * index
        drawing.words(122, y + 15, shortened(kind, 17), "end t-words")
        drawing.bar(132, y, max(1.5, scale.at(count) - 132), 20, "f-good")
        drawing.words(scale.at(count) + 8, y + 15, f"{count:,}", "t-quiet")
    return drawing


def _count(value: float) -> str:
    return format_count(round(value)).replace(".0 ", " ")
