"""``undercroft drift``: what the detectors see, and what they hold to be usual."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, print_json, print_table, print_wrapped
from undercroft.core.clock import utc_now
from undercroft.core.errors import NotFoundError
from undercroft.storage import journal
from undercroft.watch.drift import forget, survey
from undercroft.watch.drift.gauges import Gauge, Standing, gauges_of

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def show(
    name: Annotated[str | None, typer.Argument(help="A deployment or a model.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Show every detector: what it watches, how many values it has, how far it is from its limit."""
    home, database = open_database()
    drift = survey(database, home, utc_now())
    gauges = gauges_of(drift, name)
    if name is not None and not gauges:
        raise NotFoundError(
            "nothing-watched",
            f"no detector watches '{name}': nobody has asked it anything yet, or there is none of that name",
            hint="undercroft drift show",
        )
    findings = [finding for finding in drift.findings() if name is None or finding.subject == name]
    if as_json:
        plain = {"findings": [finding.to_dict() for finding in findings], "detectors": [g.to_dict() for g in gauges]}
        print_json(plain)
        return
    for finding in findings:
        print_wrapped(f"{finding.severity.value.upper()}: {finding.sentence}", indent="  ")
    if findings:
        typer.echo()
    print_table(
        ["=name", "=out of", "=watches", "=state", ">values", ">of limit", "=since (UTC)"],
        [_cells(gauge) for gauge in gauges],
        empty="Nothing is watched yet. Try: undercroft probe init NAME",
    )


@app.command()
def reset(
    name: Annotated[str, typer.Argument(help="A deployment.")], because: Reason = None, as_json: AsJson = False
) -> None:
    """Say that what a deployment does now is as it should be: what is usual is learnt anew, from what comes.

    For standard questions `undercroft probe baseline` does it at once, for it asks.
    """
    _, database = open_database()
    now = utc_now()
    with database.write() as connection:
        count = forget(connection, name, now)
        if not count:
            raise NotFoundError(
                "nothing-watched", f"no detector has learnt anything of '{name}'", hint="undercroft drift show"
            )
        journal.record(
            connection,
            actor=current_actor(),
            action="drift.reset",
            subject=name,
            before={"detectors_of": count},
            reason=because,
        )
    if as_json:
        print_json({"name": name, "forgotten": count})
        return
    typer.echo(f"What is usual of {name} is learnt anew.")


def _cells(gauge: Gauge) -> list[str]:
    learns = gauge.standing is Standing.LEARNING
    return [
        gauge.subject,
        gauge.source,
        gauge.kind.value,
        gauge.standing.value if gauge.standing is not Standing.ALARM else "ALARM",
        f"{gauge.values} of {gauge.wanted}" if learns else str(gauge.values),
        "-" if gauge.limit_ratio is None else f"{100 * gauge.limit_ratio:.0f} %",
        gauge.since[:16].replace("T", " ") if gauge.since else "-",
    ]
