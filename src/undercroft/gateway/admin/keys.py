"""``/admin/keys``: API keys."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter
from pydantic import AwareDatetime, BaseModel, ConfigDict

from undercroft.gateway.admin.parts import Actor, Parts
from undercroft.serving import keys

router = APIRouter(prefix="/admin/keys", tags=["keys"])


class NewKey(BaseModel):
    """A key to create."""

    model_config = ConfigDict(extra="forbid")

    name: str
    models: list[str] | None = None
    is_admin: bool = False
    expires_at: AwareDatetime | None = None


@router.get("")
def list_keys(parts: Parts) -> list[dict[str, Any]]:
    """Every key that ever was, without its secret."""
    with parts.database.read() as connection:
        return [key.to_dict() for key in keys.list_all(connection)]


@router.post("", status_code=201)
def create_key(new: NewKey, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Makes a key. The answer is the only place where its secret ever stands."""
    expires_at: datetime | None = new.expires_at
    key, secret = keys.create(
        parts.database, name=new.name, models=new.models, is_admin=new.is_admin, expires_at=expires_at, actor=actor
    )
    parts.reconciler.refresh()
    return {**key.to_dict(), "key": secret}


@router.delete("/{which}")
def revoke_key(which: str, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Ends a key, named by its id or name."""
    key = keys.revoke(parts.database, which, actor=actor)
    parts.reconciler.refresh()
    return key.to_dict()
