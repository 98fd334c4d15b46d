"""``/v1/models``: the deployments that a key may use."""

from __future__ import annotations

from typing import Any

import orjson

from undercroft.gateway.door.authentication import check_model
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.releases import find_release
from undercroft.registry.releases.references import base_name
from undercroft.serving.snapshot import DeploymentEntry

PREFIX = "/v1/models/"


async def list_models(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``GET /v1/models``."""
    assert exchange.key is not None
    allowed = exchange.key.models
    plain = {name for name, one in dispatcher.deployments.items() if one.entry.serves is None}
    shown = [
        found
        for name in sorted(plain | set(dispatcher.names))
        if (allowed is None or name in allowed) and (found := _find(dispatcher, name, exchange.key.id)) is not None
    ]
    exchange.respond(200, orjson.dumps({"object": "list", "data": shown}))


async def show_model(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``GET /v1/models/{model}``."""
    assert exchange.key is not None
    name = exchange.path.removeprefix(PREFIX)
    check_model(exchange.key, base_name(name))
    found = _find(dispatcher, name, exchange.key.id)
    if found is None:
        raise DoorError(404, "model_not_found", f"there is no model '{name[:80]}'", param="model")
    exchange.respond(200, orjson.dumps(found))


def _find(dispatcher: Dispatcher, model: str, key_id: str) -> dict[str, Any] | None:
    _, release = find_release(dispatcher, {"model": model}, key_id)
    deployment = dispatcher.deployments.get(release.deployment if release is not None else model)
    if deployment is None or (release is None and deployment.entry.serves is not None):
        return None
    shown = show(deployment.entry) | {"id": model}
    if release is not None:
        shown |= {"release": f"{base_name(model)}@{release.number}", "created": release.created}
    return shown


def show(entry: DeploymentEntry) -> dict[str, Any]:
    """A deployment as OpenAI lists models, and what it can do."""
    return {
        "id": entry.name,
        "object": "model",
        "created": entry.created,
        "owned_by": "undercroft",
        "state": entry.state,
        "tasks": list(entry.tasks),
        "has_tools": entry.has_tools,
        "context_tokens": entry.context_tokens or None,
    }
