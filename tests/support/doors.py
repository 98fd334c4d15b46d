"""A real door process on a free port, with the test in control's place."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from undercroft.core.home import Home
from undercroft.core.ids import new_api_key, secret_digest
from undercroft.serving.snapshot import DeploymentEntry, KeyEntry, ReplicaEntry, Snapshot


def replica(replica_id: str = "rep_000000000001", **others: Any) -> ReplicaEntry:
    """A replica entry with defaults for what a test does not care for."""
    fields: dict[str, Any] = {
        "socket_path": None,
        "base_url": None,
        "key": "engine-key",
        "slots": 2,
        "protocol": "llama.cpp",
    }
    return ReplicaEntry(id=replica_id, **{**fields, **others})


def deployment(name: str = "bot", *replicas: ReplicaEntry, **others: Any) -> DeploymentEntry:
    """A deployment entry with defaults; ready where it has replicas."""
    fields: dict[str, Any] = {
        "state": "ready" if replicas else "loading",
        "note": "",
        "tasks": ("chat", "completions"),
        "has_tools": False,
        "context_tokens": 512,
        "load_seconds": None,
        "created": 1_700_000_000,
    }
    return DeploymentEntry(name=name, replicas=replicas, **{**fields, **others})


class Reply:
    """An answer of the door."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        self.content = response.read()

    @property
    def request_id(self) -> str:
        """What the door called the request."""
        return self.headers["x-request-id"]

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """The body as data."""
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        """The ``error`` object."""
        found = self.json()["error"]
        assert isinstance(found, dict)
        return found

    @property
    def events(self) -> list[Any]:
        """The data of its server-sent events; ``[DONE]`` stays text."""
        found = [line[5:].strip() for line in self.text.splitlines() if line.startswith("data:")]
        return [one if one == "[DONE]" else json.loads(one) for one in found]


class Client:
    """One kept-alive connection to the door."""

    def __init__(self, port: int, key: str | None) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}

    def get(self, path: str, headers: dict[str, str] | None = None) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, data: Any, headers: dict[str, str] | None = None) -> Reply:
        return self.send("POST", path, data if isinstance(data, bytes) else json.dumps(data).encode(), headers)

    def send(self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None = None) -> Reply:
        self._connection.request(method, path, body, {**self._headers, **(headers or {})})
        return Reply(self._connection.getresponse())

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


class ControlSide:
    """Plays control: sends snapshots to doors that connect, and keeps the events that they send."""

    def __init__(self, home: Home) -> None:
        self.events: list[dict[str, Any]] = []
        self._home = home
        self._line = b""
        self._arrived = threading.Condition()
        self._peers: list[socket.socket] = []
        self._server = socket.socket(socket.AF_UNIX)
        home.doors_socket.unlink(missing_ok=True)
        self._server.bind(str(home.doors_socket))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def push(self, snapshot: Snapshot) -> None:
        """Sends a snapshot and waits until a door has it in force."""
        self._line = json.dumps(snapshot.to_dict()).encode() + b"\n"
        before = len(self.events)
        for peer in list(self._peers):
            peer.sendall(self._line)
        self.wait(lambda events: any(e["type"] == "ack" and e["version"] == snapshot.version for e in events[before:]))

    def wait(self, is_there: Callable[[list[dict[str, Any]]], Any], seconds: float = 60.0) -> Any:
        """Waits until ``is_there`` of all events so far is true, and returns what it returned."""
        deadline = time.monotonic() + seconds
        with self._arrived:
            while not (found := is_there(self.events)):
                left = deadline - time.monotonic()
                assert left > 0, f"no such event in {[e['type'] for e in self.events]}"
                self._arrived.wait(left)
        return found

    def wait_for(self, kind: str) -> dict[str, Any]:
        """The first event of a kind."""
        found = self.wait(lambda events: [event for event in events if event["type"] == kind])
        event = found[0]
        assert isinstance(event, dict)
        return event

    def usage(self, request_id: str) -> dict[str, Any]:
        """The usage row of a request."""

        def row(events: list[dict[str, Any]]) -> dict[str, Any] | None:
            rows = [row for event in events if event["type"] == "usage" for row in event["rows"]]
            return next((row for row in rows if row["request_id"] == request_id), None)

        found = self.wait(row)
        assert isinstance(found, dict)
        return found

    def close(self) -> None:
        """Goes away, as a control process that was killed does."""
        self._home.doors_socket.unlink(missing_ok=True)
        for one in (self._server, *self._peers):
            # Closing alone would leave threads blocked in it, and the connection open.
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._server.accept()
            except OSError:
                return
            self._peers.append(peer)
            if self._line:
                peer.sendall(self._line)
            threading.Thread(target=self._read, args=(peer,), daemon=True).start()

    def _read(self, peer: socket.socket) -> None:
        try:
            with peer.makefile("rb") as lines:
                for line in lines:
                    with self._arrived:
                        self.events.append(json.loads(line))
                        self._arrived.notify_all()
        except (OSError, ValueError):
            return


class DoorProcess:
    """Starts doors that share one listening socket; use as a context manager.

    Args:
        home: A folder for the home.
        config: Text of its ``config.toml``.
        host: Address to listen on.
    """

    def __init__(self, home: Path, config: str = "", host: str = "127.0.0.1") -> None:
        self.home = Home(home)
        self.home.prepare()
        self.home.config_file.write_text(config)
        self.listener = socket.socket(socket.AF_INET)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((host, 0))
        self.listener.listen(1024)
        self.port: int = self.listener.getsockname()[1]
        self.key = new_api_key()
        self.admin_key = new_api_key()
        self.control: ControlSide | None = None
        self.processes: list[subprocess.Popen[bytes]] = []
        self._version = 0

    def __enter__(self) -> DoorProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.control is not None:
            self.control.close()
        for process in self.processes:
            process.kill()
            process.wait(10)
        self.listener.close()

    @property
    def url(self) -> str:
        """Where the door listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_file(self) -> Path:
        """What the doors wrote to their output."""
        return self.home.logs / "door.log"

    def snapshot(
        self, *deployments: DeploymentEntry, keys: dict[str, KeyEntry] | None = None, **others: Any
    ) -> Snapshot:
        """A snapshot with the fixture's two keys and more."""
        self._version += 1
        own = {
            secret_digest(self.key): KeyEntry("key_user", None, None, False),
            secret_digest(self.admin_key): KeyEntry("key_admin", None, None, True),
        }
        return Snapshot(
            version=self._version,
            keys=own | {secret_digest(secret): entry for secret, entry in (keys or {}).items()},
            deployments={entry.name: entry for entry in deployments},
            **others,
        )

    def start(self, snapshot: Snapshot | None, *, has_control: bool = False) -> subprocess.Popen[bytes]:
        """Starts a door process; without control it has the snapshot from the file."""
        if snapshot is not None:
            self.home.snapshot_file.write_text(json.dumps(snapshot.to_dict()))
        if has_control and self.control is None:
            self.control = ControlSide(self.home)
            if snapshot is not None:
                self.control._line = json.dumps(snapshot.to_dict()).encode() + b"\n"
        os.set_inheritable(self.listener.fileno(), True)
        command = [sys.executable, "-m", "undercroft.gateway.door", "--home", str(self.home.root)]
        command += ["--listen-fd", str(self.listener.fileno()), "--index", str(len(self.processes))]
        command += ["--parent", str(os.getpid())]
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, pass_fds=(self.listener.fileno(),)
            )
        self.processes.append(process)
        if has_control:
            assert self.control is not None
            self.control.wait(lambda events: any(e["type"] == "hello" and e["pid"] == process.pid for e in events))
            if snapshot is not None:
                self.control.wait_for("ack")
        else:
            self.get("/healthz")
        return process

    def reset(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force and forgets all events so far."""
        assert self.control is not None
        self.control.push(snapshot)
        self.control.events.clear()

    def push(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force in the running door."""
        assert self.control is not None
        self.control.push(snapshot)

    def client(self, key: str | None = "") -> Client:
        """A client with the given key; with the fixture's own where it is empty, with none where it is None."""
        return Client(self.port, self.key if key == "" else key)

    def get(self, path: str, headers: dict[str, str] | None = None, key: str | None = "") -> Reply:
        """One GET on a connection of its own."""
        with self.client(key) as client:
            return client.get(path, headers)

    def post(self, path: str, data: Any, headers: dict[str, str] | None = None, key: str | None = "") -> Reply:
        """One POST on a connection of its own."""
        with self.client(key) as client:
            return client.post(path, data, headers)

    def connect(self) -> socket.socket:
        """A raw connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def drain(self, process: subprocess.Popen[bytes]) -> None:
        """Asks a door to drain."""
        process.send_signal(signal.SIGTERM)
