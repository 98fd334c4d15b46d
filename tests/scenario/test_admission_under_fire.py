"""Six models in a control group that has the memory for three of them, and requests for all at random."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.support import ggufs
from tests.support.control_group import MemoryGroup, limited_memory
from tests.support.server import Server, wait_for

MIB = 1024**2
NAMES = tuple(f"model-{letter}" for letter in "abcdef")
# Each maps a file of 76 MiB of its own and keeps a cache of 64 MiB; door and control take some 170 MiB.
LIMIT_BYTES = 1000 * MIB


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[Server, MemoryGroup]]:
    with limited_memory(LIMIT_BYTES) as group:
        if group is None:
            pytest.skip("this system lets the test make no control group with a memory limit")
        server = Server(tmp_path / "home", UNDERCROFT_ADMISSION__PATIENCE_SECONDS="0.5")
        server.prefix = group.prefix
        try:
            for seed, name in enumerate(NAMES):
                path = ggufs.write_chat_model(
                    tmp_path / f"{name}.gguf", seed=seed, width=1024, layers=2, context_tokens=4096
                )
                server.run("model", "pull", str(path), "--name", name)
                server.run("deployment", "create", name, "--load", "on-demand", "--context", "4096", "--slots", "4")
            server.up()
            yield server, group
        finally:
            server.down()


def _settled(server: Server) -> dict[str, Any] | None:
    """The status, once every replica is ready and measured; None before."""
    status = server.status()
    entries = status["ledger"]["entries"]
    return status if all(e["phase"] == "ready" and "host" in e["measured"] for e in entries) else None


@pytest.mark.long
def test_no_engine_dies_and_every_request_gets_an_answer_or_a_sentence(
    limited: tuple[Server, MemoryGroup], is_full: bool
) -> None:
    """Requests at random, eight at a time: no crash, no kill by the kernel; each is answered or refused with 429 or 503
    and a sentence; in the end the ledger's claims are what the processes hold, and fit into the group."""
    server, group = limited
    rng = random.Random(11)
    asked = [rng.choice(NAMES) for _ in range(500 if is_full else 40)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: server.say("abc " * 40, model=name, max_tokens=8), asked))
    counts = Counter(status for status, _ in answers)
    print(f"answers by status: {dict(counts)}")
    assert set(counts) <= {200, 429, 503}, counts
    assert all(body["error"]["message"] for status, body in answers if status != 200)
    assert counts[200] >= len(asked) * 0.5
    assert group.killed() == 0
    status = wait_for(lambda: _settled(server), "what loads and stops to be done")
    assert [d["restarts"] for d in status["deployments"]] == [0] * len(status["deployments"])
    entries, room = status["ledger"]["entries"], status["ledger"]["rooms"]["host"]
    assert entries
    assert sum(entry["claims"]["host"] for entry in entries) <= room["total_bytes"] < LIMIT_BYTES
    for entry in entries:
        assert entry["measured"]["host"] <= entry["claims"]["host"] <= entry["measured"]["host"] * 1.35
