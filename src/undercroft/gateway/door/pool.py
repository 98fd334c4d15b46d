"""Connections to one server, kept and used again, over a Unix socket, http, https or gRPC.

Redirects are never followed, proxies never used: a request goes to the address that the administrator configured.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from undercroft.core.errors import UnavailableError
from undercroft.engines.external import GRPC_SCHEMES
from undercroft.engines.grpc.client import DEFAULT_PORT
from undercroft.engines.grpc.conversation import check_installed
from undercroft.gateway.door.grpc_upstream import GrpcConnection
from undercroft.gateway.door.upstream import ConnectError, LostError, UpstreamConnection
from undercroft.serving.snapshot import ReplicaEntry

_CONNECT_TIMEOUT_SECONDS = 5.0
_CROWDED_SECONDS = 0.005
_IDLE_LIMIT_CONNECTIONS = 64
# A kept connection that the server had closed shows it at once; one that ends later ended because of the request.
_STALE_CLOSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server listens.

    Args:
        socket_path: Unix socket; None where ``host`` and ``port`` are given.
        host: Name or address.
        port: TCP port.
        is_tls: Speak TLS, and check the certificate.
        ca_file: Certificates that it is checked against, PEM; None is the system's roots.
        prefix: Path before every route, without a trailing slash.
        host_header: For the ``Host`` header.
        is_grpc: Speak gRPC in place of HTTP/1.1.
        key: For gRPC, whose head is not part of a request; None sends none.
    """

    socket_path: str | None
    host: str = ""
    port: int = 0
    is_tls: bool = False
    prefix: str = ""
    host_header: str = "engine"
    ca_file: str | None = None
    is_grpc: bool = False
    key: str | None = None


def target_of(entry: ReplicaEntry) -> Target:
    """Where a replica listens.

    Raises:
        ValueError: It names neither a socket nor a URL of http(s) or grpc(s).
    """
    if entry.socket_path is not None:
        return Target(socket_path=entry.socket_path)
    parts = urlsplit(entry.base_url or "")
    if parts.scheme not in ("http", "https", *GRPC_SCHEMES) or not parts.hostname:
        raise ValueError(f"replica {entry.id}: expected a URL of http(s) or grpc(s), got {entry.base_url!r}")
    is_grpc, is_tls = parts.scheme in GRPC_SCHEMES, parts.scheme in ("https", "grpcs")
    if is_grpc:
        try:
            check_installed(f"replica {entry.id}")
        except UnavailableError as error:
            raise ValueError(f"{error}; {error.hint}") from error
    return Target(
        socket_path=None,
        host=parts.hostname,
        port=parts.port or (DEFAULT_PORT if is_grpc else 443 if is_tls else 80),
        is_tls=is_tls,
        prefix=parts.path.rstrip("/"),
        host_header=parts.netloc.rpartition("@")[2],
        ca_file=entry.ca_file,
        is_grpc=is_grpc,
        key=entry.key if is_grpc else None,
    )


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
        self._tls = ssl.create_default_context(cafile=target.ca_file) if target.is_tls else None
        if self._tls is not None and target.is_grpc:
            self._tls.set_alpn_protocols(["h2"])

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
            if not target.is_grpc:
                return UpstreamConnection(self._silence_seconds)
            return GrpcConnection(self._silence_seconds, target.host_header, is_tls=target.is_tls, key=target.key)

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
