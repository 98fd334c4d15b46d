"""A service on loopback that takes alerts, and may be away: then nobody listens at its port."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from benchmarks.processes import free_port


@dataclass(slots=True)
class Receiver:
    """One service.

    Args:
        port: Where it listens, or will again.
        received: What it took: the key of the message and its body, in order.
    """

    port: int = field(default_factory=free_port)
    received: list[tuple[str, Any]] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """Of the service."""
        return f"http://127.0.0.1:{self.port}/hook"

    def come(self) -> None:
        """Begins to listen."""
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                received.append((self.headers.get("webhook-id", ""), json.loads(body)))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def go(self) -> None:
        """Listens no more."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None
