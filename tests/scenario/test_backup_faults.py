"""Backups that are killed, run out of disk, may not write, or meet each other: what was good stays good."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import killing
from tests.support.backups import KEY, Cellar, contents
from undercroft.recovery.checks import list_backups
from undercroft.recovery.pruning import prune
from undercroft.recovery.reading import verify
from undercroft.recovery.retention import Policy

STEPS = 100_000


@pytest.fixture
def cellar(tmp_path: Path) -> Iterator[Cellar]:
    """One with three models and a backup."""
    made = Cellar(tmp_path, KEY)
    for seed in range(3):
        made.add_model(f"tiny-{seed}", seed=seed)
    made.back_up()
    yield made
    made.database.close()


def begin(cellar: Cellar, *arguments: str, prefix: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """A process that works on the cellar."""
    return killing.begin("tests.support.backup_process", cellar.folder, *arguments, prefix=prefix)


def kill_at_random(process: subprocess.Popen[str], chance: random.Random) -> None:
    """Somewhere in its first steps."""
    killing.kill_at_random(process, chance, most_seconds=0.4)


def assert_all_whole(cellar: Cellar, at_least: set[str]) -> None:
    store = cellar.store()
    backups = list_backups(store)
    assert at_least <= {backup.id for backup in backups}
    assert verify(store, backups).problems == {}


@pytest.mark.long
def test_killed_backups_leave_the_old_ones_good(cellar: Cellar, is_full: bool) -> None:
    """Killed while it writes every object anew over those of earlier backups: all that are listed are whole, and the
    next one works."""
    chance = random.Random(1)
    good = set(cellar.store().ids())
    for _ in range(300 if is_full else 8):
        kill_at_random(begin(cellar, "create", str(STEPS)), chance)
        assert_all_whole(cellar, good)
    good.add(cellar.back_up().manifest.id)
    assert_all_whole(cellar, good)
    cellar.restore()
    assert contents(cellar.folder / "restored") == contents(cellar.home.root)
    prune(cellar.store(), Policy(1, 0, 0, 0))
    assert list((cellar.store_folder / "incoming").iterdir()) == []


@pytest.mark.long
def test_killed_prunes_leave_what_is_listed_whole(cellar: Cellar, is_full: bool) -> None:
    """Killed between the first manifest and the last object."""
    chance = random.Random(2)
    for _ in range(300 if is_full else 6):
        kill_at_random(begin(cellar, "prune", str(STEPS)), chance)
        assert_all_whole(cellar, set())
        assert cellar.store().ids()
    prune(cellar.store(), Policy(1, 0, 0, 0))
    store = cellar.store()
    (last,) = list_backups(store)
    assert last.manifest is not None
    assert set(store.object_names()) == {store.name_of(one) for one in last.manifest.pieces()}


@pytest.mark.long
def test_killed_restores_leave_no_half_home(cellar: Cellar, is_full: bool) -> None:
    """A new home is there whole or not at all, and the next restore clears up."""
    chance = random.Random(3)
    expected = contents(cellar.home.root)
    for _ in range(300 if is_full else 6):
        kill_at_random(begin(cellar, "restore", str(STEPS)), chance)
        for home in cellar.folder.glob("restored-*"):
            assert contents(home) == expected
            shutil.rmtree(home)
    cellar.restore(into="restored-0")
    assert not list(cellar.folder.glob(".restored-0.*"))


def test_a_full_disk_leaves_the_old_ones_good(cellar: Cellar) -> None:
    """No file may grow beyond a limit, as on a full disk: a sentence with what to do, no half backup, no litter."""
    good = set(cellar.store().ids())
    store = cellar.store()
    largest = max(store.objects.size_bytes(name) or 0 for name in store.object_names())
    process = begin(cellar, "limited", str(largest - 1))
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "disk-full" in error
    assert "backup prune" in error
    assert set(cellar.store().ids()) == good
    assert list((cellar.store_folder / "incoming").iterdir()) == []
    assert_all_whole(cellar, good)


def unprivileged() -> tuple[str, ...]:
    """Root may write everywhere; in a user namespace of its own it is a user like others."""
    if os.geteuid() != 0:
        return ()
    prefix = ("unshare", "--user", "--map-user=1000")
    if (
        shutil.which("unshare") is None
        or subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode
    ):
        pytest.skip("root may write everywhere, and no user namespace can be made here")
    return prefix


def test_a_read_only_store_can_be_read(cellar: Cellar) -> None:
    """Verified and restored from; a backup into it is refused with a sentence."""
    prefix = unprivileged()
    folders = [path for path in (cellar.store_folder, *cellar.store_folder.rglob("*")) if path.is_dir()]
    (cellar.store_folder / "lock").unlink()
    for folder in folders:
        folder.chmod(0o500)
    try:
        out, error = begin(cellar, "verify", prefix=prefix).communicate(timeout=120)
        assert (out, error) == ("0 damaged, kept: True\n", "")
        out, error = begin(cellar, "restore", prefix=prefix).communicate(timeout=120)
        assert error == ""
        _, error = begin(cellar, "create", prefix=prefix).communicate(timeout=120)
        assert "store-unusable: cannot use" in error
    finally:
        for folder in folders:
            folder.chmod(0o700)
    assert_all_whole(cellar, set())


def test_two_homes_may_use_one_store_at_the_same_time(cellar: Cellar, tmp_path: Path) -> None:
    """Both backups are whole; of one home only one runs, the other one is told."""
    (tmp_path / "second").mkdir()
    second = Cellar(tmp_path / "second", KEY)
    second.store_folder = cellar.store_folder
    process = begin(cellar, "create", str(STEPS))
    try:
        made = [second.back_up().manifest.id for _ in range(3)]
        rival = begin(cellar, "create")
        _, error = rival.communicate(timeout=120)
        assert "backup-running" in error or rival.returncode == 0
    finally:
        process.kill()
        process.communicate()
        second.database.close()
    assert_all_whole(cellar, set(made))
