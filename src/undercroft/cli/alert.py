"""``undercroft alert``: who is told when something is wrong, and whether they were."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from undercroft.cli.opening import open_database, open_home, settings_of
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.core.clock import utc_now
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.settings import AlertSettings
from undercroft.watch.incidents import outbox
from undercroft.watch.incidents.alerting import send_test
from undercroft.watch.incidents.delivery import State
from undercroft.watch.sinks.all import ALERTMANAGER, SINKS, configured
from undercroft.watch.sinks.contract import Result

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_EXIT_NOT_SENT = 1

Sink = Annotated[str | None, typer.Argument(help=f"One of {', '.join(SINKS)}, {ALERTMANAGER}.", show_default=False)]


@app.command("test")
def try_sinks(sink: Sink = None, as_json: AsJson = False) -> None:
    """Tell one sink, or all that the settings name, that nothing is wrong.

    It works without a server. The exit status is 0 where all took it, else 1.
    """
    settings = settings_of(open_home()).alerts
    outcomes = send_test(settings, _chosen(settings, sink), utc_now())
    if as_json:
        print_json({name: {"result": one.result.value, "problem": one.problem} for name, one in outcomes.items()})
    else:
        for name, one in outcomes.items():
            said = "it has it" if one.result is Result.SENT else "NOT SENT"
            print_wrapped(f"{name}: {said}{f'; {one.problem}' if one.problem else ''}", indent="  ")
    if any(one.result is not Result.SENT for one in outcomes.values()):
        raise typer.Exit(_EXIT_NOT_SENT)


@app.command("list")
def list_alerts(
    dead: Annotated[bool, typer.Option("--dead", help="Only those that no try could deliver.")] = False,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=100_000, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show what was told to whom, the newest first, and what could not be delivered."""
    home, database = open_database()
    sinks = configured(settings_of(home).alerts)
    with database.read() as connection:
        found = outbox.list_newest(connection, limit=last, state=State.DEAD if dead else None)
        states = outbox.states_of(connection, sinks)
    if as_json:
        print_json({"sinks": [state.to_dict() for state in states], "alerts": found})
        return
    print_table(
        [">id", "=at (UTC)", "=sink", "what", "=state", ">tries", "problem"],
        [_row(one) for one in found],
        empty="Everything was delivered." if dead else "Nothing was told to anybody yet.",
    )
    for sentence in sink_sentences([state.to_dict() for state in states]):
        print_wrapped(sentence, indent="  ")
    if not sinks:
        typer.echo("The settings name nobody who is told: docs/guide/alerts.md")


@app.command()
def retry(sink: Sink = None, as_json: AsJson = False) -> None:
    """Try again what could not be delivered, of one sink or of all."""
    home, database = open_database()
    if sink is not None:
        _chosen(settings_of(home).alerts, sink)
    with database.write() as connection:
        count = outbox.retry(connection, sink, utc_now())
    if as_json:
        print_json({"retried": count})
    else:
        typer.echo(f"{count} are tried again by the server." if count else "Everything was delivered.")


def sink_sentences(states: list[dict[str, Any]]) -> list[str]:
    """Which sinks lack something; nothing where all have what they are to have.

    Args:
        states: `undercroft.watch.incidents.outbox.SinkState` as plain data.
    """
    said = []
    for state in states:
        problem = f" ({state['problem']})" if state["problem"] else ""
        if state["dead"]:
            said.append(f"ALERTS to {state['sink']}: {state['dead']} could not be delivered{problem}.")
        elif state["waiting"] and state["problem"]:
            said.append(f"Alerts to {state['sink']}: {state['waiting']} wait for another try{problem}.")
    return said


def _chosen(settings: AlertSettings, sink: str | None) -> tuple[str, ...]:
    names = configured(settings)
    if settings.alertmanager_url_file is not None:
        names = (*names, ALERTMANAGER)
    if sink is None:
        if not names:
            raise NotFoundError(
                "no-sink", "the settings name nobody who is told", hint="undercroft config show; docs/guide/alerts.md"
            )
        return names
    if sink not in (*SINKS, ALERTMANAGER):
        raise InvalidError("no-such-sink", f"expected one of {', '.join(SINKS)}, {ALERTMANAGER}, got {sink[:40]!r}")
    if sink not in names:
        raise NotFoundError("no-sink", f"the settings do not name {sink}", hint="docs/guide/alerts.md")
    return (sink,)


def _row(one: dict[str, Any]) -> list[object]:
    content = one["content"]
    about = f" #{one['incident']} {content['kind']} of {content['subject']}" if one["incident"] is not None else ""
    return [
        one["id"],
        one["at"][:16].replace("T", " "),
        one["sink"],
        f"{one['event']}{about}",
        one["state"],
        one["attempts"],
        one["problem"],
    ]
