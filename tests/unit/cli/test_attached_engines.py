"""``undercroft engine list`` and ``deployment create`` of servers that run already; ``model export``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.support.triton_repositories import write
from undercroft.catalog.engines import ATTACHED
from undercroft.cli import build
from undercroft.core.errors import ConflictError, InvalidError, RefusedError
from undercroft.core.home import Home
from undercroft.registry.importing import IncomingFile, Origin, register
from undercroft.storage.database import Database

Run = Callable[..., str]


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """Of a home of its own."""
    home = Home(tmp_path / "home")
    home.prepare()
    monkeypatch.setenv("UNDERCROFT_HOME", str(home.root))
    monkeypatch.setenv("COLUMNS", "80")
    opened = Database(home.database_file)
    yield opened
    opened.close()


@pytest.fixture
def run(database: Database, capsys: pytest.CaptureFixture[str]) -> Run:
    """A command as it is typed; what it printed."""
    command: Any = get_command(build("engine", "deployment", "model"))

    def call(*words: str) -> str:
        command(list(words), standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_each_says_how_it_is_attached(run: Run) -> None:
    """The list shows every engine that is attached with the one command, in JSON and in eighty columns."""
    rows = {row["name"]: row for row in json.loads(run("engine", "list", "--json"))}
    shown = run("engine", "list")
    for name in ATTACHED:
        assert (rows[name]["kind"], rows[name]["state"], rows[name]["install"]) == ("engine", "by URL", None)
        assert f"undercroft deployment create NAME --engine {name} --url URL" in rows[name]["attach"]
        assert f"To attach: {rows[name]['attach']}\n" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


@pytest.mark.parametrize("engine", sorted(ATTACHED))
def test_it_is_deployed_by_its_url(run: Run, engine: str) -> None:
    """A deployment has the URL, and no model; a host that nobody allowed is refused, and so is one without a URL."""
    made = ("deployment", "create", "bot", "--engine", engine, "--task", "embed")
    with pytest.raises(InvalidError, match="needs --url"):
        run(*made)
    with pytest.raises(RefusedError, match="gpu-box"):
        run(*made, "--url", "http://gpu-box:8000")
    found = json.loads(run(*made, "--url", "http://127.0.0.1:8000", "--metrics-port", "8003", "--json"))
    assert (found["engine"], found["model"]) == (engine, None)
    assert found["settings"] == {"task": "embed", "url": "http://127.0.0.1:8000", "metrics_port": 8003}


def test_a_repository_is_exported_and_not_served_here(run: Run, database: Database, tmp_path: Path) -> None:
    """What is made for Triton comes out as Triton loads it, once; no engine here takes it, which says what to do."""
    files = write(tmp_path / "repository", runtime="tensorrt")
    brought = [IncomingFile(name, path) for name, path in files.items()]
    register(
        database,
        Home(tmp_path / "home"),
        brought,
        Origin("a test", {}),
        name="mini",
        actor="cli:test",
        progress=lambda step: None,
    )
    target = tmp_path / "out"
    said = " ".join(run("model", "export", "mini", str(target)).split())
    assert "The plan of mini_network is not built" in said
    assert "sh mini_network/build_plan.sh which runs: trtexec --onnx=model.onnx --fp16 --saveEngine=model.plan" in said
    assert (target / "mini_answer" / "1" / "model.py").is_file()
    with pytest.raises(ConflictError, match="not an empty folder"):
        run("model", "export", "mini", str(target))
    with pytest.raises(InvalidError, match="undercroft model export mini"):
        run("deployment", "create", "mini")
