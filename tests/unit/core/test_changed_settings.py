"""What the journal is told of settings that were changed, and what it is never told."""

from __future__ import annotations

from pathlib import Path

import pytest

from undercroft.core.changed_settings import (
    KnownSetting,
    SettingsChange,
    actor_of,
    compare_settings,
    evidence_of,
    known_settings,
)
from undercroft.core.settings import load_settings, setting_names


def read(folder: Path, content: str = "") -> dict[str, KnownSetting]:
    """What is kept of a settings file."""
    file = folder / "config.toml"
    file.write_text(content, encoding="utf-8")
    return known_settings(load_settings(file))


def change_of(known: dict[str, KnownSetting], read: dict[str, KnownSetting]) -> SettingsChange:
    """What differs; something does."""
    found = compare_settings(known, read)
    assert found is not None
    return found


def test_what_differs_is_told_and_nothing_else(tmp_path: Path) -> None:
    """Before and after of exactly the names that have another value, in the order of the reference."""
    known = read(tmp_path, "[engines]\nthreads = 8\nslots = 2\n[backup]\nplace = '/mnt/a'\n")
    now = read(tmp_path, "[engines]\nthreads = 1\nslots = 2\n[gateway]\nallowed_hosts = ['a.example']\n")
    change = change_of(known, now)
    assert change.names == ["gateway.allowed_hosts", "engines.threads", "backup.place"]
    assert change.before == {"gateway.allowed_hosts": [], "engines.threads": 8, "backup.place": "/mnt/a"}
    assert change.after == {"gateway.allowed_hosts": ["a.example"], "engines.threads": 1, "backup.place": None}


def test_the_first_look_and_the_same_values_are_no_change(tmp_path: Path) -> None:
    """Nobody knows what was before the first; a value that is said elsewhere, or said aloud, is the same value."""
    now = read(tmp_path, "[engines]\nslots = 4\n")
    assert compare_settings({}, now) is None
    assert compare_settings(now, now) is None
    assert compare_settings(read(tmp_path), now) is None, "4 is the default"


def test_only_the_sections_that_are_meant_count(tmp_path: Path) -> None:
    """A process that reads everything and uses some tells of what it uses."""
    known = read(tmp_path)
    now = read(tmp_path, "[engines]\nthreads = 1\n[backup]\nhours = 1\n")
    found = compare_settings(known, now, ("backup",))
    assert found is not None
    assert found.names == ["backup.hours"]
    assert compare_settings(known, now, ("alerts",)) is None


def test_settings_of_another_version_count_where_somebody_set_them(tmp_path: Path) -> None:
    """A new one with its default is nobody's change, and neither is one that went with its default."""
    now = read(tmp_path, "[engines]\nthreads = 2\n")
    known = {name: one for name, one in now.items() if name not in {"engines.threads", "engines.slots"}}
    known["engines.gone"] = KnownSetting(7, "sha256:x", "file")
    known["engines.gone_too"] = KnownSetting(7, "sha256:x", "default")
    change = change_of(known, now)
    assert (change.before, change.after) == ({"engines.gone": 7}, {"engines.threads": 2})


@pytest.mark.parametrize("name", [name for name in setting_names() if name.endswith("_file")])
def test_no_name_of_a_file_with_a_secret_is_told(name: str, tmp_path: Path) -> None:
    """Who mistakes the setting for the secret itself finds it in no journal; certificates are no secrets."""
    section, key = name.split(".")
    files = [f"[{section}]\n{key} = '{value}'\n" for value in ("/a/hunter2", "https://hooks.example/hunter3")]
    before, one, other = read(tmp_path), *(read(tmp_path, content) for content in files)
    found = [change_of(before, one), change_of(one, other), change_of(other, before)]
    told = [(change.before[name], change.after[name]) for change in found]
    if key in {"tls_cert_file", "ca_file"}:
        assert told[0] == (None, "/a/hunter2")
    else:
        assert told == [(None, "set"), ("set", "changed"), ("set", None)]
        assert "hunter" not in repr([one, other])


@pytest.mark.parametrize(
    "url", ["https://anna:hunter2@relay.example", "https://relay.example/?token=hunter2", "https://[hunter2"]
)
def test_no_secret_in_a_url_is_told(url: str, tmp_path: Path) -> None:
    """A user, a query, or what cannot be read."""
    one = read(tmp_path, f"[alerts]\nline_endpoint = '{url}'\n")
    other = read(tmp_path, f"[alerts]\nline_endpoint = '{url}x'\n")
    change = change_of(one, other)
    assert "hunter2" not in repr((change, one))
    assert (change.before, change.after) == ({"alerts.line_endpoint": "set"}, {"alerts.line_endpoint": "changed"})


def test_who_it_was_is_where_it_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file, the environment, or both; what is as usual again was taken away where it stood."""
    plain, file = read(tmp_path), read(tmp_path, "[engines]\nthreads = 1\n")
    monkeypatch.setenv("UNDERCROFT_LIMITS__QUEUE_REQUESTS", "3")
    both = read(tmp_path, "[engines]\nthreads = 1\n")
    assert actor_of(change_of(plain, file), "config.toml") == "file:config.toml"
    assert actor_of(change_of(file, plain), "config.toml") == "file:config.toml"
    assert actor_of(change_of(file, both), "config.toml") == "environment"
    assert actor_of(change_of(plain, both), "config.toml") == "file:config.toml, environment"
    told = evidence_of(change_of(plain, both), "config.toml belongs to anna", "9")
    assert told == "config.toml belongs to anna; variables: UNDERCROFT_LIMITS__QUEUE_REQUESTS"
    assert evidence_of(change_of(file, both), "config.toml belongs to anna", "9").startswith("variables: ")


def test_another_default_is_the_programs_doing(tmp_path: Path) -> None:
    """Nobody said anything before or after."""
    now = read(tmp_path)
    known = {**now, "engines.slots": KnownSetting(2, "sha256:x", "default")}
    change = change_of(known, now)
    assert actor_of(change, "config.toml") == "system"
    assert evidence_of(change, "", "9.1") == "version 9.1 has another default of engines.slots"
