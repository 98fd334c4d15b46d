"""Records of replicas on disk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from undercroft.engines import records
from undercroft.engines.contract import EngineRecord

RECORD = EngineRecord(
    replica_id="rep_a",
    engine="external",
    deployment="bot",
    spec_digest="d",
    pid=None,
    process_started=None,
    socket_path=None,
    base_url="http://127.0.0.1:1",
    key_file=None,
    is_sealed=False,
    seal_note="not sealed: another server",
    started_at="2026-11-20T11:00:00.000Z",
)


def test_comes_back_as_it_was(tmp_path: Path) -> None:
    """A record is read as it was written, by its owner only."""
    records.write(RECORD, tmp_path)
    assert records.read(tmp_path) == RECORD
    assert (tmp_path / records.RECORD_FILE).stat().st_mode & 0o777 == 0o600


def test_later_fields_are_ignored(tmp_path: Path) -> None:
    """A record of a later version, with a field more, is still read."""
    records.write(RECORD, tmp_path)
    path = tmp_path / records.RECORD_FILE
    path.write_text(path.read_text().replace("{", '{"of_a_later_version": 1,', 1), encoding="utf-8")
    assert records.read(tmp_path) == RECORD


def test_what_is_no_record_is_none(tmp_path: Path) -> None:
    """Nothing, half a record, another type and a missing field are no record, and no error."""
    assert records.read(tmp_path) is None
    for text in ('{"replica_id": "rep_a"', "[]", "1", '{"replica_id": "rep_a"}', "\udcff"):
        (tmp_path / records.RECORD_FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
        assert records.read(tmp_path) is None


def test_lists_the_oldest_first_and_removes_the_broken(tmp_path: Path) -> None:
    """Whole records are listed by age; folders without one are removed, files and links are left alone."""
    assert records.list_all(tmp_path / "nothing") == []
    later = replace(RECORD, replica_id="rep_0", started_at="2026-11-20T12:00:00.000Z")
    for record in (later, RECORD):
        folder = tmp_path / record.replica_id
        folder.mkdir()
        records.write(record, folder)
    (tmp_path / "rep_broken").mkdir()
    (tmp_path / "a-file").touch()
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (tmp_path / "a-link").symlink_to(outside)
    assert records.list_all(tmp_path) == [RECORD, later]
    assert records.remove_broken(tmp_path) == ["rep_broken"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a-file", "a-link", "rep_0", "rep_a"]
    assert outside.is_dir()


def test_external_is_always_adoptable() -> None:
    """A record without a process has nothing that could be another's."""
    assert records.is_adoptable(RECORD)
    assert not records.is_adoptable(replace(RECORD, pid=1, process_started=1.0))
