"""Several answers at once: ``n`` above 1, and lists of prompts.

llama.cpp counts the tokens of one choice only, so that each choice becomes a request of its own, at most as many at a
time as the deployment computes at once. Tokens of a prompt count once, as OpenAI counts them; those of answers add up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import orjson

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.errors import invalid
from undercroft.gateway.openai.calls import ask, ask_for_stream, quarantine_body
from undercroft.gateway.openai.fields import COMPLETIONS, PROMPTS_LIMIT
from undercroft.gateway.openai.kinds import Record
from undercroft.gateway.openai.legacy import LegacyChoices
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.signs import Watched
from undercroft.gateway.openai.stream import EVENT_STREAM, NO_CACHE, Relay
from undercroft.gateway.trace import Trace
from undercroft.serving.snapshot import ReplicaEntry


@dataclass(slots=True)
class Part:
    """One choice of the answer.

    Args:
        index: Its place among the choices.
        data: The request for it.
        counts_prompt: Its prompt's tokens are counted here.
        trace: What becomes of it.
    """

    index: int
    data: dict[str, Any]
    counts_prompt: bool
    trace: Trace = field(default_factory=Trace)


def is_needed(data: dict[str, Any], deployment: Deployment) -> bool:
    """Whether the request asks for several answers, of an engine that does not count them rightly by itself."""
    prompt = data.get("prompt")
    is_list = type(prompt) is list and len(prompt) > 0 and type(prompt[0]) is not int
    if not is_list and (data.get("n") or 1) == 1:
        return False
    replicas = deployment.entry.replicas
    return not replicas or any(replica.protocol == "llama.cpp" for replica in replicas)


def split(data: dict[str, Any]) -> list[Part]:
    """One request for each choice; a seed goes up by one with each, so that the answers differ and can be had again."""
    prompt = data.get("prompt")
    prompts = prompt if type(prompt) is list and prompt and type(prompt[0]) is not int else [prompt]
    count = data.get("n") or 1
    if len(prompts) * count > PROMPTS_LIMIT:
        raise invalid(f"n: expected {PROMPTS_LIMIT} answers at most over all prompts, got {len(prompts) * count}", "n")
    single = {name: value for name, value in data.items() if name not in ("n", "prompt", "stream_options")}
    parts: list[Part] = []
    for one in prompts:
        for choice in range(count):
            request = dict(single)
            if one is not None:
                request["prompt"] = one
            if request.get("seed") is not None:
                request["seed"] = (request["seed"] + choice) % (2**32 - 1)
            parts.append(Part(len(parts), request, counts_prompt=choice == 0))
    return parts


def total_usage(parts: list[Part]) -> dict[str, int]:
    """The ``usage`` of all parts together."""
    prompt = sum(part.trace.prompt_tokens or 0 for part in parts if part.counts_prompt)
    completion = sum(part.trace.completion_tokens or 0 for part in parts)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


async def answer(
    dispatcher: Dispatcher,
    exchange: Exchange,
    deployment: Deployment,
    table: Record,
    data: dict[str, Any],
    check: Callable[[], None],
) -> bytes | None:
    """Asks for every choice and answers with all of them.

    Returns:
        What the client got, where a candidate is being tried; None where nobody asks.

    Raises:
        DoorError: One of them failed; the others are cancelled.
    """
    run = _Run(dispatcher, exchange, deployment, table, data, check)
    try:
        await (run.stream() if data.get("stream") else run.whole())
        return run.watched.body if run.watched is not None else None
    finally:
        run.settle()


class _Run:
    def __init__(
        self,
        dispatcher: Dispatcher,
        exchange: Exchange,
        deployment: Deployment,
        table: Record,
        data: dict[str, Any],
        check: Callable[[], None],
    ) -> None:
        self.dispatcher = dispatcher
        self.exchange = exchange
        self.deployment = deployment
        self.table = table
        self.data = data
        self.check = check
        self.parts = split(data)
        self.watched = Watched(data) if exchange.trace.is_tried else None
        self.id = ("cmpl-" if table is COMPLETIONS else "chatcmpl-") + exchange.id
        self.content_field = "prompt" if table is COMPLETIONS else "messages"
        self.created = int(time.time())
        width = sum(replica.load.capacity for replica in deployment.replicas.values())
        self.turns = asyncio.Semaphore(max(1, width))

    async def whole(self) -> None:
        bodies = await self._all(self._ask)
        choices = []
        for part, body in zip(self.parts, bodies, strict=True):
            found = orjson.loads(body)
            self._rename(found, part, self._legacy())
            choices.extend(found["choices"])
        first = orjson.loads(bodies[0])
        merged = {"id": self.id, "object": first.get("object"), "created": self.created}
        merged |= {"model": self.data["model"], "choices": choices, "usage": total_usage(self.parts)}
        if "system_fingerprint" in first:
            merged["system_fingerprint"] = first["system_fingerprint"]
        body = orjson.dumps(merged)
        self._watch(body)
        self._note_signs()
        self.exchange.respond(200, body)

    async def stream(self) -> None:
        self.exchange.stream_type = EVENT_STREAM
        self.exchange.stream_headers = NO_CACHE
        await self._all(self._ask_for_stream)
        if (self.data.get("stream_options") or {}).get("include_usage"):
            kind = "text_completion" if self.table is COMPLETIONS else "chat.completion.chunk"
            event = {"id": self.id, "object": kind, "created": self.created, "model": self.data["model"]}
            event |= {"choices": [], "usage": total_usage(self.parts)}
            self.exchange.pass_on(b"data: " + orjson.dumps(event) + b"\n\n")
        self.exchange.pass_on(b"data: [DONE]\n\n")
        self._note_signs()
        self.exchange.end()

    def settle(self) -> None:
        """Adds the parts' counts to the request's own."""
        trace, usage = self.exchange.trace, total_usage(self.parts)
        traces = [part.trace for part in self.parts]
        is_told = all(one.prompt_tokens is not None for one in traces)
        trace.prompt_tokens = usage["prompt_tokens"] if is_told else None
        is_told = all(one.completion_tokens is not None for one in traces)
        trace.completion_tokens = usage["completion_tokens"] if is_told else None
        trace.queue_seconds = max(part.trace.queue_seconds for part in self.parts)
        trace.first_token_at = min((p.trace.first_token_at for p in self.parts if p.trace.first_token_at), default=0.0)
        for part in self.parts:
            if trace.inter_token is None:
                trace.inter_token = part.trace.inter_token
            elif part.trace.inter_token is not None:
                trace.inter_token.add(part.trace.inter_token)

    def _watch(self, piece: bytes) -> None:
        if self.watched is not None:
            self.watched.take(piece)

    def _note_signs(self) -> None:
        if self.watched is not None:
            self.exchange.trace.signs = self.watched.signs()

    async def _ask(self, part: Part) -> bytes:
        async with self.turns:
            body, _ = await ask(self.dispatcher, self.exchange, self.deployment, self._call(part), part.trace)
            return body

    async def _ask_for_stream(self, part: Part) -> bytes:
        legacy = self._legacy()

        def emit(data: bytes) -> None:
            frames = data.replace(b"data: [DONE]\n\n", b"")
            self._watch(frames)
            self.exchange.pass_on(frames)

        def relay(_: ReplicaEntry) -> Relay:
            return Relay(
                part.trace,
                emit,
                model=self.data["model"],
                has_usage_request=False,
                is_framed=True,
                content_field=self.content_field,
                change=lambda event: self._rename(event, part, legacy),
            )

        async with self.turns:
            call = self._call(part)
            await ask_for_stream(self.dispatcher, self.exchange, self.deployment, call, part.trace, relay)
        return b""

    def _call(self, part: Part) -> Call:
        body = orjson.dumps(part.data)
        name = quarantine_body(self.exchange, body)
        payload = payload_for(self.table, part.data, body, adapter=self.exchange.trace.adapter)
        return Call(self.exchange.path, name, payload, self.check, self.content_field)

    def _legacy(self) -> LegacyChoices | None:
        wanted = self.data.get("logprobs")
        return LegacyChoices(wanted) if self.table is COMPLETIONS and wanted is not None else None

    def _rename(self, found: dict[str, Any], part: Part, legacy: LegacyChoices | None) -> None:
        if legacy is not None:
            legacy.rewrite(found)
        found["id"] = self.id
        found["created"] = self.created
        for choice in found.get("choices", []):
            choice["index"] = part.index

    async def _all(self, one: Callable[[Part], Coroutine[Any, Any, bytes]]) -> list[bytes]:
        tasks = [asyncio.create_task(one(part)) for part in self.parts]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
