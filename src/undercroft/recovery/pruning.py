"""Removes backups that no rule keeps, then the objects that no backup needs any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from undercroft.core.clock import from_iso
from undercroft.core.errors import ConflictError
from undercroft.recovery.checks import Listed, list_backups
from undercroft.recovery.retention import Candidate, Policy, keep
from undercroft.recovery.store import FolderStore


@dataclass(frozen=True, slots=True)
class Pruned:
    """What went, or would.

    Args:
        kept: Backup → why it stays.
        removed: Backups.
        objects: That no backup needs any more; count.
        freed_bytes: What these take.
    """

    kept: dict[str, str]
    removed: list[str]
    objects: int
    freed_bytes: int


def prune(store: FolderStore, policy: Policy, *, is_dry_run: bool = False) -> Pruned:
    """Applies rules to a store.

    Manifests go first and objects after them, so that whatever interrupts it, every backup that is listed is whole; the
    next one finishes.

    Args:
        store: Not locked yet.
        policy: Which stay.
        is_dry_run: Only says what would go.

    Raises:
        ConflictError: Somebody uses the store, or a manifest cannot be read and nobody can say what it needs.
    """
    with store.exclusive():
        backups = list_backups(store)
        kept = keep([_candidate(backup) for backup in backups], policy)
        staying = [backup for backup in backups if backup.id in kept]
        removed = [backup.id for backup in backups if backup.id not in kept]
        unneeded = _unneeded(store, staying)
        if not is_dry_run:
            for backup_id in removed:
                store.remove_document("backups", backup_id)
            for backup_id in set(store.ids("checks")) - set(kept):
                store.remove_document("checks", backup_id)
            store.remove_objects([path for path, _ in unneeded])
            store.sweep_incoming()
    return Pruned(kept, removed, len(unneeded), sum(size for _, size in unneeded))


def _candidate(backup: Listed) -> Candidate:
    if backup.manifest is None:
        raise ConflictError(
            "unreadable-manifest",
            f"backup {backup.id} cannot be read ({backup.problem}), so nobody can say which objects it needs; "
            "nothing was removed",
            hint="undercroft backup verify --all; put its manifest back from a copy, or remove the file from backups/",
        )
    return Candidate(backup.id, from_iso(backup.manifest.at), backup.manifest.origin, backup.state == "counts")


def _unneeded(store: FolderStore, staying: list[Listed]) -> list[tuple[Path, int]]:
    digests = {digest for backup in staying if backup.manifest is not None for digest in backup.manifest.pieces()}
    needed = {store.sealing.name_of(digest) for digest in digests}
    return [(path, size) for name, path, size in store.objects() if name not in needed]
