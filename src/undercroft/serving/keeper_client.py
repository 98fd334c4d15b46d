"""Asking the keeper of a home, and the control process, over their Unix sockets."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from http.client import HTTPConnection, HTTPException
from typing import Any

from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home

_POLL_SECONDS = 0.1


def ask(home: Home, command: str) -> dict[str, Any] | None:
    """One command to the keeper; None where none runs.

    Args:
        home: Whose keeper.
        command: ``status``, ``restart`` or ``down``.
    """
    # A keeper that is replacing itself keeps its lock and has no socket for a moment.
    for _ in range(50):
        if not is_running(home):
            return None
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(10.0)
            with contextlib.suppress(OSError, ValueError):
                connection.connect(str(home.keeper_socket))
                connection.sendall(json.dumps({"do": command}).encode() + b"\n")
                answer = connection.makefile("r").readline()
                if answer:
                    return dict(json.loads(answer))
        time.sleep(_POLL_SECONDS)
    raise UnavailableError(
        "keeper-silent",
        f"the keeper of {home.root} does not answer",
        hint=f"look at {home.logs / 'keeper.log'}; end its process if it hangs, then: undercroft up",
    )


def is_running(home: Home) -> bool:
    """Whether a keeper holds this home's lock."""
    try:
        lock = os.open(home.keeper_lock, os.O_RDWR)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def is_reachable(home: Home) -> bool:
    """Whether a keeper takes commands, which it does once it holds the port."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(home.keeper_socket))
        except OSError:
            return False
    return True


def wait_until_gone(home: Home, *, timeout_seconds: float | None = None) -> bool:
    """Waits for the keeper to end; False where the time was up first."""
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while is_running(home):
        if deadline is not None and time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask_control(
    home: Home, method: str, path: str, body: dict[str, Any] | None = None, *, timeout_seconds: float = 10.0
) -> dict[str, Any] | None:
    """One request to the control process; None where it is away.

    Raises:
        UnavailableError: It answered with an error.
    """
    connection = _UnixConnection(str(home.control_socket), timeout_seconds)
    try:
        content = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, body=content, headers={"Content-Type": "application/json"})
        with connection.getresponse() as response:
            data = json.loads(response.read() or b"{}")
    except (OSError, HTTPException, ValueError):
        return None
    finally:
        connection.close()
    if response.status >= 400:
        raise UnavailableError("control-refused", f"control answered {response.status}: {json.dumps(data)[:300]}")
    return dict(data)


def refresh(home: Home) -> bool:
    """Tells a running server that the database changed and waits until its doors know; False where none runs."""
    return ask_control(home, "POST", "/internal/refresh") is not None
