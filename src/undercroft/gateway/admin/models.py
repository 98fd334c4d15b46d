"""``/admin/models``: what is in the registry."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from undercroft.gateway.admin.parts import Actor, Parts
from undercroft.registry import models

router = APIRouter(prefix="/admin/models", tags=["models"])


@router.get("")
def list_models(parts: Parts) -> list[dict[str, Any]]:
    """Every model."""
    with parts.database.read() as connection:
        return [model.to_dict() for model in models.list_models(connection)]


@router.get("/{name}")
def show_model(name: str, parts: Parts) -> dict[str, Any]:
    """One model with its facts and files."""
    with parts.database.read() as connection:
        model = models.get(connection, name)
    return model.to_dict()


@router.delete("/{name}")
def remove_model(name: str, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Forgets a model that no deployment uses; its files go with the next ``gc``."""
    models.remove(parts.database, name, actor=actor)
    return {"removed": name}
