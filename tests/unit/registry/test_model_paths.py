"""What an engine is started with."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.registry.model_paths import model_path
from undercroft.storage.blobs import BlobStore
from undercroft.storage.database import Database


def test_published_model_gets_a_folder_with_its_own_names(database: Database, home: Home, tmp_path: Path) -> None:
    """Weights and configuration lie side by side under their names, documents do not; asking again changes nothing."""
    source = write_folder(tmp_path / "f")
    model = models.add_local(database, home, source, actor="test")
    with database.read() as connection:
        path = model_path(home, connection, model)
        names = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
        looks = {name: (path / name).stat() for name in names}
        assert model_path(home, connection, model) == path
    assert {"config.json", "model.safetensors"} <= names <= {file.path for file in model.files}
    assert "README.md" not in names
    assert {name: (path / name).stat().st_ino for name in names} == {name: look.st_ino for name, look in looks.items()}
    assert (path / "config.json").read_bytes() == (source / "config.json").read_bytes()


def test_gguf_is_its_file(database: Database, home: Home, tmp_path: Path) -> None:
    """A GGUF is handed over as the stored file."""
    model = models.add_local(database, home, write_chat_model(tmp_path / "m.gguf"), actor="test")
    with database.read() as connection:
        assert model_path(home, connection, model) == BlobStore(home.blobs).path(model.files[0].digest)


def test_changed_file_is_not_handed_over(database: Database, home: Home, tmp_path: Path) -> None:
    """A stored file that was touched since it was checked keeps the model from being started."""
    model = models.add_local(database, home, write_folder(tmp_path / "f"), actor="test", must_copy=True)
    os.utime(BlobStore(home.blobs).path(model.files[0].digest), ns=(1, 1))
    with database.read() as connection, pytest.raises(UnavailableError, match="changed or removed"):
        model_path(home, connection, model)


def test_odd_name_is_refused(database: Database, home: Home, tmp_path: Path) -> None:
    """A name that is fit to be read, and not to be written into the file system, is refused by name."""
    folder = write_folder(tmp_path / "f")
    (folder / "model.safetensors").rename(folder / "mödel.safetensors")
    model = models.add_local(database, home, folder, actor="test")
    with database.read() as connection, pytest.raises(InvalidError, match=r"'mödel\.safetensors', expected letters"):
        model_path(home, connection, model)
