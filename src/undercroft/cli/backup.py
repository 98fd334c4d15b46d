"""``undercroft backup``: make, list, verify, try, restore and remove backups."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli import backup_text
from undercroft.cli.actor import current_actor
from undercroft.cli.model_progress import shown
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, Reason, print_json
from undercroft.core.clock import utc_now
from undercroft.core.environment import home_path
from undercroft.core.errors import ConflictError, InvalidError
from undercroft.core.home import Home
from undercroft.recovery.checks import find, list_backups
from undercroft.recovery.keys import make_key_file
from undercroft.recovery.places import place_of
from undercroft.recovery.reading import verify as verify_backups
from undercroft.recovery.restoring import restore as restore_backup
from undercroft.recovery.retention import Policy
from undercroft.recovery.runs import make_backup, make_room, make_trial

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

From = Annotated[
    str | None,
    typer.Option("--from", help="Folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY; else backup.place."),
]
To = Annotated[
    str | None, typer.Option("--to", help="Folder, s3://BUCKET/PREFIX or oci://HOST/REPOSITORY; else backup.place.")
]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="The key; else backup.key_file.")]
Which = Annotated[
    str | None,
    typer.Argument(metavar="[ID]", help="Which; its beginning will do. Else the newest.", show_default=False),
]
Keep = Annotated[int | None, typer.Option(min=0, max=10_000)]


@app.command()
def key(file: Annotated[Path, typer.Argument(help="Where to; must not exist.")], as_json: AsJson = False) -> None:
    """Make the key that encrypts backups. Keep a copy of it outside this machine."""
    made = make_key_file(file)
    if as_json:
        print_json({"key_id": made.id, "file": str(file)})
        return
    typer.echo(
        f"Key {made.id} is in {file}.\n"
        "Without it no backup can be read, and nobody can make it again. Print the file, or keep\n"
        "a copy of it far from this machine and far from the backups."
    )


@app.command()
def create(
    to: To = None,
    key_file: KeyFile = None,
    unencrypted: Annotated[
        bool, typer.Option("--unencrypted", help="Without a key, into a folder only: whoever has it reads it.")
    ] = False,
    trial: Annotated[bool, typer.Option("--trial", help="Restore it on trial at once, so that it counts.")] = False,
    rewrite: Annotated[
        bool, typer.Option("--rewrite", help="Write what the store has, too: mends what is damaged there.")
    ] = False,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Make a backup, whether the server runs or not. What the store has already is not written again."""
    home, database = open_database()
    settings = settings_of(home)
    place = place_of(settings.backup, where=to, key_file=key_file, is_unencrypted=unencrypted, is_new=True)
    actor = current_actor()
    tried = None
    with shown(is_quiet=as_json) as progress:
        created = make_backup(
            home,
            database,
            settings,
            place,
            at=utc_now(),
            actor=actor,
            reason=because,
            must_write=rewrite,
            progress=progress,
        )
        if trial:
            made = created.manifest.id
            tried = make_trial(home, database, place, made, at=utc_now(), actor=actor, progress=progress)
    if as_json:
        print_json({**backup_text.created_json(created), "counts": tried is not None and not created.manifest.missing})
        return
    backup_text.say_created(created, place.where, is_tried_next=trial)
    if tried is not None:
        backup_text.say_tried(tried)


@app.command("list")
def list_all(source: From = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Show backups and which of them count: a trial restore of it compared every digest."""
    store = place_of(settings_of(_home()).backup, where=source, key_file=key_file).open()
    with store.shared():
        found = list_backups(store)
    if as_json:
        print_json([backup_text.listed_json(one) for one in found])
        return
    backup_text.say_list(found)


@app.command()
def verify(
    which: Which = None,
    every: Annotated[bool, typer.Option("--all", help="Every backup that is there.")] = False,
    source: From = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Read every object of a backup and compare its digest. Exit status 5 where something is damaged."""
    if every and which is not None:
        raise InvalidError("id-and-all", "expected the id of a backup or --all, got both")
    store = place_of(settings_of(_home()).backup, where=source, key_file=key_file).open()
    with store.shared(), shown(is_quiet=as_json) as progress:
        backups = list_backups(store) if every else [find(store, which)]
        verified = verify_backups(store, backups, progress)
    if as_json:
        print_json(backup_text.verified_json(verified))
        raise typer.Exit(5 if verified.problems else 0)
    backup_text.say_verified(verified)
    if verified.problems:
        raise ConflictError(
            "backup-damaged",
            f"{len(verified.problems)} of {verified.backups} backups in {store.where} are damaged",
            hint="undercroft backup create --rewrite writes anew what this home still has",
        )


@app.command()
def trial(which: Which = None, source: From = None, key_file: KeyFile = None, as_json: AsJson = False) -> None:
    """Restore a backup into a scratch home and compare every digest: only then it counts."""
    home, database = open_database()
    place = place_of(settings_of(home).backup, where=source, key_file=key_file)
    with shown(is_quiet=as_json) as progress:
        tried = make_trial(home, database, place, which, at=utc_now(), actor=current_actor(), progress=progress)
    print_json(backup_text.tried_json(tried)) if as_json else backup_text.say_tried(tried)


@app.command()
def restore(
    which: Annotated[str, typer.Argument(metavar="ID", help="Which; its beginning will do, or latest.")],
    into: Annotated[Path, typer.Option("--into", help="The new home: a folder that does not exist, or is empty.")],
    source: From = None,
    key_file: KeyFile = None,
    because: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Write a backup into a new home, comparing every digest. It never overwrites one."""
    store = place_of(settings_of(_home()).backup, where=source, key_file=key_file).open()
    with store.shared(), shown(is_quiet=as_json) as progress:
        restored = restore_backup(
            store, find(store, which), into, actor=current_actor(), reason=because, progress=progress
        )
    if as_json:
        print_json(backup_text.restored_json(restored))
        return
    backup_text.say_restored(restored, into, is_default=into.absolute() == home_path())


@app.command()
def prune(
    keep_last: Keep = None,
    keep_daily: Keep = None,
    keep_weekly: Keep = None,
    keep_monthly: Keep = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    source: From = None,
    key_file: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove backups that no rule keeps, and what only they need. Without a rule those of the settings hold."""
    home, database = open_database()
    settings = settings_of(home).backup
    place = place_of(settings, where=source, key_file=key_file)
    given = (keep_last, keep_daily, keep_weekly, keep_monthly)
    if all(count is None for count in given):
        given = (settings.keep_last, settings.keep_daily, settings.keep_weekly, settings.keep_monthly)
    policy = Policy(*(count or 0 for count in given))
    pruned = make_room(database, place, policy, actor=current_actor(), is_dry_run=dry_run)
    if as_json:
        print_json(backup_text.pruned_json(pruned, is_dry_run=dry_run))
        return
    backup_text.say_pruned(pruned, is_dry_run=dry_run)


def _home() -> Home:
    """The home as a source of settings; on a new machine there is none, and none is made."""
    return Home(home_path())
