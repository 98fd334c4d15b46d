"""``undercroft journal``: the diary of every change."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from undercroft.cli.encoding import typed
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.core.clock import parse_moment, to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.files import write_atomically
from undercroft.core.spreadsheets import BYTE_ORDER_MARK, safe_cell
from undercroft.registry.releases.references import base_name
from undercroft.storage import checkpoints, journal
from undercroft.storage.journal import Entry, Search
from undercroft.watch.blame.abilities import Measure
from undercroft.watch.blame.explaining import Explained, explain
from undercroft.watch.blame.sentences import quiet_sentence
from undercroft.watch.drift.reading import names_served
from undercroft.watch.probes.probe_files import probe_names

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_COLUMNS = ("seq", "at", "actor", "action", "subject", "before", "after", "reason", "previous", "hash")

_BLAMED = 5

Text = Annotated[str | None, typer.Argument(help="Stands anywhere in an entry.", callback=typed, show_default=False)]
Actor = Annotated[str | None, typer.Option("--actor", help="Who: cli:anna, key:key_…, system.", callback=typed)]
Action = Annotated[str | None, typer.Option("--action", help="What: model.add, or all that begins with model.")]
Subject = Annotated[str | None, typer.Option("--subject", help="On which thing.", callback=typed)]
Since = Annotated[str | None, typer.Option("--since", help="7d, 12h, 2026-11-20 or an ISO 8601 time.")]
Until = Annotated[str | None, typer.Option("--until", help="Before that; in the same forms.")]


@app.command()
def show(
    seq: Annotated[int | None, typer.Argument(help="One entry, in full.", min=1, show_default=False)] = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="How many of the newest.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the newest entries, oldest of them first, or one in full."""
    _, database = open_database()
    with database.read() as connection:
        if seq is None:
            _print_entries(journal.find(connection, Search(limit=last)), as_json, empty="The journal is empty.")
            return
        found = journal.get(connection, seq)
    if found is None:
        raise NotFoundError("no-such-entry", f"the journal has no entry {seq}", hint="undercroft journal show")
    print_json(_plain(*found)) if as_json else _print_entry(*found)


@app.command()
def search(
    text: Text = None,
    actor: Actor = None,
    action: Action = None,
    subject: Subject = None,
    since: Since = None,
    until: Until = None,
    last: Annotated[int, typer.Option("--last", "-n", min=1, help="Most, the newest ones.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Find entries by who, what, which, when, or by a text anywhere in them."""
    wanted = Search(text, actor, action, subject, _moment("--since", since), _moment("--until", until), last)
    _, database = open_database()
    with database.read() as connection:
        _print_entries(journal.find(connection, wanted), as_json, empty="No entry is like that.")


@app.command()
def blame(
    measure: Annotated[Measure, typer.Argument(help="What became worse.")],
    since: Annotated[str, typer.Option("--since", help="7d, 12h, 2026-11-20 or an ISO 8601 time.")] = "7d",
    name: Annotated[str | None, typer.Option("--name", help="Of one deployment only.", callback=typed)] = None,
    as_json: AsJson = False,
) -> None:
    """Find when it became worse, and what in the diary or in the use explains it."""
    home, database = open_database()
    now = utc_now()
    moment = parse_moment(since, now)
    if moment is None:
        raise InvalidError("bad-time", f"--since: expected 7d, 12h, a date or an ISO 8601 time, got {since!r}")
    if moment >= now:
        raise InvalidError("bad-time", f"--since: expected a time in the past, got {since!r}")
    whose = base_name(name) if name is not None else None
    with database.read() as connection:
        found, looked_at = explain(connection, home, measure, moment, name=whose)
        if not looked_at and whose is not None and whose not in {*names_served(connection), *probe_names(home)}:
            raise NotFoundError("no-such-deployment", f"nothing is named {whose!r}", hint="undercroft deployment list")
    if as_json:
        print_json({"measure": measure.value, "measurements": looked_at, "changes": [one.to_dict() for one in found]})
        return
    if not found:
        print_wrapped(quiet_sentence(measure, whose, to_iso(moment), looked_at))
        return
    for position, one in enumerate(found[:_BLAMED]):
        if position:
            typer.echo()
        _print_explained(one)


def _print_explained(one: Explained) -> None:
    print_wrapped(one.sentence())
    unexplained = one.unexplained()
    if unexplained is not None:
        print_wrapped("  " + unexplained, indent="  ")
    for number, cause in enumerate(one.causes, start=1):
        entry = f" (entry {cause.entry})" if cause.entry is not None else ""
        print_wrapped(f"  {number}. {cause.sentence}{entry}", indent="     ")
        for line in cause.evidence:
            print_wrapped(f"     - {line}", indent="       ")
        if cause.remedy:
            typer.echo(f"     {'Undo it' if ' rollback ' in cause.remedy else 'Look'}: {cause.remedy}")


@app.command()
def verify(
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--checkpoint", help="A checkpoint that was kept elsewhere, or a folder of them; repeat for more."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check that no entry was changed, inserted, removed, moved, or cut off before a checkpoint."""
    home, database = open_database()
    places = [home.checkpoints, *(checkpoint or ())]
    known = checkpoints.gather(places, own_key=checkpoints.public_key(checkpoints.signing_key(home)))
    with database.read() as connection:
        damage = journal.find_damage(connection, known)
        count = journal.count(connection)
    if damage is not None:
        raise ConflictError("journal-damaged", f"the journal does not hold together: {damage}")
    if as_json:
        print_json({"is_whole": True, "entries": count, "checkpoints": len(known)})
        return
    several = "checkpoint" if len(known) == 1 else "checkpoints"
    seen = f"agrees with {len(known)} {several}" if known else "no checkpoint was made yet"
    typer.echo(f"The journal is whole: {count} entries, {seen}.")


@app.command("checkpoint")
def make_checkpoint(
    out: Annotated[Path | None, typer.Option("--out", help="A folder elsewhere that gets a copy.")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign what the journal is now. Keep the file where nobody here can write."""
    home, database = open_database()
    key = checkpoints.signing_key(home)
    with database.read() as connection:
        made = checkpoints.make(connection, key)
    if made is None:
        raise NotFoundError("journal-empty", "the journal has no entry yet, so there is nothing to sign")
    folders = [home.checkpoints, out or settings_of(home).journal.checkpoint_folder]
    files = [_keep(made, folder) for folder in folders if folder is not None]
    if as_json:
        print_json({**made.to_dict(), "files": [str(file) for file in files]})
        return
    typer.echo(f"Entry {made.seq} and all before it, signed by {made.public_key[:16]}…:")
    for file in files:
        typer.echo(f"  {file}")


@app.command()
def export(
    file: Annotated[Path, typer.Argument(help="Where to; - is standard output.")],
    form: Annotated[
        Literal["jsonl", "csv"] | None, typer.Option("--format", help="Else by the file's ending, else jsonl.")
    ] = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """Write entries to a file: JSON lines, which can be verified elsewhere, or CSV for spreadsheets."""
    wanted = Search(since=_moment("--since", since), until=_moment("--until", until))
    _, database = open_database()
    with database.read() as connection:
        found = journal.find(connection, wanted)
    kind = form or ("csv" if file.suffix.lower() == ".csv" else "jsonl")
    content = "".join(_csv_lines(found) if kind == "csv" else _json_lines(found))
    if str(file) == "-":
        sys.stdout.write(content)
        return
    try:
        write_atomically(file, content.encode())
    except OSError as error:
        raise UnavailableError("cannot-write", f"cannot write {file}: {error.strerror}") from error
    typer.echo(f"{len(found)} entries are in {file}.")


def _keep(made: checkpoints.Checkpoint, folder: Path) -> Path:
    try:
        return checkpoints.keep(made, folder)
    except OSError as error:
        raise UnavailableError("cannot-write", f"cannot write into {folder}: {error.strerror}") from error


def _moment(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    moment = parse_moment(text, utc_now())
    if moment is None:
        raise InvalidError(
            "bad-time", f"{option}: expected a period such as 7d, a day, or an ISO 8601 time, got {text[:40]!r}"
        )
    return to_iso(moment)


def _plain(entry: Entry, stored: str) -> dict[str, Any]:
    return {**asdict(entry), "hash": stored}


def _print_entries(found: Sequence[tuple[Entry, str]], as_json: bool, *, empty: str) -> None:
    if as_json:
        print_json([_plain(*one) for one in found])
        return
    print_table(
        [">seq", "=at (UTC)", "who", "what", "which", "why"],
        [
            [entry.seq, entry.at[:16].replace("T", " "), entry.actor, entry.action, entry.subject, entry.reason or ""]
            for entry, _ in found
        ],
        empty=empty,
    )


def _print_entry(entry: Entry, stored: str) -> None:
    rows = [
        ("entry", str(entry.seq)),
        ("at", entry.at),
        ("who", entry.actor),
        ("what", entry.action),
        ("which", entry.subject),
        ("why", entry.reason or "not said"),
        ("hash", stored),
    ]
    for label, value in rows:
        print_wrapped(f"{label:8} {value}", indent=" " * 9)
    before, after = entry.before or {}, entry.after or {}
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if name in before:
            print_wrapped(f"  - {name}: {_short(old)}", indent="      ")
        if name in after:
            print_wrapped(f"  + {name}: {_short(new)}", indent="      ")


def _short(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json_lines(found: Sequence[tuple[Entry, str]]) -> Iterator[str]:
    for one in found:
        yield json.dumps(_plain(*one), sort_keys=True, ensure_ascii=False) + "\n"


def _csv_lines(found: Sequence[tuple[Entry, str]]) -> Iterator[str]:
    yield BYTE_ORDER_MARK
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(_COLUMNS)
    for one in found:
        plain = _plain(*one)
        writer.writerow([_cell(plain[name]) for name in _COLUMNS])
    yield out.getvalue()


def _cell(value: object) -> object:
    if value is None or isinstance(value, int):
        return "" if value is None else value
    return safe_cell(_short(value))
