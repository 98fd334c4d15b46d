"""``/v1/embeddings``."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.errors import invalid
from undercroft.gateway.openai.answers import renamed
from undercroft.gateway.openai.calls import answer_by_release
from undercroft.gateway.openai.encoders import ask_rows
from undercroft.gateway.openai.fields import EMBEDDINGS, read
from undercroft.serving.snapshot import ReleaseEntry

_FLOAT_BYTES = 4


async def embeddings(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/embeddings``."""
    data = read(EMBEDDINGS, exchange.body)

    async def ask_release(deployment: Deployment, _release: ReleaseEntry | None) -> bytes:
        return await ask_rows(
            dispatcher, exchange, deployment, EMBEDDINGS, data, exchange.body, route=exchange.path, task="embeddings"
        )

    body = await answer_by_release(dispatcher, exchange, data, "embeddings", ask_release)
    wanted = data.get("dimensions")
    if wanted is not None:
        _check_dimensions(wanted, orjson.loads(body))
    exchange.respond(200, renamed(body, data["model"]))


def _check_dimensions(wanted: int, answer: dict[str, Any]) -> None:
    found = answer["data"][0]["embedding"]
    given = len(found) if isinstance(found, list) else len(base64.b64decode(found)) // _FLOAT_BYTES
    if given != wanted:
        raise invalid(f"dimensions: expected {given}, which is what the model gives, got {wanted}", "dimensions")
