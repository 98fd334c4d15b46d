"""Texts of one's own: how a file is cut, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.texts import load_texts


def test_a_plain_file_is_cut_at_blank_lines_into_pieces_of_some_length(tmp_path: Path) -> None:
    """Short paragraphs go together, long ones stay alone, a short rest joins the last, and nothing is lost."""
    path = tmp_path / "own.txt"
    paragraphs = ["short " * 60, "short " * 120, "long " * 300, "long " * 300, "rest"]
    path.write_text("\n \n".join(paragraphs), encoding="utf-8")
    found = load_texts(path)
    assert [len(text.text.split()) for text in found.texts] == [180, 300, 301]
    assert [text.name for text in found.texts] == ["text-1", "text-2", "text-3"]
    assert found.texts[0].language is None


def test_json_lines_have_names_and_languages(tmp_path: Path) -> None:
    """A number is a name, too; a line without one is called by its number."""
    path = tmp_path / "own.jsonl"
    lines = [{"text": "สวัสดี", "language": "th", "id": 5}, {"text": "Hello"}]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    found = load_texts(path)
    assert [(text.name, text.language, text.text) for text in found.texts] == [
        ("5", "th", "สวัสดี"),
        ("text-2", None, "Hello"),
    ]


@pytest.mark.parametrize(
    ("name", "raw", "said"),
    [
        ("own.txt", b" \n\n ", "line 1: expected at least one text"),
        ("own.txt", b"fine\n\xff", "line 2: expected UTF-8"),
        ("own.jsonl", b'{"txt": "a"}', "line 1: txt: there is no such field; nearest is 'text'"),
        ("own.jsonl", b'{"text": "a"}\n{"text": " "}', "line 2: text: expected words"),
        ("own.jsonl", b'{"text": "a", "id": [1]}', "line 1: id: expected a text"),
        ("own.jsonl", b'{"id": "a", "text": "a"}\n{"id": "a", "text": "b"}', "line 2: id: 'a' stands in an earlier"),
        ("own.jsonl", b"{", "line 1: expected one JSON object"),
        (
            "own.jsonl",
            b'{"messages": []}\n' * 60 + b"{",
            "line 1 and 59 more: text: is missing\n  - line 1 and 59 more: mess",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, name: str, raw: bytes, said: str) -> None:
    """Line, field, nearest right word."""
    path = tmp_path / name
    path.write_bytes(raw)
    with pytest.raises(InvalidError) as caught:
        load_texts(path)
    assert caught.value.code == "bad-texts"
    assert said in caught.value.message
