"""Conversions and compressions whose process is killed at random moments, or whose disk becomes full, while a program
of an environment works; resumed each time.

The environments are really installed from the package index: up to two gigabytes each.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.converter_trials import MAKINGS, making
from tests.support.environments import Environments, publish
from tests.support.full_disk import on_a_small_disk
from undercroft.core.home import Home

_KILLS = 6

pytestmark = pytest.mark.usefixtures("temporary_folder")


@pytest.fixture
def model(tmp_path: Path, environments: Environments, is_full: bool, kind: str) -> Path:
    """The folder of the published model of a kind."""
    if not is_full:
        pytest.skip("environments are installed for it: pytest -m long --full")
    program, *words = MAKINGS[kind].published
    environment = environments.installed(MAKINGS[kind].environments[0])
    return publish(environment, program, *words, folder=tmp_path / "model")


@pytest.mark.parametrize("kind", list(MAKINGS))
def test_killed_at_any_moment_it_loses_nothing_but_time(
    tmp_path: Path, environments: Environments, model: Path, kind: str
) -> None:
    """Programs of an environment end with the job that has started them, leave no temporary file, and the model is made
    in the end that is made undisturbed, to the digest."""
    home = Home(tmp_path / "home")
    environments.lend(home.root, *MAKINGS[kind].environments)
    with making(home, kind, model) as trial:
        _, seconds = trial.undisturbed()
        trial.killed_and_resumed(_KILLS, random.Random(), most_seconds=seconds)


@pytest.mark.parametrize("kind", list(MAKINGS))
def test_a_full_disk_is_told_and_loses_nothing_but_time(
    temporary_folder: Path, environments: Environments, model: Path, kind: str
) -> None:
    """Full when work begins, and again at moments by chance: each time the job fails with what is missing and what to
    do, and in the end the model has the digest of an undisturbed run."""
    needed = [str(environments.installed(name).folder) for name in MAKINGS[kind].environments]
    words = [str(temporary_folder), kind, str(model), *needed]
    on_a_small_disk(temporary_folder, "tests.support.converter_trials", words)
