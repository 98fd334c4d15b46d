"""Clients of streamed chat completions: ``python -m benchmarks.stream_load``; prints one JSON object.

Each client sends a request, reads its stream to the end, and sends the next one over the same connection, until the
time is up. Raw sockets, because an HTTP library for Python costs more than what is measured. The text of each frame
is the time at which the upstream wrote it (`benchmarks.stream_upstream`), so a frame's delay is exact, and a stall is
seen as what it is: a frame that arrived late, whatever the pace.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import re
import time
from dataclasses import asdict, dataclass, field
from typing import cast

import uvloop

from benchmarks.answers import http_request, request_body

_STAMP = re.compile(rb"t(\d{6,})t")
_LAST_CHUNK = b"0\r\n\r\n"
_STAMP_BYTES = 48
_MILLISECOND_NS = 1e6


@dataclass(slots=True)
class Seen:
    """What all clients saw.

    Args:
        first_frames_ms: From sending a request to its first frame; one a stream.
        delays_ms: From the upstream's writing of a frame to its arrival; one a frame.
        worst_ms: The longest delay of a frame; one a stream.
        frames: That arrived.
        streams: That ended as they should.
        broken: That did not.
    """

    first_frames_ms: list[float] = field(default_factory=list)
    delays_ms: list[float] = field(default_factory=list)
    worst_ms: list[float] = field(default_factory=list)
    frames: int = 0
    streams: int = 0
    broken: int = 0

    def to_dict(self) -> dict[str, object]:
        """Plain data; the delays of single frames are sorted and thinned to at most 2,000."""
        step = max(1, len(self.delays_ms) // 2000)
        return {**asdict(self), "delays_ms": sorted(self.delays_ms)[::step]}


class Client(asyncio.Protocol):
    """One client, one stream at a time.

    Args:
        request: What it sends, again and again.
        frames: That a whole stream has.
        until: Loop time after which it begins no stream.
        seen: Where it notes what it saw.
    """

    def __init__(self, request: bytes, frames: int, until: float, seen: Seen) -> None:
        self._request, self._frames, self._until, self._seen = request, frames, until, seen
        self._loop = asyncio.get_running_loop()
        self.ended = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own has the methods, not the base class
        self._begin()

    def _begin(self) -> None:
        self._tail = b""
        self._delays: list[float] = []
        self._has_done = False
        self._sent_ns = time.monotonic_ns()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        text = self._tail + data
        end = 0
        for stamp in _STAMP.finditer(text):
            end = stamp.end()
            if not self._delays:
                self._seen.first_frames_ms.append((now - self._sent_ns) / _MILLISECOND_NS)
            self._delays.append((now - int(stamp[1])) / _MILLISECOND_NS)
        self._has_done = self._has_done or b"[DONE]" in text
        self._tail = text[max(end, len(text) - _STAMP_BYTES) :]
        if self._has_done and text.endswith(_LAST_CHUNK):
            self._stream_ended()

    def _stream_ended(self) -> None:
        is_whole = len(self._delays) == self._frames
        self._seen.streams += is_whole
        self._seen.broken += not is_whole
        self._seen.frames += len(self._delays)
        if self._delays:
            self._seen.delays_ms.extend(self._delays)
            self._seen.worst_ms.append(max(self._delays))
        if self._loop.time() < self._until:
            self._begin()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not (self._has_done and self._loop.time() >= self._until):
            self._seen.broken += 1
        if not self.ended.done():
            self.ended.set_result(None)


async def load(port: int, request: bytes, *, frames: int, clients: int, seconds: float, stagger: float) -> Seen:
    """Runs the clients.

    Args:
        port: Of the server, on loopback.
        request: The same for all.
        frames: That each stream should have.
        clients: At the same time.
        seconds: After which no stream is begun.
        stagger: Seconds over which the clients begin, one after the other.
    """
    loop = asyncio.get_running_loop()
    seen = Seen()
    until = loop.time() + seconds + stagger
    made: list[Client] = []
    gc.disable()  # a collection here would look like a stall there
    for _ in range(clients):
        _, client = await loop.create_connection(lambda: Client(request, frames, until, seen), "127.0.0.1", port)
        made.append(client)
        await asyncio.sleep(stagger / clients)
    await asyncio.wait_for(asyncio.gather(*(client.ended for client in made)), timeout=stagger + seconds + 120)
    return seen


def main() -> None:
    """Reads the command line and loads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key")
    parser.add_argument("--model", required=True)
    parser.add_argument("--frames", type=int, required=True)
    parser.add_argument("--pace-ms", type=int, default=20)
    parser.add_argument("--clients", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--stagger", type=float, default=0.0)
    given = parser.parse_args()
    request = http_request(given.port, given.key, request_body(given.model, frames=given.frames, pace_ms=given.pace_ms))
    seen = uvloop.run(
        load(
            given.port,
            request,
            frames=given.frames,
            clients=given.clients,
            seconds=given.seconds,
            stagger=given.stagger,
        )
    )
    print(json.dumps(seen.to_dict()))


if __name__ == "__main__":
    main()
