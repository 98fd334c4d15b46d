"""The keeper: the small parent of control and doors. It holds the port, restarts what dies, and stops everything.

    python -m undercroft.serving.keeper --home HOME --host HOST --port PORT --doors N

It imports little, so that it needs no restart and takes no memory. The listening socket is its own: a door that dies
takes no waiting connection with it. Engines are not its children, but it adopts them when control ends, so none is
left as a zombie. On a restart it replaces itself (``execv``) by the code that is then installed, under the same pid.

It answers one JSON line for one JSON line on ``run/keeper.sock``: ``status``, ``restart``, ``down``.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import undercroft
from undercroft.core.home import Home
from undercroft.core.processes import adopt_orphans

_TICK_SECONDS = 0.2
_LOG_CHECK_SECONDS = 10.0
_CONTROL_STOP_SECONDS = 10.0
# A child that lived shorter than this is started again only after a pause that doubles up to the limit.
_HEALTHY_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 5.0
_BACKLOG = 4096


@dataclass(slots=True)
class Child:
    """A process that should run.

    Args:
        role: ``control`` or ``door-0``, ``door-1`` …
        pid: 0 while it does not run.
        started: Unix seconds of its last start.
        pause_seconds: Before its next start.
        restarts: How often it was started again after it died.
    """

    role: str
    pid: int = 0
    started: float = 0.0
    pause_seconds: float = 0.0
    restarts: int = 0

    def died(self, now: float) -> None:
        """Plans the next start: at once after a healthy life, else after a growing pause."""
        lived = now - self.started
        self.pause_seconds = (
            0.0 if lived >= _HEALTHY_SECONDS else min(_LONGEST_PAUSE_SECONDS, max(0.1, self.pause_seconds * 2))
        )
        if self.restarts == 0:
            self.pause_seconds = 0.0
        self.pid = 0
        self.restarts += 1
        self.started = now


@dataclass(slots=True)
class State:
    """All that a keeper hands to its successor at a restart.

    Args:
        generation: Rises with every restart; a command line waits for it.
        draining: Doors of earlier generations that answer their last requests.
    """

    home: str
    host: str
    port: int
    listen_fd: int
    lock_fd: int
    log_bytes: int
    log_files: int
    drain_seconds: float
    started: float
    generation: int
    control: Child
    doors: list[Child]
    draining: list[int]

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> State:
        data = json.loads(text)
        data["control"] = Child(**data["control"])
        data["doors"] = [Child(**door) for door in data["doors"]]
        return cls(**data)


class Keeper:
    """Runs until it is told to stop.

    Args:
        state: Fresh, or from the keeper before.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._home = Home(Path(state.home))
        self._is_ending = False
        self._logs_checked = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._signalled)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        adopt_orphans()
        self._home.keeper_socket.unlink(missing_ok=True)
        self._commands = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._commands.bind(str(self._home.keeper_socket))
        self._commands.listen(16)
        self._commands.settimeout(2.0)

    def run(self) -> None:
        """Until `down`, SIGTERM or SIGINT."""
        while not self._is_ending:
            self._reap()
            self._start_missing()
            self._rotate_logs()
            waited: list[int] = [self._commands.fileno(), self._wake_read]
            readable, _, _ = select.select(waited, [], [], _TICK_SECONDS)
            if self._wake_read in readable:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
            if self._commands.fileno() in readable:
                self._answer()
        self._shut_down()

    def _signalled(self, number: int, _frame: object) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._is_ending = True

    # Children

    def _start_missing(self) -> None:
        now = time.time()
        for child in (self._state.control, *self._state.doors):
            if child.pid == 0 and now - child.started >= child.pause_seconds:
                try:
                    self._start(child)
                except OSError as error:
                    # No memory, no process, no room for a log: the keeper stays and tries again.
                    print(f"cannot start {child.role}: {error}", file=sys.stderr, flush=True)
                    child.died(now)

    def _start(self, child: Child) -> None:
        if child.role == "control":
            command = ["undercroft.gateway.control"]
        else:
            index = child.role.removeprefix("door-")
            fd = self._state.listen_fd
            command = ["undercroft.gateway.door", "--listen-fd", str(fd), "--index", index]
        command += ["--home", self._state.home, "--parent", str(os.getpid())]
        log = self._home.logs / f"{child.role.split('-')[0]}.log"
        with log.open("ab", buffering=0) as output:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=() if child.role == "control" else (self._state.listen_fd,),
                cwd="/",
            )
        child.pid, child.started = process.pid, time.time()
        process.returncode = 0  # reaped by `_reap`, which also sees adopted engines; Popen must not wait for it

    def _reap(self) -> None:
        while True:
            try:
                pid, _ = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            now = time.time()
            for child in (self._state.control, *self._state.doors):
                if child.pid == pid:
                    child.died(now)
            if pid in self._state.draining:
                self._state.draining.remove(pid)

    def _rotate_logs(self) -> None:
        """Copies and truncates: children hold the file open for appending and go on writing into it."""
        if time.time() - self._logs_checked < _LOG_CHECK_SECONDS:
            return
        self._logs_checked = time.time()
        for name in ("control", "door", "keeper"):
            log = self._home.logs / f"{name}.log"
            with contextlib.suppress(OSError):
                if log.stat().st_size > self._state.log_bytes:
                    for number in range(self._state.log_files - 1, 0, -1):
                        older = log.with_suffix(f".log.{number}")
                        if older.exists():
                            older.replace(log.with_suffix(f".log.{number + 1}"))
                    log.with_suffix(".log.1").write_bytes(log.read_bytes())
                    os.truncate(log, 0)

    # Commands

    def _answer(self) -> None:
        try:
            connection, _ = self._commands.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(2.0)
            try:
                wanted = json.loads(connection.makefile("r").readline() or "{}").get("do")
                known = {"status": self._status, "restart": self._restart, "down": self._down}
                answer = known[wanted]() if wanted in known else {"error": f"unknown command {wanted!r}"}
                connection.sendall(json.dumps(answer).encode() + b"\n")
            except (OSError, ValueError, AttributeError):
                return
        if wanted == "restart":
            self._replace_self()

    def _status(self) -> dict[str, Any]:
        state = self._state
        return {
            "pid": os.getpid(),
            "version": undercroft.__version__,
            "started": state.started,
            "host": state.host,
            "port": state.port,
            "generation": state.generation,
            "control": asdict(state.control),
            "doors": [asdict(door) for door in state.doors],
            "draining": state.draining,
        }

    def _restart(self) -> dict[str, Any]:
        return {"generation": self._state.generation + 1}

    def _down(self) -> dict[str, Any]:
        self._is_ending = True
        return {"pid": os.getpid()}

    def _replace_self(self) -> None:
        """Becomes the keeper that is installed now; it then replaces control and doors."""
        self._commands.close()
        for fd in (self._state.listen_fd, self._state.lock_fd):
            os.set_inheritable(fd, True)
        os.execv(
            sys.executable, [sys.executable, "-P", "-m", "undercroft.serving.keeper", "--resume", self._state.to_json()]
        )

    def renew(self) -> None:
        """After a restart: new control, new doors; old doors drain while the new ones already take connections."""
        state = self._state
        state.generation += 1
        self._end([state.control.pid], _CONTROL_STOP_SECONDS)
        state.control = Child("control")
        old = [door.pid for door in state.doors if door.pid]
        state.doors = [Child(door.role) for door in state.doors]
        self._start_missing()
        for pid in old:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        state.draining.extend(old)

    def _end(self, pids: list[int], seconds: float) -> None:
        """SIGTERM, patience, SIGKILL; none of them is left."""
        left = [pid for pid in pids if pid]
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while left:
            for pid in list(left):
                with contextlib.suppress(ChildProcessError):
                    if os.waitpid(pid, os.WNOHANG)[0] == 0:
                        continue
                left.remove(pid)
            if left and time.monotonic() > deadline:
                for pid in left:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if left:
                select.select([self._wake_read], [], [], 0.05)
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)

    def _shut_down(self) -> None:
        """Doors first, so that running requests still have their engines; then control; then the engines."""
        os.close(self._state.listen_fd)
        doors = [door.pid for door in self._state.doors] + self._state.draining
        self._end(doors, self._state.drain_seconds + 5)
        self._end([self._state.control.pid], _CONTROL_STOP_SECONDS)
        sweep = [sys.executable, "-P", "-m", "undercroft.serving.sweep", "--home", self._state.home]
        subprocess.run(sweep, check=False, stdin=subprocess.DEVNULL, cwd="/")
        self._commands.close()
        for path in (self._home.keeper_socket, self._home.control_socket, self._home.doors_socket):
            path.unlink(missing_ok=True)


def main() -> None:
    """Reads the command line and keeps."""
    parser = argparse.ArgumentParser(prog="undercroft-keeper")
    parser.add_argument("--home")
    parser.add_argument("--host")
    parser.add_argument("--port", type=int)
    parser.add_argument("--doors", type=int, default=1)
    parser.add_argument("--drain-seconds", type=float, default=30.0)
    parser.add_argument("--log-bytes", type=int, default=10 * 1024 * 1024)
    parser.add_argument("--log-files", type=int, default=5)
    parser.add_argument("--resume")
    arguments = parser.parse_args()
    if arguments.resume:
        keeper = Keeper(State.from_json(arguments.resume))
        keeper.renew()
    else:
        keeper = Keeper(_fresh(arguments))
    keeper.run()


def _fresh(arguments: argparse.Namespace) -> State:
    home = Home(Path(arguments.home))
    home.prepare()
    lock_fd = os.open(home.keeper_lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"another keeper holds {home.keeper_lock}")
    listening = _listen(arguments.host, arguments.port)
    return State(
        home=str(home.root),
        host=arguments.host,
        port=arguments.port,
        listen_fd=listening.detach(),
        lock_fd=lock_fd,
        log_bytes=arguments.log_bytes,
        log_files=arguments.log_files,
        drain_seconds=arguments.drain_seconds,
        started=time.time(),
        generation=1,
        control=Child("control"),
        doors=[Child(f"door-{index}") for index in range(arguments.doors)],
        draining=[],
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        sys.exit(f"cannot listen on {host}:{port}: {error.strerror}")
    listening.listen(_BACKLOG)
    return listening


if __name__ == "__main__":
    main()
