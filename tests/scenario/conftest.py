"""Servers whose engines misbehave on demand."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import fake_llama_server, ggufs
from tests.support.cellar import Cellar
from tests.support.environments import Environments
from tests.support.server import Server
from undercroft.environments.installed import Environment


@pytest.fixture
def temporary_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Temporary files of what a test starts lie in a folder of their own, whose path is short enough for sockets."""
    folder = tempfile.mkdtemp()
    monkeypatch.setenv("TMPDIR", folder)
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def fake_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts a server whose engine is the fake llama-server, with a model `bot` that says back what it is told."""
    started: list[Server] = []

    def start(*, deployment: tuple[str, ...] = (), most_context_tokens: int = 0, **settings: str) -> Server:
        program = fake_llama_server.install(tmp_path / "program", most_context_tokens=most_context_tokens)
        server = Server(tmp_path / "home", UNDERCROFT_ENGINES__LLAMA_SERVER=str(program), **settings)
        started.append(server)
        ggufs.write_chat_model(tmp_path / "bot.gguf")
        server.run("model", "pull", str(tmp_path / "bot.gguf"), "--name", "bot")
        server.run("deployment", "create", "bot", *deployment)
        server.up(may_fail=most_context_tokens > 0)
        return server

    yield start
    for server in started:
        server.down()


@pytest.fixture(scope="module")
def onnx_cellar(tmp_path_factory: pytest.TempPathFactory) -> Cellar:
    """A home in which models become ONNX."""
    return Cellar(tmp_path_factory.mktemp("onnx"))


@pytest.fixture(scope="module")
def exporter(onnx_cellar: Cellar, environments: Environments, request: pytest.FixtureRequest) -> Environment:
    """The environment ``onnx``; that of the engine beside it."""
    if not request.config.getoption("--full"):
        pytest.skip("two environments of 1.7 GB are installed at full size only: pytest -m long --full")
    return environments.lend(onnx_cellar.home, "onnx", "onnxruntime")
