"""Copies of requests for a candidate that nobody sees: asked behind everybody else, compared, and forgotten."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import orjson
import structlog

from undercroft.checks.similarity import ngram_similarity
from undercroft.core.ids import new_id
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment
from undercroft.gateway.door.upstream import UpstreamError
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai import fanout
from undercroft.gateway.openai.answers import token_counts
from undercroft.gateway.openai.calls import emit_row
from undercroft.gateway.openai.fanout import Part
from undercroft.gateway.openai.fields import COMPLETIONS
from undercroft.gateway.openai.kinds import Record
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.releases import with_release
from undercroft.gateway.openai.signs import Watched, spoken_texts
from undercroft.gateway.trace import Trace

_log = structlog.get_logger("door")

# A candidate that is slower than the users' requests come gets some of them only.
_AT_ONCE = 4
# Comparing takes longer the longer the answers are, in the process that serves everybody.
_COMPARED_CHARACTERS = 4000
_LEAST_CHARACTERS = 200
_STREAM_FIELDS = ("stream", "stream_options")

_running: set[asyncio.Task[None]] = set()


def copy_request(
    dispatcher: Dispatcher, exchange: Exchange, table: Record, data: dict[str, Any], answer: bytes
) -> None:
    """Sends a copy of an answered request to the candidate, if there is one in the shadow.

    Args:
        table: What the request may have: of a chat, or of a completion.
        data: The checked request, before any release put something around it.
        answer: What the client got, as an answer to such a request: whole, or the frames of a stream.
    """
    named = dispatcher.names.get(exchange.trace.deployment)
    if named is None or named.canary is None or not named.is_shadow or exchange.trace.release == named.canary:
        return
    if len(_running) >= _AT_ONCE:
        return
    copy = _Copy(dispatcher, named.name, named.canary, exchange.path, table, dict(data))
    task = asyncio.create_task(copy.ask(answer))
    _running.add(task)
    task.add_done_callback(_running.discard)


@dataclass(slots=True)
class _Copy:
    """A request once more, for another release than answered it.

    Args:
        dispatcher: Of the door.
        name: That was asked for.
        number: Of the candidate.
        path: The route that was asked.
        table: What the request may have.
        data: The checked request.
    """

    dispatcher: Dispatcher
    name: str
    number: int
    path: str
    table: Record
    data: dict[str, Any]

    async def ask(self, answer: bytes) -> None:
        """Asks, compares, and tells control what came of it."""
        trace = Trace()
        trace.deployment, trace.release = self.name, self.number
        trace.status = 200
        began = time.monotonic()
        try:
            watched = await self._answer(trace)
            if trace.status < 400:
                likeness = await asyncio.to_thread(likeness_of, answer, watched.body)
                trace.signs = {**watched.signs(), "likeness": round(likeness, 4)}
        except KeyError:
            return  # the promotion ended meanwhile
        except (DoorError, UpstreamError) as error:
            # An engine's own words may repeat what it was asked: the log gets the code only.
            code = error.code if isinstance(error, DoorError) else "engine-error"
            _log.info("copy not answered", name=self.name, release=self.number, code=code)
            if isinstance(error, DoorError) and error.source == "door":
                return  # it found no place behind the users' requests, which says nothing of the candidate
            trace.status = error.status if isinstance(error, DoorError) else 502
        emit_row(self.dispatcher, self.path, trace, status=trace.status, began=began)

    async def _answer(self, trace: Trace) -> Watched:
        """Every choice, one after the other, so that a copy takes no more of the engine than a request does."""
        release = self.dispatcher.names[self.name].releases[self.number]
        deployment = self.dispatcher.deployments[release.deployment]
        whole = {field: value for field, value in self.data.items() if field not in _STREAM_FIELDS}
        sent = with_release(whole, release)
        is_split = fanout.is_needed(sent, deployment)
        parts = fanout.split(sent) if is_split else [Part(0, sent, counts_prompt=True)]
        watched = Watched(self.data)
        for part in parts:
            try:
                body = await self._ask_part(deployment, part)
            finally:
                trace.replica = part.trace.replica  # of one that broke, too
                trace.queue_seconds += part.trace.queue_seconds
            watched.take(_as_frame(body, part.index if is_split else None))
            trace.status = part.trace.status
            if trace.status >= 400:
                break
        used = fanout.total_usage(parts)
        is_told = all(part.trace.completion_tokens is not None for part in parts)
        trace.prompt_tokens = used["prompt_tokens"] if is_told else None
        trace.completion_tokens = used["completion_tokens"] if is_told else None
        return watched

    async def _ask_part(self, deployment: Deployment, part: Part) -> bytes:
        part.trace.is_background = True
        is_completion = self.table is COMPLETIONS
        # By another name in the quarantine than the user's own request: what ends this engine may harm no other.
        known_by = b"%d\0%b" % (self.number, orjson.dumps(part.data))
        payload = payload_for(self.table, part.data, None)
        route = "/v1/completions" if is_completion else "/v1/chat/completions"
        call = Call(route, known_by, payload, lambda: None, "prompt" if is_completion else "messages")
        lease = await self.dispatcher.send(deployment, call, part.trace, new_id("shadow"), whole=True)
        try:
            body = lease.connection.body[0]
            part.trace.status = lease.connection.status
            part.trace.prompt_tokens, part.trace.completion_tokens = token_counts(body) or (None, None)
            return body
        finally:
            lease.close()


def likeness_of(answer: bytes, other: bytes) -> float:
    """How like two answers to the same request are, choice by choice: the mean, 0.0 to 1.0.

    A choice that only one of them has is like nothing.

    Args:
        answer: An answer, or the frames of a stream.
        other: The same.
    """
    mine, others = spoken_texts(answer), spoken_texts(other)
    indexes = sorted({*mine, *others}) or [0]
    limit = max(_LEAST_CHARACTERS, _COMPARED_CHARACTERS // len(indexes))
    return fmean(
        ngram_similarity(mine.get(index, "")[:limit], others.get(index, "")[:limit])
        if (index in mine) is (index in others)
        else 0.0
        for index in indexes
    )


def _as_frame(body: bytes, index: int | None) -> bytes:
    """An answer as the frame of a stream; an external engine may send anything, of which nothing is kept.

    Args:
        body: Of the answer.
        index: Of its only choice; None leaves what stands there.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return b""
    if index is not None and type(found) is dict and type(found.get("choices")) is list:
        for choice in found["choices"]:
            if type(choice) is dict:
                choice["index"] = index
    return b"data: %b\n\n" % orjson.dumps(found)
