"""A process in a real control group sees its limit, not the machine's memory; and measures within it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.control_group import MemoryGroup, limited_memory
from tests.support.server import COMMAND

GIB = 1024**3


@pytest.fixture
def group() -> Iterator[MemoryGroup]:
    """A group that may take one gibibyte."""
    with limited_memory(GIB) as made:
        if made is None:
            pytest.skip("needs the right to make control groups")
        yield made


def run(group: MemoryGroup, cellar: Cellar, *arguments: str) -> dict[str, object]:
    """What the command says as JSON, from inside the group."""
    command = [*group.prefix, str(COMMAND), "hardware", *arguments, "--json"]
    result = subprocess.run(command, env=cellar.environment, capture_output=True, text=True, check=True, timeout=240)
    return dict(json.loads(result.stdout))


def test_a_limited_process_sees_its_limit(group: MemoryGroup, tmp_path: Path) -> None:
    """One gibibyte is the machine for whoever runs there, and no more of it is free."""
    memory = run(group, Cellar(tmp_path))["memory"]
    assert isinstance(memory, dict)
    assert memory["total_bytes"] == memory["limit_bytes"] == GIB
    assert 0 < memory["available_bytes"] <= GIB <= memory["machine_bytes"]


def test_measuring_stays_within_the_limit(group: MemoryGroup, tmp_path: Path) -> None:
    """All figures come, and the kernel ends nobody."""
    measured = run(group, Cellar(tmp_path), "measure", "--quick")["measurements"]
    assert isinstance(measured, list)
    assert {"memory-bandwidth", "disk-read", "matrix", "matrix-vector"} <= {one["kind"] for one in measured}
    assert group.killed() == 0
