"""``/admin/journal``: the diary of every change."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from undercroft.gateway.admin.parts import Parts
from undercroft.storage import journal

router = APIRouter(prefix="/admin/journal", tags=["journal"])


@router.get("")
def show_journal(parts: Parts, limit: int = 100) -> list[dict[str, Any]]:
    """The newest entries, oldest of them first."""
    with parts.database.read() as connection:
        found = [{**asdict(entry), "hash": stored} for entry, stored in journal.entries(connection)]
    return found[-max(1, min(limit, 10_000)) :]


@router.get("/verify")
def verify_journal(parts: Parts) -> dict[str, Any]:
    """Whether the chain holds."""
    with parts.database.read() as connection:
        damage = journal.find_damage(connection)
    return {"is_whole": damage is None, "damage": damage}
