"""API keys: kept as digests, shown once, revoked at once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from undercroft.cli.key import parse_expiry
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.core.ids import KEY_PATTERN, secret_digest
from undercroft.serving import deployments, keys
from undercroft.serving.deployments import DeploymentSettings
from undercroft.storage.database import Database


def deploy(database: Database, *names: str) -> None:
    """Adds deployments that keys can be for."""
    own = DeploymentSettings(url="http://127.0.0.1:9", upstream_model="m")
    for name in names:
        deployments.create(database, name=name, engine="external", model=None, settings=own, actor="cli:test")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "undercroft.db")
    yield opened
    opened.close()


def test_the_secret_is_kept_nowhere(database: Database) -> None:
    """Neither the database file nor its log holds the key; its digest is what doors get."""
    key, secret = keys.create(database, name="ops", actor="cli:test")
    assert KEY_PATTERN.fullmatch(secret)
    with database.read() as connection:
        assert keys.snapshot_keys(connection, utc_now())[secret_digest(secret)].id == key.id
    for file in database.file.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_a_revoked_key_is_gone_from_the_snapshot(database: Database) -> None:
    """Revoking by name or id takes it from the doors and keeps it in the list."""
    _, secret = keys.create(database, name="ops", actor="cli:test")
    keys.revoke(database, "ops", actor="cli:test")
    with database.read() as connection:
        assert secret_digest(secret) not in keys.snapshot_keys(connection, utc_now())
        assert keys.list_all(connection)[0].revoked_at is not None
    with pytest.raises(NotFoundError):
        keys.revoke(database, "ops", actor="cli:test")


def test_an_expired_key_is_gone_from_the_snapshot(database: Database) -> None:
    """After its time a key is not given to the doors, and before it they know when that is."""
    now = utc_now()
    _, secret = keys.create(database, name="ops", actor="cli:test", expires_at=now + timedelta(hours=1))
    with database.read() as connection:
        entry = keys.snapshot_keys(connection, now)[secret_digest(secret)]
        assert entry.expires_at == pytest.approx((now + timedelta(hours=1)).timestamp(), abs=0.01)
        assert keys.snapshot_keys(connection, now + timedelta(hours=2)) == {}


def test_limits_of_a_key_reach_the_doors(database: Database) -> None:
    """Its models and whether it is an admin's."""
    deploy(database, "bot")
    _, secret = keys.create(database, name="ops", actor="cli:test", models=["bot"], is_admin=True)
    with database.read() as connection:
        entry = keys.snapshot_keys(connection, utc_now())[secret_digest(secret)]
    assert (entry.models, entry.is_admin) == (("bot",), True)


def test_a_valid_name_is_taken_a_revoked_one_is_free(database: Database) -> None:
    """Two valid keys cannot have one name; a new one may follow a revoked one."""
    keys.create(database, name="ops", actor="cli:test")
    with pytest.raises(ConflictError):
        keys.create(database, name="ops", actor="cli:test")
    keys.revoke(database, "ops", actor="cli:test")
    keys.create(database, name="ops", actor="cli:test")


def test_senseless_limits_are_refused(database: Database) -> None:
    """An expiry in the past and an empty list of models."""
    with pytest.raises(InvalidError):
        keys.create(database, name="a", actor="x", expires_at=utc_now() - timedelta(seconds=1))
    with pytest.raises(InvalidError):
        keys.create(database, name="a", actor="x", models=[])


def test_an_expiry_is_a_period_or_a_time() -> None:
    """30m, 12h, 90d, 4w, or ISO 8601 with a zone; anything else is refused."""
    now = utc_now()
    assert parse_expiry("90d", now) == now + timedelta(days=90)
    assert to_iso(parse_expiry("2030-01-01T00:00:00Z", now)) == "2030-01-01T00:00:00.000Z"
    for bad in ("", "tomorrow", "2030-01-01", "5y", "-1d"):
        with pytest.raises(InvalidError):
            parse_expiry(bad, now)


def test_models_of_a_key_are_deployments(database: Database) -> None:
    """A name that no deployment has is refused with those that there are; one that is given twice counts once."""
    deploy(database, "bot", "judge")
    with pytest.raises(NotFoundError, match="no deployment 'bott'; there are bot, judge"):
        keys.create(database, name="a", actor="x", models=["bot", "bott"])
    key, _ = keys.create(database, name="a", actor="x", models=["judge", "bot", "judge"])
    assert key.models == ["judge", "bot"]
