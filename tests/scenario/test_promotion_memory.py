"""Promotions where there is no memory for both: requests wait and are answered, and what cannot be loaded changes
nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenario.test_promotion import NAME, counting, live, make, promote, replicas, said
from tests.support.server import Server
from tests.support.steady import Steady, ask


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Server]:
    """The starter model as a deployment without releases, and memory for it alone; ready."""
    server = Server(tmp_path / "home", UNDERCROFT_ADMISSION__PATIENCE_SECONDS="0.5")
    try:
        server.up()
        forecast = server.wait_ready()["replicas"][0]["forecast"]
        server.run("down")
        limit = forecast["file_bytes"] + 1.4 * forecast["private_bytes"]
        server.environment["UNDERCROFT_ADMISSION__HOST_LIMIT_BYTES"] = str(int(limit))
        # So little that a replacement which were waited for like any other load would cost requests.
        server.environment["UNDERCROFT_LIMITS__QUEUE_REQUESTS"] = "2"
        server.environment["UNDERCROFT_LIMITS__LOAD_WAIT_SECONDS"] = "0.3"
        server.up()
        server.wait_ready()
        yield server
    finally:
        server.down()


@pytest.mark.long
def test_what_is_there_makes_room_and_requests_wait(narrow: Server) -> None:
    """A deployment for its first release, that for the next, and the way back: each takes the place of the one before,
    requests wait for it, more of them and longer than for any other load, and none fails."""
    with Steady(narrow, NAME, per_second=4) as users:
        first = counting(narrow, 2)
        assert promote(narrow, first)["state"] == "done"
        second = counting(narrow, 3, "--slots", "3")
        ended = promote(narrow, second)
        assert ended["state"] == "done", ended
        assert ended["evidence"]["has_replaced"]
        narrow.run("release", "rollback", NAME)
        assert live(narrow) == f"{NAME}@{first}"
    assert users.failed == []
    assert said(users.answers) == {(f"{NAME}@{first}", 2), (f"{NAME}@{second}", 3)}


@pytest.mark.long
def test_what_can_never_be_loaded_changes_nothing(narrow: Server) -> None:
    """A candidate that is larger than all memory, and one that may not replace anything, fail with the reason; what was
    in production is not touched, and answers all the time."""
    assert promote(narrow, make(narrow, "temperature=0"))["state"] == "done"
    before, engine = live(narrow), replicas(narrow)
    with Steady(narrow, NAME, per_second=3) as users:
        for number, options, reason in (
            (make(narrow, "temperature=0", "--slots", "256"), (), "all models together may take"),
            (make(narrow, "temperature=0", "--slots", "2"), ("--no-replace",), "all models together may take"),
        ):
            ended = promote(narrow, number, *options)
            assert ended["state"] == "failed", ended
            assert reason in ended["note"]
    assert users.failed == []
    assert {answer.release for answer in users.answers} == {before}
    assert replicas(narrow) == engine


@pytest.mark.long
def test_who_waits_for_a_candidate_that_fails_is_answered_by_what_was_there(
    fake_server: Callable[..., Server],
) -> None:
    """Production was unloaded for it, and its engine runs out of memory again and again: production is loaded again,
    and those who waited meanwhile have their answers from there."""
    small = ("--context", "128", "--slots", "1")
    server = fake_server(deployment=small, most_context_tokens=1000, UNDERCROFT_ADMISSION__PATIENCE_SECONDS="0.5")
    server.run("deployment", "stop", NAME)
    server.run("release", "create", "bot", "--model", "bot", *small)
    server.run("release", "promote", "bot@1")
    forecast = server.deployment("bot@1")["replicas"][0]["forecast"]
    server.run("down")
    limit = forecast["file_bytes"] + 1.5 * forecast["private_bytes"]
    server.environment["UNDERCROFT_ADMISSION__HOST_LIMIT_BYTES"] = str(int(limit))
    server.up()
    server.wait_ready("bot@1")
    server.run("release", "create", "bot", "--model", "bot", "--context", "128", "--slots", "16")
    with Steady(server, "bot", per_second=3) as users:
        result = server.run("release", "promote", "bot@2", "--json", check=False)
        users.wait_for_more(2, "bot@1")
    assert result.returncode == 1
    print(result.stdout)
    assert users.failed == []
    assert ask(server, "bot").release == "bot@1"
