"""Settings: sources, precedence, and all problems at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError
from undercroft.core.settings import load_settings


def test_without_a_file_everything_is_default(tmp_path: Path) -> None:
    """A home without a settings file works, and says that every value is a default."""
    loaded = load_settings(tmp_path / "config.toml")
    assert loaded.settings.gateway.port == 8440
    assert set(loaded.origins.values()) == {"default"}


def test_flag_wins_over_environment_over_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source wins over the one before it, and the origin names the winner."""
    file = tmp_path / "config.toml"
    file.write_text('[gateway]\nport = 1001\nhost = "127.0.0.2"\nprocesses = 2\n')
    monkeypatch.setenv("UNDERCROFT_GATEWAY__PORT", "1002")
    monkeypatch.setenv("UNDERCROFT_GATEWAY__PROCESSES", "3")
    loaded = load_settings(file, {"gateway.processes": 4})
    gateway = loaded.settings.gateway
    assert (gateway.host, gateway.port, gateway.processes) == ("127.0.0.2", 1002, 4)
    assert [loaded.origins[f"gateway.{name}"] for name in ("host", "port", "processes")] == [
        "file",
        "environment",
        "flag",
    ]


def test_every_problem_is_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown name with its nearest, a value out of range and a wrong type stand in one message."""
    file = tmp_path / "config.toml"
    file.write_text("[gateway]\nprot = 1\nport = 99999\n[engines]\nslots = 'many'\n")
    monkeypatch.setenv("UNDERCROFT_LIMITS__QUEUE_REQUESTS", "-1")
    with pytest.raises(InvalidError) as caught:
        load_settings(file)
    text = str(caught.value)
    assert "unknown setting 'gateway.prot'; nearest is 'gateway.port'" in text
    assert "gateway.port" in text
    assert "99999" in text
    assert "engines.slots" in text
    assert "environment: limits.queue_requests" in text


def test_a_file_that_is_no_toml_is_named(tmp_path: Path) -> None:
    """A broken file is refused with its path, not ignored."""
    file = tmp_path / "config.toml"
    file.write_text("[gateway\n")
    with pytest.raises(InvalidError, match=r"config\.toml"):
        load_settings(file)


def test_lists_come_from_the_environment_with_commas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A list setting is given as comma-separated words in a variable."""
    monkeypatch.setenv("UNDERCROFT_GATEWAY__ALLOWED_HOSTS", "ai.clinic.example, 10.0.0.5")
    assert load_settings(tmp_path / "none").settings.gateway.allowed_hosts == ["ai.clinic.example", "10.0.0.5"]


def test_a_list_in_the_file_of_the_wrong_type_is_refused(tmp_path: Path) -> None:
    """A text where a list belongs is a problem with its name, not a crash."""
    file = tmp_path / "config.toml"
    file.write_text('[gateway]\nallowed_hosts = "x"\n')
    with pytest.raises(InvalidError, match=r"gateway\.allowed_hosts"):
        load_settings(file)


def test_a_value_outside_any_table_is_refused(tmp_path: Path) -> None:
    """A key at the top of the file, and a section that there is not, are unknown settings."""
    file = tmp_path / "config.toml"
    file.write_text("port = 1\n[gatewy]\nport = 1\n")
    with pytest.raises(InvalidError) as caught:
        load_settings(file)
    assert "'port'" in str(caught.value)
    assert "'gatewy.port'; nearest is 'gateway.port'" in str(caught.value)
