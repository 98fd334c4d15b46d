"""The server's port, processes and deployments."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.home import Home
from undercroft.core.settings import GatewaySettings, Settings
from undercroft.serving.doctor.findings import Verdict
from undercroft.serving.doctor.scene import Scene
from undercroft.serving.doctor.server import (
    CHECKS,
    Listener,
    find_listener,
    judge_deployments,
    judge_port,
    judge_server,
    parse_listeners,
    try_port,
)

# 8440 is 20F8: one socket listens, one is connected, one listens on another port.
TCP = """  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:20F8 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 77123 1 0000000000000000 100
   1: 0100007F:20F8 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 88001 1 0000000000000000 20
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 99001 1 0000000000000000 100
"""
HOME = Home(Path("/home/anna/.undercroft"))


def test_only_sockets_that_listen_on_the_port_count() -> None:
    """User and inode of the one line that does."""
    assert parse_listeners(TCP, 8440) == [(1000, 77123)]
    assert parse_listeners(TCP, 8441) == []
    assert parse_listeners("", 8440) == []


def test_who_listens_is_found_by_the_inode(made_scene: Callable[..., Scene]) -> None:
    """One of its open files is that socket; without rights to look, the user is what is known."""
    scene = made_scene({"proc/net/tcp": TCP, "proc/4242/comm": "nginx\n", "proc/4242/fd/.keep": ""})
    assert find_listener(scene, 8440) == Listener(None, "", 1000)
    (scene.root / "proc/4242/fd/3").symlink_to("socket:[77123]")
    assert find_listener(scene, 8440) == Listener(4242, "nginx", None)
    assert find_listener(scene, 9000) is None


@pytest.mark.parametrize(
    ("error", "listener", "saw"),
    [
        (errno.EADDRINUSE, Listener(4242, "nginx", None), "127.0.0.1:8440 is taken by process 4242 (nginx)"),
        (errno.EADDRINUSE, Listener(None, "", 1000), "127.0.0.1:8440 is taken by a process of user 1000"),
        (errno.EADDRINUSE, None, "127.0.0.1:8440 is taken by a process that cannot be seen from here"),
        (errno.EACCES, None, "this user may not listen on 127.0.0.1:8440"),
        (errno.EADDRNOTAVAIL, None, "127.0.0.1 is no address of this machine"),
        (errno.EMFILE, None, "cannot listen on 127.0.0.1:8440: Too many open files"),
    ],
)
def test_why_the_door_cannot_listen(error: int, listener: Listener | None, saw: str) -> None:
    """Each reason is a problem with its own sentence."""
    verdict = judge_port("127.0.0.1", 8440, error, listener)
    assert (verdict.level, verdict.saw) == ("problem", saw)
    assert verdict.mend


def look_at_port(scene: Scene) -> Verdict:
    verdict = next(check for check in CHECKS if check.name == "port").look(scene)
    assert isinstance(verdict, Verdict)
    return verdict


def test_a_port_is_tried(made_scene: Callable[..., Scene]) -> None:
    """While somebody listens it is taken, by this very process; afterwards it is free."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        settings = Settings(gateway=GatewaySettings(port=port))
        scene = made_scene(settings=settings)
        scene.root = Path("/")
        taken = look_at_port(scene)
    assert (taken.level, f"process {os.getpid()}" in taken.saw) == ("problem", True)
    assert look_at_port(made_scene(settings=settings)).level == "ok"


def test_an_address_of_another_machine_is_no_address_here() -> None:
    """192.0.2.0/24 is kept for documentation and belongs to nobody."""
    assert try_port("192.0.2.7", 0) == errno.EADDRNOTAVAIL


def test_a_name_is_not_looked_up(made_scene: Callable[..., Scene]) -> None:
    """A name server would be asked; localhost needs none."""
    named = look_at_port(made_scene(settings=Settings(gateway=GatewaySettings(host="models.example.org"))))
    assert (named.level, "not looked up" in named.saw) == ("ok", True)


def keeper(**changes: Any) -> dict[str, Any]:
    return {"pid": 5, "port": 8440, "control": {"pid": 6}, "doors": [{"pid": 7}, {"pid": 8}], **changes}


def test_a_server_with_parts_away_is_warned_of() -> None:
    """Control that is started again and again, doors that are; the log is named."""
    assert judge_server(keeper(control={"pid": 0}), HOME, is_control_there=True).level == "warning"
    assert judge_server(keeper(), HOME, is_control_there=False).mend == f"tail {HOME.logs / 'control.log'}"
    assert "1 of 2 doors" in judge_server(keeper(doors=[{"pid": 0}, {"pid": 8}]), HOME, is_control_there=True).saw


def test_a_whole_server_and_none_are_silent() -> None:
    """Both are as they should be."""
    assert judge_server(keeper(), HOME, is_control_there=True).saw == "runs as process 5 on port 8440"
    assert judge_server(None, HOME, is_control_there=False).level == "ok"


def deployment(state: str, *, is_sealed: bool, engine: str = "llama.cpp") -> dict[str, Any]:
    note = "not sealed: this kernel allows no empty network here (Operation not permitted)"
    return {
        "name": "bot",
        "state": state,
        "note": "the file is gone" if state == "failed" else "",
        "engine": engine,
        "replicas": [{"is_sealed": is_sealed, "seal_note": "" if is_sealed else note}],
    }


def test_failed_and_unsealed_deployments_are_told() -> None:
    """The first is a problem, the second a warning."""
    (failed,) = judge_deployments([deployment("failed", is_sealed=True)], HOME)
    assert (failed.level, failed.saw) == ("problem", "bot failed: the file is gone")
    (unsealed,) = judge_deployments([deployment("ready", is_sealed=False)], HOME)
    assert (unsealed.level, "NOT SEALED" in unsealed.saw) == ("warning", True)


def test_deployments_that_work_are_silent() -> None:
    """An external engine is not ours to seal."""
    both = [deployment("ready", is_sealed=True), deployment("ready", is_sealed=False, engine="external")]
    assert [v.level for v in judge_deployments(both, HOME)] == ["ok"]
