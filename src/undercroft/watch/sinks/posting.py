"""Sends an HTTP request of a sink: one try, within a time, to where it says and nowhere else."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from undercroft.core.environment import proxy_environment
from undercroft.core.errors import UnavailableError
from undercroft.watch.incidents.notes import Message
from undercroft.watch.sinks.contract import Outcome, Post, Response, Result

_ANSWER_LIMIT_BYTES = 64 * 1024
_AGENT = "undercroft"


@dataclass(frozen=True, slots=True)
class Wire:
    """How requests leave this machine.

    Args:
        timeout_seconds: Longest time of one request, from its beginning to the end of the answer.
        ca_file: Certificates to trust beside the system's; None is the system's alone.
    """

    timeout_seconds: float
    ca_file: Path | None = None

    def tls(self) -> ssl.SSLContext:
        """What is trusted.

        Raises:
            UnavailableError: ``bad-ca-file``.
        """
        context = ssl.create_default_context()
        if self.ca_file is not None:
            try:
                context.load_verify_locations(self.ca_file)
            except OSError as error:
                raise UnavailableError("bad-ca-file", f"alerts.ca_file: cannot use {self.ca_file}: {error}") from error
        return context


@dataclass(frozen=True, slots=True)
class HttpSink:
    """A service that takes an HTTP request a message.

    Args:
        name: As in settings and commands.
        has_memory: Whether it drops a message whose key it has seen.
        request: The request for a message.
        judge: What the answer says.
        wire: How requests leave this machine.
    """

    name: str
    has_memory: bool
    request: Callable[[Message, datetime], Post]
    judge: Callable[[Response], Outcome]
    wire: Wire

    def send(self, message: Message, now: datetime) -> Outcome:
        """One try.

        Raises:
            UndercroftError: What the settings name cannot be used.
        """
        try:
            return self.judge(post(self.request(message, now), self.wire))
        except (OSError, HTTPException) as error:
            return Outcome(Result.LATER, f"no answer: {why(error)}")


def post(request: Post, wire: Wire) -> Response:
    """One request and the beginning of its answer; a redirection is an answer and is not followed.

    Proxies are those of the environment.

    Raises:
        OSError: It could not be sent, or no answer came in time.
        HTTPException: The answer is no HTTP.
        UnavailableError: ``bad-ca-file``.
    """
    parts = urlsplit(request.url)
    connection, target = _connection(parts, wire)
    late = threading.Event()
    timer = threading.Timer(wire.timeout_seconds, _cut, [connection, late])
    timer.daemon = True
    timer.start()
    try:
        headers = {"Content-Type": "application/json; charset=utf-8", "User-Agent": _AGENT, **request.headers}
        connection.request("POST", target, request.body, headers)
        with connection.getresponse() as response:
            body = response.read(_ANSWER_LIMIT_BYTES)
            names = {name.lower(): value for name, value in response.getheaders()}
        if late.is_set():
            raise TimeoutError("the answer did not end in time")
        return Response(response.status, names, body)
    except (OSError, HTTPException) as error:
        if late.is_set():
            raise TimeoutError(f"no answer in {wire.timeout_seconds:g} s") from error
        raise
    finally:
        timer.cancel()
        connection.close()


def why(error: Exception) -> str:
    """What went wrong, in a few words that hold no address."""
    if isinstance(error, TimeoutError):
        return str(error) or "it took too long"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, socket.gaierror):
        return "its name is not known"
    return (getattr(error, "strerror", None) or type(error).__name__)[:160]


def _connection(parts: SplitResult, wire: Wire) -> tuple[HTTPConnection, str]:
    """Whom to talk to, and what to ask there for; through a proxy where the environment names one."""
    host, port = parts.hostname or "", parts.port
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    proxy = _proxy_for(parts)
    if parts.scheme == "https":
        context = wire.tls()
        if proxy is None:
            return HTTPSConnection(host, port, timeout=wire.timeout_seconds, context=context), target
        through = HTTPSConnection(proxy[0], proxy[1], timeout=wire.timeout_seconds, context=context)
        through.set_tunnel(host, port or 443)
        return through, target
    if proxy is None:
        return HTTPConnection(host, port, timeout=wire.timeout_seconds), target
    return HTTPConnection(*proxy, timeout=wire.timeout_seconds), f"http://{parts.netloc}{target}"


def _proxy_for(parts: SplitResult) -> tuple[str, int] | None:
    variables = {name.lower(): value for name, value in proxy_environment().items()}
    if _is_direct(parts.hostname or "", variables.get("no_proxy", "")):
        return None
    found = urlsplit(variables.get(f"{parts.scheme}_proxy") or variables.get("all_proxy") or "")
    return (found.hostname, found.port or 8080) if found.hostname else None


def _is_direct(host: str, listed: str) -> bool:
    """Whether a host is asked without a proxy: this machine, and what ``no_proxy`` lists, domains with all below."""
    if host in ("127.0.0.1", "::1", "localhost"):
        return True
    names = [name.strip().lstrip(".").lower() for name in listed.split(",") if name.strip()]
    return any(name == "*" or host == name or host.endswith(f".{name}") for name in names)


def _cut(connection: HTTPConnection, late: threading.Event) -> None:
    late.set()
    opened = connection.sock
    if opened is not None:
        with contextlib.suppress(OSError):
            opened.shutdown(socket.SHUT_RDWR)
