"""``undercroft incident``: what is wrong, since when, what was done about it."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database, open_home, settings_of
from undercroft.cli.output import AsJson, Reason, print_json, print_table, print_wrapped
from undercroft.core.clock import parse_moment, to_iso, utc_now
from undercroft.core.errors import InvalidError
from undercroft.watch.incidents import inquiry
from undercroft.watch.incidents.actions import Done, plain_rule, read_rules
from undercroft.watch.incidents.incidents import Incident

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_EXIT_OPEN = 1

Number = Annotated[int, typer.Argument(help="As `incident list` shows it.", min=1, max=2**31 - 1)]


@app.command("list")
def list_incidents(
    list_all: Annotated[bool, typer.Option("--all", help="Those that are resolved, too.")] = False,
    since: Annotated[
        str | None, typer.Option(help="Open then or later: 7d, 12h, 2026-11-20 or an ISO 8601 time.")
    ] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, max=100_000, help="How many of the newest.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show incidents, the newest first.

    The exit status is 0 where none of them is open, else 1.
    """
    _, database = open_database()
    begin = parse_moment(since, utc_now()) if since is not None else None
    if since is not None and begin is None:
        raise InvalidError(
            "bad-time", f"--since: expected a period such as 7d, a day, or an ISO 8601 time, got {since[:40]!r}"
        )
    with database.read() as connection:
        found = inquiry.list_incidents(connection, include_resolved=list_all, since=begin, limit=last)
    if as_json:
        print_json([incident.to_dict() for incident in found])
    else:
        print_table(
            [">id", "=since (UTC)", "=state", "=severity", "=kind", "=of", "what"],
            [_row(incident) for incident in found],
            empty="No incident." if list_all or begin is not None else "No incident is open.",
        )
    if any(incident.is_open for incident in found):
        raise typer.Exit(_EXIT_OPEN)


@app.command()
def show(number: Number, as_json: AsJson = False) -> None:
    """Show one incident: what, since when, likely cause, what was done, what helps."""
    _, database = open_database()
    with database.read() as connection:
        found = inquiry.inquire(connection, number)
    if as_json:
        print_json(found.to_dict())
        return
    incident = found.incident
    rows = [
        ("incident", f"{incident.id}, {incident.severity.value}, {'open' if incident.is_open else 'resolved'}"),
        ("what", incident.sentence),
        ("since", f"{_time(to_iso(incident.since))}, noticed {_time(to_iso(incident.opened_at))}"),
        ("cause", incident.cause or "not known"),
    ]
    if incident.quiet_since is not None and incident.is_open:
        rows.append(("well", f"since {_time(to_iso(incident.quiet_since))}; it is resolved if it stays so"))
    if incident.resolved_at is not None:
        reason = f": {incident.reason}" if incident.reason else ""
        rows.append(("resolved", f"{_time(to_iso(incident.resolved_at))} by {incident.resolved_by}{reason}"))
    rows += [("done", f"{_time(to_iso(one.at))} {_deed_sentence(one)}") for one in found.done]
    rows += [("to act", command) for command in found.commands]
    for label, value in rows:
        print_wrapped(f"{label:9} {value}", indent=" " * 10)


@app.command()
def resolve(number: Number, reason: Reason = None, as_json: AsJson = False) -> None:
    """Say that an incident is over. The same one opens again only after all was well once."""
    home, database = open_database()
    incident = inquiry.resolve(
        database, settings_of(home).alerts, number, actor=current_actor(), reason=reason, now=utc_now()
    )
    if as_json:
        print_json(incident.to_dict())
        return
    is_quiet = incident.cleared_at is not None
    later = "" if is_quiet else " What caused it still holds; it opens again when that was gone and comes back."
    print_wrapped(f"Incident {number} is resolved.{later}")


@app.command()
def rules(as_json: AsJson = False) -> None:
    """Show the rules of what is done about incidents, or what is wrong with their file."""
    home = open_home()
    found = read_rules(home.actions_file).rules
    if as_json:
        print_json([plain_rule(rule) for rule in found])
        return
    print_table(
        ["=rule", "when", "of", "does", "to", "at most"],
        [
            [
                rule.name,
                ", ".join(kind.value for kind in rule.when),
                rule.subject or "any",
                rule.do.value,
                rule.target or "its deployment",
                f"{rule.at_most} in {rule.window_hours:g} h",
            ]
            for rule in found
        ],
        empty=f"There is no rule in {home.actions_file}: nothing is done by itself.",
    )


def _row(incident: Incident) -> list[object]:
    return [
        incident.id,
        to_iso(incident.since)[:16].replace("T", " "),
        "open" if incident.is_open else "resolved",
        incident.severity.value,
        incident.kind.value,
        incident.subject,
        incident.sentence,
    ]


def _deed_sentence(done: Done) -> str:
    failed = f", which FAILED: {done.problem}" if done.problem else ""
    return f"rule {done.rule}: {done.deed.value} {done.target}{failed}"


def _time(iso: str) -> str:
    return f"{iso[:16].replace('T', ' ')} UTC"
