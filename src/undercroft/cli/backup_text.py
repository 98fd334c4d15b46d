"""What ``undercroft backup`` and ``undercroft recovery`` print, for people and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from undercroft.cli.output import print_table, print_wrapped
from undercroft.core.units import format_bytes, format_duration
from undercroft.recovery.checks import Listed
from undercroft.recovery.creating import Created
from undercroft.recovery.drill import Drill
from undercroft.recovery.manifests import Manifest
from undercroft.recovery.pruning import Pruned
from undercroft.recovery.reading import Verified
from undercroft.recovery.restoring import Restored, Tried

_SHOWN = 10


def _manifest_json(manifest: Manifest) -> dict[str, Any]:
    return {
        "id": manifest.id,
        "at": manifest.at,
        "origin": manifest.origin,
        "version": manifest.version,
        "schema": manifest.schema,
        "reason": manifest.reason,
        "is_encrypted": manifest.is_encrypted,
        "files": len(manifest.files),
        "size_bytes": manifest.size_bytes,
        "missing": list(manifest.missing),
        "left_out": list(manifest.left_out),
    }


def created_json(created: Created) -> dict[str, Any]:
    """A new backup as plain data."""
    return {
        **_manifest_json(created.manifest),
        "written_bytes": created.written_bytes,
        "written_objects": created.written_objects,
        "read_bytes": created.read_bytes,
    }


def listed_json(listed: Listed) -> dict[str, Any]:
    """A backup of a list as plain data."""
    known = {"id": listed.id} if listed.manifest is None else _manifest_json(listed.manifest)
    trial_at = listed.check.trial_at
    return {
        **known,
        "state": listed.state,
        "counts": listed.state == "counts",
        "trial_at": trial_at,
        "problem": listed.problem,
    }


def verified_json(verified: Verified) -> dict[str, Any]:
    """A verification as plain data."""
    return {**asdict(verified), "is_whole": not verified.problems}


def tried_json(tried: Tried) -> dict[str, Any]:
    """A trial restore as plain data."""
    return {**restored_json(tried.restored), "counts": not tried.restored.manifest.missing, "was_kept": tried.was_kept}


def restored_json(restored: Restored) -> dict[str, Any]:
    """A restore as plain data."""
    return {
        **_manifest_json(restored.manifest),
        "compared_files": restored.files,
        "compared_bytes": restored.size_bytes,
    }


def pruned_json(pruned: Pruned, *, is_dry_run: bool) -> dict[str, Any]:
    """A removal as plain data."""
    return {**asdict(pruned), "is_dry_run": is_dry_run}


def drill_json(drill: Drill) -> dict[str, Any]:
    """A drill as plain data."""
    return {
        "backup": _manifest_json(drill.tried.restored.manifest),
        "is_new": drill.created is not None,
        "create_seconds": drill.create_seconds,
        "restore_seconds": drill.restore_seconds,
        "rto_seconds": drill.restore_seconds,
        "rpo_seconds": drill.worst_loss_seconds,
        "age_seconds": drill.age_seconds,
        "counts": not drill.tried.restored.manifest.missing,
    }


def say_created(created: Created, where: str, *, is_tried_next: bool) -> None:
    """What a new backup holds, and what is not in it.

    Args:
        created: The backup.
        where: The store is.
        is_tried_next: Whether a trial follows, so that nobody need be told to make one.
    """
    manifest = created.manifest
    how = "encrypted" if manifest.is_encrypted else "NOT ENCRYPTED"
    print_wrapped(
        f"Backup {manifest.id} is in {where}: {_counted(len(manifest.files), 'file')}, "
        f"{format_bytes(manifest.size_bytes)}, {how}; {format_bytes(created.written_bytes)} were written."
    )
    _say_gaps(manifest)
    if not (manifest.missing or is_tried_next):
        typer.echo("It counts when it was restored on trial: undercroft backup trial")


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def _say_gaps(manifest: Manifest) -> None:
    for title, lines in (("Left out", manifest.left_out), ("MISSING", manifest.missing)):
        for line in lines[:_SHOWN]:
            print_wrapped(f"{title}: {line}", indent="  ")
        if len(lines) > _SHOWN:
            typer.echo(f"{title}: {len(lines) - _SHOWN} more; --json shows them")


def say_list(found: Sequence[Listed]) -> None:
    """A table of backups, then what is wrong with which."""
    origins = {one.manifest.origin for one in found if one.manifest is not None}
    with_origin = len(origins) > 1
    columns = ["=id", "=state", "=tried", ">files", ">=size", *(["of"] if with_origin else []), "why"]
    print_table(
        columns,
        [_row(one, with_origin=with_origin) for one in found],
        empty="There is no backup yet. Try: undercroft backup create",
    )
    for one in found:
        if one.problem:
            print_wrapped(f"{one.id}: {one.problem}", indent="  ")
        for line in one.manifest.missing[:_SHOWN] if one.manifest is not None else ():
            print_wrapped(f"{one.id} lacks {line}", indent="  ")


def _row(one: Listed, *, with_origin: bool) -> list[object]:
    manifest = one.manifest
    state = one.state.upper() if one.state == "damaged" else one.state
    if manifest is None:
        return [one.id, state, "-", "-", "-", *(["-"] if with_origin else []), ""]
    return [
        one.id,
        state,
        (one.check.trial_at or "never")[:10],
        len(manifest.files),
        format_bytes(manifest.size_bytes),
        *([manifest.origin] if with_origin else []),
        manifest.reason or "",
    ]


def say_verified(verified: Verified) -> None:
    """What was read, then everything that is damaged."""
    objects, size = _counted(verified.objects, "object"), format_bytes(verified.read_bytes)
    print_wrapped(
        f"{_counted(verified.backups, 'backup')}: {objects}, {size} read, "
        f"their digests compared{'' if verified.problems else '; all of it is whole'}."
    )
    for backup_id, problems in verified.problems.items():
        for problem in problems[:_SHOWN]:
            print_wrapped(f"DAMAGED {backup_id}: {problem}", indent="  ")
        if len(problems) > _SHOWN:
            typer.echo(f"DAMAGED {backup_id}: {len(problems) - _SHOWN} more; --json shows them")
    if not verified.was_kept:
        typer.echo("The store cannot be written, so `backup list` will not show this.")


def say_tried(tried: Tried) -> None:
    """That a backup counts, or why it does not although it could be restored."""
    restored = tried.restored
    manifest = restored.manifest
    print_wrapped(
        f"Backup {manifest.id} was restored into a scratch home: {_counted(restored.files, 'file')}, "
        f"{format_bytes(restored.size_bytes)}, every digest compared."
    )
    if manifest.missing:
        print_wrapped(f"It is incomplete and does not count: {manifest.missing[0]}", indent="  ")
    else:
        typer.echo("It counts." if tried.was_kept else "It is good; the store cannot be written, so no list shows it.")


def say_restored(restored: Restored, into: Path, *, is_default: bool) -> None:
    """What to do next."""
    manifest = restored.manifest
    print_wrapped(
        f"Backup {manifest.id} of {manifest.origin} is in {into}: {_counted(restored.files, 'file')}, "
        f"{format_bytes(restored.size_bytes)}, every digest compared."
    )
    _say_gaps(manifest)
    typer.echo(f"Start it: {'' if is_default else f'UNDERCROFT_HOME={into.absolute()} '}undercroft up")


def say_pruned(pruned: Pruned, *, is_dry_run: bool) -> None:
    """What stays and why, what went."""
    for backup_id, why in sorted(pruned.kept.items()):
        typer.echo(f"keeps   {backup_id}  {why}")
    for backup_id in pruned.removed:
        typer.echo(f"{'would remove' if is_dry_run else 'removed'} {backup_id}")
    would = "would be freed" if is_dry_run else "were freed" if pruned.is_freed else "will be freed by its own cleaning"
    freed = format_bytes(pruned.freed_bytes)
    typer.echo(f"{freed} in {_counted(pruned.objects, 'object')} that no backup needs {would}.")


def say_drill(drill: Drill) -> None:
    """Both figures that a drill is for, and where they come from."""
    restored = drill.tried.restored
    if drill.create_seconds is not None and drill.created is not None:
        written = format_bytes(drill.created.written_bytes)
        typer.echo(f"backup    {format_duration(drill.create_seconds):>9}  {restored.manifest.id}, {written} written")
    size = format_bytes(restored.size_bytes)
    restoring = format_duration(drill.restore_seconds)
    typer.echo(f"restore   {restoring:>9}  {_counted(restored.files, 'file')}, {size}, every digest compared")
    typer.echo(f"RTO       {restoring:>9}  until a new home is written; start and load come on top")
    loss = drill.worst_loss_seconds
    if loss is None:
        print_wrapped(
            "RPO       not known  no backup is scheduled (backup.place, backup.hours): what was done since the last "
            "one is lost, however long that is",
            indent=" " * 21,
        )
    else:
        typer.echo(f"RPO       {format_duration(loss):>9}  time between two backups and one that was cut off")
    _say_gaps(restored.manifest)
    if restored.manifest.missing:
        typer.echo("It is incomplete and does not count.")
    else:
        typer.echo(f"Backup {restored.manifest.id} counts.")
