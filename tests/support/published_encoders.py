"""Writes small random encoders the way they are published: ``python published_encoders.py KIND TASK FOLDER``.

Kinds: ``bert``, ``roberta``, ``xlm-roberta``, ``distilbert``. Tasks: ``embed``, ``rerank``, ``classify``. Run by the
Python of the environment ``onnx``; imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

_SHAPE = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
_DISTILLED = {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 4}
_NAMES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "distilbert": "DistilBert"}
_WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    *"abcdefghijklmnopqrstuvwxyz",
    *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz"),
]
_LABELS = {"rerank": 1, "classify": 3}


def write(kind: str, task: str, folder: Path) -> None:
    """Writes weights, tokenizer and settings."""
    torch.manual_seed(5)
    folder.mkdir(parents=True)
    shape = _DISTILLED if kind == "distilbert" else _SHAPE
    config = getattr(transformers, f"{_NAMES[kind]}Config")(
        vocab_size=len(_WORDS), max_position_embeddings=130, pad_token_id=0, **shape,
        **({"num_labels": _LABELS[task]} if task in _LABELS else {}),
    )  # fmt: skip
    head = "ForSequenceClassification" if task in _LABELS else "Model"
    model = getattr(transformers, f"{_NAMES[kind]}{head}")(config)
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.1)
    model.save_pretrained(folder)
    _tokenizer(has_types=kind == "bert").save_pretrained(folder)
    if task == "embed":
        _write_modules(folder)


def _tokenizer(*, has_types: bool) -> Any:
    tokenizer = Tokenizer(models.WordPiece({word: number for number, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, _WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    pair = "[CLS] $A [SEP] $B:1 [SEP]:1" if has_types else "[CLS] $A [SEP] $B [SEP]"
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", pair=pair, special_tokens=special)
    names = ["input_ids", *(["token_type_ids"] if has_types else []), "attention_mask"]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=100, model_input_names=names,
    )  # fmt: skip


def _write_modules(folder: Path) -> None:
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    listed = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(listed), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    pooling = json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    (folder / "1_Pooling" / "config.json").write_text(pooling, encoding="utf-8")


if __name__ == "__main__":
    write(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
