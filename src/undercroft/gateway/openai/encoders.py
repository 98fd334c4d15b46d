"""Asks a replica for rows of many inputs: in one request, or in as many as its server takes inputs at once."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.openai import kserve
from undercroft.gateway.openai.calls import ask, check_task, quarantine_body
from undercroft.gateway.openai.kinds import Record
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.trace import Trace


async def ask_rows(
    dispatcher: Dispatcher,
    exchange: Exchange,
    deployment: Deployment,
    table: Record,
    data: dict[str, Any],
    body: bytes,
    *,
    route: str,
    task: str,
) -> bytes:
    """The whole answer in the door's own form.

    Args:
        table: What the request may have.
        data: The checked request.
        body: Its bytes, as the engine may get them.
        route: Of the engine.
        task: ``embeddings``, ``rerank`` or ``classify``.

    Raises:
        DoorError: It is refused, there was no answer, or the answer is an error.
    """

    def call(part: dict[str, Any], sent: bytes, known_by: bytes) -> Call:
        return Call(
            route,
            quarantine_body(exchange, known_by),
            payload_for(table, part, sent),
            lambda: check_task(deployment.entry, task),
            "documents" if task == "rerank" else "input",
            lambda entry, answer: kserve.answer_body(part, entry, answer),
        )

    try:
        answer, _ = await ask(dispatcher, exchange, deployment, call(data, body, exchange.body), exchange.trace)
        return answer
    except kserve.TooManyError as error:
        most = error.most_inputs
    turns = asyncio.Semaphore(max(1, sum(replica.load.capacity for replica in deployment.replicas.values())))
    traces: list[Trace] = []

    async def ask_piece(piece: dict[str, Any]) -> bytes:
        async with turns:
            trace, sent = Trace(), orjson.dumps(piece)
            traces.append(trace)
            answer, _ = await ask(dispatcher, exchange, deployment, call(piece, sent, sent), trace)
            return answer

    tasks = [asyncio.create_task(ask_piece(piece)) for piece in kserve.pieces_of(data, most)]
    try:
        return kserve.joined(await asyncio.gather(*tasks), most)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        _settle(exchange.trace, traces)


def _settle(trace: Trace, parts: list[Trace]) -> None:
    """Adds the counts of all pieces to the request's own."""
    counts = [part.prompt_tokens for part in parts if part.prompt_tokens is not None]
    trace.prompt_tokens = sum(counts) if len(counts) == len(parts) else None
    trace.completion_tokens = 0
    trace.queue_seconds += max((part.queue_seconds for part in parts), default=0.0)
