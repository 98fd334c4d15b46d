"""A small HTTP client for control: over a Unix socket or to a configured server, with a deadline for the whole answer.

No redirects, no proxies, no retries. The data path has a client of its own in the gateway.
"""

from __future__ import annotations

import http.client
import io
import json
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from undercroft.engines.contract import EngineRecord

ANSWER_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an engine answers.

    Args:
        socket_path: Unix socket; wins over ``base_url``.
        base_url: ``http://host:port`` or ``https://…/prefix``, without ``/v1``; ``grpc(s)://host:port`` for
            `undercroft.engines.grpc.client` alone.
        key: Sent as bearer token; None sends none.
        ca_file: Certificates that an ``https`` server is trusted by, PEM; None is the system's.
    """

    socket_path: str | None
    base_url: str | None
    key: str | None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back.

    Args:
        status: HTTP status.
        body: At most `ANSWER_LIMIT_BYTES`.
        location: The ``Location`` header; None where there is none.
    """

    status: int
    body: bytes
    location: str | None = None

    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)

    def message(self, limit: int = 240) -> str:
        """What an error says: OpenAI's ``error.message`` where there is one, else the body's beginning.

        Args:
            limit: Most characters.

        Returns:
            One line without control characters, for it may be another's server that said it.
        """
        try:
            said = self.json()["error"]
            said = said["message"] if isinstance(said, dict) else said
        except (ValueError, LookupError, TypeError):
            said = None
        text = said if isinstance(said, str) and said else self.body[: 4 * limit].decode("utf-8", "replace")
        shown = "".join(letter if letter.isprintable() else " " for letter in text)
        return " ".join(shown.split())[:limit] or "nothing"


def endpoint_of(record: EngineRecord) -> Endpoint:
    """Where a replica answers, with its key read from its file.

    Raises:
        OSError: The key file cannot be read.
    """
    key = None
    if record.key_file is not None:
        with open(record.key_file, encoding="utf-8") as file:
            key = file.read().strip()
    return Endpoint(record.socket_path, record.base_url, key, record.ca_file)


def request(endpoint: Endpoint, method: str, path: str, body: Any | None = None, *, timeout_seconds: float) -> Answer:
    """One request and its whole answer.

    Args:
        endpoint: Where to.
        method: ``GET`` or ``POST``.
        path: Beginning with ``/``; put after the path of ``base_url``.
        body: Sent as JSON; None sends none.
        timeout_seconds: For all of it: connect, send, and the answer to its last byte.

    Raises:
        TimeoutError: The time was up.
        OSError: Nobody listens, the connection broke, or TLS failed (``ssl.SSLError``).
        http.client.HTTPException: What came back is no HTTP.
    """
    with streamed(endpoint, method, path, body, timeout_seconds=timeout_seconds) as response:
        content = response.read(ANSWER_LIMIT_BYTES)
        return Answer(response.status, content, response.getheader("Location"))


@contextmanager
def streamed(
    endpoint: Endpoint, method: str, path: str, body: Any | None = None, *, timeout_seconds: float
) -> Iterator[http.client.HTTPResponse]:
    """One request, and its answer to be read as it comes; the connection ends with the block.

    Args:
        endpoint: Where to.
        method: ``GET`` or ``POST``.
        path: Beginning with ``/``; put after the path of ``base_url``.
        body: Sent as JSON; None sends none.
        timeout_seconds: For all of it: connect, send, and the answer to its last byte.

    Raises:
        TimeoutError: The time was up.
        OSError: Nobody listens, the connection broke, or TLS failed (``ssl.SSLError``).
        http.client.HTTPException: What came back is no HTTP.
    """
    deadline = time.monotonic() + timeout_seconds
    headers = {"Accept": "application/json", "User-Agent": "undercroft", "Connection": "close"}
    if endpoint.key is not None:
        headers["Authorization"] = f"Bearer {endpoint.key}"
    payload = None
    if body is not None:
        payload = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    connection, prefix = _connection(endpoint, deadline)
    try:
        connection.request(method, prefix + path, body=payload, headers=headers)
        with connection.getresponse() as response:  # it keeps the socket where it is the last on its connection
            yield response
    finally:
        connection.close()


def _connection(endpoint: Endpoint, deadline: float) -> tuple[http.client.HTTPConnection, str]:
    """A connected client whose every read ends at the deadline, and the path before ours."""
    timeout_seconds = max(0.001, deadline - time.monotonic())
    if endpoint.socket_path is not None:
        connection = http.client.HTTPConnection("engine", timeout=timeout_seconds)
        unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            unix.settimeout(timeout_seconds)
            unix.connect(endpoint.socket_path)
        except BlockingIOError as error:
            unix.close()
            raise TimeoutError("the engine's queue of connections is full") from error
        except OSError:
            unix.close()
            raise
        connection.sock = unix
        prefix = ""
    else:
        url = urlsplit(endpoint.base_url or "")
        host, port = url.hostname or "", url.port
        if url.scheme == "https":
            context = ssl.create_default_context(cafile=endpoint.ca_file)
            connection = http.client.HTTPSConnection(host, port, timeout=timeout_seconds, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_seconds)
        connection.connect()
        prefix = url.path.rstrip("/")
    connection.response_class = _response_with(deadline)
    return connection, prefix


def _response_with(deadline: float) -> type[http.client.HTTPResponse]:
    """A response that reads its socket no longer than to the deadline, however slowly the bytes come."""

    class DeadlineResponse(http.client.HTTPResponse):
        def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
            super().__init__(sock, *arguments, **options)
            self.fp = io.BufferedReader(_DeadlineReader(sock, self.fp.detach(), deadline))

    return DeadlineResponse


class _DeadlineReader(io.RawIOBase):
    """The reading side of a socket."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase, deadline: float) -> None:
        self._socket = sock
        self._raw = raw  # keeps the socket open after the connection let go of it
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the time for the answer is up")
        self._socket.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
