"""Reports as one file each. What is shown is decided in `tables` and the plots; templates lay it out and escape it."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.planning.assumptions import Assumptions
from undercroft.planning.plan import Plan
from undercroft.planning.ranking import Ranking
from undercroft.planning.report import tables
from undercroft.planning.report.drawing import sheet
from undercroft.planning.report.layout import render_page, shown_drawing
from undercroft.planning.report.memory_plots import memory_plot, quantization_plot
from undercroft.planning.report.money_plots import even_load_sentence, even_month_sentences, load_plot, months_plot
from undercroft.planning.report.ranking_plots import choices_plot, larger_ones, reasons_plot
from undercroft.planning.report.ranking_tables import candidate_rows, reason_rows, rejection_groups

_SHOWN_CANDIDATES = 25


def html_of_plan(plan: Plan, explained: Sequence[str], made_at: str) -> str:
    """A page of a plan that stands alone: no script, nothing fetched, light and dark, for A4 too.

    Args:
        plan: Any; also one that does not fit or has no price.
        explained: Line by line how the figures came about.
        made_at: Date and time in UTC, for the foot.

    Returns:
        A whole HTML file. Texts from outside are escaped, and control characters are taken out of them.
    """
    tone, headline, sentence = tables.verdict_of(plan)
    cost = plan.cost
    return render_page(
        "plan.html.j2",
        title=f"{plan.subject.name} on {plan.site.target.name}",
        subtitle=tables.subtitle_of(plan),
        tone=tone,
        headline=headline,
        sentence=sentence,
        tiles=tables.tiles_of(plan),
        memory=shown_drawing(memory_plot(plan)),
        memory_rows=tables.memory_rows(plan),
        quantizations=shown_drawing(quantization_plot(plan)),
        choice_rows=tables.choice_rows(plan),
        speed_rows=tables.speed_rows(plan),
        load=shown_drawing(load_plot(plan, cost)) if cost is not None else None,
        months=shown_drawing(months_plot(plan, cost)) if cost is not None else None,
        bill_rows=tables.bill_rows(cost) if cost is not None else [],
        comparison_rows=tables.comparison_rows(cost) if cost is not None else [],
        even_sentences=[even_load_sentence(cost), *even_month_sentences(cost, plan.assumptions.years)]
        if cost is not None
        else [],
        licence=plan.subject.licence,
        notes=plan.notes,
        assumption_rows=tables.assumption_rows(plan),
        explained=explained,
        made_at=made_at,
    )


def svg_of_plan(plan: Plan) -> str:
    """The plots of a plan on one picture that stands alone.

    Args:
        plan: Any; one that does not fit has no plots of money.

    Returns:
        A whole SVG file with a text alternative.
    """
    drawings = [memory_plot(plan), quantization_plot(plan)]
    if plan.cost is not None:
        drawings += [load_plot(plan, plan.cost), months_plot(plan, plan.cost)]
    _, headline, sentence = tables.verdict_of(plan)
    title = f"{plan.subject.name} on {plan.site.target.name}"
    return sheet(title, [tables.subtitle_of(plan), f"{headline}. {sentence}"], drawings)


def html_of_ranking(
    ranking: Ranking,
    need_text: str,
    made_at: str,
    *,
    filled: Sequence[tuple[str, str, str]] = (),
    assumed: Assumptions | None = None,
) -> str:
    """A page of everything that was looked at for a need: what does it, the cheapest first, and why the rest does not.

    Args:
        ranking: Any; also one without a candidate.
        need_text: As it was asked.
        made_at: Date and time in UTC, for the foot.
        filled: Name, value and why of each that the need left open and was filled in.
        assumed: What costs were computed with; None shows none.

    Returns:
        A whole HTML file, as `html_of_plan` says.
    """
    rows = candidate_rows(ranking.candidates)
    rank_of = {id(found): rank for rank, found in enumerate(ranking.candidates, 1)}
    larger = [found for _, _, found in larger_ones(ranking.candidates)]
    return render_page(
        "ranking.html.j2",
        title="What does it, the cheapest first",
        need=need_text,
        filled=filled,
        assumption_rows=tables.money_assumption_rows(assumed) if assumed is not None else [],
        ranking=ranking,
        first_rows=rows[:_SHOWN_CANDIDATES],
        larger_rows=candidate_rows(larger, [rank_of[id(found)] for found in larger]),
        further_rows=rows[_SHOWN_CANDIDATES:],
        choices=shown_drawing(choices_plot(ranking.candidates)) if ranking.candidates else None,
        reasons=shown_drawing(reasons_plot(ranking)) if ranking.rejections else None,
        reason_rows=reason_rows(ranking),
        rejections=rejection_groups(ranking.rejections),
        made_at=made_at,
    )
