"""Where backups are, as people say it, and who this machine is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError, RefusedError, UndercroftError
from undercroft.core.settings import BackupSettings
from undercroft.recovery.objects.addresses import BucketAddress, RepositoryAddress, parse_address
from undercroft.recovery.objects.bucket import open_bucket
from undercroft.recovery.objects.credentials import Credentials, read_credentials
from undercroft.recovery.objects.repository import open_repository
from undercroft.recovery.places import place_of

USER = Credentials("cellar", "secret")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("/mnt/usb", Path("/mnt/usb")),
        ("s3://backups", BucketAddress("backups", "")),
        ("s3://backups/", BucketAddress("backups", "")),
        ("s3://my.backups-1/cellar/anna", BucketAddress("my.backups-1", "cellar/anna/")),
        ("oci://registry.example/team/cellar", RepositoryAddress("registry.example", "team/cellar")),
        ("oci://127.0.0.1:5000/cellar", RepositoryAddress("127.0.0.1:5000", "cellar")),
        ("oci://[::1]:5000/cellar", RepositoryAddress("[::1]:5000", "cellar")),
    ],
)
def test_a_place_is_said_in_one_word(text: str, address: object) -> None:
    """A folder, a bucket with and without a prefix, a repository; said back, it is the same place."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    [
        *("", "ftp://host/x", "s3://", "s3://ab", "s3://Backups/x", "s3://backups/../other", "s3://backups//x"),
        *("s3://back..ups/x", "s3://backups/a b", "s3://-backups", f"s3://{'b' * 64}", "s3://backups/é"),
        *(
            "oci://host",
            "oci://host/",
            "oci:///cellar",
            "oci://host/Cellar",
            "oci://user@host/cellar",
            "oci://host/../x",
        ),
        *(f"oci://host/{'c' * 201}", "oci://host/cellar:latest", "https://host/cellar", "a\0b"),
    ],
)
def test_other_words_are_refused(text: str) -> None:
    """Before anything is asked of anybody, with what was expected."""
    with pytest.raises(InvalidError, match=r"bad-backup-place: expected .*"):
        parse_address(text)


def test_options_come_before_settings_and_the_old_name_is_read() -> None:
    """`backup.folder` still says a place, `backup.place` says it before that, an option before both."""
    old = BackupSettings(folder=Path("/mnt/old"), unencrypted=True)
    assert place_of(old, is_new=True).where == "/mnt/old"
    both = BackupSettings(folder=Path("/mnt/old"), place="/mnt/new", unencrypted=True)
    assert place_of(both).where == "/mnt/new"
    assert place_of(both, where="s3://backups/x").where == "s3://backups/x"
    with pytest.raises(InvalidError, match="no-backup-place"):
        place_of(BackupSettings())


@pytest.mark.parametrize("where", ["s3://backups/x", "oci://host/cellar"])
def test_nothing_goes_to_another_machine_without_a_key(where: str) -> None:
    """Not even where settings or an option say that it may."""
    for settings, is_unencrypted in ((BackupSettings(unencrypted=True), False), (BackupSettings(), True)):
        with pytest.raises(InvalidError, match="needs-key") as refused:
            place_of(settings, where=where, is_unencrypted=is_unencrypted, is_new=True)
        assert "--unencrypted" not in refused.value.message


def test_credentials_are_two_lines_of_ones_own(tmp_path: Path) -> None:
    """Anything else is refused with a sentence that does not hold them."""
    file = tmp_path / "credentials"
    file.write_text("cellar\nsecret\n")
    file.chmod(0o600)
    assert read_credentials(file) == USER
    assert "secret" not in repr(USER)
    file.chmod(0o644)
    with pytest.raises(InvalidError, match=r"open-credentials.*0644[\s\S]*chmod 600"):
        read_credentials(file)
    file.chmod(0o600)
    for content in (b"", b"cellar", b"cellar\nsecret\nmore", b"cellar\n\n", b"a\nb\x00"):
        file.write_bytes(content)
        with pytest.raises(InvalidError, match="bad-credentials") as refused:
            read_credentials(file)
        assert "cellar" not in refused.value.message.replace(str(file), "")
    with pytest.raises(UndercroftError, match="no-credentials"):
        read_credentials(tmp_path / "nowhere")
    with pytest.raises(UndercroftError, match="no-credentials"):
        read_credentials(tmp_path)


def test_a_library_that_is_missing_is_named() -> None:
    """In a process that has no botocore: the sentence says which extra brings it."""
    code = (
        "import sys; sys.modules['botocore'] = None\n"
        "from undercroft.recovery.objects.bucket import *\n"
        "address, user = BucketAddress('backups', ''), Credentials('a', 'b')\n"
        "open_bucket(address, endpoint=None, region='x', credentials=user, ca_file=None)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "extra-missing" in ended.stderr
    assert "pip install 'undercroft[s3]'" in ended.stderr


def test_a_bucket_needs_credentials() -> None:
    """None, a certificate that is not there, an endpoint that is none: a sentence for each, and nobody is asked."""
    address = BucketAddress("backups", "")
    with pytest.raises(InvalidError, match="no-credentials"):
        open_bucket(address, endpoint=None, region="x", credentials=None, ca_file=None)
    with pytest.raises(UndercroftError, match="bad-ca-file"):
        open_bucket(address, endpoint=None, region="x", credentials=USER, ca_file=Path("/nowhere"))
    with pytest.raises(InvalidError, match="bad-endpoint"):
        open_bucket(address, endpoint="minio.example:9000", region="x", credentials=USER, ca_file=None)


def test_a_password_goes_nowhere_without_tls() -> None:
    """Except to this machine; without one, plain HTTP is somebody's choice."""
    address = RepositoryAddress("registry.example", "cellar")
    with pytest.raises(RefusedError, match="plain-password"):
        open_repository(address, endpoint="http://registry.example", credentials=USER, ca_file=None)
    for endpoint, user in (
        ("http://127.0.0.1:5000", USER),
        ("http://localhost:5000/", USER),
        ("http://registry.example", None),
    ):
        open_repository(address, endpoint=endpoint, credentials=user, ca_file=None)
    for endpoint in ("registry.example", "https://", "https://a:b@host", "https://host/v2", "ftp://host"):
        with pytest.raises(InvalidError, match="bad-endpoint"):
            open_repository(address, endpoint=endpoint, credentials=None, ca_file=None)
    with pytest.raises(UndercroftError, match="bad-ca-file"):
        open_repository(address, endpoint=None, credentials=None, ca_file=Path("/nowhere"))
