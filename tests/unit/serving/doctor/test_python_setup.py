"""Python, the command on PATH, the settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError
from undercroft.serving.doctor.python_setup import find_commands, judge_command, judge_python, judge_settings


@pytest.mark.parametrize(
    ("version", "bits", "level"), [((3, 10), 64, "problem"), ((3, 12), 32, "problem"), ((3, 11), 64, "ok")]
)
def test_an_old_or_small_python_is_a_problem(version: tuple[int, int], bits: int, level: str) -> None:
    """3.11 is the oldest, 64 bits are needed."""
    assert judge_python(version, bits, "Python").level == level


def make_command(folder: Path) -> str:
    folder.mkdir()
    command = folder / "undercroft"
    command.write_text("#!/bin/sh\n", encoding="ascii")
    command.chmod(0o755)
    return str(command)


def test_another_installation_earlier_on_path_is_warned_of(tmp_path: Path) -> None:
    """In the order in which a shell looks; links to the same program are one; what cannot be run is none."""
    other, own = make_command(tmp_path / "other"), make_command(tmp_path / "own")
    (tmp_path / "links").mkdir()
    (tmp_path / "links/undercroft").symlink_to(own)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/undercroft").touch(mode=0o644)
    path = ":".join(str(tmp_path / name) for name in ("docs", "other", "links", "own"))
    found = find_commands({"PATH": path})
    assert found == [other, own]
    (verdict,) = judge_command(found, own, {}, "/venv")
    assert (verdict.level, verdict.mend) == ("warning", f"export PATH={tmp_path / 'own'}:$PATH; hash -r")
    assert [v.level for v in judge_command(found[::-1], own, {}, "/venv")] == ["ok"]
    assert [v.level for v in judge_command([], own, {}, "/venv")] == ["ok"]


def test_another_virtual_environment_is_warned_of(tmp_path: Path) -> None:
    """The active one is not the one that runs; a link to it is."""
    (tmp_path / "link").symlink_to(tmp_path)
    (verdict,) = judge_command([], "x", {"VIRTUAL_ENV": "/somewhere/else"}, str(tmp_path))
    assert "/somewhere/else is active" in verdict.saw
    assert [v.level for v in judge_command([], "x", {"VIRTUAL_ENV": str(tmp_path / "link")}, str(tmp_path))] == ["ok"]


def test_pythonpath_is_warned_of() -> None:
    """What lies there comes before what was installed; an empty one is none."""
    assert judge_command([], "x", {"PYTHONPATH": "/old"}, "/venv")[0].mend == "unset PYTHONPATH"
    assert judge_command([], "x", {"PYTHONPATH": ""}, "/venv")[0].level == "ok"


def test_settings_that_cannot_be_read_are_a_problem() -> None:
    """On one line, with the hint of the error."""
    error = InvalidError("bad-settings", "the settings have problems:\n  - file: unknown setting", hint="correct it")
    verdict = judge_settings(error)
    assert (verdict.level, verdict.mend) == ("problem", "correct it")
    assert verdict.saw == "the settings have problems: - file: unknown setting"
    assert judge_settings(None).level == "ok"
