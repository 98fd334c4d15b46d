"""Files of a home, real ones."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from undercroft.core.home import Home
from undercroft.core.settings import AlertSettings, BackupSettings, GatewaySettings, RegistrySettings, Settings
from undercroft.serving.doctor.home_files import (
    Entry,
    find_secrets,
    judge_home,
    judge_owners,
    judge_secrets,
    look_at,
    walk_home,
)

FOLDER, FILE = stat.S_IFDIR, stat.S_IFREG


@pytest.mark.parametrize(
    ("mode", "level", "saw"),
    [
        (0o755, "warning", "other users can look into {} (mode 755)"),
        (0o770, "warning", "other users can change {} (mode 770)"),
        (0o777, "problem", "other users can change {} (mode 777)"),
        (0o700, "ok", "{} is its owner's only"),
    ],
)
def test_a_home_that_others_can_enter(tmp_path: Path, mode: int, level: str, saw: str) -> None:
    """Any bit for others counts; that everybody may write is a problem."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    (verdict,) = judge_home(look_at(home), [])
    assert (verdict.level, verdict.saw) == (level, saw.format(home))
    assert verdict.mend == ("" if level == "ok" else f"chmod 700 {home}")


def test_a_folder_above_that_everybody_may_write() -> None:
    """Without the sticky bit anybody can put another home in its place; /tmp has it."""
    home = Entry("/srv/ai/home", 1000, FOLDER | 0o700)
    (verdict,) = judge_home(home, [Entry("/srv/ai", 0, FOLDER | 0o777), Entry("/srv", 0, FOLDER | 0o755)])
    assert (verdict.level, verdict.mend) == ("warning", "chmod o-w /srv/ai")
    assert [v.level for v in judge_home(home, [Entry("/tmp", 0, FOLDER | stat.S_ISVTX | 0o777)])] == ["ok"]
    assert [v.level for v in judge_home(None, [])] == ["ok"]


def test_files_of_another_user_are_a_problem() -> None:
    """A first start with sudo leaves them; three are named."""
    entries = [Entry(f"/h/{name}", 0, FILE | 0o600) for name in "abcd"]
    (verdict,) = judge_owners([*entries, Entry("/h", 1000, FOLDER | 0o700)], 1000, "/h")
    assert verdict.saw == "/h/a, /h/b, /h/c and 1 more are of another user (this one is 1000, it belongs to 0)"
    assert (verdict.level, verdict.mend) == ("problem", "sudo chown -R 1000 /h")


def test_a_folder_closed_to_its_owner_is_a_problem() -> None:
    """A folder needs all three rights of its owner; a stored file is read-only on purpose."""
    (verdict,) = judge_owners([Entry("/h/logs", 1000, FOLDER | 0o500)], 1000, "/h")
    assert (verdict.level, verdict.mend) == ("problem", "chmod u+rwx /h/logs")
    assert [v.level for v in judge_owners([Entry("/h/x", 1000, FILE | 0o400)], 1000, "/h")] == ["ok"]


def test_a_prepared_home_is_as_it_should_be(tmp_path: Path) -> None:
    """What `prepare` makes passes both checks; stored files are left out, since they may be links to a user's own."""
    home = Home(tmp_path / "home")
    home.prepare()
    (home.blobs / "sha256/ab").mkdir(parents=True)
    (home.blobs / "sha256/ab/cd").touch()
    entries = list(walk_home(home.root))
    assert str(home.logs) in {entry.path for entry in entries}
    assert not any("sha256" in entry.path for entry in entries)
    assert [v.level for v in judge_owners(entries, os.geteuid(), str(home.root))] == ["ok"]
    assert [v.level for v in judge_home(look_at(home.root), [])] == ["ok"]


def test_secrets_that_others_can_read_or_nobody_can_find(tmp_path: Path) -> None:
    """A key with mode 644 is a warning, one that is not there a problem, one with mode 600 silent."""
    key, token = tmp_path / "key.pem", tmp_path / "token"
    key.touch(mode=0o600)
    key.chmod(0o644)
    settings = Settings(gateway=GatewaySettings(tls_key_file=key), registry=RegistrySettings(hub_token_file=token))
    open_key, missing = judge_secrets(find_secrets(settings))
    assert (open_key.level, open_key.mend) == ("warning", f"chmod 600 {key}")
    assert (missing.level, f"registry.hub_token_file is {token}" in missing.saw) == ("problem", True)
    key.chmod(0o600)
    token.touch(mode=0o600)
    assert [v.level for v in judge_secrets(find_secrets(settings))] == ["ok"]
    assert [v.level for v in judge_secrets(find_secrets(Settings()))] == ["ok"]


def test_every_setting_with_a_secret_is_looked_at(tmp_path: Path) -> None:
    """Files of alerts and backups are found as well; certificates, which hold no secret, are not."""
    file = tmp_path / "file"
    settings = Settings(
        alerts=AlertSettings(slack_url_file=file, email_password_file=file, ca_file=file),
        backup=BackupSettings(key_file=file, credentials_file=file),
        gateway=GatewaySettings(tls_cert_file=file),
    )
    assert [name for name, _, _ in find_secrets(settings)] == [
        "backup.credentials_file",
        "backup.key_file",
        "alerts.slack_url_file",
        "alerts.email_password_file",
    ]
