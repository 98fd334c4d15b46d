"""A small gRPC client for control: one call and its whole answer, with a deadline for all of it."""

from __future__ import annotations

import socket
import ssl
import time
from urllib.parse import urlsplit

from undercroft.engines.grpc.conversation import BrokenError, Conversation, Reply
from undercroft.engines.wire import ANSWER_LIMIT_BYTES, Endpoint

_READ_BYTES = 64 * 1024
DEFAULT_PORT = 8001


def call(endpoint: Endpoint, method: str, message: bytes, *, timeout_seconds: float) -> Reply:
    """One call.

    Args:
        endpoint: Where to; its URL is ``grpc://host:port`` or ``grpcs://host:port``.
        method: ``/package.Service/Method``.
        message: The request.
        timeout_seconds: For all of it: connect, send, and the answer to its last byte.

    Raises:
        TimeoutError: The time was up.
        ConnectionError: The connection ended before the answer did, or what came back is no gRPC.
        OSError: Nobody listens, or TLS failed (``ssl.SSLError``).
    """
    deadline = time.monotonic() + timeout_seconds
    url = urlsplit(endpoint.base_url or "")
    is_tls = url.scheme == "grpcs"
    with _connected(url.hostname or "", url.port or DEFAULT_PORT, endpoint, is_tls, deadline) as connection:
        talk = Conversation(url.netloc, is_tls=is_tls, key=endpoint.key, limit_bytes=ANSWER_LIMIT_BYTES)
        to_send = talk.call(method, message, timeout_seconds=timeout_seconds)
        while True:
            connection.settimeout(_left(deadline))
            connection.sendall(to_send)
            if talk.reply is not None:
                return talk.reply
            connection.settimeout(_left(deadline))
            data = connection.recv(_READ_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            try:
                to_send = talk.feed(data)
            except BrokenError as error:
                raise ConnectionError(str(error)) from error


def _connected(host: str, port: int, endpoint: Endpoint, is_tls: bool, deadline: float) -> socket.socket:
    plain = socket.create_connection((host, port), timeout=_left(deadline))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not is_tls:
        return plain
    try:
        plain.settimeout(_left(deadline))
        return tls_context(endpoint.ca_file).wrap_socket(plain, server_hostname=host)
    except OSError:
        plain.close()
        raise


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """TLS as gRPC wants it, the certificate checked."""
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    return context


def _left(deadline: float) -> float:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError("the time for the answer is up")
    return remaining
