"""Clients that read streamed answers of a real engine and count tokens, over TCP or a Unix socket.

The same few lines read our door and the bare engine, so that what differs is what lies between.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Place:
    """A server of chat completions.

    Args:
        name: For the report.
        where: A port on loopback, or a Unix socket.
        key: That it asks for.
        model: Whom to ask for there.
    """

    name: str
    where: int | Path
    key: str
    model: str


@dataclass(frozen=True, slots=True)
class Generated:
    """What the clients got together.

    Args:
        tokens: As the engine counted them.
        seconds: From the first request to the end of the last answer.
        first_token_ms: One a client.
    """

    tokens: int
    seconds: float
    first_token_ms: tuple[float, ...]

    @property
    def tokens_per_second(self) -> float:
        """Of all clients together."""
        return self.tokens / self.seconds


class StreamError(Exception):
    """An answer that is no whole stream."""


def generate(place: Place, *, clients: int, tokens: int, mark: str) -> Generated:
    """All clients at once, one answer each.

    Args:
        place: Whom to ask.
        clients: Count.
        tokens: Of each answer.
        mark: Begins every prompt, so that no cache of an earlier round helps.

    Raises:
        StreamError: An answer was refused or cut.
        OSError: Nobody listens there.
    """
    return asyncio.run(_generate(place, clients, tokens, mark))


async def _generate(place: Place, clients: int, tokens: int, mark: str) -> Generated:
    begin = time.perf_counter()
    each = await asyncio.gather(*(_one(place, tokens, f"{mark} {number}") for number in range(clients)))
    seconds = time.perf_counter() - begin
    return Generated(sum(count for count, _ in each), seconds, tuple(first for _, first in each))


async def _one(place: Place, tokens: int, mark: str) -> tuple[int, float]:
    body = {
        "model": place.model,
        "messages": [{"role": "user", "content": f"{mark}: where is it?"}],
        "max_tokens": tokens,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    payload = json.dumps(body).encode()
    head = (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Authorization: Bearer {place.key}\r\nContent-Type: application/json\r\nContent-Length: {len(payload)}\r\n\r\n"
    )
    if isinstance(place.where, Path):
        reader, writer = await asyncio.open_unix_connection(place.where)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.where)
    try:
        begin = time.perf_counter()
        writer.write(head.encode() + payload)
        status = await reader.readline()
        if b" 200 " not in status:
            raise StreamError(f"{place.name} answered {status!r}: {(await reader.read(2000))[-500:]!r}")
        return await _read(place, reader, begin)
    finally:
        writer.close()


async def _read(place: Place, reader: asyncio.StreamReader, begin: float) -> tuple[int, float]:
    """Tokens and milliseconds to the first, of one stream."""
    first = None
    usage = None
    while line := await reader.readline():
        if not line.startswith(b"data: "):
            continue
        if first is None:
            first = (time.perf_counter() - begin) * 1e3
        if b'"usage":{' in line:
            usage = json.loads(line[6:])["usage"]["completion_tokens"]
        if line.startswith(b"data: [DONE]"):
            break
    if usage is None or first is None:
        raise StreamError(f"{place.name} ended a stream without saying its usage")
    return usage, first
