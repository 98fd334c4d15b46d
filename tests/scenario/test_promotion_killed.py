"""Kill anything at any moment of a promotion or a rollback: the old release answers, or the new one, never neither."""

from __future__ import annotations

import itertools
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import COMMAND, Server, kill, wait_for
from tests.support.steady import Steady, ask
from undercroft.core.home import Home
from undercroft.registry.releases import store
from undercroft.serving import deployments, promotions
from undercroft.serving.promotions import Promotion, State
from undercroft.storage.database import Database

NAME = "ticket-pilot"
# What a change does takes about this long from the command's start, so that kills meet all of it.
_WINDOW_SECONDS = 5.0


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Server, Database]]:
    """Three releases: two that share an engine and one with its own; the first is in production."""
    server = Server(tmp_path / "home", UNDERCROFT_ADMISSION__PATIENCE_SECONDS="0.5")
    try:
        server.up()
        for tokens, slots in ((2, "4"), (3, "4"), (4, "3")):
            sampling = f"temperature=0,max_tokens={tokens}"
            server.run("release", "create", NAME, "--model", NAME, "--sampling", sampling, "--slots", slots)
        server.run("release", "promote", f"{NAME}@1")
        yield server, Database(Home(server.home).database_file)
    finally:
        server.down()


def begin(server: Server, *arguments: str) -> subprocess.Popen[bytes]:
    """A command that goes on by itself."""
    return subprocess.Popen(
        [COMMAND, *arguments], env=server.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def production(database: Database) -> int:
    """The release in production."""
    with database.read() as connection:
        return store.tags_of(connection, NAME)["production"]


def newest(database: Database) -> Promotion:
    """The promotion that began last."""
    with database.read() as connection:
        return promotions.list_of(connection, NAME, limit=1)[0]


def check_whole(server: Server, database: Database, allowed: Sequence[int]) -> int:
    """Tags, deployment, promotions and journal agree with each other, and with what answers; returns that.

    Args:
        server: It runs.
        database: Of its home.
        allowed: Releases that may answer.
    """
    promotion = wait_for(lambda: (p := newest(database)).ended_at and p, "the promotion to end")
    with database.read() as connection:
        tags = store.tags_of(connection, NAME)
        own = deployments.get(connection, NAME)
        release = store.get(connection, NAME, tags["production"])
        running = [one for one in promotions.list_of(connection, NAME, limit=1000) if one.ended_at is None]
    assert running == []
    assert "canary" not in tags
    assert tags["production"] in allowed, (tags, promotion)
    assert (own.engine, own.model) == (release.content.engine, release.content.model)
    assert promotion.state in (State.DONE, State.CANCELLED), promotion
    server.run("journal", "verify")
    wait_for(lambda: ask(server, NAME).release == f"{NAME}@{tags['production']}", "what is in production to answer")
    answer = ask(server, NAME)
    assert (answer.status, answer.tokens) == (200, tags["production"] + 1)
    return int(tags["production"])


def _change(rng: random.Random, database: Database) -> tuple[list[str], list[int]]:
    """A command that changes what answers, and the releases that may answer after it was killed."""
    now = production(database)
    with database.read() as connection:
        previous = store.tags_of(connection, NAME).get("previous")
    if previous is not None and rng.random() < 0.4:
        return ["release", "rollback", NAME], [now, previous]
    other = rng.choice([number for number in (1, 2, 3) if number != now])
    return ["release", "promote", f"{NAME}@{other}"], [now, other]


def _victims(server: Server, whom: str, command: subprocess.Popen[bytes], status: dict[str, Any]) -> list[int]:
    if whom == "control":
        return [status["control"]["pid"]]
    if whom == "command":
        return [command.pid]
    if whom == "keeper":
        return [status["keeper"]["pid"]]
    return [process.pid for process in server.processes()]


@pytest.mark.long
def test_a_change_that_is_killed_has_happened_or_has_not(served: tuple[Server, Database], is_full: bool) -> None:
    """At random moments of a promotion or a rollback the control process, the command, the keeper, or every process of
    the server is killed: once it is up again the promotion goes on to its end or was ended, the journal verifies, and
    what answers is what the tags say."""
    server, database = served
    rng = random.Random()
    seed = rng.getrandbits(32)
    print(f"seed {seed}")
    rng.seed(seed)
    ends: Counter[tuple[str, str]] = Counter()
    for number in range(300 if is_full else 4):
        whom = ("control", "everything", "command", "keeper")[number % 4]
        arguments, allowed = _change(rng, database)
        status = server.status()
        command = begin(server, *arguments)
        deadline = time.monotonic() + rng.uniform(0.0, _WINDOW_SECONDS)
        wait_for(lambda: time.monotonic() > deadline, "the moment")  # noqa: B023
        for pid in _victims(server, whom, command, status):
            kill(pid)
        if whom in ("everything", "keeper"):
            command.wait(120)
            server.up()
        command.wait(120)
        after = check_whole(server, database, allowed)
        ends[whom, "new" if after == allowed[1] else "old"] += 1
    print(dict(ends))


@pytest.mark.long
def test_no_request_fails_while_control_is_killed(served: tuple[Server, Database], is_full: bool) -> None:
    """Users ask at a steady rate while releases are promoted and control is killed in the middle: no request fails."""
    server, database = served
    rng = random.Random(5)
    with Steady(server, NAME, per_second=20 if is_full else 5) as users:
        for turn in range(20 if is_full else 2):
            number = 3 if production(database) != 3 else 2
            status = server.status()
            command = begin(server, "release", "promote", f"{NAME}@{number}")
            deadline = time.monotonic() + rng.uniform(0.0, _WINDOW_SECONDS)
            wait_for(lambda: time.monotonic() > deadline, f"the moment of turn {turn}")  # noqa: B023
            kill(status["control"]["pid"])
            command.wait(120)
            assert check_whole(server, database, [number]) == number
    assert users.failed == []
    assert {answer.release for answer in users.answers} == {f"{NAME}@{number}" for number in (1, 3, 2)}


@pytest.mark.long
def test_changes_at_the_same_time_take_their_turns(served: tuple[Server, Database]) -> None:
    """Two promotions and a rollback from three processes: each is done, or was ended by one that came after it; one
    release answers, and never are there two promotions that run."""
    server, database = served
    server.run("release", "promote", f"{NAME}@2")
    wishes = [("promote", f"{NAME}@3"), ("promote", f"{NAME}@1"), ("rollback", NAME)]
    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(lambda words: server.run("release", *words, check=False), wishes))
    assert {result.returncode for result in results} <= {0, 1, 4, 5}, [result.stderr for result in results]
    check_whole(server, database, [1, 2, 3])
    with database.read() as connection:
        found = promotions.list_of(connection, NAME)
    spans = sorted((one.started_at, one.ended_at or "") for one in found)
    assert all(earlier[1] <= later[0] for earlier, later in itertools.pairwise(spans))
