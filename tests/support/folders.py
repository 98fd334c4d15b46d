"""Writes folders with Hugging Face files: real enough to be registered, small enough to be written in no time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.ggufs import CHAT_TEMPLATE
from tests.support.raw_safetensors import build, entry

CARD = "---\nlicense: apache-2.0\nlanguage:\n- en\n- th\nbase_model: org/base\n---\n# A model\n"


def write_folder(folder: Path, **config: Any) -> Path:
    """A folder with configuration, one shard of weights, a tokenizer, a template and a card.

    Args:
        folder: Is made.
        config: More for, or in place of, what ``config.json`` says.
    """
    folder.mkdir(parents=True)
    settings = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "max_position_embeddings": 2048,
        "num_hidden_layers": 2,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 100,
        **config,
    }
    (folder / "config.json").write_text(json.dumps(settings))
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {"auto_map": 1}}}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": CHAT_TEMPLATE}))
    header = {"a": entry("BF16", [8, 16], 0, 256), "b": entry("F32", [4], 256, 272)}
    (folder / "model.safetensors").write_bytes(build(header, 272))
    (folder / "README.md").write_text(CARD)
    return folder
