"""Atomic files, homes and processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from undercroft.core.files import make_folder, write_atomically, write_new
from undercroft.core.home import Home
from undercroft.core.processes import ProcessIdentity, identify


def test_a_written_file_is_whole_and_private(tmp_path: Path) -> None:
    """The content is there, readable by its owner only, and nothing temporary is left."""
    target = tmp_path / "x.json"
    write_atomically(target, b"one")
    write_atomically(target, b"two")
    assert target.read_bytes() == b"two"
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the disk has no room the old content stays and nothing temporary is left."""
    target = tmp_path / "x.json"
    write_atomically(target, b"old")
    with pytest.raises(TypeError):
        write_atomically(target, "not bytes")  # type: ignore[arg-type]
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_new_file_takes_no_name_that_is_given(tmp_path: Path) -> None:
    """It is whole and private; a file, a folder or a link of that name stays, and nothing temporary is left."""
    write_new(tmp_path / "key", b"one")
    assert (tmp_path / "key").read_bytes() == b"one"
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("key", "folder", "link"):
        with pytest.raises(FileExistsError):
            write_new(tmp_path / name, b"two")
    assert (tmp_path / "key").read_bytes() == b"one"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "key", "link"]


def test_sockets_of_a_deep_home_still_fit(tmp_path: Path) -> None:
    """A home whose path is too long for Unix sockets has its run folder elsewhere, the same one each time."""
    deep = Home(tmp_path / ("d" * 100))
    longest = deep.engines / "rep_0123456789ab" / "engine.sock"
    assert len(os.fsencode(longest)) <= 107
    assert deep.run == Home(deep.root).run
    assert deep.run != Home(tmp_path / ("e" * 100)).run


def test_a_prepared_home_is_for_its_owner_only(tmp_path: Path) -> None:
    """Others cannot look into the home, and preparing it twice does no harm."""
    home = Home(tmp_path / "home")
    home.prepare()
    home.prepare()
    assert home.root.stat().st_mode & 0o077 == 0
    assert home.run.stat().st_mode & 0o077 == 0


def test_an_identity_is_not_fooled_by_a_reused_pid() -> None:
    """The same pid with another start time is another process."""
    mine = identify(os.getpid())
    assert mine is not None
    assert mine.is_alive()
    assert not ProcessIdentity(mine.pid, mine.started - 100).is_alive()


def test_a_process_that_ended_is_not_alive() -> None:
    """After it ended there is no identity, and a zombie counts as ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = identify(process.pid)
    assert identity is not None
    assert identity.is_alive()
    assert process.stdin is not None
    process.stdin.close()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # ended, not yet reaped: a zombie
    assert not identity.is_alive()
    process.wait()
    assert not identity.is_alive()


def test_a_folder_is_made_with_those_above_it(tmp_path: Path) -> None:
    """The innermost one has the mode; one that is there keeps its own; a file in the way is an error."""
    make_folder(tmp_path / "a" / "b", mode=0o700)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    make_folder(tmp_path / "a" / "b", mode=0o755)
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        make_folder(tmp_path / "file")
