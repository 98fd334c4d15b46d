"""Requests to control, over its Unix socket: those of admins with the name of who is asking, and the door's own."""

from __future__ import annotations

from pathlib import Path

from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.pool import Pool, Target
from undercroft.gateway.door.upstream import ConnectError, UpstreamConnection, UpstreamError
from undercroft.gateway.errors import DoorError

ACTOR_HEADER = b"x-undercroft-actor"

_SILENCE_SECONDS = 300.0
# Between two hops only, or decided by the door; everything named like ours is never taken from a client.
_OURS = b"x-undercroft-"
_DROPPED = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"keep-alive",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"x-api-key",
        b"x-request-id",
    }
)
_PASSED_BACK = (b"cache-control", b"content-disposition", b"etag", b"location", b"retry-after")


class ControlProxy:
    """Requests to control.

    Args:
        socket_path: Where control listens.
    """

    def __init__(self, socket_path: Path) -> None:
        target = Target(socket_path=str(socket_path), host_header="localhost")
        self._pool = Pool(target, _SILENCE_SECONDS)

    async def forward(self, exchange: Exchange) -> None:
        """Sends a request of a checked sender to control and its answer back, in pieces as they come.

        Raises:
            DoorError: 503; control is away.
        """
        connection = await self._send(exchange_request(exchange))
        try:
            content_type = connection.headers.get(b"content-type", b"application/json")
            back = [(name, connection.headers[name]) for name in _PASSED_BACK if name in connection.headers]
            if b"content-length" in connection.headers or exchange.method == "HEAD":
                exchange.respond(connection.status, await connection.whole(), content_type, back)
                return
            exchange.stream_type, exchange.stream_headers = content_type, back
            exchange.begin(connection.status)
            exchange.attach(connection)
            await connection.pipe(exchange.pass_on)
            exchange.end()
        except UpstreamError as error:
            raise away(error) from error
        finally:
            self._pool.give_back(connection)

    async def post(self, path: str, body: bytes) -> bytes:
        """Asks control on the door's own behalf.

        Raises:
            UpstreamError: Control is away.
        """
        head = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        connection = await self._pool.request(head % (path.encode(), len(body)) + body, whole=True)
        try:
            if connection.status != 200:
                raise UpstreamError(f"control answered HTTP {connection.status}")
            return connection.body[0]
        finally:
            self._pool.give_back(connection)

    def close(self) -> None:
        """Closes the connections to control."""
        self._pool.close()

    async def _send(self, request: bytes) -> UpstreamConnection:
        try:
            return await self._pool.request(request, whole=False)
        except UpstreamError as error:
            raise away(error) from error


def exchange_request(exchange: Exchange) -> bytes:
    """The request as control gets it: who asks is said by the door, and by nobody else."""
    assert exchange.key is not None
    method = "GET" if exchange.method == "HEAD" else exchange.method
    target = exchange.path.encode() + (b"?" + exchange.query if exchange.query else b"")
    lines = [
        b"%b %b HTTP/1.1" % (method.encode(), target),
        b"host: localhost",
        b"x-request-id: " + exchange.id.encode(),
        b"%b: key:%b" % (ACTOR_HEADER, exchange.key.id.encode()),
    ]
    lines.extend(
        b"%b: %b" % (name, value)
        for name, value in exchange.headers.items()
        if name not in _DROPPED and not name.startswith(_OURS)
    )
    if exchange.body or exchange.method in ("POST", "PUT", "PATCH"):
        lines.append(b"content-length: %d" % len(exchange.body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + exchange.body


def away(error: UpstreamError) -> DoorError:
    """HTTP 503: control does not answer."""
    about = "is not running" if isinstance(error, ConnectError) else f"did not answer: {error}"
    return DoorError(
        503,
        "control-away",
        f"control, which this route needs, {about}; models go on answering. 'undercroft status' says more",
        source="door",
        retry_after_seconds=2,
    )
