"""Trainings whose process is killed at random moments, or whose disk becomes full; resumed each time.

All of it needs the environment ``train``, which is installed from the package index, a gigabyte:
``pytest -m long --full tests/scenario/test_trainings_killed.py``.
"""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support.environments import Environments
from tests.support.full_disk import on_a_full_disk
from tests.support.job_trials import QUESTIONS, TAUGHT, Wish, pupil_of_served, trial

_KILLS = 6

pytestmark = pytest.mark.usefixtures("temporary_folder")


@pytest.fixture(scope="module")
def environment(environments: Environments, pytestconfig: pytest.Config) -> Path:
    """The folder of the environment ``train``."""
    if not pytestconfig.getoption("--full"):
        pytest.skip("training needs an environment of a gigabyte: pytest -m long --full")
    return environments.installed("train").folder


class Door(BaseHTTPRequestHandler):
    """A teacher that is served: it gives every question an answer of its own."""

    def do_POST(self) -> None:
        """One chat completion."""
        server: Any = self.server
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["messages"][-1]["content"]
        server.asked.append(question)
        message = {"role": "assistant", "content": f"parcel {sum(map(ord, question))} is on its way"}
        content = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def door() -> Iterator[Any]:
    """That teacher on a free port, which counts what it was asked."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.asked = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def killed(folder: Path, wish: Wish, environment: Path) -> None:
    """Kills what makes a wish at any moment, and sees that it ends as it would have, undisturbed."""
    with trial(folder, wish, environment) as found:
        _, seconds = found.undisturbed()
        found.killed_and_resumed(_KILLS, random.Random(), most_seconds=seconds)


@pytest.mark.parametrize("kind", list(TAUGHT))
def test_killed_at_any_moment_it_loses_nothing_but_time(tmp_path: Path, environment: Path, kind: str) -> None:
    """While data is read, a teacher answers, torch learns or is compared: nothing that was started runs on, and in the
    end the model has the digest of an undisturbed run."""
    killed(tmp_path, TAUGHT[kind](tmp_path), environment)


def test_a_served_teacher_is_asked_again_only_what_a_kill_cut_off(tmp_path: Path, environment: Path, door: Any) -> None:
    """Each kill costs one question at most."""
    killed(tmp_path, pupil_of_served(tmp_path, f"http://127.0.0.1:{door.server_port}"), environment)
    undisturbed, troubled = door.asked[:QUESTIONS], door.asked[QUESTIONS:]
    assert set(undisturbed) == set(troubled)
    assert QUESTIONS == len(set(undisturbed)) <= len(troubled) <= QUESTIONS + _KILLS


@pytest.mark.parametrize("kind", list(TAUGHT))
def test_a_full_disk_is_told_and_loses_nothing_but_time(tmp_path: Path, environment: Path, kind: str) -> None:
    """It fails with what is missing and what to do, and ends with the same digest when there is room."""
    on_a_full_disk(tmp_path, kind, environment)
