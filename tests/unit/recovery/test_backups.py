"""Backup, verification and restore of real homes into real folders."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.support.backups import KEY, NOW, Cellar, contents
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UndercroftError
from undercroft.core.home import Home
from undercroft.recovery.checks import find, list_backups
from undercroft.recovery.gathering import work_folder
from undercroft.recovery.keys import BackupKey
from undercroft.recovery.manifests import Piece, StoredFile
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.pruning import prune
from undercroft.recovery.reading import Verified, verify
from undercroft.recovery.restoring import try_restore
from undercroft.recovery.retention import Policy
from undercroft.recovery.store import make_store, open_store
from undercroft.registry import models, upkeep
from undercroft.serving import keys
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import api_keys


def verified(cellar: Cellar) -> Verified:
    store = cellar.store()
    return verify(store, list_backups(store))


def states(cellar: Cellar) -> list[str]:
    return [one.state for one in list_backups(cellar.store())]


def stored(cellar: Cellar) -> list[Path]:
    """Every file of the store but the empty lock."""
    return sorted(path for path in cellar.store_folder.rglob("*") if path.is_file() and path.name != "lock")


def objects(cellar: Cellar) -> dict[Path, tuple[int, bytes]]:
    """Every object with its inode and content."""
    root = cellar.store_folder / "objects"
    return {path: (path.stat().st_ino, path.read_bytes()) for path in root.rglob("*") if path.is_file()}


def test_a_home_comes_back_and_works(cellar: Cellar) -> None:
    """Every file byte by byte, its models load without another look, its journal holds and tells of the restore."""
    key, _ = keys.create(cellar.database, name="anna", models=None, is_admin=False, expires_at=None, actor="cli:x")
    made = cellar.back_up().manifest
    restored = cellar.restore()
    assert restored.manifest == made
    expected = contents(cellar.home.root)
    if cellar.key is None:
        del expected["signing.key"]
    home = Home(cellar.folder / "restored")
    assert contents(home.root) == expected
    with closing(Database(home.database_file)) as database:
        with database.read() as connection:
            model = models.get(connection, "tiny")
            assert models.model_file(home, connection, model).is_relative_to(home.blobs)
            assert connection.execute(select(api_keys.c.id)).scalar_one() == key.id
            assert journal.find_damage(connection) is None
            assert list(journal.entries(connection))[-1][0].action == "backup.restore"
        assert [one.problem for one in upkeep.verify(database, home, ["tiny"])] == [None]
    assert not list(cellar.folder.glob(".restored*"))


def test_secrets_leave_only_encrypted(cellar: Cellar) -> None:
    """A clear backup says what it left out; in an encrypted store no name and no byte tells what is in it."""
    made = cellar.back_up().manifest
    paths = {file.path for file in made.files}
    assert ("signing.key" in paths) == (cellar.key is not None)
    assert any("signing.key" in line for line in made.left_out) == (cellar.key is None)
    digest = next(file.digest for file in made.files if file.path.startswith("blobs/")).removeprefix("sha256:")
    text = b"".join(path.read_bytes() + str(path).encode() for path in stored(cellar))
    for secret in (digest[2:].encode(), b"undercroft.db", b"CREATE TABLE", b"GGUF", "รุ่น".encode()):
        assert (secret in text) == (cellar.key is None), secret


def test_what_the_store_has_is_not_written_again(cellar: Cellar) -> None:
    """The second backup of an unchanged home writes a manifest and nothing else, and does not read the models."""
    first = cellar.back_up()
    before = objects(cellar)
    second = cellar.back_up()
    assert second.written_objects == 0
    assert objects(cellar) == before
    assert second.read_bytes < first.read_bytes
    cellar.add_model("other", seed=1)
    third = cellar.back_up()
    assert objects(cellar).items() >= before.items()
    assert third.written_bytes < third.manifest.size_bytes
    assert verified(cellar).problems == {}


def test_a_backup_counts_after_a_trial_only(cellar: Cellar) -> None:
    """Made, it is not tried; verified, it is not tried; restored on trial, it counts; nothing of the scratch stays."""
    first = cellar.back_up().manifest
    cellar.back_up()
    assert verified(cellar).problems == {}
    assert states(cellar) == ["not tried", "not tried"]
    store = cellar.store()
    tried = try_restore(cellar.home, store, find(store, first.id), at=NOW, actor="cli:x")
    assert tried.restored.files == len(first.files)
    assert states(cellar) == ["counts", "not tried"]
    assert list(cellar.home.backup_work.iterdir()) == []


def test_a_note_of_another_backup_does_not_make_one_count(cellar: Cellar) -> None:
    """Whoever copies it is told so."""
    first, second = cellar.back_up().manifest, cellar.back_up().manifest
    store = cellar.store()
    try_restore(cellar.home, store, find(store, first.id), at=NOW, actor="cli:x")
    checks = cellar.store_folder / "checks"
    shutil.copy(checks / first.id, checks / second.id)
    assert states(cellar) == ["counts", "damaged"]


@pytest.mark.parametrize("kind", ["flip", "cut", "empty", "gone", "longer", "swapped", "link"])
def test_damaged_objects_are_found_and_named(cellar: Cellar, kind: str) -> None:
    """Verification, trial and restore all refuse, nothing is left of the restore, the list says damaged; a backup that
    writes everything anew mends it."""
    made = cellar.back_up().manifest
    store = cellar.store()
    model = next(file for file in made.files if file.path.startswith("blobs/"))
    path, other = (
        cellar.store_folder / store.name_of(piece) for piece in (model.pieces[0].digest, made.files[0].pieces[0].digest)
    )
    damage(path, other, kind)
    found = verified(cellar)
    assert [problem.partition(":")[0] for problem in found.problems[made.id]] == [model.path]
    assert states(cellar) == ["damaged"]
    with pytest.raises(ConflictError, match=r"backup-damaged.*was not restored: blobs/"):
        cellar.restore()
    with pytest.raises(ConflictError, match="backup-damaged"):
        try_restore(cellar.home, store, find(store, None), at=NOW, actor="cli:x")
    assert not (cellar.folder / "restored").exists()
    assert not list(cellar.folder.glob(".restored*"))
    cellar.back_up(must_write=True)
    assert verified(cellar).problems == {}
    assert states(cellar) == ["not tried", "not tried"]


def damage(path: Path, other: Path, kind: str) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 16
    path.unlink()
    if kind == "link":
        path.symlink_to(other)
    elif kind != "gone":
        changes = {"flip": raw, "cut": raw[:-1], "empty": b"", "longer": raw + b"x", "swapped": other.read_bytes()}
        path.write_bytes(changes[kind])


def test_single_flipped_bits_are_found_at_500_places(cellar: Cellar) -> None:
    """Anywhere in the store: objects, manifest, notes, marker. Each is put right again before the next."""
    made = cellar.back_up().manifest
    store = cellar.store()
    try_restore(cellar.home, store, find(store, None), at=NOW, actor="cli:x")
    files = stored(cellar)
    chance = random.Random(4)
    missed = []
    for _ in range(500):
        path = (
            chance.choice(files)
            if chance.random() < 0.5
            else chance.choices(files, [f.stat().st_size for f in files])[0]
        )
        bit = chance.randrange(8 * path.stat().st_size)
        flip(path, bit)
        if not is_noticed(cellar, made.id):
            missed.append((path.name, bit))
        flip(path, bit)
        note = cellar.store_folder / "checks" / made.id
        if path != note:
            assert states(cellar) == ["counts"]
    assert missed == []


def flip(path: Path, bit: int) -> None:
    with path.open("r+b") as file:
        file.seek(bit // 8)
        byte = file.read(1)[0]
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def is_noticed(cellar: Cellar, backup_id: str) -> bool:
    """By a verification that cannot write its note, so that the next place finds the store as it was."""
    note = cellar.store_folder / "checks" / backup_id
    kept = note.read_bytes()
    try:
        return backup_id in verified(cellar).problems
    except ConflictError:
        return True
    finally:
        note.write_bytes(kept)


def test_a_damaged_model_does_not_end_the_backup_of_the_rest(cellar: Cellar) -> None:
    """The backup is incomplete and says what it lacks; where an earlier backup has the file, nothing is lacking."""
    cellar.add_model("other", seed=1)
    blob = next(path for path in (cellar.home.blobs / "sha256").rglob("*") if path.is_file())
    blob.chmod(0o600)
    flip(blob, 12345)
    made = cellar.back_up().manifest
    assert len(made.missing) == 1
    assert "its content was changed" in made.missing[0]
    store = cellar.store()
    try_restore(cellar.home, store, find(store, None), at=NOW, actor="cli:x")
    assert states(cellar) == ["incomplete"]
    flip(blob, 12345)
    assert cellar.back_up().manifest.missing == ()
    blob.unlink()
    assert cellar.back_up().manifest.missing == ()


def test_a_damaged_database_is_not_backed_up(sealed_cellar: Cellar) -> None:
    """Earlier backups stay, and the sentence says what to do."""
    sealed_cellar.back_up()
    sealed_cellar.database.close()
    with sealed_cellar.home.database_file.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(os.urandom(4096 * 20))
    with pytest.raises(UndercroftError, match=r"database-damaged|database-unusable"):
        sealed_cellar.back_up()
    assert states(sealed_cellar) == ["not tried"]


def test_the_copy_is_of_one_moment_while_others_write(sealed_cellar: Cellar) -> None:
    """Two tables are always changed together; every backup taken meanwhile has both or neither."""
    file = sealed_cellar.home.database_file
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE left_side (n INTEGER)")
        connection.execute("CREATE TABLE right_side (n INTEGER)")
        connection.commit()
    ended = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(file, timeout=30)) as connection:
            number = 0
            while not ended.wait(0.001):
                number += 1
                connection.execute("INSERT INTO left_side VALUES (?)", (number,))
                connection.execute("INSERT INTO right_side VALUES (?)", (number,))
                connection.commit()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [sealed_cellar.back_up().manifest.id for _ in range(5)]
    finally:
        ended.set()
        writer.join()
    for number, backup_id in enumerate(made):
        sealed_cellar.restore(backup_id, into=f"restored-{number}")
        with closing(sqlite3.connect(sealed_cellar.folder / f"restored-{number}" / "undercroft.db")) as copy:
            counts = copy.execute(
                "SELECT (SELECT count(*) FROM left_side), (SELECT count(*) FROM right_side)"
            ).fetchone()
            assert counts[0] == counts[1]


def test_a_restore_never_overwrites(sealed_cellar: Cellar) -> None:
    """A folder with anything in it, a file, a link: refused and left alone. An empty folder is taken."""
    sealed_cellar.back_up()
    folder = sealed_cellar.folder
    (folder / "full").mkdir()
    (folder / "full" / "letter").write_text("dear")
    (folder / "file").write_text("x")
    (folder / "empty").mkdir()
    (folder / "link").symlink_to(folder / "empty")
    for name in ("full", "file", "link", "home"):
        with pytest.raises(ConflictError, match="home-not-empty"):
            sealed_cellar.restore(into=name)
    assert (folder / "full" / "letter").read_text() == "dear"
    sealed_cellar.restore(into="empty")
    assert (folder / "empty" / "undercroft.db").exists()


def test_links_and_hidden_files_of_the_home_are_not_followed(sealed_cellar: Cellar) -> None:
    """A link is named as left out; what is behind it does not leave the house; a store in the home holds not itself."""
    root = sealed_cellar.home.root
    (root / "catalog" / "link.yaml").symlink_to("/etc/hostname")
    (root / "more").symlink_to("/etc")
    (root / ".hidden").write_text("x")
    os.mkfifo(root / "pipe")
    sealed_cellar.store_folder = root / "backups"
    sealed_cellar.back_up()
    made = sealed_cellar.back_up().manifest
    assert {file.path for file in made.files if not file.path.startswith("blobs/")} == {
        *("undercroft.db", "catalog/รุ่น.yaml", "config.toml", "signing.key"),
    }
    assert [line.partition(":")[0] for line in made.left_out] == ["catalog/link.yaml", "more", "pipe"]


def test_the_right_key_is_asked_for(tmp_path: Path) -> None:
    """None where one is needed, one where none is, another one: three sentences, and no store at all."""
    other = BackupKey(b"o" * 32)
    make_store(FolderObjects(tmp_path / "sealed"), KEY)
    make_store(FolderObjects(tmp_path / "clear"), None)
    with pytest.raises(InvalidError, match=f"needs-key.*{KEY.id}"):
        open_store(FolderObjects(tmp_path / "sealed"), None)
    with pytest.raises(InvalidError, match=f"wrong-key.*{KEY.id}, this is key {other.id}"):
        make_store(FolderObjects(tmp_path / "sealed"), other)
    with pytest.raises(InvalidError, match="not-encrypted"):
        open_store(FolderObjects(tmp_path / "clear"), KEY)
    with pytest.raises(NotFoundError, match="no-backups"):
        open_store(FolderObjects(tmp_path / "nowhere"), KEY)
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear").write_text("x")
    with pytest.raises(ConflictError, match=r"folder-not-empty.*dear"):
        make_store(FolderObjects(tmp_path / "letters"), KEY)


def test_pruning_keeps_what_stays_whole(cellar: Cellar) -> None:
    """Objects that a removed backup shares with one that stays are kept, others go; a dry run changes nothing."""
    cellar.add_model("other", seed=1)
    first = cellar.back_up().manifest
    models.remove(cellar.database, "other", actor="cli:x")
    last = cellar.back_up().manifest
    before = set(stored(cellar))
    store = cellar.store()
    planned = prune(store, Policy(1, 0, 0, 0), is_dry_run=True)
    assert set(stored(cellar)) == before
    done = prune(store, Policy(1, 0, 0, 0))
    assert (done.removed, done.objects) == ([first.id], planned.objects)
    assert done.objects > 0
    assert list(done.kept) == [last.id]
    assert verified(cellar).problems == {}
    assert set(store.object_names()) == {store.name_of(digest) for digest in last.pieces()}
    assert prune(store, Policy(1, 0, 0, 0)).objects == 0


def test_pruning_waits_for_nobody(cellar: Cellar) -> None:
    """While somebody reads or adds it is refused, and while it runs others are; each is told who."""
    cellar.back_up()
    store = cellar.store()
    with store.shared(), pytest.raises(ConflictError, match=r"store-busy.*another backup"):
        prune(store, Policy(1, 0, 0, 0))
    with store.exclusive(), pytest.raises(ConflictError, match=r"store-busy.*removes backups"):
        cellar.back_up()
    assert cellar.back_up().written_objects == 0


def test_pruning_removes_nothing_where_a_manifest_is_unreadable(cellar: Cellar) -> None:
    """Nobody can say what it needs."""
    first = cellar.back_up().manifest
    cellar.back_up()
    flip(cellar.store_folder / "backups" / first.id, 999)
    before = stored(cellar)
    with pytest.raises(ConflictError, match=f"unreadable-manifest: backup {first.id}"):
        prune(cellar.store(), Policy(1, 0, 0, 0))
    assert stored(cellar) == before


def test_one_backup_of_a_home_at_a_time(sealed_cellar: Cellar) -> None:
    """The second is refused, and works when the first has ended; that of another home into the same store goes on."""
    with work_folder(sealed_cellar.home) as folder:
        (folder / "half").write_text("x")
        with pytest.raises(ConflictError, match="backup-running"):
            sealed_cellar.back_up()
    sealed_cellar.back_up()
    assert list(sealed_cellar.home.backup_work.iterdir()) == []


def test_ids_are_found_by_their_beginning(sealed_cellar: Cellar) -> None:
    """One that several have, or none, is said to be so; `latest` and nothing are the newest."""
    first, second = (sealed_cellar.back_up().manifest.id for _ in range(2))
    store = sealed_cellar.store()
    assert find(store, first[:12]).id == first
    assert find(store, None).id == find(store, "latest").id == second
    with pytest.raises(NotFoundError, match="2 backups begin"):
        find(store, "2026")
    with pytest.raises(NotFoundError, match=r"no backup begins with '../'"):
        find(store, "../")


@pytest.mark.parametrize("path", ["../outside", "/tmp/outside", "a/../../outside", "undercroft.db/x"])
def test_hostile_manifests_write_nothing(cellar: Cellar, path: str) -> None:
    """Sealed by somebody who has the key: listed as damaged, and a restore is refused before it writes."""
    made = cellar.back_up().manifest
    store = cellar.store()
    hostile = replace(made, files=(*made.files, replace(made.files[0], path=path)))
    store.put_document("backups", made.id, hostile.to_bytes())
    assert states(cellar) == ["damaged"]
    before = sorted(cellar.folder.rglob("*"))
    with pytest.raises(ConflictError, match="backup-damaged"):
        cellar.restore()
    assert sorted(cellar.folder.rglob("*")) == before


def test_a_manifest_that_wants_more_than_the_disk_is_refused_at_once(cellar: Cellar) -> None:
    """A hundred thousand times one object that is there: a bomb of 1.6 TB."""
    made = cellar.back_up().manifest
    store = cellar.store()
    piece = Piece(made.files[0].pieces[0].digest, 16 * 1024**2)
    bomb = replace(made, files=(*made.files, StoredFile("bomb", made.files[0].digest, (piece,) * 100_000)))
    store.put_document("backups", made.id, bomb.to_bytes())
    with pytest.raises(UndercroftError, match="disk-full"):
        cellar.restore()
    assert not list(cellar.folder.glob("*restored*"))


def test_pieces_in_another_order_are_found(sealed_cellar: Cellar) -> None:
    """Each piece is whole by itself; the file that they make is not."""
    made = sealed_cellar.back_up().manifest
    file = made.files[0]
    pieces = (*file.pieces, Piece(made.files[1].pieces[0].digest, made.files[1].pieces[0].size_bytes))
    store = sealed_cellar.store()
    store.put_document("backups", made.id, replace(made, files=(replace(file, pieces=pieces[::-1]),)).to_bytes())
    with pytest.raises(ConflictError, match="its pieces together are not the file"):
        sealed_cellar.restore()


@pytest.mark.parametrize("place", ["objects", "backups", "undercroft-backups.json"])
def test_a_pipe_in_the_store_is_not_waited_for(cellar: Cellar, place: str) -> None:
    """Whoever puts one there makes a backup damaged, not a reader hang."""
    cellar.back_up()
    path = next(path for path in stored(cellar) if place in str(path.relative_to(cellar.store_folder)))
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ConflictError, match="damaged"):
        cellar.restore()


def test_a_backup_of_a_newer_version_is_refused(sealed_cellar: Cellar) -> None:
    """Before anything is written."""
    made = sealed_cellar.back_up().manifest
    newer = replace(made, schema="9999", version="9.0.0")
    sealed_cellar.store().put_document("backups", made.id, newer.to_bytes())
    with pytest.raises(ConflictError, match=r"database-newer.*Undercroft 9\.0\.0 with schema 9999"):
        sealed_cellar.restore()
