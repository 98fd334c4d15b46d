"""``undercroft plan --need``: every model of the catalogue on every device, for one need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.licences import load_licences
from undercroft.cli.errors import EXIT_STATUS
from undercroft.cli.need_json import ranking_as_dict
from undercroft.cli.need_text import (
    CANDIDATE_COLUMNS,
    REASON_COLUMNS,
    candidate_rows,
    legend_of,
    ranking_sentence,
    reason_rows,
)
from undercroft.cli.output import console, print_json, print_table, print_wrapped
from undercroft.cli.plan_request import assumptions_of, surroundings
from undercroft.cli.plan_text import MOST_COLUMNS, wrapped
from undercroft.cli.report_files import write_report
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UnavailableError
from undercroft.hardware.catalogue import find_device, load_devices
from undercroft.planning.needs import Need, assumed_in, parse_need
from undercroft.planning.ranking import Candidate, Ranking, cheapest_per_machine, rank, reasons_of
from undercroft.planning.report import html_of_ranking


def plan_need(
    text: str,
    *,
    device: str | None,
    assumed: Sequence[str],
    show_all: bool,
    top: int,
    as_json: bool,
    html_file: Path | None,
) -> None:
    """Ranks and prints; exit status 6 where nothing satisfies the need.

    Args:
        text: The need as it was written.
        device: Only this one is looked at; None for all.
        assumed: ``name=value`` each.
        show_all: Everything that does, and each that does not with its reasons.
        top: Otherwise, so many.
        as_json: For a program.
        html_file: Where a report is written; None for none.
    """
    around = surroundings()
    need = parse_need(text)
    assumptions = assumptions_of(around.settings, assumed)
    known = load_devices(around.home.root)
    devices = known if device is None else {(one := find_device(known, device)).id: one}
    licences = load_licences(around.home.catalogue)
    ranking = rank(load_catalogue(around.home.catalogue).models, devices.values(), licences, need, assumptions)
    if html_file is not None:
        page = html_of_ranking(ranking, text, to_iso(utc_now()), filled=assumed_in(need), assumed=assumptions)
        write_report(html_file, page)
    shown = ranking.candidates if show_all else cheapest_per_machine(ranking.candidates, 1)[:top]
    if as_json:
        print_json({"need": text, **ranking_as_dict(ranking, need, shown)})
    else:
        _print_ranking(ranking, need, shown)
        if show_all:
            width = min(console().width, MOST_COLUMNS)
            lines = [
                line for one in reasons_of(ranking.rejections, devices) for line in wrapped(one, width, indent="    ")
            ]
            typer.echo("\n".join(["", *lines]))
    if not ranking.candidates:
        raise typer.Exit(EXIT_STATUS[UnavailableError])


def _print_ranking(ranking: Ranking, need: Need, shown: Sequence[Candidate]) -> None:
    print_wrapped(ranking_sentence(ranking))
    for name, value, why in assumed_in(need):
        print_wrapped(f"- {name}={value} was not asked for and is assumed: {why}", indent="  ")
    typer.echo()
    if shown:
        print_table(CANDIDATE_COLUMNS, candidate_rows(shown), empty="")
        typer.echo()
        print_wrapped(legend_of(shown, shown[0].cost.currency))
        print_wrapped(_rest(len(ranking.candidates) - len(shown)))
    if ranking.rejections:
        typer.echo()
        print_table(REASON_COLUMNS, reason_rows(ranking), empty="")


def _rest(count: int) -> str:
    """What is not in the table, and where it is."""
    more = f"The cheapest of each device; {count:,} more, and every reason: --all. " if count else ""
    return f"{more}One of them in full: undercroft plan MODEL --device NAME --users N"
