"""The life of a model: added, found, changed behind our back, verified, removed, swept away."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gguf
import numpy as np
import pytest
from sqlalchemy import insert, select

from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.registry import models, upkeep
from undercroft.registry.progress import Stage, Step
from undercroft.registry.quarantine import clean_quarantine, download_folder, workspace
from undercroft.storage.blobs import BlobStore
from undercroft.storage.database import Database
from undercroft.storage.journal import entries, find_damage
from undercroft.storage.tables import deployments, journal

LATER = timedelta(days=1)


def stored(home: Home) -> list[Path]:
    return [path for _, path in BlobStore(home.blobs).digests()]


def test_add_get_list(database: Database, home: Home, tmp_path: Path) -> None:
    """A model is found as it was added, under the name made of its file, with an entry in the journal."""
    path = write_chat_model(tmp_path / "My Model.gguf")
    model = models.add_local(database, home, path, actor="cli:anna", reason="a trial")
    with database.read() as connection:
        assert models.get(connection, "my-model") == model
        assert models.list_models(connection) == [model]
        (entry,) = [entry for entry, _ in entries(connection)]
        assert find_damage(connection) is None
    assert (entry.actor, entry.action, entry.subject, entry.reason) == ("cli:anna", "model.add", "my-model", "a trial")
    assert model.files[0].size_bytes == path.stat().st_size


def test_a_name_that_is_not_there_is_told_with_the_nearest(database: Database, home: Home, tmp_path: Path) -> None:
    """Of those that are; nothing where none is near."""
    models.add_local(database, home, write_chat_model(tmp_path / "support.gguf"), actor="cli:anna")
    with database.read() as connection:
        with pytest.raises(NotFoundError, match=r"there is no model 'suport'; nearest is 'support'"):
            models.get(connection, "suport")
        with pytest.raises(NotFoundError) as met:
            models.get(connection, "gone")
    assert met.value.message == "there is no model 'gone'"


def test_link_takes_no_room_and_leaves_the_mode(database: Database, home: Home, tmp_path: Path) -> None:
    """A local file on the same disk is linked, or cloned where the disk can; its owner's mode stays."""
    path = write_chat_model(tmp_path / "m.gguf")
    path.chmod(0o644)
    models.add_local(database, home, path, actor="test")
    (blob,) = stored(home)
    is_linked = blob.stat().st_ino == path.stat().st_ino
    assert is_linked or blob.stat().st_mode & 0o777 == 0o400
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_copy_is_read_only_and_apart(database: Database, home: Home, tmp_path: Path) -> None:
    """With a copy asked for, writing to the source later does not touch the model."""
    path = write_chat_model(tmp_path / "m.gguf")
    model = models.add_local(database, home, path, actor="test", must_copy=True)
    (blob,) = stored(home)
    assert blob.stat().st_ino != path.stat().st_ino
    assert stat.S_IMODE(blob.stat().st_mode) == 0o400
    path.write_bytes(b"something else")
    with database.read() as connection:
        assert models.model_file(home, connection, model) == blob


def test_same_content_again(database: Database, home: Home, tmp_path: Path) -> None:
    """The same content under the same name is there already; under another name it shares the stored file."""
    path = write_chat_model(tmp_path / "m.gguf")
    first = models.add_local(database, home, path, actor="test")
    assert models.add_local(database, home, path, actor="test") == first
    renamed = path.rename(tmp_path / "other.gguf")
    assert models.add_local(database, home, renamed, name="m", actor="test") == first
    assert models.add_local(database, home, renamed, actor="test").digest == first.digest
    assert len(stored(home)) == 1


def test_name_that_is_taken(database: Database, home: Home, tmp_path: Path) -> None:
    """Other content under a name that exists is refused, with what to do, and leaves nothing behind."""
    models.add_local(database, home, write_chat_model(tmp_path / "m.gguf"), actor="test")
    other = write_chat_model(tmp_path / "other.gguf", seed=1)
    with pytest.raises(ConflictError) as caught:
        models.add_local(database, home, other, name="m", actor="test")
    assert caught.value.code == "model-exists"
    assert "--name" in str(caught.value)
    assert len(stored(home)) == 1
    assert list(home.quarantine.iterdir()) == []


@pytest.mark.parametrize(("stage", "must_copy"), [(Stage.CHECK, False), (Stage.COPY, True)])
def test_source_that_is_written_meanwhile(
    database: Database, home: Home, tmp_path: Path, stage: Stage, must_copy: bool
) -> None:
    """A file that is written while it is read is refused: what was inspected and what was hashed would differ."""
    path = write_chat_model(tmp_path / "m.gguf")

    def write_into(step: Step) -> None:
        if step.stage is stage:
            path.write_bytes(path.read_bytes())

    with pytest.raises(ConflictError) as caught:
        models.add_local(database, home, path, actor="test", must_copy=must_copy, progress=write_into)
    assert caught.value.code == "source-changed"
    assert stored(home) == []
    assert list(home.quarantine.iterdir()) == []


def test_many_at_once(database: Database, home: Home, tmp_path: Path) -> None:
    """Imports at the same time, of the same and of other content, all end well."""
    paths = [write_chat_model(tmp_path / f"m{seed}.gguf", seed=seed) for seed in (0, 1)]

    def add(number: int) -> str:
        path = paths[number % 2]
        return models.add_local(database, home, path, actor="test").digest

    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(add, range(16)))
    assert len(set(digests)) == 2
    assert len(stored(home)) == 2
    with database.read() as connection:
        assert len(models.list_models(connection)) == 2
        assert find_damage(connection) is None
    assert all(finding.problem is None for finding in upkeep.verify(database, home, ["m0", "m1"]))


def test_source_changed_later(database: Database, home: Home, tmp_path: Path) -> None:
    """A linked file that is edited in place is noticed before an engine gets it, by verify, and by the scrub."""
    path = write_chat_model(tmp_path / "m.gguf")
    model = models.add_local(database, home, path, actor="test")
    (blob,) = stored(home)
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"evil")
    with database.read() as connection, pytest.raises(UnavailableError) as caught:
        models.model_file(home, connection, model)
    assert caught.value.code == "model-changed"
    assert caught.value.hint == "undercroft model verify m"
    (finding,) = upkeep.verify(database, home, ["m"])
    assert finding.problem is not None
    assert "content was changed" in finding.problem
    (damaged,) = models.scrub(database, home, older_than=datetime.now(UTC) + LATER)
    assert damaged.startswith("m: m.gguf: its content was changed")


def test_damage_that_nothing_but_reading_shows(database: Database, home: Home, tmp_path: Path) -> None:
    """A file whose content rots while its time stays is found by the scrub, kept from engines, named again by the next
    scrub, and replaced by pulling it once more."""
    path = write_chat_model(tmp_path / "m.gguf")
    model = models.add_local(database, home, path, actor="test", must_copy=True)
    (blob,) = stored(home)
    before = blob.stat()
    blob.chmod(0o600)
    with blob.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"rot!")
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))
    with database.read() as connection:
        assert models.model_file(home, connection, model) == blob
    assert len(models.scrub(database, home, older_than=datetime.now(UTC) + LATER)) == 1
    with database.read() as connection, pytest.raises(UnavailableError):
        models.model_file(home, connection, model)
    assert len(models.scrub(database, home, older_than=datetime.now(UTC) - LATER)) == 1
    assert models.add_local(database, home, path, actor="test", must_copy=True) == model
    assert blob.read_bytes() == path.read_bytes()
    with database.read() as connection:
        assert models.model_file(home, connection, model) == blob
    assert models.scrub(database, home, older_than=datetime.now(UTC) - LATER) == []


def test_touched_and_whole(database: Database, home: Home, tmp_path: Path) -> None:
    """A file that was only touched, as by a restored backup, is trusted again once verify has read it."""
    model = models.add_local(database, home, write_chat_model(tmp_path / "m.gguf"), actor="test")
    (blob,) = stored(home)
    os.utime(blob, (1, 1))
    with database.read() as connection, pytest.raises(UnavailableError):
        models.model_file(home, connection, model)
    assert [finding.problem for finding in upkeep.verify(database, home, ["m"])] == [None]
    with database.read() as connection:
        assert models.model_file(home, connection, model) == blob


def test_file_that_is_gone(database: Database, home: Home, tmp_path: Path) -> None:
    """A stored file that is gone is noticed, and pulling the model again puts it back."""
    path = write_chat_model(tmp_path / "m.gguf")
    model = models.add_local(database, home, path, actor="test")
    (blob,) = stored(home)
    blob.unlink()
    assert [finding.problem for finding in upkeep.verify(database, home, ["m"])] == ["it is gone"]
    models.add_local(database, home, path, actor="test")
    with database.read() as connection:
        assert models.model_file(home, connection, model) == blob


def test_scrub_reads_only_what_is_due(database: Database, home: Home, tmp_path: Path) -> None:
    """What was read since the given time is left alone; what is due is read and counts as read now."""
    models.add_local(database, home, write_chat_model(tmp_path / "m.gguf"), actor="test")
    (blob,) = stored(home)
    blob.unlink()
    assert models.scrub(database, home, older_than=datetime.now(UTC) - LATER) == []
    assert len(models.scrub(database, home, older_than=datetime.now(UTC) + LATER)) == 1


def test_remove(database: Database, home: Home, tmp_path: Path) -> None:
    """A removed model is gone by name; its file goes with gc unless another model shares it."""
    path = write_chat_model(tmp_path / "m.gguf")
    models.add_local(database, home, path, actor="test")
    models.add_local(database, home, path, name="twin", actor="test")
    models.remove(database, "m", actor="test", reason="old")
    with database.read() as connection, pytest.raises(NotFoundError):
        models.get(connection, "m")
    assert upkeep.gc(database, home, actor="test").files == 0
    models.remove(database, "twin", actor="test")
    dry = upkeep.gc(database, home, actor="test", is_dry_run=True)
    assert (dry.files, len(stored(home))) == (1, 1)
    swept = upkeep.gc(database, home, actor="test")
    assert (swept.files, swept.files_bytes) == (1, path.stat().st_size)
    assert stored(home) == []
    assert path.is_file(), "the user's own name of a linked file stays"
    with database.read() as connection:
        actions = list(connection.execute(select(journal.c.action).order_by(journal.c.seq)).scalars())
    assert actions == ["model.add", "model.add", "model.remove", "model.remove", "model.gc"]


def test_remove_what_is_deployed(database: Database, home: Home, tmp_path: Path) -> None:
    """A model that a deployment uses stays, and the error names the deployment."""
    models.add_local(database, home, write_chat_model(tmp_path / "m.gguf"), actor="test")
    row = {"engine": "llama.cpp", "model": "m", "settings": {}, "replicas": 1, "is_running": False}
    now = "2026-11-20T00:00:00.000Z"
    with database.write() as connection:
        connection.execute(insert(deployments).values(name="shop", created_at=now, updated_at=now, **row))
    with pytest.raises(ConflictError, match="'shop'"):
        models.remove(database, "m", actor="test")


def test_names_that_are_not_there(database: Database) -> None:
    """A name that no model has is not found."""
    with database.read() as connection, pytest.raises(NotFoundError, match="'nope'"):
        models.get(connection, "nope")
    with pytest.raises(NotFoundError):
        models.remove(database, "nope", actor="test")


def write_split(folder: Path) -> list[Path]:
    """A real model in several files, split by the format's own writer."""
    whole = gguf.GGUFReader(write_chat_model(folder / "whole.gguf"))
    writer = gguf.GGUFWriter(folder / "s.gguf", "llama", split_max_tensors=8)
    for field in whole.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        kind = field.types[0]
        sub = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), kind, sub_type=sub)
    for tensor in whole.tensors:
        writer.add_tensor(tensor.name, np.array(tensor.data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(folder.glob("s-*.gguf"))


def test_split_model_loads(database: Database, home: Home, tmp_path: Path) -> None:
    """Any part of a split model stands for the whole; the engine finds all of them by name."""
    parts = write_split(tmp_path)
    assert len(parts) == 3
    model = models.add_local(database, home, parts[1], actor="test")
    assert model.name == "s"
    assert len(model.files) == 3
    with database.read() as connection:
        first = models.model_file(home, connection, model)
        assert models.model_file(home, connection, model) == first
    command = [sys.executable, "-m", "tests.support.engine_loader", str(first)]
    assert subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip().endswith(": 0}")
    models.remove(database, "s", actor="test")
    upkeep.gc(database, home, actor="test")
    assert not first.exists()


def test_split_model_with_a_part_missing(database: Database, home: Home, tmp_path: Path) -> None:
    """A missing, a foreign and a lone part are refused."""
    parts = write_split(tmp_path)
    lone = tmp_path / "lone.gguf"
    lone.write_bytes(parts[0].read_bytes())
    with pytest.raises(InvalidError, match="one of 3 parts"):
        models.add_local(database, home, lone, actor="test")
    parts[1].write_bytes(parts[2].read_bytes())
    with pytest.raises(InvalidError, match="by its own metadata"):
        models.add_local(database, home, parts[0], actor="test")
    parts[1].unlink()
    with pytest.raises(InvalidError, match=r"expected 's-00002-of-00003\.gguf'"):
        models.add_local(database, home, parts[0], actor="test")


def test_format_that_no_engine_runs(database: Database, home: Home, tmp_path: Path) -> None:
    """A safetensors model is kept, and asking for the engine's file says what would run."""
    model = models.add_local(database, home, write_folder(tmp_path / "f"), actor="test")
    with database.read() as connection, pytest.raises(InvalidError, match="expected gguf"):
        models.model_file(home, connection, model)


def test_quarantine_is_cleaned_of_what_nobody_works_on(home: Home) -> None:
    """Leftovers go; what a live import or download works in stays; a young interrupted download stays."""
    (home.quarantine / "import_dead").mkdir()
    (home.quarantine / "import_dead" / "0").write_bytes(bytes(100))
    (home.quarantine / "stray").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt), download_folder(home, "hf://a/b@1", waiting=lambda: None) as partial:
        (partial / "x").write_bytes(bytes(50))
        raise KeyboardInterrupt
    with workspace(home) as busy:
        cleaned = clean_quarantine(home)
        assert busy.is_dir()
    assert (cleaned.removed, cleaned.kept_downloads) == (2, 1)
    assert [path.name for path in home.quarantine.iterdir()] == [partial.name]
    assert (partial / "x").read_bytes() == bytes(50)
    assert clean_quarantine(home, downloads_older_than_seconds=-1).removed == 1
    assert list(home.quarantine.iterdir()) == []
