"""Whether a step of a home's life has happened, as the product sees it; what is half raises.

Each look gives the parts of what its step changes, in the order in which they become new.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.bundles import PROBE
from undercroft.core.errors import NotFoundError
from undercroft.core.home import Home
from undercroft.recovery.bundles.probes import finish_if_idle
from undercroft.recovery.bundles.reading import open_bundle
from undercroft.recovery.bundles.reading import verify as verify_bundle
from undercroft.recovery.checks import list_backups
from undercroft.recovery.keys import read_key_file
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.reading import verify
from undercroft.recovery.store import make_store, open_store
from undercroft.registry import entries
from undercroft.registry.releases import store
from undercroft.serving import deployments, promotions
from undercroft.storage import checkpoints, journal
from undercroft.storage.blobs import BlobStore, digest_file
from undercroft.storage.database import SCHEMA_REVISION, Database
from undercroft.storage.journal import Search
from undercroft.storage.upgrading import copies_of
from undercroft.watch.reports.report_files import read_report, report_file
from undercroft.watch.reports.report_rows import read_rows

OLD_SCHEMA = "0001"


def facts(disk: Path, home_name: str, *, has_files: bool = True) -> dict[str, Any]:
    """Everything that a home's database says, each stored file being what it should be.

    Args:
        disk: Where it lies.
        home_name: Its folder.
        has_files: Whether the stored files of its models are there at all.
    """
    home = Home(disk / home_name)
    home.prepare()
    database = Database(home.database_file)
    try:
        with database.read() as connection:
            finish_if_idle(home, connection)
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert journal.find_damage(connection, {}) is None
            models = entries.list_all(connection)
            releases = store.list_releases(connection)
            tags = store.all_tags(connection)
            names = {release.name for release in releases}
            found = {
                "models": [(model.name, model.digest) for model in models],
                "releases": [str(release) for release in releases],
                "tags": tags,
                "running": [str(one.id) for one in promotions.list_running(connection)],
                "serves": {name: getattr(deployments.find(connection, name), "model", None) for name in names},
                "journal": [entry.action for entry, _ in journal.find(connection, Search())],
            }
    finally:
        database.close()
    for file in (file for model in models if has_files for file in model.files):
        assert digest_file(BlobStore(home.blobs).path(file.digest)) == file.digest
    for name, pointing in tags.items():
        assert {f"{name}@{number}" for number in pointing.values()} <= set(found["releases"])
    probes = {path.name: path.read_bytes() for path in home.probes.glob("*.yaml")}
    assert set(probes.values()) <= {PROBE}
    return {**found, "probes": sorted(probes)}


def of_home(disk: Path, home: str = "home") -> tuple[Any, ...]:
    return (facts(disk, home),)


def of_key(disk: Path) -> tuple[Any, ...]:
    try:
        return (read_key_file(disk / "backup.key").id,)
    except NotFoundError:
        return (None,)


def of_checkpoints(disk: Path) -> tuple[Any, ...]:
    home = Home(disk / "home")
    home.prepare()
    key = checkpoints.public_key(checkpoints.signing_key(home))
    return (checkpoints.gather([home.checkpoints], own_key=key), facts(disk, "home"))


def of_store(disk: Path) -> tuple[Any, ...]:
    key = read_key_file(disk / "backup.key")
    objects = FolderObjects(disk / "shelf" / "store")
    try:
        there = open_store(objects, key)
    except NotFoundError:
        make_store(objects, key)  # what is half made is no obstacle
        return ([], facts(disk, "home"))
    with there.shared():
        backups = list_backups(there)
        assert verify(there, backups).problems == {}
    return ([(backup.id, backup.state) for backup in backups], facts(disk, "home"))


def of_restored(disk: Path) -> tuple[Any, ...]:
    return (facts(disk, "new/cellar") if (disk / "new" / "cellar").exists() else None,)


def of_bundle(disk: Path) -> tuple[Any, ...]:
    file = disk / "team.bundle"
    made = None
    if file.exists():
        with open_bundle(file) as bundle:
            verify_bundle(bundle)
            made = bundle.manifest.id
    return (made, facts(disk, "home"))


def of_report(disk: Path) -> tuple[Any, ...]:
    try:
        rows, problems = read_rows(read_report(report_file(Home(disk / "home"), "support")))
    except NotFoundError:
        return (0,)
    assert not problems
    return (len(rows),)


def of_upgrade(disk: Path) -> tuple[Any, ...]:
    file = disk / "old" / "undercroft.db"
    with closing(sqlite3.connect(file)) as connection:
        schema = connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]
        before = connection.execute("SELECT count(*) FROM journal").fetchone()[0]
    assert schema in {OLD_SCHEMA, SCHEMA_REVISION}
    found = facts(disk, "old", has_files=False)
    assert len(found["journal"]) == before + (schema == OLD_SCHEMA)
    assert copies_of(file)
    return (schema,)
