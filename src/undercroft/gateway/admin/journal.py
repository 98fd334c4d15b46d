"""``/admin/journal``: the diary of every change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query

from undercroft.gateway.admin.parts import Parts
from undercroft.storage import checkpoints, journal
from undercroft.storage.journal import Search

router = APIRouter(prefix="/admin/journal", tags=["journal"])


@router.get("")
def show_journal(
    parts: Parts,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    text: str | None = None,
    actor: str | None = None,
    action: str | None = None,
    subject: str | None = None,
) -> list[dict[str, Any]]:
    """The newest entries that are like that, oldest of them first."""
    with parts.database.read() as connection:
        found = journal.find(connection, Search(text, actor, action, subject, limit=limit))
    return [{**asdict(entry), "hash": stored} for entry, stored in found]


@router.get("/verify")
def verify_journal(parts: Parts) -> dict[str, Any]:
    """Whether the chain holds, and agrees with the checkpoints of this home."""
    own_key = checkpoints.public_key(checkpoints.signing_key(parts.home))
    known = checkpoints.gather([parts.home.checkpoints], own_key=own_key)
    with parts.database.read() as connection:
        damage = journal.find_damage(connection, known)
    return {"is_whole": damage is None, "damage": damage}
