"""One request and the way to answer it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING

from undercroft.gateway.door.upstream import UpstreamConnection
from undercroft.gateway.errors import DoorError
from undercroft.gateway.trace import Trace
from undercroft.serving.snapshot import KeyEntry

if TYPE_CHECKING:
    from undercroft.gateway.door.connection import Connection

_STATUS_LINES = {
    int(status): b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode("ascii", "replace")) for status in HTTPStatus
}


class Exchange:
    """One request and the way to answer it.

    ``headers`` maps lower-case names to values; a repeated header is joined with commas, or refused where that would
    be ambiguous. ``key`` and ``route`` are what `Listener.screen` found out; ``sources`` is where a streamed
    answer comes from, which is held back while the client reads slowly. ``stream_type`` and ``stream_headers`` are
    for the head of a streamed answer, which goes out with its first piece.
    """

    __slots__ = (
        "_is_chunked",
        "body",
        "connection",
        "headers",
        "id",
        "is_ended",
        "is_gone",
        "is_http_10",
        "is_started",
        "keep_alive",
        "key",
        "method",
        "path",
        "query",
        "received_at",
        "refusal",
        "route",
        "sources",
        "stream_headers",
        "stream_type",
        "target",
        "trace",
    )

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.method = ""
        self.target = b""
        self.path = ""
        self.query = b""
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.id = ""
        self.key: KeyEntry | None = None
        self.route: object = None
        self.received_at = 0.0
        self.keep_alive = True
        self.is_http_10 = False
        self.is_started = False
        self.is_ended = False
        self.is_gone = False
        self.refusal: DoorError | None = None
        self.sources: list[UpstreamConnection] = []
        self.stream_type = b"text/event-stream"
        self.stream_headers: Sequence[tuple[bytes, bytes]] = ()
        self.trace = Trace()
        self._is_chunked = False

    def respond(
        self,
        status: int,
        body: bytes,
        content_type: bytes = b"application/json",
        headers: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        """Sends the whole answer."""
        if self.is_gone or self.is_started:
            return
        head = self._head(status, content_type, headers)
        head.append(b"content-length: %d\r\n\r\n" % len(body))
        if self.method != "HEAD":
            head.append(body)
        self.is_started = True
        self.connection.write(b"".join(head))
        self.end()

    def fail(self, error: DoorError) -> None:
        """Sends an error; as an event where a stream has begun, which it ends."""
        self.trace.error_source = error.source
        if not self.is_started:
            self.respond(error.status, error.body(), headers=error.headers())
        elif not self.is_ended:
            self.pass_on(error.event())
            self.keep_alive = False
            self.end()

    def begin(self, status: int = 200) -> None:
        """Sends the head of an answer whose length is not known yet, of type ``stream_type``."""
        if self.is_gone or self.is_started:
            return
        if self.is_http_10:
            self.keep_alive = False
        head = self._head(status, self.stream_type, self.stream_headers)
        self._is_chunked = not self.is_http_10 and self.method != "HEAD"
        head.append(b"transfer-encoding: chunked\r\n\r\n" if self._is_chunked else b"\r\n")
        self.is_started = True
        self.connection.write(b"".join(head))

    def pass_on(self, data: bytes) -> None:
        """Sends a piece of a streamed answer, with its head before the first one; may be called from a callback."""
        if not self.is_started:
            self.begin()
        if self.is_gone or self.is_ended or not data or self.method == "HEAD":
            return
        self.connection.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)

    def end(self) -> None:
        """Ends the answer; the connection takes its next request."""
        if self.is_ended:
            return
        self.is_ended = True
        if self._is_chunked and not self.is_gone:
            self.connection.write(b"0\r\n\r\n")
        self.connection.finished(self)

    def attach(self, source: UpstreamConnection) -> None:
        """Names where the stream comes from, so that it is held back while the client reads slowly."""
        self.sources.append(source)
        if self.connection.is_write_paused:
            source.pause()

    def _head(self, status: int, content_type: bytes, headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
        self.trace.status = status
        if self.connection.listener.is_draining:
            self.keep_alive = False
        head = [
            _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status,
            b"content-type: %b\r\nx-request-id: %b\r\n" % (content_type, self.id.encode()),
            self.connection.listener.common_headers,
        ]
        head.extend([b"%b: %b\r\n" % pair for pair in self.trace.headers])
        head.extend([b"%b: %b\r\n" % pair for pair in headers])
        if not self.keep_alive:
            head.append(b"connection: close\r\n")
        elif self.is_http_10:
            head.append(b"connection: keep-alive\r\n")
        return head
