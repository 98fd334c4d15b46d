"""Why a replica is not ready is told in the words of what ended it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.engines import bench
from undercroft.engines import vllm
from undercroft.engines.contract import ReplicaState
from undercroft.serving.replica import Deadlines, Replica


def test_an_engine_that_ends_in_its_first_request_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it printed counts, and not that nobody answered: a kernel that is missing shows only when it computes."""

    def deadly(*_: Any, **__: Any) -> tuple[str, dict[str, Any]]:
        return "/v1/chat/completions", {"model": "bot", "messages": [{"role": "user", "content": "POISON please"}]}

    monkeypatch.setattr(vllm, "first_request", deadly)
    with tempfile.TemporaryDirectory(prefix="uc-") as folder, bench("vllm", Path(folder)) as made:
        replica = Replica(made.engine, made.spec, "digest", Deadlines(start=60, silence=60, drain=1), lambda: None)
        replica.begin()
        replica.join(60)
    assert replica.view.state is ReplicaState.FAILED
    assert "RuntimeError: poison" in replica.view.note
    assert "did not answer" not in replica.view.note
