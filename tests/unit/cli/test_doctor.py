"""How findings are printed."""

from __future__ import annotations

from undercroft.cli.doctor import describe
from undercroft.serving.doctor.findings import Finding

FINDINGS = [
    Finding(
        "port",
        "problem",
        "127.0.0.1:8440 is taken by process 4242 (nginx)",
        "The server does not start, or clients talk to somebody else's.",
        "UNDERCROFT_GATEWAY__PORT=8441 undercroft up",
    ),
    Finding(
        "home", "warning", "others can look into /a/very/long/path" + "/of/folders" * 8, "They can.", "chmod 700 /a"
    ),
    Finding("clock", "ok", "kept in step"),
    Finding("disk", "ok", "80.0 GiB free"),
]


def test_what_is_wrong_has_its_reason_and_its_remedy() -> None:
    """One block a finding; what is fine is counted."""
    lines = list(describe(FINDINGS, show_all=False))
    assert lines[:4] == [
        "PROBLEM  port: 127.0.0.1:8440 is taken by process 4242 (nginx)",
        "         Why: The server does not start, or clients talk to somebody else's.",
        "         Try: UNDERCROFT_GATEWAY__PORT=8441 undercroft up",
        "WARNING  home: others can look into",
    ]
    assert lines[-1] == "2 checks are fine. All of them: undercroft doctor --all"


def test_lines_fit_80_columns_and_paths_stay_whole() -> None:
    """Only a path or a command that is longer by itself goes beyond."""
    lines = list(describe(FINDINGS, show_all=True))
    assert [line for line in lines if len(line) > 80 and " " in line.strip()] == []
    assert any(line.strip() == "/a/very/long/path" + "/of/folders" * 8 for line in lines)


def test_all_shows_what_is_fine() -> None:
    """A line each, after what is wrong, and no advice to ask for more."""
    lines = list(describe(FINDINGS, show_all=True))
    assert lines[-3:] == ["ok       clock: kept in step", "ok       disk: 80.0 GiB free", "2 checks are fine."]


def test_a_single_check_is_one() -> None:
    """Singular and plural."""
    assert list(describe(FINDINGS[2:3], show_all=True))[-1] == "1 check is fine."
