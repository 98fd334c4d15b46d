"""A server whose settings are edited while it runs: the journal tells of it when they begin to hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.server import Server, kill, wait_for


def changes(server: Server) -> list[dict[str, Any]]:
    """Entries of changed settings, the oldest first."""
    found: list[dict[str, Any]] = server.json("journal", "search", "--action", "settings")
    return found


def test_edited_settings_are_told_when_they_begin_to_hold(fake_server: Callable[..., Server]) -> None:
    """Nothing at the first start; at a restart all that differs; a door that died tells of what it reads alone."""
    server = fake_server()
    config = server.home / "config.toml"
    assert changes(server) == []
    config.write_text(
        "[engines]\nslots = 2\n[backup]\nhours = 0\n[registry]\nhub_token_file = '/nowhere/hunter2'\n", encoding="utf-8"
    )
    server.run("restart")
    (entry,) = changes(server)
    assert entry["actor"] == "file:config.toml"
    assert entry["before"] == {"engines.slots": 4, "registry.hub_token_file": None, "backup.hours": 24.0}
    assert entry["after"] == {"engines.slots": 2, "registry.hub_token_file": "set", "backup.hours": 0.0}
    assert entry["reason"].startswith("config.toml belongs to ")
    config.write_text(
        config.read_text(encoding="utf-8") + "[limits]\nqueue_requests = 7\n[usage]\nretention_days = 9\n"
    )
    kill(server.status()["doors"][0]["pid"])
    entry = wait_for(lambda: changes(server)[1:], "the entry of the new door")[0]
    assert entry["after"] == {"limits.queue_requests": 7}
    assert "hunter2" not in server.run("journal", "export", "-").stdout
