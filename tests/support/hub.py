"""A hub on the loopback that speaks as much of Hugging Face's protocol as its client asks for, and can misbehave."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
_API = re.compile(r"/api/models/(?P<repo>[^/]+/[^/]+?)(/(?P<what>revision|tree)/(?P<revision>[^/]+)(?P<rest>/.*)?)?")
_RESOLVE = re.compile(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
_PIECE_BYTES = 64 * 1024


@dataclass
class Repository:
    """What a hub has under a name.

    Args:
        files: Content by path.
        token: Needed to see it; None for a public one.
        is_gated: Whether its owners must agree first.
        large: Paths that are listed with a SHA-256, and served from another host.
        revisions: Commit by branch or tag.
        card: Front matter of the model card, as the API gives it.
    """

    files: dict[str, bytes]
    token: str | None = None
    is_gated: bool = False
    large: set[str] = field(default_factory=set)
    revisions: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    method: str
    path: str
    range: str | None
    authorization: str | None
    via_proxy: bool


@dataclass
class Hub:
    """A running hub.

    Args:
        url: Its endpoint.
        repositories: By ``org/name``.
        seen: Every request, in order.
        sent_bytes: Of file content, by path.
        cut_after_bytes: The next answers with a file's content end after so many bytes, one number an answer.
        hold_after_bytes: Every answer with a file's content waits here until `release` is set.
        release: Lets held answers go on.
        held: Set when an answer waits.
        cdn: Where large files are served from; None serves them itself.
        wrong_sizes: Bytes that are claimed in the listing in place of the real size, by path.
        extra_names: Further names in the listing that have no content.
        api_answer: What the API answers in place of a listing.
        statuses: HTTP statuses that the next downloads get in place of a file.
        ignores_ranges: Every answer with a file's content is all of it.
    """

    url: str
    repositories: dict[str, Repository] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    sent_bytes: dict[str, int] = field(default_factory=dict)
    cut_after_bytes: list[int] = field(default_factory=list)
    hold_after_bytes: int | None = None
    release: threading.Event = field(default_factory=threading.Event)
    held: threading.Event = field(default_factory=threading.Event)
    cdn: str | None = None
    wrong_sizes: dict[str, int] = field(default_factory=dict)
    extra_names: list[str] = field(default_factory=list)
    api_answer: bytes | None = None
    statuses: list[int] = field(default_factory=list)
    ignores_ranges: bool = False

    def ranges(self, path: str) -> list[str | None]:
        """The ``Range`` of each download of a file."""
        return [s.range for s in self.seen if s.method == "GET" and unquote(urlsplit(s.path).path).endswith(path)]


@contextmanager
def running_hub(repositories: dict[str, Repository] | None = None) -> Iterator[Hub]:
    """Serves until the block ends."""
    server = _Server(("127.0.0.1", 0), _Handler)
    hub = Hub(f"http://127.0.0.1:{server.server_address[1]}", repositories or {})
    server.hub = hub
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        hub = self.server.hub
        hub.seen.append(
            Seen(
                self.command,
                self.path,
                self.headers.get("Range"),
                self.headers.get("Authorization"),
                self.headers.get("X-Test-Proxy") is not None,
            )
        )
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/cdn/"):
            repo, _, name = path.removeprefix("/cdn/").partition("//")
            self._content(hub, hub.repositories[repo], name, with_body)
        elif match := _RESOLVE.fullmatch(path):
            self._resolve(hub, match, with_body)
        elif match := _API.fullmatch(path):
            self._api(hub, match)
        else:
            self._error(404, "EntryNotFound")

    def _repository(self, hub: Hub, name: str) -> Repository | None:
        found = hub.repositories.get(name)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if found is None or (found.token is not None and token != found.token):
            self._error(401 if not token else 404, "RepoNotFound")
            return None
        return found

    def _api(self, hub: Hub, match: re.Match[str]) -> None:
        if hub.api_answer is not None:
            self._send(200, hub.api_answer, {})
            return
        found = self._repository(hub, match["repo"])
        if found is None:
            return
        revision = unquote(match["revision"] or "main")
        commit = revision if revision in found.revisions.values() else found.revisions.get(revision)
        if commit is None:
            self._error(404, "RevisionNotFound")
            return
        listed = [self._listed(hub, found, path, content) for path, content in found.files.items()]
        listed += [{"rfilename": name, "size": 1, "blobId": "0"} for name in hub.extra_names]
        if match["what"] == "tree":
            body: Any = [
                {"type": "file", "path": item["rfilename"], "size": item["size"], "oid": "0"} for item in listed
            ]
        else:
            body = {"id": match["repo"], "modelId": match["repo"], "sha": commit, "siblings": listed, "tags": []}
            if found.card:
                body["cardData"] = found.card
        self._send(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def _listed(self, hub: Hub, found: Repository, path: str, content: bytes) -> dict[str, Any]:
        size = hub.wrong_sizes.get(path, len(content))
        item: dict[str, Any] = {"rfilename": path, "size": size, "blobId": "0" * 40}
        if path in found.large:
            digest = hashlib.sha256(content).hexdigest()
            item["lfs"] = {"size": size, "sha256": digest, "pointerSize": 134}
        return item

    def _resolve(self, hub: Hub, match: re.Match[str], with_body: bool) -> None:
        found = self._repository(hub, match["repo"])
        if found is None:
            return
        if found.is_gated:
            self._error(403, "GatedRepo")
        elif hub.statuses:
            self._error(hub.statuses.pop(0), "")
        elif match["path"] not in found.files:
            self._error(404, "EntryNotFound")
        elif match["path"] in found.large and hub.cdn is not None:
            location = f"{hub.cdn}/cdn/{match['repo']}//{match['path']}"
            self._send(302, b"", {"Location": location, "X-Repo-Commit": COMMIT})
        else:
            self._content(hub, found, match["path"], with_body)

    def _content(self, hub: Hub, found: Repository, path: str, with_body: bool) -> None:
        content = found.files[path]
        begin, end = 0, len(content)
        headers = {
            "ETag": f'"{hashlib.sha256(content).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
            "Content-Length": str(len(content)),
        }
        given = None if hub.ignores_ranges else self.headers.get("Range")
        if given:
            first, _, last = given.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(int(last or len(content)) + bool(last), len(content))
            if begin >= len(content):
                self._send(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                return
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(content)}"
            headers["Content-Length"] = str(end - begin)
        self.send_response(206 if given else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self._stream(hub, path, content[begin:end])

    def _stream(self, hub: Hub, path: str, content: bytes) -> None:
        limit = hub.cut_after_bytes.pop(0) if hub.cut_after_bytes and len(content) > 4096 else None
        sent = 0
        for at in range(0, len(content), _PIECE_BYTES):
            piece = content[at : at + _PIECE_BYTES]
            if limit is not None:
                piece = piece[: max(limit - sent, 0)]
            self.wfile.write(piece)
            sent += len(piece)
            hub.sent_bytes[path] = hub.sent_bytes.get(path, 0) + len(piece)
            if limit is not None and sent >= limit:
                self.close_connection = True
                self.connection.shutdown(2)
                return
            if hub.hold_after_bytes is not None and sent >= hub.hold_after_bytes and len(content) > 4096:
                self.wfile.flush()
                hub.held.set()
                hub.release.wait()

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "X-Error-Message": code})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
