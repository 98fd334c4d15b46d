"""``/v1/embeddings``."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.errors import invalid
from undercroft.gateway.openai.answers import renamed
from undercroft.gateway.openai.calls import answer_by_release, ask, check_task, quarantine_body
from undercroft.gateway.openai.fields import EMBEDDINGS, read
from undercroft.gateway.openai.payload import payload_for
from undercroft.serving.snapshot import ReleaseEntry

_FLOAT_BYTES = 4


async def embeddings(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/embeddings``."""
    data = read(EMBEDDINGS, exchange.body)

    async def ask_release(deployment: Deployment, _release: ReleaseEntry | None) -> bytes:
        call = Call(
            exchange.path,
            quarantine_body(exchange, exchange.body),
            payload_for(EMBEDDINGS, data, exchange.body),
            lambda: check_task(deployment.entry, "embeddings"),
            "input",
        )
        body, _ = await ask(dispatcher, exchange, deployment, call, exchange.trace)
        return body

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
