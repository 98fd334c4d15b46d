"""YAML with the lines of its values; what cannot be read is a sentence."""

from __future__ import annotations

import pytest

from undercroft.core.yaml_places import read_all_with_places, read_with_places


def test_lines_are_those_of_the_file() -> None:
    """Of values and positions; one that is not there has the line of what is around it; of a second document too."""
    document, places = read_with_places(b"# a\nname: x\nlist:\n  - one\n  - two: 2\n")
    assert document == {"name": "x", "list": ["one", {"two": 2}]}
    assert [places.line_of(each) for each in ((), ("name",), ("list", 1, "two"), ("list", 9), ("other",))] == [
        2,
        2,
        5,
        3,
        2,
    ]
    second, its_places = read_all_with_places(b"a: 1\n---\n\nb:\n  c: 2\n")[1]
    assert second == {"b": {"c": 2}}
    assert its_places.line_of(("b", "c")) == 5


def test_nothing_is_no_document() -> None:
    """An empty file is None, and no document where there may be several."""
    assert read_with_places(b"")[0] is None
    assert read_all_with_places(b"# only a comment\n") == []


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"a: 1\n---\nb: 2\n", "line 3: expected one document"),
        (b"a: 1\na: 2\n", "line 2: a stands twice"),
        (b"a: &x 1\nb: *x\n", "line 2: aliases"),
        (b"- " * 50 + b"1", "nested deeper than 40"),
        (b"a: 1\nb: \xff", "line 2: it is not YAML in UTF-8: byte 8 is 0xff"),
        (b"a: 'x\n", "it is not YAML"),
        (b"a: 1\nb: 2026-13-45\n", "line 2: '2026-13-45' is written as timestamp and is none"),
        (b'a: !!int ""', "line 1: '' is written as int and is none"),
        (b"a: [!!bool x]", "line 1: 'x' is written as bool and is none"),
        (b"a: !!timestamp x", "is written as timestamp and is none"),
        (b"a: " + b"9" * 5000, "is written as int and is none"),
        (b"a: !!python/object:os.system x", "it is not YAML"),
        (b"? [a]\n: b", "it is not YAML"),
    ],
)
def test_what_cannot_be_read_is_said(raw: bytes, words: str) -> None:
    """Damaged, growing, ambiguous and odd files are a `ValueError` with a sentence, never another error."""
    with pytest.raises(ValueError) as caught:
        read_with_places(raw)
    assert words in str(caught.value)
