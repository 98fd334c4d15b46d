"""Keys, hosts, routes, readiness and the log: decisions of the door about who and what."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.ids import new_api_key, secret_digest
from undercroft.gateway.door.access_log import AccessLog
from undercroft.gateway.door.authentication import Hosts, Keys, check_admin, check_model
from undercroft.gateway.door.readiness import readiness
from undercroft.gateway.door.request_head import new_request_id
from undercroft.gateway.door.routes import Entrance, Own, find_route
from undercroft.gateway.errors import DoorError
from undercroft.serving.snapshot import DeploymentEntry, KeyEntry, Snapshot

_KEY = new_api_key()
_READ = ("/healthz", "/v1/models", "/v1/models/bot", "/openapi.json")


def keys(**others: Any) -> Keys:
    """One key."""
    fields: dict[str, Any] = {"models": None, "expires_at": None, "is_admin": False, **others}
    return Keys({secret_digest(_KEY): KeyEntry("key_1", **fields)})


@pytest.mark.parametrize(
    "headers",
    [
        {b"authorization": b"Bearer " + _KEY.encode()},
        {b"authorization": b"bearer  " + _KEY.encode() + b" "},
        {b"x-api-key": _KEY.encode()},
    ],
)
def test_a_key_is_found(headers: dict[bytes, bytes]) -> None:
    """In either header, with the scheme in any case."""
    assert keys().authenticate(headers).id == "key_1"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {b"authorization": _KEY.encode()},
        {b"authorization": b"Basic " + _KEY.encode()},
        {b"authorization": b"Bearer " + _KEY.encode()[:-1]},
        {b"authorization": b"Bearer " + secret_digest(_KEY).encode()},
        {b"authorization": b"Bearer \xff\xfe"},
        {b"authorization": b"Bearer x", b"x-api-key": _KEY.encode()},
    ],
)
def test_anything_else_is_401(headers: dict[bytes, bytes]) -> None:
    """The digest of a key is no key, and of two headers the standard one counts."""
    with pytest.raises(DoorError) as caught:
        keys().authenticate(headers)
    assert caught.value.status == 401
    assert _KEY not in caught.value.message


def test_a_key_ends_at_its_expiry() -> None:
    """Valid before, unknown after."""
    headers = {b"x-api-key": _KEY.encode()}
    assert keys(expires_at=time.time() + 60).authenticate(headers)
    with pytest.raises(DoorError):
        keys(expires_at=time.time() - 0.001).authenticate(headers)


def test_what_a_key_may() -> None:
    """Models by list, admin routes by flag."""
    limited = KeyEntry("key_1", ("a",), None, False)
    check_model(limited, "a")
    with pytest.raises(DoorError) as caught:
        check_model(limited, "b")
    assert caught.value.status == 403
    with pytest.raises(DoorError):
        check_admin(limited)
    check_admin(KeyEntry("key_1", None, None, True))


@pytest.mark.parametrize("host", [b"10.0.0.5", b"10.0.0.5:8440", b"models.example", b"MODELS.example:443", b"[::1]:1"])
def test_allowed_names(host: bytes) -> None:
    """The listening address, what is configured, and localhost, with any port."""
    hosts = Hosts("10.0.0.5", ["models.example"])
    hosts.check(host)
    hosts.check(host)


@pytest.mark.parametrize(
    "host", [b"", b"evil", b"models.example.evil", b"xmodels.example", b"10.0.0.5:8:8", b"10.0.0.5:x"]
)
def test_other_names(host: bytes) -> None:
    """Anything else is refused, every time."""
    hosts = Hosts("10.0.0.5", ["models.example"])
    for _ in range(2):
        with pytest.raises(DoorError) as caught:
            hosts.check(host)
        assert caught.value.status == 421


def test_on_every_address_the_one_that_was_called_counts() -> None:
    """Who listens on all addresses answers to the one that a connection came to, and to no other."""
    hosts = Hosts("0.0.0.0", [])
    hosts.check(b"10.0.0.5:8440", lambda: "10.0.0.5")
    for host, came_to in ((b"10.0.0.6", "10.0.0.5"), (b"evil.example", "10.0.0.5"), (b"evil.example", "")):
        with pytest.raises(DoorError):
            hosts.check(host, lambda came_to=came_to: came_to)
    with pytest.raises(DoorError):
        Hosts("10.0.0.1", []).check(b"10.0.0.5", lambda: "10.0.0.5")


def test_an_address_of_ipv6_is_written_in_brackets() -> None:
    """As a client writes it in a URL."""
    Hosts("fd00::5", []).check(b"[fd00::5]:8440")


@pytest.mark.parametrize(
    ("path", "entrance", "name"),
    [
        ("/healthz", Entrance.OPEN, "/healthz"),
        ("/v2/rerank", Entrance.KEY, "/v1/rerank"),
        ("/v1/models", Entrance.KEY, "/v1/models"),
        ("/v1/models/bot", Entrance.KEY, "/v1/models"),
        ("/admin/keys", Entrance.ADMIN, "/admin"),
        ("/openapi.json", Entrance.KEY, "/openapi.json"),
        ("/v1/feedback", Entrance.KEY, "/v1/feedback"),
    ],
)
def test_routes(path: str, entrance: Entrance, name: str) -> None:
    """Who is let in, and under which name it is counted."""
    route = find_route("GET" if path in _READ else "POST", path)
    assert (route.entrance, route.name) == (entrance, name)


def test_later_requests_have_later_ids() -> None:
    """By the millisecond, so that they are written side by side; those of the same one differ."""
    moments = [0.0, 1_763_780_000.0, 1_763_780_000.001, 4_000_000_000.0]
    found = [new_request_id(moment) for moment in moments]
    assert found == sorted(found)
    assert {len(one) for one in found} == {27}
    assert len({new_request_id(1.0) for _ in range(100)}) == 100


@pytest.mark.parametrize("path", ["/v1", "/v1/", "/v1/models/", "/v1/models/a/b", "/adminx", "/internal/status", "//"])
def test_there_is_nothing_else(path: str) -> None:
    """Everything else is 404, whoever asks."""
    with pytest.raises(DoorError) as caught:
        find_route("GET", path)
    assert caught.value.status == 404


def test_only_admin_and_documents_go_to_control() -> None:
    """Nothing under another path reaches the process that owns the database."""
    assert find_route("DELETE", "/admin/keys/x").answer is Own.CONTROL


@pytest.mark.parametrize(
    ("states", "status"),
    [
        (["ready"], 200),
        (["ready", "loading", "unloaded"], 200),
        (["unloaded"], 200),
        (["loading"], 503),
        (["ready", "failed"], 200),
        ([], 503),
    ],
)
def test_readiness(states: list[Any], status: int) -> None:
    """At least one that can answer, or loads with its first request; others may have failed."""
    entries = {str(i): DeploymentEntry(str(i), state, "", (), False, 0, None, 1) for i, state in enumerate(states)}
    found, body = readiness(Snapshot(1, deployments=entries))
    assert found == status
    assert ("reasons" in body) == (status != 200)


def test_before_the_first_snapshot_nothing_is_ready() -> None:
    """A door that knows nothing says so."""
    assert readiness(None)[0] == 503


def test_log_lines_are_gathered(tmp_path: Path) -> None:
    """They are written together, in order, each one JSON."""
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    try:
        log = AccessLog(descriptor)
        for number in range(3):
            log.add({"n": number})
        assert (tmp_path / "log").read_text() == ""
        log.flush()
        log.flush()
    finally:
        os.close(descriptor)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [0, 1, 2]


def test_a_log_that_cannot_be_written_costs_no_request(tmp_path: Path) -> None:
    """Lines are lost then, and nothing else."""
    descriptor = os.open(tmp_path / "log", os.O_RDONLY | os.O_CREAT)
    try:
        log = AccessLog(descriptor)
        log.add({"n": 1})
        log.flush()
        log.add({"n": 2})
        log.flush()
    finally:
        os.close(descriptor)
    assert (tmp_path / "log").read_text() == ""
