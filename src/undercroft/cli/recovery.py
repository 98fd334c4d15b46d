"""``undercroft recovery``: practise coming back."""

from __future__ import annotations

from typing import Annotated

import typer

from undercroft.cli import backup_text
from undercroft.cli.actor import current_actor
from undercroft.cli.backup import KeyFile, To
from undercroft.cli.model_progress import shown
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json
from undercroft.core.clock import utc_now
from undercroft.recovery import drill as drills
from undercroft.recovery.places import place_of

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)


@app.callback()
def recovery() -> None:
    """Practise coming back, before it is needed."""


@app.command()
def drill(
    to: To = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Try the newest backup of this place, and make none.")
    ] = None,
    which: Annotated[str | None, typer.Option("--id", help="Try this one of them.", show_default=False)] = None,
    key_file: KeyFile = None,
    unencrypted: Annotated[bool, typer.Option("--unencrypted", help="Without a key.")] = False,
    as_json: AsJson = False,
) -> None:
    """Back up, restore into a scratch home, compare every digest, and say how long it took and what can be lost."""
    home, database = open_database()
    settings = settings_of(home)
    is_new = source is None and which is None
    place = place_of(settings.backup, where=source or to, key_file=key_file, is_unencrypted=unencrypted, is_new=is_new)
    with shown(is_quiet=as_json) as progress:
        done = drills.drill(
            home,
            database,
            settings,
            place,
            at=utc_now(),
            actor=current_actor(),
            is_new=is_new,
            backup_id=which,
            progress=progress,
        )
    print_json(backup_text.drill_json(done)) if as_json else backup_text.say_drill(done)
