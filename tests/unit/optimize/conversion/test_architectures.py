"""Networks that the converter does not know are refused before anything is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.optimize.conversion.architectures import check_architecture, known_architectures

KNOWN = frozenset({"LlamaForCausalLM", "BertModel", "StepVLForConditionalGeneration"})


def sources(folder: Path, content: str) -> Path:
    """A folder like that of the converter."""
    (folder / "conversion").mkdir()
    (folder / "conversion" / "__init__.py").write_text(content, encoding="utf-8")
    return folder


def test_the_table_is_read_and_not_run(tmp_path: Path) -> None:
    """Keys of the table of texts; that of pictures is another."""
    code = (
        "raise SystemExit\n"
        'OTHER_MAP: dict[str, str] = {"SiglipModel": "siglip"}\n'
        'TEXT_MODEL_MAP: dict[str, str] = {\n    "LlamaForCausalLM": "llama",\n    "BertModel": "bert",\n}\n'
    )
    assert known_architectures(sources(tmp_path, code)) == {"LlamaForCausalLM", "BertModel"}


@pytest.mark.parametrize("code", ["", "x = 3\n", "TEXT_MODEL_MAP = make()\n", "def (:\n"])
def test_a_table_of_another_form_says_nothing(tmp_path: Path, code: str) -> None:
    """The converter itself decides then."""
    found = known_architectures(sources(tmp_path, code))
    assert found == known_architectures(tmp_path / "none") == frozenset()
    check_architecture({"architectures": ["Anything"]}, found)


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"]},
        {"architectures": ["StepVLForConditionalGeneration"], "text_config": {"architectures": ["Other"]}},
        {"architectures": ["Other"], "text_config": {"architectures": ["LlamaForCausalLM"]}},
        {"architectures": []},
        {"architectures": "LlamaForCausalLM"},
        {},
    ],
)
def test_what_may_be_known_passes(config: dict[str, Any]) -> None:
    """Of a model of pictures and text the part counts that the converter knows; what names nothing is its to judge."""
    check_architecture(config, KNOWN)


def test_what_is_not_known_is_told_with_the_nearest() -> None:
    """One letter too few."""
    with pytest.raises(InvalidError, match="does not know the architecture 'LamaForCausalLM'; nearest are LlamaFor"):
        check_architecture({"architectures": ["LamaForCausalLM"]}, KNOWN)
