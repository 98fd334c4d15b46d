"""Headers are the ones that tar knows."""

from __future__ import annotations

import tarfile

import pytest

from undercroft.recovery.bundles.layout import BLOCK_BYTES, can_be_placed, header, pieces, place, size_in


@pytest.mark.parametrize("size_bytes", [0, 1, 511, 512, 513, 8**11 - 1, 8**11, 40 * 1024**3])
def test_a_header_says_path_and_size_to_others(size_bytes: int) -> None:
    """Python's own reader understands it, of 8 GiB and more, too."""
    block = header("blobs/abc", size_bytes)
    found = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert len(block) == BLOCK_BYTES
    assert (found.name, found.size, found.isreg()) == ("blobs/abc", size_bytes, True)
    assert (found.mtime, found.mode, found.uid) == (0, 0o644, 0)


def test_the_first_size_is_read_from_digits_only() -> None:
    """Octal as it is written; nothing else is a size."""
    block = header("manifest.json", 1234)
    assert size_in(block) == 1234
    assert size_in(header("manifest.json", 8**11)) is None
    assert size_in(block[:124] + b"-0000000001\0" + block[136:]) is None
    assert size_in(block[:124] + b"00000000008\0" + block[136:]) is None
    assert size_in(block[:124] + b"\xb2" * 11 + b"\0" + block[136:]) is None


def test_entries_follow_each_other_in_blocks() -> None:
    """Header, content, zeros up to the next block."""
    placed, end = place([("a", 0), ("b", 1), ("c", 512)], begin=1024)
    assert [one.header_at for one in placed] == [1024, 1536, 2560]
    assert [one.padding_bytes for one in placed] == [0, 511, 0]
    assert end == 3584


def test_what_fits_a_header() -> None:
    """ASCII, a name of 1 to 100 bytes."""
    assert can_be_placed("wheels/" + "a" * 100)
    assert not can_be_placed("wheels/" + "a" * 101)
    assert not can_be_placed("wheels/")
    assert not can_be_placed("wheels/é")


def test_pieces_make_the_whole() -> None:
    """Full ones, then the rest; none of nothing."""
    assert list(pieces(25, 10)) == [10, 10, 5]
    assert list(pieces(0, 10)) == []
