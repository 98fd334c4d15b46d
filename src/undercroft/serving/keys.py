"""API keys: made, listed, revoked. Only the SHA-256 of a key is kept; the key is shown once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from undercroft.core.clock import from_iso, to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.core.ids import check_name, new_api_key, new_id, secret_digest
from undercroft.serving.adapters import names_taken
from undercroft.serving.snapshot import KeyEntry
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import api_keys, deployments


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key.

    Args:
        id: ``key_…``, for logs, usage and the journal.
        name: What its owner calls it.
        models: Deployments and adapters that it may use; None is all.
        is_admin: It opens ``/admin``.
        created_at: ISO 8601, UTC.
        expires_at: ISO 8601, UTC; None is never.
        revoked_at: ISO 8601, UTC; None where it is not revoked.
    """

    id: str
    name: str
    models: list[str] | None
    is_admin: bool
    created_at: str
    expires_at: str | None
    revoked_at: str | None

    def is_valid(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or from_iso(self.expires_at) > now)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def create(
    database: Database,
    *,
    name: str,
    actor: str,
    models: list[str] | None = None,
    is_admin: bool = False,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key and returns it with its secret, which is kept nowhere.

    Raises:
        InvalidError: The name is not usable, the expiry lies in the past, or the list of models is empty.
        NotFoundError: One of the models is no deployment.
        ConflictError: A valid key has that name.
    """
    check_name(name, what="key")
    now = utc_now()
    if expires_at is not None and expires_at <= now:
        raise InvalidError(
            "expiry-in-the-past", f"key {name!r}: expected an expiry after now, got {to_iso(expires_at)}"
        )
    if models is not None and not models:
        raise InvalidError("no-models", f"key {name!r}: the list of models is empty, so it could be used for nothing")
    secret = new_api_key()
    key = ApiKey(
        id=new_id("key"),
        name=name,
        models=None if models is None else list(dict.fromkeys(models)),
        is_admin=is_admin,
        created_at=to_iso(now),
        expires_at=to_iso(expires_at) if expires_at else None,
        revoked_at=None,
    )
    with database.write() as connection:
        _check_models(connection, name, key.models or [])
        if any(other.name == name and other.is_valid(now) for other in list_all(connection)):
            raise ConflictError(
                "key-exists", f"there is a valid key named {name!r} already", hint=f"undercroft key revoke {name}"
            )
        connection.execute(insert(api_keys).values(**key.to_dict(), digest=secret_digest(secret)))
        journal.record(connection, actor=actor, action="key.create", subject=key.id, after=key.to_dict())
    return key, secret


def _check_models(connection: Connection, name: str, models: list[str]) -> None:
    """Raises `NotFoundError` where one of the models is neither a deployment nor an adapter of one: a useless key."""
    rows = list(connection.execute(select(deployments.c.name)).scalars())
    known = sorted({*rows, *names_taken(connection).adapters})
    unknown = [model for model in models if model not in known]
    if unknown:
        raise NotFoundError(
            "no-such-deployment",
            f"key {name!r}: there is no deployment {unknown[0]!r}; there are {', '.join(known) or 'none'}",
            hint="undercroft deployment list",
        )


def list_all(connection: Connection) -> list[ApiKey]:
    """Every key that ever was, oldest first."""
    return [_read(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at, api_keys.c.id))]


def revoke(database: Database, which: str, *, actor: str, reason: str | None = None) -> ApiKey:
    """Ends a key at once.

    Args:
        which: Its id or its name.

    Raises:
        NotFoundError: No valid key has that id or name.
    """
    now = utc_now()
    with database.write() as connection:
        found = [key for key in list_all(connection) if which in {key.id, key.name} and key.revoked_at is None]
        if not found:
            raise NotFoundError(
                "no-such-key", f"there is no key {which!r} that could be revoked", hint="undercroft key list"
            )
        key = found[-1]
        connection.execute(update(api_keys).where(api_keys.c.id == key.id).values(revoked_at=to_iso(now)))
        journal.record(
            connection,
            actor=actor,
            action="key.revoke",
            subject=key.id,
            before={"revoked_at": None},
            after={"revoked_at": to_iso(now)},
            reason=reason,
        )
    return ApiKey(**{**key.to_dict(), "revoked_at": to_iso(now)})


def snapshot_keys(connection: Connection, now: datetime) -> dict[str, KeyEntry]:
    """Digest → what it may do, of every valid key: what the doors get."""
    entries = {}
    for row in connection.execute(select(api_keys)):
        key = _read(row)
        if key.is_valid(now):
            expires = from_iso(key.expires_at).timestamp() if key.expires_at else None
            models = None if key.models is None else tuple(key.models)
            entries[row.digest] = KeyEntry(key.id, models, expires, key.is_admin)
    return entries


def _read(row: Row[Any]) -> ApiKey:
    return ApiKey(
        id=row.id,
        name=row.name,
        models=row.models,
        is_admin=row.is_admin,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
