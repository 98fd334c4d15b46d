"""``undercroft licence``: what licences permit, and who accepted them."""

from __future__ import annotations

import typer

from undercroft.catalog.licences import Licence, load_licences
from undercroft.catalog.uses import PURPOSES, Use
from undercroft.catalog.verdicts import judge
from undercroft.cli.actor import current_actor
from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, Reason, print_json, print_table, print_wrapped
from undercroft.cli.use import DeclaredUse, declared_use
from undercroft.registry.licences import accept as accept_licence
from undercroft.registry.licences import acceptances

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_SHORT = {"allowed": "yes", "needs-acceptance": "accept", "refused-use": "no"}


@app.command("list")
def list_licences(as_json: AsJson = False) -> None:
    """Show every licence of which there are facts, for which use it may be used, and who accepted it."""
    home, database = open_database()
    licences = load_licences(home.catalogue).all()
    with database.read() as connection:
        accepted = acceptances(connection)
    if as_json:
        found = [licence.to_dict() for licence in licences]
        print_json({"licences": found, "acceptances": [acceptance.to_dict() for acceptance in accepted]})
        return
    print_table(
        ["=licence", *(f"={purpose}" for purpose in PURPOSES), ">users up to"],
        [
            [
                licence.id,
                *(_SHORT[judge(licence, Use(purpose)).outcome] for purpose in PURPOSES),
                _users(licence.users_cap),
            ]
            for licence in licences
        ],
        empty="There are no facts of any licence.",
    )
    typer.echo()
    print_wrapped("accept: covered under conditions that somebody has to accept; see: undercroft licence show NAME")
    if accepted:
        typer.echo()
        print_table(
            ["=accepted", "use", "=at (UTC)", "who"],
            [[a.licence, str(a.use), a.at[:16].replace("T", " "), a.actor] for a in accepted],
            empty="",
        )


@app.command()
def show(name: str, use: DeclaredUse = None, as_json: AsJson = False) -> None:
    """Show what a licence permits, with the section where it stands. Not legal advice."""
    home, database = open_database()
    licence, declared = load_licences(home.catalogue).find(name), declared_use(home, use)
    verdict = judge(licence, declared)
    with database.read() as connection:
        accepted = [a for a in acceptances(connection) if a.licence == licence.id]
    if as_json:
        print_json({**licence.to_dict(), "verdict": verdict.to_dict(), "acceptances": [a.to_dict() for a in accepted]})
        return
    _print_facts(licence)
    typer.echo()
    print_wrapped(f"For {declared}: {verdict.summary}")
    for acceptance in accepted:
        print_wrapped(f"Accepted for {acceptance.use} by {acceptance.actor} on {acceptance.at[:10]}.")


@app.command()
def accept(name: str, use: DeclaredUse = None, because: Reason = None, as_json: AsJson = False) -> None:
    """Accept a licence for a use, so that models under it can be pulled for that use. The journal keeps who did."""
    home, database = open_database()
    licence, declared = load_licences(home.catalogue).find(name), declared_use(home, use)
    verdict = accept_licence(database, licence, declared, actor=current_actor(), reason=because)
    if as_json:
        print_json(verdict.to_dict())
        return
    print_wrapped(f"Accepted for {declared}: {licence.name}.")
    if verdict.outcome == "refused-use":
        print_wrapped(f"Mind: {verdict.summary} This is right only with a licence of your own from its owner.")


def _print_facts(licence: Licence) -> None:
    typer.echo(f"{licence.id}: {licence.name} ({licence.version})")
    typer.echo(f"{licence.url}\n")
    for purpose in PURPOSES:
        typer.echo(f"{purpose:16} {licence.grants[purpose]}")
    typer.echo(f"{'acceptance':16} {'needed' if licence.needs_acceptance else 'not needed'}")
    typer.echo(f"{'users up to':16} {_users(licence.users_cap)}")
    for heading, items in (("limits", licence.limits), ("duties", licence.duties)):
        if items:
            typer.echo(heading)
        for item in items:
            print_wrapped(f"  {item}", indent="    ")


def _users(cap: int | None) -> str:
    return "any" if cap is None else f"{cap:,}"
