"""The client side: one HTTP/1.1 connection to an engine, one answer at a time. Redirects are never followed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import cast

import httptools

IDLE_LIMIT_SECONDS = 60.0
_HEADER_LIMIT_BYTES = 64 * 1024
BODY_LIMIT_BYTES = 256 * 1024 * 1024
# A server that says "Keep-Alive: timeout=5" may close at that moment; a request must not cross its close.
_KEEP_ALIVE_MARGIN_SECONDS = 1.0


class UpstreamError(Exception):
    """The engine did not answer as HTTP asks.

    UpstreamError
    ├── ConnectError   no connection: the request was not sent
    ├── LostError      the connection ended before the answer did
    ├── SilentError    nothing came for too long
    └── MalformedError not HTTP, or too large
    """


class ConnectError(UpstreamError):
    """No connection could be made; the request was not sent."""


class LostError(UpstreamError):
    """The connection ended before the answer did."""


class SilentError(UpstreamError):
    """Nothing came for longer than is allowed."""


class MalformedError(UpstreamError):
    """What came is not HTTP, or is too large."""


class UpstreamConnection(asyncio.Protocol):
    """One connection, one answer at a time.

    `send`, then either `whole` for the answer at once, or `head` and then `pipe` for its pieces as they come.
    """

    def __init__(self, silence_seconds: float) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body: list[bytes] = []
        self.is_complete = False
        self.is_reused = False
        self.idle_until = 0.0
        self._silence_seconds = silence_seconds
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._has_head = False
        self._wants_whole = False
        self._sink: Callable[[bytes], None] | None = None
        self._error: UpstreamError | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._heard_at = 0.0
        self._body_bytes = 0
        self._header_bytes = 0
        self._requests = 0
        self._requests_limit = 0
        self._is_fresh_answer = False

    # What the door calls.

    def send(self, data: bytes) -> None:
        """Sends a request; the answer before it must be complete."""
        assert self._transport is not None
        self.is_complete = False
        self._has_head = False
        self._sink = None
        self._body_bytes = 0
        self._header_bytes = 0
        self._is_fresh_answer = True
        self.body = []
        self.headers = {}
        self._requests += 1
        self._heard_at = time.monotonic()
        self._watch = asyncio.get_running_loop().call_later(self._silence_seconds, self._check_silence)
        self._transport.write(data)

    async def head(self) -> int:
        """Waits for status and headers.

        Raises:
            UpstreamError: They did not come.
        """
        await self._wait(wants_whole=False)
        return self.status

    async def whole(self) -> bytes:
        """Waits for the whole answer and returns its body.

        Raises:
            UpstreamError: It did not come.
        """
        await self._wait(wants_whole=True)
        if len(self.body) != 1:
            self.body = [b"".join(self.body)]
        return self.body[0]

    async def pipe(self, sink: Callable[[bytes], None]) -> None:
        """Hands every piece of the body to ``sink`` as it comes, until the end.

        Raises:
            UpstreamError: The answer did not end as it should.
        """
        self._sink = sink
        if self.body:
            pieces, self.body = b"".join(self.body), []
            sink(pieces)
        await self._wait(wants_whole=True)

    def pause(self) -> None:
        """Reads no more until `resume`: the client is slower than the engine."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Reads on after `pause`."""
        if self._transport is not None and not self._transport.is_closing():
            self._heard_at = time.monotonic()
            self._transport.resume_reading()

    def abort(self) -> None:
        """Closes at once, by which the engine knows that nobody waits any more."""
        self._stop_watch()
        if self._transport is not None:
            self._transport.abort()

    @property
    def is_open(self) -> bool:
        """Another request may be sent."""
        return self._error is None and self._transport is not None and not self._transport.is_closing()

    @property
    def has_answer(self) -> bool:
        """Something of the answer has come."""
        return not self._is_fresh_answer

    @property
    def is_close_delimited(self) -> bool:
        """The answer's length is told by nothing but the end of the connection."""
        return b"content-length" not in self.headers and b"transfer-encoding" not in self.headers

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop has its own classes

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watch()
        if self._has_head and not self.is_complete and exc is None and self.is_close_delimited:
            self.is_complete = True
            self._wake()
        else:
            self._fail(LostError("the engine closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._heard_at = time.monotonic()
        self._is_fresh_answer = False
        if not self._has_head:
            self._header_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(MalformedError("the engine wants another protocol"))
        except httptools.HttpParserError as error:
            self._fail(MalformedError(f"the engine's answer is not HTTP: {error}"))
        else:
            if not self._has_head and self._header_bytes > _HEADER_LIMIT_BYTES:
                self._fail(MalformedError("the engine's headers are too large"))
        if self._sink is not None and self.body:
            pieces = self.body[0] if len(self.body) == 1 else b"".join(self.body)
            self.body = []
            self._sink(pieces)
        if self.is_complete or (self._has_head and not self._wants_whole) or self._error is not None:
            self._wake()

    # The parser calls these.

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = {}
            return
        self._has_head = True

    def on_body(self, data: bytes) -> None:
        if self._sink is None:
            self._body_bytes += len(data)
            if self._body_bytes > BODY_LIMIT_BYTES:
                self._fail(MalformedError(f"the engine's answer has more than {BODY_LIMIT_BYTES} bytes"))
                return
        self.body.append(data)

    def on_message_complete(self) -> None:
        if not self._has_head:
            return
        self.is_complete = True
        self._stop_watch()
        self._read_keep_alive()

    # Inside.

    async def _wait(self, *, wants_whole: bool) -> None:
        self._wants_whole = wants_whole
        if not (self.is_complete or (self._has_head and not wants_whole)) and self._error is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        if self._error is not None and not self.is_complete:
            raise self._error

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _fail(self, error: UpstreamError) -> None:
        if self._error is None:
            self._error = error
        if self._transport is not None:
            self._transport.abort()
        self._wake()

    def _check_silence(self) -> None:
        left = self._heard_at + self._silence_seconds - time.monotonic()
        if left <= 0:
            self._fail(SilentError(f"the engine said nothing for {self._silence_seconds:g} s"))
        else:
            self._watch = asyncio.get_running_loop().call_later(left, self._check_silence)

    def _stop_watch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _read_keep_alive(self) -> None:
        seconds = IDLE_LIMIT_SECONDS
        for part in self.headers.get(b"keep-alive", b"").split(b","):
            name, _, value = part.strip().partition(b"=")
            if name == b"timeout" and value.isdigit():
                seconds = min(seconds, int(value) - _KEEP_ALIVE_MARGIN_SECONDS)
            elif name == b"max" and value.isdigit():
                self._requests_limit = int(value)
        is_used_up = 0 < self._requests_limit <= self._requests + 1
        if is_used_up or not self._parser.should_keep_alive():
            seconds = 0.0
        self.idle_until = time.monotonic() + seconds
