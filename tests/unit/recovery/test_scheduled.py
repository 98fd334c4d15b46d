"""The server's own backups: what is due is done, and what fails is written down."""

from __future__ import annotations

import json
from contextlib import ExitStack
from datetime import timedelta

import pytest
from sqlalchemy import update

from tests.support.backups import Cellar
from tests.support.buckets import ACCESS_KEY, BUCKET, SECRET
from tests.support.kept_objects import REMOTE_KINDS, Kept, kept
from tests.support.registries import REPOSITORY
from undercroft.cli.status import backup_sentence
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.settings import BackupSettings, load_settings
from undercroft.recovery.gathering import work_folder
from undercroft.recovery.keys import make_key_file
from undercroft.recovery.objects.bucket import BucketObjects
from undercroft.recovery.objects.repository import RepositoryObjects
from undercroft.recovery.places import Place, place_of
from undercroft.recovery.retention import Policy
from undercroft.recovery.runs import make_backup, when_free
from undercroft.recovery.scheduled import policy_of, run_due
from undercroft.serving.backups import BackupState, read_state
from undercroft.storage.tables import journal
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.conditions import judge_backups


def set_up(cellar: Cellar, **settings: object) -> None:
    """Writes the settings file."""
    key = cellar.folder / "backup.key"
    if not key.exists():
        make_key_file(key)
    values = {"folder": str(cellar.store_folder), "key_file": str(key), **settings}
    shown = {name: f"'{value}'" if isinstance(value, str) else value for name, value in values.items()}
    lines = [f"{name} = {value}" for name, value in shown.items() if values[name] is not None]
    cellar.home.config_file.write_text("[backup]\n" + "\n".join(lines) + "\n", encoding="utf-8")


def state(cellar: Cellar) -> BackupState:
    with cellar.database.read() as connection:
        return read_state(connection)


def make_older(cellar: Cellar, hours: float) -> None:
    """As if everything that the journal tells of was so long ago."""
    at = to_iso(utc_now() - timedelta(hours=hours))
    with cellar.database.write() as connection:
        connection.execute(update(journal).values(at=at))


def test_what_is_due_is_done_once(sealed_cellar: Cellar) -> None:
    """A backup and its trial; then nothing until the time has come; then a backup alone, and the rules hold."""
    set_up(sealed_cellar, keep_last=1, keep_daily=0, keep_weekly=0, keep_monthly=0)
    home, database = sealed_cellar.home, sealed_cellar.database
    first = run_due(home, database)
    assert first[1:] == ["trial"]
    assert state(sealed_cellar).tried_id == first[0]
    assert run_due(home, database) == []
    make_older(sealed_cellar, 25)
    (second,) = run_due(home, database)
    kept = {path.name for path in (sealed_cellar.store_folder / "backups").iterdir()}
    assert kept == {first[0], second}, "the newest, and the newest that counts"


def set_up_elsewhere(cellar: Cellar, kind: str, place: Kept) -> None:
    """Writes the settings file for a bucket or a registry."""
    credentials = cellar.folder / "credentials"
    credentials.touch(0o600)
    credentials.write_text(f"{ACCESS_KEY}\n{SECRET}\n")
    where = f"s3://{BUCKET}/cellar" if kind == "bucket" else f"oci://registry.example/{REPOSITORY}"
    counts = {"keep_last": 1, "keep_daily": 0, "keep_weekly": 0, "keep_monthly": 0}
    endpoint = place.server.url
    set_up(cellar, folder=None, place=where, endpoint=endpoint, credentials_file=str(credentials), **counts)


@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_what_is_due_is_done_on_another_machine(sealed_cellar: Cellar, kind: str) -> None:
    """As the settings say: made, tried, and what the rules remove is removed; the journal says where."""
    with kept(kind, sealed_cellar.folder) as place:
        set_up_elsewhere(sealed_cellar, kind, place)
        (made, _) = run_due(sealed_cellar.home, sealed_cellar.database)
        assert f"backups/{made}" in place.objects.names("backups")
        make_older(sealed_cellar, 24 * 8)
        (newer, _) = run_due(sealed_cellar.home, sealed_cellar.database)
        assert list(place.objects.names("backups")) == [f"backups/{newer}"]
    assert state(sealed_cellar).tried_id == newer


@pytest.mark.parametrize(
    ("settings", "reason"),
    [({"key_file": None}, "needs-key"), ({"key_file": "/nowhere/key"}, "no-backup-key"), ({"folder": "/proc/x"}, "")],
)
def test_what_fails_is_written_down(sealed_cellar: Cellar, settings: dict[str, object], reason: str) -> None:
    """No key, a key that is gone, a folder that cannot be made: status can say why."""
    set_up(sealed_cellar, **settings)
    with pytest.raises(UndercroftError):
        run_due(sealed_cellar.home, sealed_cellar.database)
    found = state(sealed_cellar)
    assert found.is_failing
    assert found.failure.startswith(reason or "store-unusable")


def test_prunes_that_fail_are_written_down(sealed_cellar: Cellar) -> None:
    """A manifest that cannot be read stops them, and somebody has to look."""
    set_up(sealed_cellar)
    (first, _) = run_due(sealed_cellar.home, sealed_cellar.database)
    (sealed_cellar.store_folder / "backups" / first).write_bytes(b"x")
    make_older(sealed_cellar, 25)
    with pytest.raises(UndercroftError, match="unreadable-manifest"):
        run_due(sealed_cellar.home, sealed_cellar.database)
    assert "unreadable-manifest" in state(sealed_cellar).failure


def test_another_backup_that_runs_is_no_failure(sealed_cellar: Cellar) -> None:
    """Somebody makes one by hand just now: the next look finds it done."""
    set_up(sealed_cellar)
    with work_folder(sealed_cellar.home), pytest.raises(UndercroftError, match="backup-running"):
        run_due(sealed_cellar.home, sealed_cellar.database)
    assert not state(sealed_cellar).is_failing


def place(cellar: Cellar) -> Place:
    """Of the store that the settings name."""
    return place_of(load_settings(cellar.home.config_file).settings.backup, is_new=True)


def test_a_store_that_somebody_holds_is_a_failed_backup(sealed_cellar: Cellar) -> None:
    """Nobody reads the error of a server's backup: it is written down, shown, and opens an incident."""
    set_up(sealed_cellar)
    with place(sealed_cellar).make().exclusive(), pytest.raises(UndercroftError, match="store-busy"):
        run_due(sealed_cellar.home, sealed_cellar.database, patience_seconds=0)
    found = state(sealed_cellar)
    assert found.is_failing
    assert found.failure.startswith(f"store-busy: the store {sealed_cellar.store_folder} is in use")
    assert "BACKUP FAILED" in backup_sentence({"is_set_up": True, **found.to_dict()}, utc_now())
    judged = judge_backups(BackupSettings(folder=sealed_cellar.store_folder), found, utc_now())
    assert [(one.kind, one.severity) for one in judged] == [(Kind.BACKUP_FAILING, Severity.CRITICAL)]
    make_older(sealed_cellar, 2)
    assert len(run_due(sealed_cellar.home, sealed_cellar.database, patience_seconds=0)) == 2
    assert not state(sealed_cellar).is_failing


@pytest.mark.parametrize("kind", REMOTE_KINDS)
def test_a_lock_that_a_killed_process_left_elsewhere_is_a_failed_backup(sealed_cellar: Cellar, kind: str) -> None:
    """Until it is so old that it is passed over."""
    with kept(kind, sealed_cellar.folder) as place:
        set_up_elsewhere(sealed_cellar, kind, place)
        run_due(sealed_cellar.home, sealed_cellar.database)
        make_older(sealed_cellar, 25)
        objects = place.objects
        assert isinstance(objects, BucketObjects | RepositoryObjects)
        name = f"leases/exclusive-{'0' * 32}"
        objects.replace(name, json.dumps({"name": name, "at": to_iso(objects.now())}).encode())
        with pytest.raises(UndercroftError, match="store-busy"):
            run_due(sealed_cellar.home, sealed_cellar.database, patience_seconds=0)
        assert "or was cut off in it less than 20 minutes ago" in state(sealed_cellar).failure
        make_older(sealed_cellar, 25)
        written = to_iso(objects.now() - timedelta(minutes=21))
        objects.replace(name, json.dumps({"name": name, "at": written}).encode())
        assert run_due(sealed_cellar.home, sealed_cellar.database, patience_seconds=0)
    assert not state(sealed_cellar).is_failing


def test_a_trial_that_is_kept_out_is_written_down(sealed_cellar: Cellar) -> None:
    """Somebody removes backups when the newest one is to be tried."""
    set_up(sealed_cellar, trial_days=0)
    run_due(sealed_cellar.home, sealed_cellar.database)
    set_up(sealed_cellar)
    with place(sealed_cellar).make().exclusive(), pytest.raises(UndercroftError, match="store-busy"):
        run_due(sealed_cellar.home, sealed_cellar.database, patience_seconds=0)
    assert state(sealed_cellar).is_failing


def test_who_only_keeps_it_from_being_pruned_fails_nothing(sealed_cellar: Cellar) -> None:
    """A backup that is made is made; the next one prunes."""
    set_up(sealed_cellar, trial_days=0)
    with place(sealed_cellar).make().shared():
        assert len(run_due(sealed_cellar.home, sealed_cellar.database)) == 1
    assert not state(sealed_cellar).is_failing


def test_a_person_who_meets_somebody_there_has_failed_at_nothing(sealed_cellar: Cellar) -> None:
    """Whoever typed the command reads why; the journal needs no failure of it."""
    set_up(sealed_cellar)
    settings, there = load_settings(sealed_cellar.home.config_file).settings, place(sealed_cellar)
    with there.make().exclusive(), pytest.raises(UndercroftError, match="store-busy"):
        make_backup(sealed_cellar.home, sealed_cellar.database, settings, there, at=utc_now(), actor="cli:anna")
    assert not state(sealed_cellar).is_failing


def test_who_leaves_the_store_in_time_is_waited_for(sealed_cellar: Cellar) -> None:
    """The work is begun again and again, as long as patience lasts, and for this reason only."""
    store = sealed_cellar.store()
    waits: list[float] = []
    with ExitStack() as held:
        held.enter_context(store.exclusive())

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                held.close()

        made = when_free(sealed_cellar.back_up, 60.0, wait)
    assert made.manifest.id in store.ids()
    assert waits == [5.0] * 3
    with store.exclusive(), pytest.raises(UndercroftError, match="store-busy"):
        when_free(sealed_cellar.back_up, 10.0, waits.append)
    assert len(waits) == 5
    with work_folder(sealed_cellar.home), pytest.raises(UndercroftError, match="backup-running"):
        when_free(sealed_cellar.back_up, 60.0, waits.append)
    assert len(waits) == 5


def test_the_trial_is_of_this_home(sealed_cellar: Cellar) -> None:
    """A newer backup of another home in the same store is not tried in its place."""
    set_up(sealed_cellar, trial_days=0)
    (own,) = run_due(sealed_cellar.home, sealed_cellar.database)
    other = sealed_cellar.store_folder / "backups" / "29991231T000000000Z-zzzzzz"
    other.write_bytes(b"of another home")
    set_up(sealed_cellar, keep_last=0, keep_daily=0, keep_weekly=0, keep_monthly=0)
    assert run_due(sealed_cellar.home, sealed_cellar.database) == ["trial"]
    assert state(sealed_cellar).tried_id == own


def test_rules_all_at_zero_keep_everything() -> None:
    """In the settings, 0 everywhere means that the server removes nothing."""
    nothing = BackupSettings(keep_last=0, keep_daily=0, keep_weekly=0, keep_monthly=0)
    assert policy_of(nothing) is None
    assert policy_of(BackupSettings()) == Policy(3, 7, 5, 12)
