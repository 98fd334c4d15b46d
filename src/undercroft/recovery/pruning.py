"""Removes backups that no rule keeps, then the objects that no backup needs any more."""

from __future__ import annotations

from dataclasses import dataclass

from undercroft.core.clock import from_iso
from undercroft.core.errors import ConflictError
from undercroft.recovery.checks import Listed, list_backups
from undercroft.recovery.retention import Candidate, Policy, keep
from undercroft.recovery.store import BackupStore


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would.

    Args:
        kept: Backup → why it stays.
        removed: Backups.
        objects: That no backup needs any more; count.
        freed_bytes: What these take.
        is_freed: Whether that room is free at once; a registry may free it when it cleans up next.
    """

    kept: dict[str, str]
    removed: list[str]
    objects: int
    freed_bytes: int
    is_freed: bool


def prune(store: BackupStore, policy: Policy, *, is_dry_run: bool = False) -> Pruned:
    """Applies rules to a store.

    Manifests go first and objects after them, so that whatever interrupts it, every backup that is listed is whole; the
    next one finishes.

    Args:
        store: Not locked yet.
        policy: Which stay.
        is_dry_run: Only says what would go.

    Raises:
        ConflictError: Somebody uses the store, or a manifest cannot be read and nobody can say what it needs.
        RefusedError: ``removal-refused``: the place lets nobody remove things; nothing was.
    """
    with store.exclusive():
        backups = list_backups(store)
        kept = keep([_candidate(backup) for backup in backups], policy)
        staying = [backup for backup in backups if backup.id in kept]
        removed = [backup.id for backup in backups if backup.id not in kept]
        unneeded = _unneeded(store, staying)
        freed_bytes = sum(store.objects.size_bytes(name) or 0 for name in unneeded)
        is_freed = True
        if not is_dry_run:
            for backup_id in removed:
                store.remove_document("backups", backup_id)
            for backup_id in set(store.ids("checks")) - set(kept):
                store.remove_document("checks", backup_id)
            store.sync()
            is_freed = store.remove_objects(unneeded)
            store.sweep()
    return Pruned(kept, removed, len(unneeded), freed_bytes, is_freed)


def _candidate(backup: Listed) -> Candidate:
    if backup.manifest is None:
        raise ConflictError(
            "unreadable-manifest",
            f"backup {backup.id} cannot be read ({backup.problem}), so nobody can say which objects it needs; "
            "nothing was removed",
            hint="undercroft backup verify --all; put its manifest back from a copy, or remove it from backups/",
        )
    return Candidate(backup.id, from_iso(backup.manifest.at), backup.manifest.origin, backup.state == "counts")


def _unneeded(store: BackupStore, staying: list[Listed]) -> list[str]:
    digests = {digest for backup in staying if backup.manifest is not None for digest in backup.manifest.pieces()}
    needed = {store.name_of(digest) for digest in digests}
    return [name for name in store.object_names() if name not in needed]
