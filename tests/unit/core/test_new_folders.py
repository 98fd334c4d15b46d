"""Folders for people: written whole, or not at all."""

from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from undercroft.core.errors import ConflictError, UnavailableError
from undercroft.core.new_folders import UNFINISHED, filling


@pytest.mark.parametrize("is_there", [True, False])
def test_what_fails_leaves_the_folder_as_it_was(tmp_path: Path, is_there: bool) -> None:
    """On a full disk the same command works when there is room, as the folder is empty again, or gone."""
    folder = tmp_path / "a" / "made"
    if is_there:
        folder.mkdir(parents=True)
    with pytest.raises(UnavailableError, match=r"cannot write .*: No space left"), filling(folder) as inside:
        (inside / "deep").mkdir()
        (inside / "deep" / "half").write_bytes(b"x")
        (inside / "link").symlink_to(tmp_path)
        raise OSError(errno.ENOSPC, "No space left on device")
    assert folder.exists() is is_there
    assert tmp_path.is_dir()
    with pytest.raises(KeyboardInterrupt), filling(folder) as inside:
        (inside / "half").write_bytes(b"x")
        raise KeyboardInterrupt
    assert list(folder.glob("*")) == []
    with filling(folder) as inside:
        (inside / "whole").write_bytes(b"x")
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_a_kill_leaves_no_half_folder_that_looks_whole(tmp_path: Path) -> None:
    """All that was written lies under a name that says so; the same command goes again and leaves nothing of it."""
    folder = tmp_path / "made"
    program = f"""
import os, signal
from pathlib import Path
from undercroft.core.new_folders import filling
with filling(Path({str(folder)!r})) as inside:
    (inside / "half").write_bytes(b"x")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", program], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert [path.relative_to(folder).as_posix() for path in folder.rglob("*")] == [UNFINISHED, f"{UNFINISHED}/half"]
    with filling(folder) as inside:
        (inside / "whole").write_bytes(b"x")
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_what_is_there_stays(tmp_path: Path) -> None:
    """A folder with something in it, and a file of that name, are never written to."""
    (tmp_path / "kept").write_bytes(b"x")
    for taken in (tmp_path, tmp_path / "kept"):
        with pytest.raises(ConflictError, match="is there and not an empty folder"), filling(taken):
            pass
    assert (tmp_path / "kept").read_bytes() == b"x"
