"""``undercroft journal``: the diary of every change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from undercroft.cli.opening import open_database
from undercroft.cli.output import AsJson, print_json, print_table
from undercroft.core.errors import ConflictError
from undercroft.storage import journal

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.command()
def show(
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest entries, oldest of them first."""
    _, database = open_database()
    with database.read() as connection:
        found = list(journal.entries(connection))[-last:]
    if as_json:
        print_json([{**asdict(entry), "hash": stored} for entry, stored in found])
        return
    print_table(
        [">seq", "=at (UTC)", "who", "what", "which", "why"],
        [
            [entry.seq, entry.at[:16].replace("T", " "), entry.actor, entry.action, entry.subject, entry.reason or ""]
            for entry, _ in found
        ],
        empty="The journal is empty.",
    )


@app.command()
def verify(as_json: AsJson = False) -> None:
    """Check that no entry was changed, inserted, removed or moved."""
    _, database = open_database()
    with database.read() as connection:
        damage = journal.find_damage(connection)
        count = sum(1 for _ in journal.entries(connection))
    if damage is not None:
        raise ConflictError("journal-damaged", f"the journal does not hold together: {damage}")
    print_json({"is_whole": True, "entries": count}) if as_json else typer.echo(
        f"The journal is whole: {count} entries."
    )
