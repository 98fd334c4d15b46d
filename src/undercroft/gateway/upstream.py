"""The client side: pooled HTTP/1.1 connections to one engine, over a Unix socket, http or https.

Redirects are never followed, proxies never used: a request goes to the address that the administrator configured.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

import httptools

from undercroft.serving.snapshot import ReplicaEntry

_CONNECT_TIMEOUT_SECONDS = 5.0
_CROWDED_SECONDS = 0.005
_IDLE_LIMIT_SECONDS = 60.0
_IDLE_LIMIT_CONNECTIONS = 64
_HEADER_LIMIT_BYTES = 64 * 1024
_BODY_LIMIT_BYTES = 256 * 1024 * 1024
# A server that says "Keep-Alive: timeout=5" may close at that moment; a request must not cross its close.
_KEEP_ALIVE_MARGIN_SECONDS = 1.0
# A kept connection that the server had closed shows it at once; one that ends later ended because of the request.
_STALE_CLOSE_SECONDS = 0.5


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


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens.

    Args:
        socket_path: Unix socket; None where ``host`` and ``port`` are given.
        host: Name or address.
        port: TCP port.
        is_tls: Speak TLS, and check the certificate against the system's roots.
        prefix: Path before every route, without a trailing slash.
        host_header: For the ``Host`` header.
    """

    socket_path: str | None
    host: str = ""
    port: int = 0
    is_tls: bool = False
    prefix: str = ""
    host_header: str = "engine"


def target_of(entry: ReplicaEntry) -> Target:
    """Where a replica listens.

    Raises:
        ValueError: It names neither a socket nor an http or https URL.
    """
    if entry.socket_path is not None:
        return Target(socket_path=entry.socket_path)
    parts = urlsplit(entry.base_url or "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"replica {entry.id}: expected an http or https URL, got {entry.base_url!r}")
    is_tls = parts.scheme == "https"
    return Target(
        socket_path=None,
        host=parts.hostname,
        port=parts.port or (443 if is_tls else 80),
        is_tls=is_tls,
        prefix=parts.path.rstrip("/"),
        host_header=parts.netloc.rpartition("@")[2],
    )


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
            if self._body_bytes > _BODY_LIMIT_BYTES:
                self._fail(MalformedError(f"the engine's answer has more than {_BODY_LIMIT_BYTES} bytes"))
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
        seconds = _IDLE_LIMIT_SECONDS
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


class Pool:
    """Connections to one server, used again while they last.

    Args:
        target: Where it listens.
        silence_seconds: Longest silence while an answer is awaited.
    """

    def __init__(self, target: Target, silence_seconds: float) -> None:
        self.target = target
        self._silence_seconds = silence_seconds
        self._idle: list[UpstreamConnection] = []
        self._is_closed = False
        self._tls = ssl.create_default_context() if target.is_tls else None

    async def request(self, data: bytes, *, whole: bool) -> UpstreamConnection:
        """Sends a request and waits for its answer.

        A kept connection that turns out to be closed is no failure: the engine has not seen the request then, and it
        goes out once more on a fresh one.

        Args:
            data: The request, head and body.
            whole: Wait for the whole answer; else for status and headers only.

        Raises:
            UpstreamError: No answer.
        """
        lost: LostError | None = None
        while True:
            try:
                connection = self._take() or await self._connect()
            except ConnectError:
                if lost is not None:
                    raise lost from None  # the request was sent once: to the caller that makes a difference
                raise
            sent_at = time.monotonic()
            try:
                connection.send(data)
                await (connection.whole() if whole else connection.head())
                return connection
            except LostError as error:
                is_stale = time.monotonic() - sent_at < _STALE_CLOSE_SECONDS
                if not (connection.is_reused and is_stale) or connection.has_answer:
                    raise
                lost = error
            except asyncio.CancelledError:
                connection.abort()
                raise

    def give_back(self, connection: UpstreamConnection) -> None:
        """Keeps a connection for later, or closes it where its answer was not read to the end."""
        is_reusable = connection.is_complete and connection.is_open and connection.idle_until > time.monotonic()
        if is_reusable and not self._is_closed and len(self._idle) < _IDLE_LIMIT_CONNECTIONS:
            connection.is_reused = True
            self._idle.append(connection)
        else:
            connection.abort()

    def close(self) -> None:
        """Closes what is idle now, and everything that is given back later."""
        self._is_closed = True
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    def _take(self) -> UpstreamConnection | None:
        now = time.monotonic()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open and connection.idle_until > now:
                return connection
            connection.abort()
        return None

    async def _connect(self) -> UpstreamConnection:
        loop = asyncio.get_running_loop()
        target = self.target

        def make() -> UpstreamConnection:
            return UpstreamConnection(self._silence_seconds)

        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_SECONDS):
                while True:
                    try:
                        if target.socket_path is not None:
                            _, connection = await loop.create_unix_connection(make, target.socket_path)
                        else:
                            _, connection = await loop.create_connection(make, target.host, target.port, ssl=self._tls)
                        return connection
                    except BlockingIOError:
                        # llama.cpp lets five connections wait on its Unix socket; a sixth is turned away for a moment.
                        await asyncio.sleep(_CROWDED_SECONDS)
        except (OSError, TimeoutError) as error:
            raise ConnectError(f"no connection to the engine: {error or 'timed out'}") from error
