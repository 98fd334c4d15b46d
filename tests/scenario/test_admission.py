"""Several models, memory for fewer: who is loaded, who goes, who is told to wait. The engine is the real one."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import Server, wait_for

MIB = 1024**2
NAMES = tuple(f"model-{letter}" for letter in "abcdef")
CONTEXT = ("--context", "512", "--slots", "1")


@pytest.fixture
def crowded(tmp_path: Path) -> Iterator[Server]:
    """Six deployments of the starter model on demand, and memory for three; started, nothing loaded."""
    server = Server(tmp_path / "home", UNDERCROFT_ADMISSION__PATIENCE_SECONDS="0.5")
    try:
        server.up()
        forecast = server.wait_ready()["replicas"][0]["forecast"]
        server.run("down")
        limit = forecast["file_bytes"] + 3.4 * forecast["private_bytes"]  # all map the same file
        server.environment["UNDERCROFT_ADMISSION__HOST_LIMIT_BYTES"] = str(int(limit))
        server.run("deployment", "stop", "ticket-pilot", check=False)
        for name in NAMES:
            server.run("deployment", "create", "ticket-pilot", "--name", name, "--load", "on-demand")
        server.up()
        yield server
    finally:
        server.down()


def _claims(server: Server) -> dict[str, Any]:
    found: dict[str, Any] = server.status()["ledger"]
    return found


def _all_measured(server: Server) -> list[dict[str, Any]]:
    """The entries of the ledger once each says what its process holds, which one that has just come does not yet."""
    entries: list[dict[str, Any]] = _claims(server)["entries"]
    return entries if all("host" in entry["measured"] for entry in entries) else []


def test_six_models_share_the_memory_of_three(crowded: Server, is_full: bool) -> None:
    """Random requests to all of them: each is answered, or refused with 429 or 503 and a sentence; no engine crashes,
    the claims never exceed the limit, and in the end the ledger says what the processes really hold."""
    rng = random.Random(7)
    asked = [rng.choice(NAMES) for _ in range(500 if is_full else 60)]
    excess: list[int] = []
    ending = threading.Event()

    def watch() -> None:
        while not ending.wait(0.2):
            ledger = _claims(crowded)
            held = sum(entry["claims"]["host"] for entry in ledger["entries"])
            excess.append(held - ledger["rooms"]["host"]["total_bytes"])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda name: crowded.say("Where is order AB-1234?", model=name), asked))
    finally:
        ending.set()
        watcher.join()
    counts = Counter(status for status, _ in answers)
    assert set(counts) <= {200, 429, 503}, counts
    assert all(body["error"]["message"] for status, body in answers if status != 200)
    assert counts[200] >= len(asked) // 2
    assert {name for name, (status, _) in zip(asked, answers, strict=True) if status == 200} == set(NAMES)
    assert max(excess) <= 0
    assert all(deployment["restarts"] == 0 for deployment in crowded.status()["deployments"])
    for entry in wait_for(lambda: _all_measured(crowded), "the last loaded to be measured"):
        assert entry["measured"]["host"] <= entry["claims"]["host"] <= entry["measured"]["host"] * 2


def test_two_at_once_do_not_both_take_the_last_place(crowded: Server) -> None:
    """With two loaded and room for one more, two others are asked for at the same moment: both are answered, and at no
    time are there more than three."""
    for name in NAMES[:2]:
        assert crowded.say("Hello", model=name)[0] == 200
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda name: crowded.say("Hello", model=name), NAMES[2:4]))
    assert [status for status, _ in answers] == [200, 200]
    assert len(crowded.status()["ledger"]["entries"]) <= 3


def test_a_pinned_model_stays(crowded: Server) -> None:
    """Others come and go; the pinned one keeps its process."""
    crowded.run("deployment", "change", NAMES[0], "--pin")
    first = wait_for(lambda: crowded.deployment(NAMES[0])["replicas"], "the pinned one to load")[0]["id"]
    for name in NAMES[1:]:
        assert crowded.say("Hello", model=name)[0] == 200
    assert [r["id"] for r in crowded.deployment(NAMES[0])["replicas"]] == [first]


def test_what_never_fits_is_refused_with_both_numbers(crowded: Server) -> None:
    """A deployment whose forecast is beyond the limit answers 503 at once, with what it needs, what there is, and the
    command that helps; it does not disturb the others."""
    crowded.run("deployment", "create", "ticket-pilot", "--name", "huge", "--slots", "256", "--load", "on-demand")
    status, body = wait_for(
        lambda: (answer := crowded.say("Hello", model="huge"))[0] == 503 and answer, "the refusal", seconds=60
    )
    assert status == 503
    message = body["error"]["message"]
    assert "it needs" in message
    assert "all models together may take" in message
    assert "undercroft plan ticket-pilot" in message
    assert crowded.say("Hello", model=NAMES[0])[0] == 200
