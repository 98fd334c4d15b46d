"""``/v1/models``: the deployments that a key may use."""

from __future__ import annotations

from typing import Any

import orjson

from undercroft.gateway.door.authentication import check_model
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.errors import DoorError
from undercroft.serving.snapshot import DeploymentEntry

PREFIX = "/v1/models/"


async def list_models(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``GET /v1/models``."""
    assert exchange.key is not None
    allowed = exchange.key.models
    entries = [deployment.entry for deployment in dispatcher.deployments.values()]
    shown = [show(entry) for entry in entries if allowed is None or entry.name in allowed]
    exchange.respond(200, orjson.dumps({"object": "list", "data": sorted(shown, key=lambda one: str(one["id"]))}))


async def show_model(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``GET /v1/models/{model}``."""
    assert exchange.key is not None
    name = exchange.path.removeprefix(PREFIX)
    check_model(exchange.key, name)
    deployment = dispatcher.deployments.get(name)
    if deployment is None:
        raise DoorError(404, "model_not_found", f"there is no model '{name[:80]}'", param="model")
    exchange.respond(200, orjson.dumps(show(deployment.entry)))


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
