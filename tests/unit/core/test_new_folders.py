"""Folders for people: written whole, or not at all."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.new_folders import filling


@pytest.mark.parametrize("is_there", [True, False])
def test_what_fails_leaves_the_folder_as_it_was(tmp_path: Path, is_there: bool) -> None:
    """On a full disk the same command works when there is room, as the folder is empty again, or gone."""
    folder = tmp_path / "a" / "made"
    if is_there:
        folder.mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"cannot write .*: No space left"), filling(folder):
        (folder / "deep").mkdir()
        (folder / "deep" / "half").write_bytes(b"x")
        (folder / "link").symlink_to(tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device")
    assert folder.exists() is is_there
    assert tmp_path.is_dir()
    with pytest.raises(KeyboardInterrupt), filling(folder):
        (folder / "half").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(folder.glob("*")) == []
    with filling(folder):
        (folder / "whole").write_bytes(b"x")
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A folder with something in it, and a file of that name, are never written to."""
    (tmp_path / "kept").write_bytes(b"x")
    for taken in (tmp_path, tmp_path / "kept"):
        with pytest.raises(ConflictError, match="is there and not an empty folder"), filling(taken):
            pass
    assert (tmp_path / "kept").read_bytes() == b"x"
