"""``/v1/classify`` in vLLM's form; ``/classify`` is the same."""

from __future__ import annotations

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.openai.answers import renamed
from undercroft.gateway.openai.calls import answer_by_release, ask, check_task, quarantine_body
from undercroft.gateway.openai.fields import CLASSIFY, read
from undercroft.gateway.openai.payload import payload_for
from undercroft.serving.snapshot import ReleaseEntry

_ENGINE_ROUTE = "/v1/classify"


async def classify(dispatcher: Dispatcher, exchange: Exchange) -> None:
    """Answers ``POST /v1/classify``."""
    data = read(CLASSIFY, exchange.body)

    async def ask_release(deployment: Deployment, _release: ReleaseEntry | None) -> bytes:
        call = Call(
            _ENGINE_ROUTE,
            quarantine_body(exchange, exchange.body),
            payload_for(CLASSIFY, data, exchange.body),
            lambda: check_task(deployment.entry, "classify"),
            "input",
        )
        body, _ = await ask(dispatcher, exchange, deployment, call, exchange.trace)
        return body

    body = await answer_by_release(dispatcher, exchange, data, "classify", ask_release)
    exchange.respond(200, renamed(body, data["model"]))
