"""``/v1/models``: the deployments and adapters that a key may use."""

from __future__ import annotations

from typing import Any

import orjson

from undercroft.gateway.door.authentication import check_model
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.calls import find_served, split_adapter
from undercroft.gateway.openai.releases import find_release
from undercroft.registry.releases.references import base_name
from undercroft.serving.snapshot import DeploymentEntry

PREFIX = "/v1/models/"


async def list_models(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``GET /v1/models``."""
    assert exchange.key is not None
    allowed = exchange.key.models
    plain = {name for name, one in dispatcher.deployments.items() if one.entry.serves is None}
    plain |= set(dispatcher.adapters)
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
    asked, adapter = split_adapter(dispatcher, model)
    name, release = find_release(dispatcher, {"model": asked}, key_id, is_spared=adapter is not None)
    deployment = find_served(dispatcher, name, release, adapter)
    if deployment is None:
        return None
    shown = show(deployment.entry) | {"id": model}
    if release is not None:
        shown |= {"release": f"{name}@{release.number}", "created": release.created}
    if adapter is not None:
        shown["parent"] = name
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
