"""Tests of `undercroft.engines.decoder.folder`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.engines.decoder.folder import read_decoder


def write(folder: Path, **files: Any) -> Path:
    """A folder with JSON files."""
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


GENAI = {"model": {"context_length": 64, "eos_token_id": 2}}


def test_reads_what_ends_an_answer_from_every_file(tmp_path: Path) -> None:
    """One token or several, in the builder's file and in that of the published model."""
    write(tmp_path, genai_config=GENAI, generation_config={"eos_token_id": [3, 4]})
    found = read_decoder(tmp_path)
    assert (found.context_tokens, found.ending, found.chat_template) == (64, {2, 3, 4}, None)


def test_finds_the_chat_template_where_it_lies(tmp_path: Path) -> None:
    """In the tokenizer's settings, by name or alone; a file of its own goes before."""
    write(tmp_path, genai_config=GENAI, tokenizer_config={"chat_template": "A", "bos_token": {"content": "<s>"}})
    found = read_decoder(tmp_path)
    assert (found.chat_template, found.special) == ("A", {"bos_token": "<s>"})
    several = [{"name": "tool", "template": "T"}, {"name": "default", "template": "B"}]
    write(tmp_path, tokenizer_config={"chat_template": several})
    assert read_decoder(tmp_path).chat_template == "B"
    (tmp_path / "chat_template.jinja").write_text("C", encoding="utf-8")
    assert read_decoder(tmp_path).chat_template == "C"


@pytest.mark.parametrize("model", [None, {"context_length": 64}, {"eos_token_id": 2}, {"context_length": "x"}])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, model: Any) -> None:
    """Without context or end there is nothing to serve."""
    write(tmp_path, genai_config={"model": model})
    with pytest.raises(InvalidError):
        read_decoder(tmp_path)
