"""One client's connection: HTTP/1.1 read with httptools, with the limits that a public door needs.

    phase     what is true                                   it ends with
    ────────  ─────────────────────────────────────────────  ──────────────────────────────────────────────────────
    headers   connected, or the first byte of a request came  the blank line; 408 after the header time-out
    body      headers accepted, the body is coming            its last byte; 408 when silent or slower than a trickle
    busy      the request is being answered                   the answer's end; cancelled when the client goes away,
                                                              not when it only says that it will send no more
    idle      kept alive, nothing asked                       a byte, or closed after the keep-alive time
    linger    refused with its body unread                    closed after `_LINGER_SECONDS`; what comes is dropped

No timer is set on the way of a request: `Listener.sweep` looks at every connection once in a while.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto
from typing import cast

import httptools
import structlog

from undercroft.gateway.door.ended_side import EndedSide
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.request_head import body_too_large, check_announced_body, new_request_id, read_head
from undercroft.gateway.errors import DoorError

_HEADER_LIMIT_BYTES = 64 * 1024
_PIPELINE_LIMIT = 16
_SWALLOW_LIMIT_BYTES = 64 * 1024
_LINGER_SECONDS = 2.0
_LINGER_LIMIT_BYTES = 64 * 1024 * 1024
_WRITE_STALL_SECONDS = 60.0
# A body that is still coming after this long must have come at least this fast; the idle time-out alone lets one
# byte every 14 s pass for ever.
_TRICKLE_AFTER_SECONDS = 30.0
_TRICKLE_BYTES_PER_SECOND = 256
_CLIENT_GONE = 499  # nginx's number for it, in logs and usage only
_WRITE_BUFFER_BYTES = 64 * 1024
# Bodies that are coming in or being answered, of all connections together.
_HELD_LIMIT_BYTES = 128 * 1024 * 1024

_SINGLE_HEADERS = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"x-api-key"})

_log = structlog.get_logger("door")


class Phase(Enum):
    """See the table above."""

    HEADERS = auto()
    BODY = auto()
    BUSY = auto()
    IDLE = auto()
    LINGER = auto()


class _Stage(Enum):
    """How far the parser is in a request, which with pipelining may be another one than is being answered."""

    BETWEEN = auto()
    HEADERS = auto()
    BODY = auto()


_PHASE_AT = {_Stage.BETWEEN: Phase.IDLE, _Stage.HEADERS: Phase.HEADERS, _Stage.BODY: Phase.BODY}


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What a connection puts up with; the fields are those of `GatewaySettings`."""

    header_timeout_seconds: float = 10.0
    body_idle_timeout_seconds: float = 15.0
    body_limit_bytes: int = 8 * 1024 * 1024
    connections_limit: int = 4096
    keep_alive_seconds: float = 75.0


class Listener:
    """What all connections of a door share; called by the event loop, it makes a connection.

    Args:
        limits: What a connection puts up with.
        screen: Looks at a request whose headers are there, before its body is read; raises `DoorError` to refuse it.
        serve: Answers a request.
        record: Called once for every request when it is over, however it ended.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        screen: Callable[[Exchange], None],
        serve: Callable[[Exchange], Awaitable[None]],
        record: Callable[[Exchange], None],
    ) -> None:
        self.limits = limits
        self.screen = screen
        self.serve = serve
        self.record = record
        self.connections: set[Connection] = set()
        self.is_draining = False
        self.drained_since = 0.0
        self.common_headers = b""
        self.held_bytes = 0
        self.sweep(time.monotonic())

    def __call__(self) -> Connection:
        return Connection(self)

    def sweep(self, now: float) -> None:
        """Closes what took too long. Called about twice a second.

        Args:
            now: `time.monotonic`.
        """
        self.common_headers = b"date: %b\r\nx-content-type-options: nosniff\r\n" % formatdate(usegmt=True).encode()
        for connection in list(self.connections):
            connection.check(now)

    def drain(self, now: float) -> None:
        """From now on every answer closes its connection; idle ones are closed when they have been idle for a while."""
        self.is_draining = True
        self.drained_since = now


class Connection(asyncio.Protocol):
    """See the module."""

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self.phase = Phase.HEADERS
        self.since = time.monotonic()
        self.parser = httptools.HttpRequestParser(self)
        self.incoming: Exchange = Exchange(self)
        self.current: Exchange | None = None
        self.pending: deque[Exchange] = deque()
        self._task: asyncio.Task[None] | None = None
        self._stage = _Stage.BETWEEN
        self._header_bytes = 0
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._body_since = 0.0
        self._linger_bytes = 0
        self._held_bytes = 0
        self._is_reading = True
        self.is_write_paused = False
        self._unsent_bytes = 0
        self._sent_at = self.since
        self._ended_side: EndedSide | None = None

    # The event loop calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop has its own classes
        self.transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self.listener.connections.add(self)
        if len(self.listener.connections) > self.listener.limits.connections_limit:
            self._refuse_now(
                DoorError(503, "too-many-connections", "the door has no room for another connection", source="door")
            )

    def connection_lost(self, exc: Exception | None) -> None:
        self.listener.connections.discard(self)
        self._let_go()
        for exchange in (self.current, self.incoming, *self.pending):
            if exchange is not None:
                exchange.is_gone = True
        self.pending.clear()
        if self._task is not None and self.current is not None and not self.current.is_ended:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        if self.phase is Phase.LINGER:
            self._linger_bytes += len(data)
            if self._linger_bytes > _LINGER_LIMIT_BYTES:
                self.transport.abort()
            return
        if self.phase is Phase.IDLE:
            self.phase = Phase.HEADERS
            self.since = time.monotonic()
        if self._stage is not _Stage.BODY:
            self._header_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Offered to nobody; the request itself was parsed, and its answer closes the connection.
            self.incoming.keep_alive = False
        except httptools.HttpParserError as error:
            self._refuse_now(DoorError(400, "bad-http", f"this is not HTTP/1.1 as the door speaks it: {error}"))
            return
        if self._stage is _Stage.HEADERS and self._header_bytes > _HEADER_LIMIT_BYTES:
            self._refuse_now(_headers_too_large())

    def eof_received(self) -> bool:
        """The client sends no more. What it asked for is answered where it can be found out whether it still reads.

        Returns:
            Whether the connection stays open. TLS has no half of a connection, and an older client can be sent nothing
            before its answer: there this is the end, which cancels what was asked for.
        """
        last = self.pending[-1] if self.pending else self.current
        is_tls = self.transport.get_extra_info("sslcontext") is not None
        if last is None or last.is_http_10 or is_tls or self.phase is Phase.LINGER:
            return False
        last.keep_alive = False
        self._ended_side = EndedSide(self.transport, time.monotonic())
        self._ended_side.ask(is_answer_begun=self._is_answer_begun())
        return True

    def pause_writing(self) -> None:
        self.is_write_paused = True
        for source in self.current.sources if self.current is not None else ():
            source.pause()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        for source in self.current.sources if self.current is not None else ():
            source.resume()

    # The parser calls these.

    def on_message_begin(self) -> None:
        self.incoming = Exchange(self)
        self._stage = _Stage.HEADERS
        self._parts = []
        self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.incoming.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self.incoming
        self._body_bytes += len(name) + len(value) + 32
        name = name.lower()
        before = exchange.headers.get(name)
        if before is None:
            exchange.headers[name] = value
        elif name in _SINGLE_HEADERS:
            exchange.refusal = DoorError(400, "repeated-header", f"the header {name.decode()} was sent twice")
        else:
            exchange.headers[name] = b"%b, %b" % (before, value)

    def on_headers_complete(self) -> None:
        if self.phase is Phase.LINGER:
            return
        exchange = self.incoming
        self._stage = _Stage.BODY
        exchange.received_at = time.monotonic()
        is_too_large = self._body_bytes > _HEADER_LIMIT_BYTES
        self._body_bytes = 0
        self._header_bytes = 0
        has_body = b"transfer-encoding" in exchange.headers or exchange.headers.get(b"content-length", b"0") != b"0"
        try:
            read_head(exchange, self.parser.get_method(), self.parser.get_http_version())
            if is_too_large:
                raise _headers_too_large()
            if has_body and b"upgrade" in exchange.headers:
                raise DoorError(400, "no-upgrade", "the door offers no other protocol to upgrade to")
            self.listener.screen(exchange)
            check_announced_body(exchange.headers, self.listener.limits.body_limit_bytes)
        except DoorError as error:
            exchange.refusal = exchange.refusal or error
        if not has_body:
            return
        if exchange.refusal is not None and not self._is_swallowable(exchange):
            self._refuse_now(exchange.refusal)
            return
        if self.current is None:
            self.phase = Phase.BODY
            self.since = self._body_since = exchange.received_at
        if exchange.refusal is None and exchange.headers.get(b"expect", b"").lower() == b"100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        if self.phase is Phase.LINGER:
            return
        self.since = time.monotonic()
        self._body_bytes += len(data)
        if self._body_bytes > self.listener.limits.body_limit_bytes:
            self._refuse_now(body_too_large(self.listener.limits.body_limit_bytes))
        elif self.incoming.refusal is None:
            self._parts.append(data)
            self._hold(len(data))

    def on_message_complete(self) -> None:
        if self.phase is Phase.LINGER:
            return
        self._stage = _Stage.BETWEEN
        exchange = self.incoming
        parts = self._parts
        exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._parts = []
        if exchange.keep_alive:
            exchange.keep_alive = self.parser.should_keep_alive()
        if self.current is None:
            self._start(exchange)
            return
        self.pending.append(exchange)
        if len(self.pending) >= _PIPELINE_LIMIT and self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    # The answering side calls these.

    def local_address(self) -> str:
        """The address of ours that the client connected to."""
        name = self.transport.get_extra_info("sockname")
        return str(name[0]) if isinstance(name, tuple) else ""

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finished(self, exchange: Exchange) -> None:
        """The answer to the current request was handed to the transport."""
        self.current = None
        self._task = None
        if self._held_bytes and self._stage is _Stage.BETWEEN and not self.pending:
            self._let_go()
        if self.phase is Phase.LINGER:
            return
        self.since = time.monotonic()
        if not exchange.keep_alive:
            self.phase = Phase.LINGER
            self.transport.close()
        elif self.pending:
            self._start(self.pending.popleft())
        else:
            # A pipelined request may be half here already: then the time for its headers or body runs from now.
            self.phase = _PHASE_AT[self._stage]
            self._body_since = self.since
        if not self._is_reading and len(self.pending) < _PIPELINE_LIMIT:
            self._is_reading = True
            self.transport.resume_reading()

    def check(self, now: float) -> None:
        """Ends what took too long.

        Args:
            now: `time.monotonic`.
        """
        limits = self.listener.limits
        elapsed = now - self.since
        if self._is_stalled(now) or self._is_gone(now):
            self.transport.abort()
        elif self.phase is Phase.HEADERS and elapsed > limits.header_timeout_seconds:
            self._end_headers()
        elif self.phase is Phase.BODY:
            self._check_body(now, elapsed)
        elif self.phase is Phase.IDLE:
            if elapsed > limits.keep_alive_seconds or (self.listener.is_draining and self._is_drain_idle(now)):
                self.transport.close()
        elif self.phase is Phase.LINGER and elapsed > _LINGER_SECONDS and self._unsent_bytes == 0:
            self.transport.abort()

    def _is_stalled(self, now: float) -> bool:
        """Nothing of what waits to be sent was taken for a long time."""
        unsent = self.transport.get_write_buffer_size()
        if unsent == 0 or unsent < self._unsent_bytes:
            self._sent_at = now
        self._unsent_bytes = unsent
        return now - self._sent_at > _WRITE_STALL_SECONDS

    def _is_gone(self, now: float) -> bool:
        """The client had ended its side, and now it does not read any more either."""
        if self._ended_side is None or self.phase is not Phase.BUSY:
            return False
        return self._ended_side.is_gone(now, is_answer_begun=self._is_answer_begun())

    def _is_answer_begun(self) -> bool:
        return self.current is not None and self.current.is_started

    def _end_headers(self) -> None:
        if self._stage is _Stage.BETWEEN:
            self.transport.close()  # connected and said nothing: nobody waits for an answer
            return
        limit = self.listener.limits.header_timeout_seconds
        self._refuse_now(DoorError(408, "headers-too-slow", f"the headers were not complete after {limit:g} s"))

    def _is_drain_idle(self, now: float) -> bool:
        return now - max(self.since, self.listener.drained_since) > _LINGER_SECONDS

    def _check_body(self, now: float, silent_seconds: float) -> None:
        limit = self.listener.limits.body_idle_timeout_seconds
        taken = now - self._body_since
        if silent_seconds > limit:
            self._refuse_now(DoorError(408, "body-too-slow", f"nothing of the body came for {limit:g} s"))
        elif taken > _TRICKLE_AFTER_SECONDS and self._body_bytes < taken * _TRICKLE_BYTES_PER_SECOND:
            self._refuse_now(
                DoorError(
                    408,
                    "body-too-slow",
                    f"the body came slower than {_TRICKLE_BYTES_PER_SECOND} bytes a second: "
                    f"{self._body_bytes} bytes in {taken:.0f} s",
                )
            )

    def _hold(self, size: int) -> None:
        """Counts a piece of a body against what all connections together may hold."""
        listener = self.listener
        self._held_bytes += size
        listener.held_bytes += size
        if listener.held_bytes > _HELD_LIMIT_BYTES:
            self._refuse_now(
                DoorError(
                    503,
                    "too-much-at-once",
                    f"the door holds {_HELD_LIMIT_BYTES} bytes of requests already",
                    source="door",
                    retry_after_seconds=1,
                )
            )

    def _let_go(self) -> None:
        """No body is held any more: everything that came in was answered."""
        self.listener.held_bytes -= self._held_bytes
        self._held_bytes = 0

    def _is_swallowable(self, exchange: Exchange) -> bool:
        """A refused request whose small body is read and dropped keeps its connection."""
        length = exchange.headers.get(b"content-length")
        if b"transfer-encoding" in exchange.headers or length is None or b"expect" in exchange.headers:
            return False
        return int(length) <= _SWALLOW_LIMIT_BYTES and exchange.refusal is not None and exchange.refusal.status != 400

    def _start(self, exchange: Exchange) -> None:
        self.current = exchange
        self.phase = Phase.BUSY
        if exchange.refusal is not None:
            exchange.fail(exchange.refusal)
            self.listener.record(exchange)
            return
        self._task = asyncio.get_running_loop().create_task(self._run(exchange))

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self.listener.serve(exchange)
        except Exception:  # noqa: BLE001  # the boundary of a request: a defect costs one answer, not the door
            _log.exception("request failed", request_id=exchange.id, route=exchange.trace.route)
            exchange.fail(
                DoorError(500, "internal", "the door failed on this request; its log says why", source="door")
            )
        finally:
            if not exchange.is_ended:
                exchange.trace.status = _CLIENT_GONE
                self.transport.abort()
            self.listener.record(exchange)

    def _refuse_now(self, error: DoorError) -> None:
        """Answers before the request was read to its end, and closes without losing the answer to a reset."""
        exchange = self.incoming
        if self.phase is Phase.LINGER:
            return  # refused already, by something earlier in the same bytes
        if self.current is not None or self.transport.is_closing():
            self.transport.close()
            return
        exchange.id = exchange.id or new_request_id(time.time())
        exchange.keep_alive = False
        self.phase = Phase.LINGER
        self.since = time.monotonic()
        self._parts = []
        self.current = exchange
        exchange.fail(error)
        self.listener.record(exchange)
        if self.transport.can_write_eof():
            self.transport.write_eof()


def _headers_too_large() -> DoorError:
    return DoorError(431, "headers-too-large", f"the headers may have {_HEADER_LIMIT_BYTES} bytes at most")
