"""What was found of a backup, kept beside it: only a trial restore that compared every digest makes it count."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import NotFoundError, RefusedError, UnavailableError
from undercroft.recovery.creating import read_manifest
from undercroft.recovery.documents import from_document, to_document
from undercroft.recovery.manifests import Manifest
from undercroft.recovery.sealing import DamagedError
from undercroft.recovery.store import BackupStore

_KIND = "undercroft-backup-check"
_LIMIT_BYTES = 64 * 1024

State = Literal["counts", "not tried", "incomplete", "damaged"]


@dataclass(frozen=True, slots=True)
class Check:
    """What was found last.

    Args:
        trial_at: When a trial restore last compared every digest; ISO 8601, UTC; None for never.
        damage: What was found damaged after that; empty for nothing.
    """

    trial_at: str | None = None
    damage: str = ""


@dataclass(frozen=True, slots=True)
class Listed:
    """A backup of a store.

    Args:
        id: Of the backup.
        manifest: None where it cannot be read.
        check: What was found of it last.
        problem: Why it cannot be read, or what is damaged; empty where nothing is known to be.
    """

    id: str
    manifest: Manifest | None
    check: Check
    problem: str

    @property
    def state(self) -> State:
        """Whether it counts, in a word or two."""
        if self.manifest is None or self.problem:
            return "damaged"
        if self.manifest.missing:
            return "incomplete"
        return "counts" if self.check.trial_at is not None else "not tried"


def list_backups(store: BackupStore) -> list[Listed]:
    """Every backup of a store, oldest first; its objects are not read."""
    noted = set(store.ids("checks"))
    return [_look(store, backup_id, has_note=backup_id in noted) for backup_id in store.ids()]


def find(store: BackupStore, backup_id: str | None) -> Listed:
    """One backup, or the newest.

    Args:
        store: Where.
        backup_id: All of an id, or a beginning that no other has; None is the newest.

    Raises:
        NotFoundError: There is none, or several begin so.
    """
    ids = store.ids()
    if backup_id is None or backup_id == "latest":
        found = ids[-1:]
    else:
        found = [one for one in ids if one.startswith(backup_id)] if backup_id else []
    if len(found) == 1:
        return _look(store, found[0], has_note=found[0] in store.ids("checks"))
    if backup_id is None or backup_id == "latest":
        raise NotFoundError("no-backups", f"{store.where} has no backup yet", hint="undercroft backup create")
    problem = f"{len(found)} backups begin" if found else "no backup begins"
    raise NotFoundError(
        "no-such-backup", f"{problem} with {backup_id[:60]!r} in {store.where}", hint="undercroft backup list"
    )


def _look(store: BackupStore, backup_id: str, *, has_note: bool) -> Listed:
    try:
        manifest = read_manifest(store, backup_id)
    except DamagedError as error:
        return Listed(backup_id, None, Check(), f"its manifest: {error}")
    if not has_note:
        return Listed(backup_id, manifest, Check(), "")
    try:
        check = _read(store, manifest)
    except DamagedError as error:
        return Listed(backup_id, manifest, Check(), f"what was found of it: {error}")
    return Listed(backup_id, manifest, check, check.damage)


def keep_trial(store: BackupStore, manifest: Manifest, at: datetime) -> bool:
    """Writes down that a trial restore compared every digest; False where the store cannot be written."""
    return _write(store, manifest, Check(to_iso(at)))


def keep_damage(store: BackupStore, manifest: Manifest, problems: Sequence[str]) -> bool:
    """Writes down what is damaged, or that nothing is any more; False where the store cannot be written."""
    try:
        earlier = _read(store, manifest)
    except DamagedError:
        earlier = Check()
    more = f" and {len(problems) - 1} more" if len(problems) > 1 else ""
    now = Check(earlier.trial_at, f"{problems[0][:300]}{more}" if problems else "")
    return now == earlier or _write(store, manifest, now)


def _write(store: BackupStore, manifest: Manifest, check: Check) -> bool:
    values = {"kind": _KIND, "manifest": _digest(manifest), "trial_at": check.trial_at, "damage": check.damage}
    try:
        store.put_document("checks", manifest.id, to_document(values))
    except (RefusedError, UnavailableError):
        return False
    return True


def _read(store: BackupStore, manifest: Manifest) -> Check:
    values = from_document(store.get_document("checks", manifest.id, _LIMIT_BYTES), kind=_KIND)
    match values:
        case {"manifest": str(digest), "trial_at": str() | None as trial_at, "damage": str(damage)}:
            if digest != _digest(manifest):
                raise DamagedError("it is of another manifest")
            return Check(_moment(trial_at), damage)
    raise DamagedError("its fields are not those of a check")


def _moment(text: str | None) -> str | None:
    try:
        return None if text is None else to_iso(from_iso(text))
    except (ValueError, OverflowError) as error:
        raise DamagedError("its time is none") from error


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(manifest.to_bytes()).hexdigest()
