"""Imports that are killed: everything of the bundle is there, or nothing."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from tests.support.bundles import BundleHome
from tests.support.killing import begin, kill_at_random
from undercroft.recovery.bundles.probes import finish_if_idle
from undercroft.registry import entries
from undercroft.registry.quarantine import clean_quarantine
from undercroft.registry.releases import store
from undercroft.registry.upkeep import gc
from undercroft.storage import journal
from undercroft.storage.blobs import BlobStore

NOTHING = ([], [], [])
EVERYTHING = (["spare", "tiny"], ["support@2", "support@1"], ["other.yaml", "support.yaml"])


def content_of(target: BundleHome) -> tuple[list[str], list[str], list[str]]:
    """Names of models, releases and probes."""
    with target.database.read() as connection:
        models = [model.name for model in entries.list_all(connection)]
        releases = [str(release) for release in store.list_releases(connection)]
        assert journal.find_damage(connection) is None
    return models, releases, sorted(path.name for path in target.home.probes.glob("*.yaml"))


@pytest.mark.long
def test_a_killed_import_is_whole_or_nothing(tmp_path: Path, is_full: bool) -> None:
    """At random moments. After the tidying of the next start no file of it is left, and the same import works."""
    source = BundleHome(tmp_path / "source").fill()
    source.add_model("spare", seed=1)
    source.add_probe("other")
    bundle = tmp_path / "x.bundle"
    source.export(bundle)
    source.close()
    BundleHome(tmp_path / "empty").close()
    chance = random.Random(5)
    for attempt in range(300 if is_full else 4):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        process = begin("tests.support.bundle_process", bundle, tmp_path / "empty", folder)
        kill_at_random(process, chance, least_seconds=0.02, most_seconds=0.6)
        homes = sorted((home for home in folder.iterdir() if not home.name.startswith(".")), key=lambda h: int(h.name))
        for home in homes[:-1]:
            assert_whole_or_nothing(home, expected=[EVERYTHING])
        if homes:
            assert_whole_or_nothing(homes[-1], expected=[EVERYTHING, NOTHING])
            assert_usable(homes[-1], bundle)
        shutil.rmtree(folder)


def assert_whole_or_nothing(home: Path, *, expected: list[tuple[list[str], list[str], list[str]]]) -> None:
    target = BundleHome(home)
    clean_quarantine(target.home)
    with target.database.read() as connection:
        finish_if_idle(target.home, connection)
    found = content_of(target)
    assert found in expected
    assert list(target.home.quarantine.iterdir()) == []
    assert [path.name for path in target.home.probes.glob(".import_*")] == []
    target.close()


def assert_usable(home: Path, bundle: Path) -> None:
    target = BundleHome(home)
    target.take_in(bundle)
    assert content_of(target) == EVERYTHING
    gc(target.database, target.home, actor="cli:test")
    with target.database.read() as connection:
        for model in entries.list_all(connection):
            for file in model.files:
                assert entries.is_untouched(connection, BlobStore(target.home.blobs), file.digest)
    target.close()
