"""A door process before an engine in memory, with the test in control's place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.doors import DoorProcess, deployment, replica
from tests.support.upstream import Upstream, answer_json, completion

CHAT = {"model": "bot", "messages": [{"role": "user", "content": "hello"}]}
ROUTE = "/v1/chat/completions"


@pytest.fixture(scope="module")
def _shared_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upstream]:
    with Upstream(answer_json(completion()), tmp_path_factory.mktemp("engine") / "engine.sock") as made:
        yield made


@pytest.fixture
def engine(_shared_engine: Upstream) -> Upstream:
    """An engine that answers every request with the same completion until it is told otherwise."""
    _shared_engine.reset(answer_json(completion()))
    return _shared_engine


@pytest.fixture(scope="module")
def _shared_door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    with DoorProcess(tmp_path_factory.mktemp("door") / "home") as made:
        made.start(made.snapshot(), has_control=True)
        yield made


@pytest.fixture
def make_door(tmp_path: Path) -> Iterator[Callable[[str], DoorProcess]]:
    """Makes a door with the given text in its settings file; nothing is started yet."""
    made: list[DoorProcess] = []

    def make(config: str = "") -> DoorProcess:
        made.append(DoorProcess(tmp_path / f"home{len(made)}", config))
        return made[-1]

    yield make
    for one in made:
        one.__exit__()


@pytest.fixture
def door(_shared_door: DoorProcess, engine: Upstream) -> DoorProcess:
    """A running door with the deployment ``bot`` on the engine; shared by a module, its snapshot is fresh."""
    _shared_door.reset(_shared_door.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))))
    return _shared_door


@pytest.fixture
def own_door(make_door: Callable[[str], DoorProcess], engine: Upstream) -> DoorProcess:
    """The same, for one test that leaves traces in it."""
    made = make_door("")
    made.start(made.snapshot(deployment("bot", replica(socket_path=str(engine.socket_path)))), has_control=True)
    return made
