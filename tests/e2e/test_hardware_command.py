"""``undercroft hardware`` as it is installed: shows, measures, keeps, journals; the same as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cellar import Cellar


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    return Cellar(tmp_path, "hardware")


def test_a_machine_is_shown_measured_and_shown_again(cellar: Cellar) -> None:
    """Looking makes no home; figures are kept with their date and stand in the journal."""
    shown = cellar.run()
    assert not cellar.home.exists()
    assert "processor" in shown.stdout
    assert "Nothing was measured here yet" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80

    measured = cellar.json("measure", "--quick")
    kinds = {one["kind"] for one in measured["measurements"]}
    assert {"memory-bandwidth", "disk-read", "matrix", "matrix-vector"} <= kinds

    again = cellar.json()
    assert again["measurements"] == measured["measurements"]
    assert again["processor"]["logical_cores"] >= 1
    assert again["memory"]["total_bytes"] > 0
    assert "GB/s" in cellar.run().stdout


def test_the_catalogue_is_shown_and_completed(cellar: Cellar) -> None:
    """A device with its sources, a user's own beside ours, and a name that is none with those that are near."""
    assert "source: NVIDIA L4 data sheet" in cellar.run("devices", "nvidia-l4").stdout
    missing = cellar.run("devices", "l40", expected=4)
    assert "nvidia-l40s" in missing.stderr
    home = cellar.home
    home.mkdir()
    (home / "devices.yaml").write_text("nvidia-l4:\n  memory: 25 apples\n")
    refused = cellar.run("devices", expected=2)
    assert "'nvidia-l4'" in refused.stderr
    (home / "devices.yaml").write_text("nvidia-l4:\n  watts: 60\n")
    device = json.loads(cellar.run("devices", "nvidia-l4", "--json").stdout)
    assert (device["watts"], device["sources"]["watts"]) == (60.0, "the devices.yaml of this home")
