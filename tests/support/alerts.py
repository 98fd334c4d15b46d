"""Receivers of alerts on loopback, and what is told to them."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.notes import Event, Message, Note

NOW = datetime(2026, 11, 21, 7, tzinfo=UTC)
KEY = "0123456789abcdef0123456789abcdef"


def note(number: int = 12, event: Event = Event.OPENED, **others: Any) -> Note:
    """A probe that fails, with whatever a test says otherwise."""
    fields: dict[str, Any] = {
        "event": event,
        "severity": Severity.CRITICAL,
        "since": NOW,
        "incident": number,
        "kind": Kind.PROBE_FAILING,
        "subject": "bot",
        "figures": {"runs": 3, "asked": 5, "passed": 1},
        **others,
    }
    return Note(**fields)


def message(*notes: Note, language: str = "en", is_repeat: bool = False) -> Message:
    """A message of the server ``cellar-1``."""
    return Message(KEY, language, "cellar-1", notes or (note(),), is_repeat)


@dataclass
class Received:
    """One request that a receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server that answers as it is told.

    Args:
        port: Where it listens.
        answers: Status, headers and body of the next requests; the last one goes on.
    """

    port: int = 0
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=lambda: [(200, {}, b"ok")])
    received: list[Received] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        """From now on."""
        self.answers = [(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)]


@contextmanager
def receiving(context: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on a free port, ended with the block.

    Args:
        context: For TLS; None is plain.
    """
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.received.append(Received(self.path, headers, body))
            status, extra, answer = receiver.answers[0]
            if len(receiver.answers) > 1:
                receiver.answers.pop(0)
            self.send_response(status)
            for name, value in extra.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a client that does not trust the certificate goes away

    with Server(("127.0.0.1", 0), Handler) as server:
        receiver.port = server.server_address[1]
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
