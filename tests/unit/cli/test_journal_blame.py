"""``undercroft journal blame`` without a server: the forms of ``--since``, names, and homes with nothing to say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.main import get_command

from undercroft.cli import build
from undercroft.cli.errors import exit_status
from undercroft.core.errors import UndercroftError

Run = Callable[[str], str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs it in an empty home; gives what it printed."""
    monkeypatch.setenv("UNDERCROFT_HOME", str(tmp_path / "home"))

    def called(line: str) -> str:
        get_command(build("journal")).main(["journal", "blame", *line.split()], standalone_mode=False)
        return " ".join(capsys.readouterr().out.split())

    return called


@pytest.mark.parametrize(
    "since", ["30m", "12h", "7d", "4w", "2026-11-20", "2026-11-20T10:00", "2026-11-20T10:00+07:00"]
)
def test_since_is_a_period_a_day_or_a_time(run: Run, since: str) -> None:
    """What each of them means is said."""
    said = run(f"memory --since {since}")
    assert said.startswith("Nothing was measured since 20")
    if since.startswith("2026"):
        expected = {"2026-11-20": "00:00", "2026-11-20T10:00": "10:00", "2026-11-20T10:00+07:00": "03:00"}[since]
        assert f"since 2026-11-20 {expected} UTC" in said


@pytest.mark.parametrize(
    ("line", "code", "status"),
    [
        ("memory --since yesterday", "bad-time", 2),
        ("memory --since 0d", "bad-time", 2),
        ("memory --since 2999-01-01", "bad-time", 2),
        ("latency --name nobody", "no-such-deployment", 4),
    ],
)
def test_what_cannot_be_asked_is_refused(run: Run, line: str, code: str, status: int) -> None:
    """With a code, and not with the news that all is well."""
    with pytest.raises(UndercroftError) as caught:
        run(line)
    assert (caught.value.code, exit_status(caught.value)) == (code, status)


@pytest.mark.parametrize("measure", ["latency", "quality", "memory", "errors", "cost"])
def test_an_empty_home_is_not_said_to_be_well(run: Run, measure: str) -> None:
    """Of each measure: nothing was measured, so nothing is said."""
    assert f"so nothing can be said of {measure}" in run(measure)
