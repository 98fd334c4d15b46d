"""The rotating file that an engine's output goes to."""

from __future__ import annotations

from pathlib import Path

from undercroft.engines.outputs import RotatingLog, output_of, starting_line


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_rotates_at_its_size(tmp_path: Path) -> None:
    """A full file is renamed, the oldest is dropped, and nothing is split."""
    log = RotatingLog(tmp_path / "bot.log", file_bytes=4, files=3)
    for word in (b"one\n", b"two\n", b"six\n", b"ten\n", b"x\n"):
        log.write(word)
    log.close()
    assert contents(tmp_path) == {"bot.log": b"x\n", "bot.log.1": b"ten\n", "bot.log.2": b"six\n"}


def test_single_file_begins_again(tmp_path: Path) -> None:
    """Where one file is kept, it begins again when it is full."""
    log = RotatingLog(tmp_path / "bot.log", file_bytes=4, files=1)
    log.write(b"one\n")
    log.write(b"two")
    log.close()
    assert contents(tmp_path) == {"bot.log": b"two"}


def test_two_writers_rotate_once(tmp_path: Path) -> None:
    """Two replicas that write one file do not rename it twice for one filling."""
    first, second = (RotatingLog(tmp_path / "bot.log", file_bytes=8, files=3) for _ in range(2))
    first.write(b"first\n")
    second.write(b"second\n")
    first.write(b"third\n")
    second.write(b"fourth\n")
    first.close()
    second.close()
    everything = b"".join(content for _, content in sorted(contents(tmp_path).items(), reverse=True))
    assert sorted(everything.splitlines()) == [b"first", b"fourth", b"second", b"third"]
    assert set(contents(tmp_path)) <= {"bot.log", "bot.log.1", "bot.log.2"}


def test_output_of_one_replica(tmp_path: Path) -> None:
    """Only what came after the replica's own start is its output; no file means no output."""
    path = tmp_path / "bot.log"
    assert output_of(path, "rep_b") == ""
    path.write_text(f"{starting_line('rep_a')}\nold\n{starting_line('rep_b')}\nnew\n", encoding="utf-8")
    assert output_of(path, "rep_b") == "\nnew\n"


def test_reads_the_end_of_a_large_file(tmp_path: Path) -> None:
    """Of a large log only the end is read."""
    path = tmp_path / "bot.log"
    path.write_text("x" * 100_000 + "end", encoding="utf-8")
    assert output_of(path, "rep_a", limit_bytes=10) == "x" * 7 + "end"


def test_full_disk_loses_output_only(tmp_path: Path) -> None:
    """Where nothing can be written, writing does not fail."""
    log = RotatingLog(Path("/dev/full")) if Path("/dev/full").exists() else RotatingLog(tmp_path / "bot.log")
    log.write(b"lost\n")
    log.close()
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "bot.log"])
