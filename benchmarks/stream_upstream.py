"""An in-memory server of streamed chat completions that keeps its own pace: ``python -m benchmarks.stream_upstream``.

Every stream has its own clock and the pace that its request asks for (`benchmarks.answers.request_body`), so frames of
different streams do not come in bursts; pace 0 sends everything at once. The text of a frame is the time at which it
was written (``t<nanoseconds>t``, the machine's monotonic clock), so a client sees what a proxy added to each frame.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import time
from functools import cache
from pathlib import Path
from typing import cast

import uvloop

from benchmarks.answers import COMPLETION, MODELS, NAME

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_FRAMES = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
_PACE = re.compile(rb", (\d+) ms a token")
_IS_STREAM = re.compile(rb'"stream": ?true')
_HAS_USAGE = re.compile(rb'"include_usage": ?true')

_BEFORE = (
    f'data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"{NAME}",'
    '"choices":[{"index":0,"delta":{"content":"'
).encode()
_AFTER = b'"},"finish_reason":null}]}\n\n'
_STOP = _BEFORE.replace(b'"delta":{"content":"', b'"delta":{},"finish_reason":"stop"}]}\n\n')
_DONE = b"data: [DONE]\n\n"
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """Data as one piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def plain(body: str) -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


def last_frames(frames: int, has_usage: bool) -> bytes:
    """What ends a stream."""
    usage = b""
    if has_usage:
        counts = f'{{"prompt_tokens":24,"completion_tokens":{frames},"total_tokens":{24 + frames}}}'
        usage = _BEFORE.partition(b'"choices"')[0] + f'"choices":[],"usage":{counts}}}\n\n'.encode()
    return chunk(_STOP) + (chunk(usage) if usage else b"") + chunk(_DONE) + b"0\r\n\r\n"


@cache
def all_at_once(frames: int) -> bytes:
    """A whole stream; the same bytes for everybody, so that many slow readers cost this server no memory."""
    return _HEAD + _stamped() * frames + last_frames(frames, has_usage=True)


class Connection(asyncio.Protocol):
    """One client, one request at a time."""

    def __init__(self) -> None:
        self._interval_seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own has the methods, not the base class

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        if not blank:
            return
        length = _LENGTH.search(head)
        body_bytes = int(length[1]) if length else 0
        if len(rest) < body_bytes:
            return
        self._received = rest[body_bytes:]
        self._answer(head, rest[:body_bytes])

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self._transport.write(plain(MODELS))
        elif _IS_STREAM.search(body):
            found = _FRAMES.search(body)
            frames = int(found[1]) if found else 16
            pace = _PACE.search(body)
            self._interval_seconds = int(pace[1]) / 1000 if pace else 0.02
            if self._interval_seconds == 0:
                self._transport.write(all_at_once(frames))
                return
            self._transport.write(_HEAD + _stamped())
            ending = last_frames(frames, _HAS_USAGE.search(body) is not None)
            self._plan(self._loop.time() + self._interval_seconds, frames - 1, ending)
        else:
            self._transport.write(plain(COMPLETION))

    def _plan(self, due: float, left: int, ending: bytes) -> None:
        self._timer = self._loop.call_at(due, self._send, due, left, ending)

    def _send(self, due: float, left: int, ending: bytes) -> None:
        if left <= 0:
            self._timer = None
            self._transport.write(ending)
            return
        self._transport.write(_stamped())
        self._plan(due + self._interval_seconds, left - 1, ending)


def _stamped() -> bytes:
    return chunk(b"%bt%dt%b" % (_BEFORE, time.monotonic_ns(), _AFTER))


async def serve(port: int, socket_path: Path | None) -> None:
    """Until it is ended."""
    loop = asyncio.get_running_loop()
    await loop.create_server(Connection, "127.0.0.1", port, backlog=1024)
    if socket_path is not None:
        await loop.create_unix_server(Connection, str(socket_path), backlog=1024)
    await asyncio.Event().wait()


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--socket", type=Path, help="a Unix socket to listen on too")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve(given.port, given.socket))


if __name__ == "__main__":
    main()
