"""A replica for an evaluation: it answers, is watched, and leaves nothing behind, however the evaluation ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.engines import replica_processes, wait_until
from tests.support.ggufs import write_chat_model, write_embedding_model
from undercroft.checks.questions import Message
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.asking import ask_all
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.evaluation.subjects import find_file
from undercroft.optimize.evaluation.tasks import Task, answer_check

_SETUP = Setup(context_tokens=64, slots=2, threads=1, gpu_layers=0, answer_tokens=5)
_RUNS_AND_WAITS = """
import sys
from pathlib import Path
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.replica import Setup, running

setup = Setup(context_tokens=64, slots=1, threads=1, gpu_layers=0)
with running(Path(sys.argv[1]), setup, EngineSettings()) as replica:
    print(Path(replica.endpoint.socket_path).parent, flush=True)
    sys.stdin.read()
"""


def task(name: str, text: str) -> Task:
    """A question that any answer but an empty one fails."""
    return Task(name, (Message(role="user", content=text),), (answer_check("never said"),), language="en")


def test_questions_are_asked_and_what_goes_wrong_is_a_result(tmp_path: Path) -> None:
    """An answer with its times and tokens; a question that is too long for the context with the engine's words."""
    path = write_chat_model(tmp_path / "model.gguf")
    told: list[int] = []
    with running(path, _SETUP, EngineSettings()) as replica:
        tasks = [task("a", "Hello"), task("b", "long " * 100), task("c", "Hello")]
        found, seconds = ask_all(replica.endpoint, tasks, _SETUP, told.append)
        peak = replica.peak()
    assert [item.id for item in found] == ["a", "b", "c"]
    assert told == [1, 2, 3]
    assert found[0].answer_tokens == 5
    assert found[0].failed == ("exact",)
    assert found[0].answer_digest == found[2].answer_digest
    assert found[0].first_token_seconds is not None
    assert found[0].total_seconds is not None
    assert found[0].first_token_seconds <= found[0].total_seconds <= seconds
    assert "context" in found[1].error
    assert peak is not None
    assert peak.private_bytes > 1_000_000


def test_a_killed_evaluation_leaves_no_engine(tmp_path: Path) -> None:
    """After `kill -9` neither a process nor the folder is left."""
    model = write_chat_model(tmp_path / "model.gguf")
    with subprocess.Popen(
        [sys.executable, "-c", _RUNS_AND_WAITS, str(model)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert replica_processes(folder)
        process.kill()
    wait_until(lambda: not replica_processes(folder) and not folder.parent.exists(), what="nothing is left")


def test_a_model_that_does_not_load_says_why(tmp_path: Path) -> None:
    """The engine's own reason, and no process or folder left."""
    path = tmp_path / "broken.gguf"
    path.write_bytes(write_chat_model(tmp_path / "model.gguf").read_bytes()[:5000])
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    with (
        pytest.raises(UnavailableError, match=r"'broken.gguf' does not load: "),
        running(path, _SETUP, EngineSettings()),
    ):
        raise AssertionError("it loaded")
    assert {process.pid for process in psutil.Process().children(recursive=True)} <= before


def test_what_cannot_be_asked_is_refused_before_it_is_started(tmp_path: Path) -> None:
    """No file, a file of another kind, a model of embeddings."""
    with pytest.raises(InvalidError, match="there is no file"):
        find_file(tmp_path / "none.gguf")
    text = tmp_path / "text.gguf"
    text.write_text("GGUF is not in here", encoding="utf-8")
    with pytest.raises(InvalidError):
        find_file(text)
    with pytest.raises(InvalidError, match="makes text"):
        find_file(write_embedding_model(tmp_path / "embed.gguf"))
