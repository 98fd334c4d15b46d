"""``undercroft backup`` and ``undercroft recovery`` as they are installed, beside a server and without one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.buckets import ACCESS_KEY, BUCKET, SECRET, running_bucket
from tests.support.cellar import Cellar
from tests.support.registries import PASSWORD, REPOSITORY, USER, running_registry
from tests.support.server import Server, wait_for
from tests.support.troubled import CERTIFICATE

pytestmark = pytest.mark.long


@pytest.fixture
def cellar(tmp_path: Path) -> Cellar:
    """A home with one change, a key, and the options that name the store."""
    made = Cellar(tmp_path)
    made.run("key", "create", "anna")
    made.run("backup", "key", str(tmp_path / "backup.key"))
    return made


def test_a_backup_goes_its_way(cellar: Cellar, tmp_path: Path) -> None:
    """Made, listed, verified, tried, pruned, restored; the journal tells of each."""
    store, key = str(tmp_path / "store"), str(tmp_path / "backup.key")
    where = ("--from", store, "--key-file", key)
    first = cellar.json("backup", "create", "--to", store, "--key-file", key, "--because", "before the move")
    assert (first["counts"], first["reason"], first["is_encrypted"]) == (False, "before the move", True)
    second = cellar.json("backup", "create", "--to", store, "--key-file", key, "--trial")
    assert second["counts"]
    listed = cellar.json("backup", "list", *where)
    assert [(one["id"], one["state"]) for one in listed] == [(first["id"], "not tried"), (second["id"], "counts")]
    shown = cellar.run("backup", "list", *where).stdout.splitlines()[2:]
    assert [line.split()[1] for line in shown if line.startswith("2")] == ["not", "counts"]
    assert cellar.json("backup", "verify", "--all", *where)["is_whole"]
    assert "It counts." in cellar.run("backup", "trial", first["id"], *where).stdout
    would = cellar.json("backup", "prune", "--keep-last", "1", "--dry-run", *where)
    assert would["removed"] == [first["id"]]
    assert f"removed {first['id']}" in cellar.run("backup", "prune", "--keep-last", "1", *where).stdout
    new = tmp_path / "new"
    assert "Start it: UNDERCROFT_HOME=" in cellar.run("backup", "restore", "latest", "--into", str(new), *where).stdout
    cellar.environment["UNDERCROFT_HOME"] = str(new)
    actions = [entry["action"] for entry in cellar.json("journal", "show")]
    assert actions == ["key.create", "backup.create", "backup.restore"]
    assert "The journal is whole" in cellar.run("journal", "verify").stdout


def test_what_is_wrong_is_said(cellar: Cellar, tmp_path: Path) -> None:
    """A sentence and an exit status for each; nothing is written without a key or the word that says so."""
    store, key = str(tmp_path / "store"), str(tmp_path / "backup.key")
    assert "no-backup-place" in cellar.run("backup", "create", expected=2).stderr
    assert "needs-key" in cellar.run("backup", "create", "--to", store, expected=2).stderr
    assert not (tmp_path / "store").exists()
    both = ("--to", store, "--key-file", key, "--unencrypted")
    assert "key-and-unencrypted" in cellar.run("backup", "create", *both, expected=2).stderr
    assert "no-backups" in cellar.run("backup", "list", "--from", store, expected=4).stderr
    made = cellar.run("backup", "create", "--to", store, "--unencrypted").stdout
    assert "NOT ENCRYPTED" in made
    assert "not-encrypted" in cellar.run("backup", "list", "--from", store, "--key-file", key, expected=2).stderr
    keeps_nothing = cellar.run("backup", "prune", "--from", store, "--keep-last", "0", expected=2)
    assert "keeps-nothing" in keeps_nothing.stderr
    into_home = ("--into", str(cellar.home))
    refused = cellar.run("backup", "restore", "latest", "--from", store, *into_home, expected=5)
    assert "home-not-empty" in refused.stderr
    piece = next(path for path in (tmp_path / "store" / "objects").rglob("*") if path.is_file())
    piece.write_bytes(piece.read_bytes()[:-1])
    damaged = cellar.run("backup", "verify", "--from", store, expected=5)
    assert "DAMAGED" in damaged.stdout
    assert "backup-damaged" in damaged.stderr
    assert "DAMAGED" in cellar.run("backup", "list", "--from", store).stdout
    failed = cellar.run("backup", "trial", "--from", store, expected=5)
    assert "was not restored" in failed.stderr
    problem = cellar.run("doctor", expected=1).stdout
    assert "the last backup failed: backup-damaged" in " ".join(problem.split())
    assert [entry["action"] for entry in cellar.json("journal", "show")][-1] == "backup.fail"


def test_a_drill_says_both_figures(cellar: Cellar, tmp_path: Path) -> None:
    """RTO as measured; RPO from the schedule, and not known without one."""
    store, key = str(tmp_path / "store"), str(tmp_path / "backup.key")
    done = cellar.json("recovery", "drill", "--to", store, "--key-file", key)
    assert done["counts"]
    assert done["rto_seconds"] == done["restore_seconds"] > 0
    assert done["rpo_seconds"] is None
    (cellar.home / "config.toml").write_text(
        f'[backup]\nfolder = "{store}"\nkey_file = "{key}"\nhours = 6\n', encoding="utf-8"
    )
    scheduled = cellar.json("recovery", "drill")
    assert 6 * 3600 < scheduled["rpo_seconds"] == 6 * 3600 + scheduled["create_seconds"]
    again = cellar.run("recovery", "drill", "--from", store).stdout
    assert "RTO" in again
    assert "6 h" in again
    assert len(cellar.json("backup", "list")) == 2


@pytest.mark.parametrize("kind", ["s3", "oci"])
def test_another_machine_is_said_in_the_place_of_a_folder(cellar: Cellar, tmp_path: Path, kind: str) -> None:
    """The same commands, over TLS with credentials from a file: made, tried, listed, pruned, restored; refused."""
    credentials = tmp_path / "credentials"
    credentials.touch(0o600)
    with running_bucket(is_tls=True) as bucket, running_registry(is_tls=True) as registry:
        registry.asks = "bearer"
        if kind == "s3":
            where, endpoint = f"s3://{BUCKET}/cellar", bucket.url
            credentials.write_text(f"{ACCESS_KEY}\n{SECRET}\n")
        else:
            where, endpoint = f"oci://registry.example/{REPOSITORY}", registry.url
            credentials.write_text(f"{USER}\n{PASSWORD}\n")
        cellar.environment |= {
            "UNDERCROFT_BACKUP__PLACE": where,
            "UNDERCROFT_BACKUP__ENDPOINT": endpoint,
            "UNDERCROFT_BACKUP__CREDENTIALS_FILE": str(credentials),
            "UNDERCROFT_BACKUP__CA_FILE": str(CERTIFICATE),
            "UNDERCROFT_BACKUP__KEY_FILE": str(tmp_path / "backup.key"),
        }
        made = " ".join(cellar.run("backup", "create", "--trial").stdout.split())
        assert f"is in {where}:" in made
        assert "It counts." in made
        (listed,) = cellar.json("backup", "list")
        assert listed["state"] == "counts"
        assert f"keeps {listed['id']}" in " ".join(cellar.run("backup", "prune").stdout.split())
        cellar.run("backup", "restore", "latest", "--into", str(tmp_path / "new"))
        assert (tmp_path / "new" / "undercroft.db").exists()
        credentials.write_text("somebody\nelse\n")
        assert "store-refused" in cellar.run("backup", "list", expected=3).stderr


@pytest.fixture
def restored_server(tmp_path: Path) -> Iterator[Server]:
    """A server of a home that is restored first."""
    made = Server(tmp_path / "new")
    try:
        yield made
    finally:
        made.down()


def test_the_server_makes_backups_and_a_new_machine_answers(
    own_server: Server, restored_server: Server, tmp_path: Path
) -> None:
    """Made and tried by the server while it serves; restored, the same key gets an answer from the same model."""
    server, key, store = own_server, tmp_path / "backup.key", tmp_path / "store"
    server.run("backup", "key", str(key))
    server.environment |= {"UNDERCROFT_BACKUP__FOLDER": str(store), "UNDERCROFT_BACKUP__KEY_FILE": str(key)}
    server.up()

    def tried() -> bool:
        status, _ = server.say("hello", model="ticket-pilot", max_tokens=4)
        assert status == 200
        return server.status()["backup"]["tried_at"] is not None

    wait_for(tried, "the first backup and its trial")
    (made,) = server.json("backup", "list")
    assert made["state"] == "counts"
    shown = " ".join(server.run("status").stdout.split())
    assert f"({made['id']}); restored on trial" in shown
    arguments = ("--from", str(store), "--key-file", str(key), "--into", str(restored_server.home))
    restored_server.run("backup", "restore", made["id"], *arguments)
    restored_server.up()
    restored_server.key = server.key
    status, answer = restored_server.say("hello", model="ticket-pilot", max_tokens=4)
    assert (status, answer["model"]) == (200, "ticket-pilot")


def test_a_scheduled_backup_that_fails_is_seen(own_server: Server, tmp_path: Path) -> None:
    """The folder is a file: status says so, and why, and the server goes on."""
    (tmp_path / "store").write_text("x")
    server = own_server
    server.environment |= {
        "UNDERCROFT_BACKUP__FOLDER": str(tmp_path / "store"),
        "UNDERCROFT_BACKUP__UNENCRYPTED": "true",
    }
    server.up()
    state = wait_for(lambda: (found := server.status()["backup"])["is_failing"] and found, "the failure to be seen")
    assert "store-unusable" in state["failure"]
    assert "BACKUP FAILED" in server.run("status").stdout
    assert server.say("hello", model="ticket-pilot", max_tokens=4)[0] == 200


def test_a_backup_holds_no_more_than_the_database_says(cellar: Cellar, tmp_path: Path) -> None:
    """A clear copy of the database can be read by hand from its pieces, without this program."""
    made = cellar.json("backup", "create", "--to", str(tmp_path / "store"), "--unencrypted")
    manifest = json.loads((tmp_path / "store" / "backups" / made["id"]).read_bytes().partition(b"\n")[2])
    pieces = next(pieces for path, _, pieces in manifest["files"] if path == "undercroft.db")
    names = [digest.removeprefix("sha256:") for digest, _ in pieces]
    content = b"".join((tmp_path / "store" / "objects" / name[:2] / name[2:]).read_bytes() for name in names)
    (tmp_path / "by-hand.db").write_bytes(content)
    with closing(sqlite3.connect(tmp_path / "by-hand.db")) as connection:
        assert connection.execute("SELECT name FROM api_keys").fetchall() == [("anna",)]
