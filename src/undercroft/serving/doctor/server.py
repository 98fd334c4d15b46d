"""The server of this home: its port, its processes, its deployments."""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undercroft.catalog.engines import ATTACHED
from undercroft.core.home import Home
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

_LISTENING = "0A"
_SOCKET = re.compile(r"socket:\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Listener:
    """Who listens on a port.

    Args:
        pid: None where it cannot be told, which is so for processes of other users.
        name: Of the program; empty where it cannot be told.
        uid: Of the user; None where it cannot be told.
    """

    pid: int | None
    name: str
    uid: int | None


def judge_port(host: str, port: int, error: int, listener: Listener | None) -> Verdict:
    """Whether the door can listen.

    Args:
        host: As set.
        port: As set.
        error: Number of the error that binding gives; 0 where it works.
        listener: Who is there already, as far as known.
    """
    address = f"{host}:{port}"
    if not error:
        return fine(f"{address} is free")
    if error == errno.EADDRINUSE:
        who = _described(listener)
        return fail(f"{address} is taken by {who}", f"UNDERCROFT_GATEWAY__PORT={port + 1} undercroft up")
    if error == errno.EACCES:
        why = "Ports below 1024 are for root; the server does not start."
        return fail(f"this user may not listen on {address}", "UNDERCROFT_GATEWAY__PORT=8440 undercroft up", why=why)
    if error == errno.EADDRNOTAVAIL:
        why = "The server does not start."
        return fail(f"{host} is no address of this machine", "ip address shows them; set gateway.host", why=why)
    return fail(
        f"cannot listen on {address}: {os.strerror(error)}", "undercroft config show; set gateway.host and port"
    )


def _described(listener: Listener | None) -> str:
    if listener is None:
        return "a process that cannot be seen from here"
    if listener.pid is None:
        return f"a process of user {listener.uid}" if listener.uid is not None else "another process"
    return f"process {listener.pid} ({listener.name or 'name not known'})"


def judge_server(keeper: Mapping[str, Any] | None, home: Home, *, is_control_there: bool) -> Verdict:
    """Whether the server runs, and all of it."""
    if keeper is None:
        return fine("not running; undercroft up starts it")
    if keeper["control"]["pid"] == 0 or not is_control_there:
        return warn("runs, but control is away", f"tail {home.logs / 'control.log'}")
    missing = sum(1 for door in keeper["doors"] if not door["pid"])
    if missing:
        return warn(f"runs, but {missing} of {len(keeper['doors'])} doors are away", f"tail {home.logs / 'keeper.log'}")
    return fine(f"runs as process {keeper['pid']} on port {keeper['port']}")


def judge_deployments(deployments: Sequence[Mapping[str, Any]], home: Home) -> list[Verdict]:
    """Whether what is deployed answers, and is sealed."""
    verdicts = []
    for deployment in deployments:
        name = deployment["name"]
        if deployment["state"] == "failed":
            verdicts.append(fail(f"{name} failed: {deployment['note']}", f"tail {home.logs}/engine-{name}.log"))
        for replica in deployment["replicas"]:
            if replica["is_sealed"] is False and deployment["engine"] not in ATTACHED:
                note = str(replica["seal_note"]).replace("not sealed", "NOT SEALED", 1)
                why = "An engine with a hole in it could send prompts somewhere."
                verdicts.append(warn(f"{name}: {note}", "undercroft doctor --all, line 'sealing'", why=why))
    return verdicts or [fine(f"{len(deployments)} deployed, none failed")]


def parse_listeners(text: str, port: int) -> list[tuple[int, int]]:
    """User and inode of every socket that listens on a port, out of ``/proc/net/tcp`` or ``tcp6``."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTENING:
            continue
        local = fields[1].rpartition(":")[2]
        if local == f"{port:04X}" and fields[7].isdecimal() and fields[9].isdecimal():
            found.append((int(fields[7]), int(fields[9])))
    return found


def find_listener(scene: Scene, port: int) -> Listener | None:
    """Who listens on a port; None where nobody is seen."""
    sockets = [row for name in ("tcp", "tcp6") for row in parse_listeners(scene.read(f"proc/net/{name}"), port)]
    inodes = {inode for _, inode in sockets}
    for path in scene.find("proc/[0-9]*/fd/*") if inodes else ():
        try:
            found = _SOCKET.fullmatch(os.readlink(path))
        except OSError:
            continue
        if found and int(found[1]) in inodes:
            pid = path.parent.parent.name
            return Listener(int(pid), scene.read(f"proc/{pid}/comm").strip(), None)
    return Listener(None, "", sockets[0][0]) if sockets else None


def try_port(host: str, port: int) -> int:
    """Takes the port for a moment, as the keeper would.

    Args:
        host: An address in numbers.
        port: Of it.

    Returns:
        The error's number; 0 where it works.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host.strip("[]"), port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _address(host: str) -> str | None:
    """The address in numbers; None for a name that only a name server knows."""
    if host.lower() == "localhost":
        return "127.0.0.1"
    try:
        return str(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        return None


def _look_at_port(scene: Scene) -> Verdict:
    gateway = scene.settings.gateway
    keeper = scene.keeper()
    if keeper is not None and keeper["port"] == gateway.port:
        return fine(f"{gateway.host}:{gateway.port} is ours")
    address = _address(gateway.host)
    if address is None:
        return fine(f"{gateway.host} is a name, which is not looked up here: that would ask a name server")
    error = try_port(address, gateway.port)
    listener = find_listener(scene, gateway.port) if error == errno.EADDRINUSE else None
    return judge_port(gateway.host, gateway.port, error, listener)


CHECKS = (
    Check(
        "port",
        "whether the door can listen on `gateway.host` and `gateway.port`, and who listens there",
        "The server does not start, or clients talk to somebody else's.",
        _look_at_port,
    ),
    Check(
        "server",
        "keeper, control and doors of this home",
        "What is changed has no effect until control is back; what is away cannot answer.",
        lambda scene: judge_server(scene.keeper(), scene.home, is_control_there=scene.status() is not None),
    ),
    Check(
        "deployments",
        "deployments that failed, replicas that are not sealed",
        "Requests for it get an error.",
        lambda scene: judge_deployments((scene.status() or {}).get("deployments", []), scene.home),
    ),
)
