"""What the files of a decoder in ONNX say of it: context, tokens that end an answer, chat template.

Source: ``genai_config.json`` as the model builder of onnxruntime-genai 0.18 writes it; ``tokenizer_config.json`` and
``generation_config.json`` of transformers 5.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.engines.chat_templates import template_in

CONFIG = "genai_config.json"
_TOKENIZER_CONFIG = "tokenizer_config.json"
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")


@dataclass(frozen=True, slots=True)
class Decoder:
    """A decoder, as its folder describes it.

    Args:
        context_tokens: That it was made for, prompt and answer together.
        ending: Ids of the tokens that end an answer.
        chat_template: Jinja text; None where it has none.
        special: Names of special tokens in templates → their text.
    """

    context_tokens: int
    ending: frozenset[int]
    chat_template: str | None = None
    special: Mapping[str, str] = field(default_factory=dict)


def read_decoder(folder: Path) -> Decoder:
    """Reads what describes a model.

    Args:
        folder: Of the model.

    Raises:
        InvalidError: ``bad-decoder``: a file is missing or says something else.
    """
    model = _read(folder / CONFIG).get("model")
    if not isinstance(model, dict):
        raise InvalidError("bad-decoder", f"it has no {CONFIG} that can be read")
    context = model.get("context_length")
    ending = _numbers(model.get("eos_token_id")) | _numbers(
        _read(folder / "generation_config.json").get("eos_token_id")
    )
    if not isinstance(context, int) or context < 1 or not ending:
        raise InvalidError("bad-decoder", f"its {CONFIG} says no context_length or no eos_token_id")
    tokenizer = _read(folder / _TOKENIZER_CONFIG)
    special = {name: text for name in _SPECIAL if (text := _text(tokenizer.get(name))) is not None}
    return Decoder(context, ending, template_in(folder), special)


def _text(value: Any) -> str | None:
    """A special token, which is a text or an object with one."""
    found = value.get("content") if isinstance(value, dict) else value
    return found if isinstance(found, str) else None


def _numbers(value: Any) -> frozenset[int]:
    given = value if isinstance(value, list) else [value]
    return frozenset(one for one in given if isinstance(one, int) and not isinstance(one, bool))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
