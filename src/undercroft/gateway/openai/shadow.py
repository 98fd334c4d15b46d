"""Copies of requests for a candidate that nobody sees: asked behind everybody else, compared, and forgotten."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import structlog

from undercroft.core.ids import new_id
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Lease
from undercroft.gateway.door.upstream import UpstreamError
from undercroft.gateway.errors import DoorError
from undercroft.gateway.openai.answers import token_counts
from undercroft.gateway.openai.calls import emit_row
from undercroft.gateway.openai.fields import CHAT
from undercroft.gateway.openai.payload import payload_for
from undercroft.gateway.openai.releases import with_release
from undercroft.gateway.openai.signs import Watched, spoken_text
from undercroft.gateway.trace import Trace
from undercroft.watch.probes.similarity import ngram_similarity

_log = structlog.get_logger("door")

# A candidate that is slower than the users' requests come gets some of them only.
_AT_ONCE = 4
# Comparing takes longer the longer the answers are, in the process that serves everybody.
_COMPARED_CHARACTERS = 4000
_STREAM_FIELDS = ("stream", "stream_options")

_running: set[asyncio.Task[None]] = set()


def copy_request(dispatcher: Dispatcher, exchange: Exchange, data: dict[str, Any], answer: bytes) -> None:
    """Sends a copy of an answered chat request to the candidate, if there is one in the shadow.

    Args:
        data: The checked request, as the client sent it.
        answer: What the client got.
    """
    named = dispatcher.names.get(exchange.trace.deployment)
    if named is None or named.canary is None or not named.is_shadow or exchange.trace.release == named.canary:
        return
    if len(_running) >= _AT_ONCE:
        return
    task = asyncio.create_task(_ask(dispatcher, named.name, named.canary, exchange.path, dict(data), answer))
    _running.add(task)
    task.add_done_callback(_running.discard)


async def _ask(dispatcher: Dispatcher, name: str, number: int, path: str, data: dict[str, Any], answer: bytes) -> None:
    trace = Trace()
    trace.deployment, trace.release = name, number
    trace.is_background = True
    trace.status = 200
    began = time.monotonic()
    try:
        release = dispatcher.names[name].releases[number]
        deployment = dispatcher.deployments[release.deployment]
        whole = {field: value for field, value in data.items() if field not in _STREAM_FIELDS}
        sent = with_release(whole, release)
        # By another name in the quarantine than the user's own request: what ends this engine may harm no other.
        known_by = b"%d\0%b" % (number, orjson.dumps(whole))
        call = Call(path, known_by, payload_for(CHAT, sent, None), lambda: None, "messages")
        lease = await dispatcher.send(deployment, call, trace, new_id("shadow"), whole=True)
        body = _read(lease, trace)
        watched = Watched(data)
        watched.take(body)
        texts = [spoken_text(each)[:_COMPARED_CHARACTERS] for each in (answer, body)]
        likeness = await asyncio.to_thread(ngram_similarity, *texts)
        trace.signs = {**watched.signs(), "likeness": round(likeness, 4)}
    except KeyError:
        return  # the promotion ended meanwhile
    except (DoorError, UpstreamError) as error:
        # An engine's own words may repeat what it was asked: the log gets the code only.
        code = error.code if isinstance(error, DoorError) else "engine-error"
        _log.info("copy not answered", name=name, release=number, code=code)
        if isinstance(error, DoorError) and error.source == "door":
            return  # it found no place behind the users' requests, which says nothing of the candidate
        trace.status = error.status if isinstance(error, DoorError) else 502
    emit_row(dispatcher, path, trace, status=trace.status, began=began)


def _read(lease: Lease, trace: Trace) -> bytes:
    try:
        connection = lease.connection
        body = connection.body[0]
        trace.status = connection.status
        trace.prompt_tokens, trace.completion_tokens = token_counts(body) or (None, None)
        return body
    finally:
        lease.close()
