"""``/v1/classify`` in vLLM's form; ``/classify`` is the same."""

from __future__ import annotations

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Deployment
from undercroft.gateway.openai.answers import renamed
from undercroft.gateway.openai.calls import answer_by_release
from undercroft.gateway.openai.encoders import ask_rows
from undercroft.gateway.openai.fields import CLASSIFY, read
from undercroft.serving.snapshot import ReleaseEntry

_ENGINE_ROUTE = "/v1/classify"


async def classify(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/classify``."""
    data = read(CLASSIFY, exchange.body)

    async def ask_release(deployment: Deployment, _release: ReleaseEntry | None) -> bytes:
        return await ask_rows(
            dispatcher, exchange, deployment, CLASSIFY, data, exchange.body, route=_ENGINE_ROUTE, task="classify"
        )

    body = await answer_by_release(dispatcher, exchange, data, "classify", ask_release)
    exchange.respond(200, renamed(body, data["model"]))
