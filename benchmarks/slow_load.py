"""Clients that hold a server up: ``python -m benchmarks.slow_load``; prints one JSON object when it is ended.

A third sends half of its headers and then nothing. A third sends one byte in a hundred of a body and then a byte now
and then. A third asks for a long streamed answer and reads it a few bytes at a time. Who is turned away comes again at
once, so that there are always as many.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import socket
from collections import Counter

from benchmarks.answers import http_request, request_body

_BODY_BYTES = 100_000
_SENT_SHARE = 0.01
_TRICKLE_SECONDS = 2.0
_READ_BYTES = 64
_READ_SECONDS = 0.5
_RECEIVE_BUFFER_BYTES = 4096
_FRAMES = 8000


class Slow:
    """All of the clients.

    Args:
        port: Of the server, on loopback.
        key: That it asks for.
        model: Whom to ask.
    """

    def __init__(self, port: int, key: str, model: str) -> None:
        self._port = port
        self.came: Counter[str] = Counter()
        self.holding: Counter[str] = Counter()
        body = http_request(port, key, request_body(model, filler_bytes=_BODY_BYTES))
        self._half_headers = body[: body.index(b"Content-Type")]
        self._some_body = body[: body.index(b"\r\n\r\n") + 4 + int(_BODY_BYTES * _SENT_SHARE)]
        self._long_answer = http_request(port, key, request_body(model, frames=_FRAMES, pace_ms=0))

    async def run(self, kind: str) -> None:
        """One client, until it is cancelled."""
        behave = {"headers": self._send_half, "body": self._send_slowly, "reader": self._read_slowly}[kind]
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError), socket.socket() as connection:
                connection.setblocking(False)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER_BYTES)
                await loop.sock_connect(connection, ("127.0.0.1", self._port))
                self.came[kind] += 1
                self.holding[kind] += 1
                try:
                    await behave(loop, connection)
                finally:
                    self.holding[kind] -= 1
            await asyncio.sleep(0.1)

    async def _send_half(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        await loop.sock_sendall(connection, self._half_headers)
        await _until_closed(loop, connection)

    async def _send_slowly(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        await loop.sock_sendall(connection, self._some_body)
        closed = asyncio.ensure_future(_until_closed(loop, connection))
        try:
            while not closed.done():
                await asyncio.wait([closed], timeout=_TRICKLE_SECONDS)
                await loop.sock_sendall(connection, b"x")
        finally:
            closed.cancel()

    async def _read_slowly(self, loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
        await loop.sock_sendall(connection, self._long_answer)
        while await loop.sock_recv(connection, _READ_BYTES):
            await asyncio.sleep(_READ_SECONDS)


async def _until_closed(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while await loop.sock_recv(connection, 4096):
            pass


async def load(slow: Slow, clients: int) -> None:
    """Runs all of them until SIGTERM."""
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    kinds = ("headers", "body", "reader")
    tasks = [asyncio.create_task(slow.run(kinds[number % len(kinds)])) for number in range(clients)]
    print("ready", flush=True)
    await ending.wait()
    held = dict(slow.holding)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(json.dumps({"held_at_end": held, "connections": dict(slow.came)}), flush=True)


def main() -> None:
    """Reads the command line and holds up."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clients", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(load(Slow(given.port, given.key, given.model), given.clients))


if __name__ == "__main__":
    main()
