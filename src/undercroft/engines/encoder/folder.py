"""What the files of an encoder say of it: task, pooling, length, labels. As sentence-transformers writes it.

Read by the replica's program, and before a model is converted, so that both take it for the same.

Source: ``modules.json``, ``1_Pooling/config.json`` and ``sentence_bert_config.json`` of sentence-transformers 6.2;
``config.json`` and ``tokenizer_config.json`` of transformers 5.17.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from undercroft.core.errors import InvalidError

Pooling = Literal["mean", "first", "max"]
Activation = Literal["none", "sigmoid", "softmax"]
EncoderTask = Literal["embed", "rerank", "classify"]

_POOLINGS: dict[str, Pooling] = {"mean": "mean", "cls": "first", "max": "max"}
_OLD_POOLINGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "first",
    "pooling_mode_max_tokens": "max",
}
# Positions of these begin behind that of the padding token.
_SHIFTED_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet", "longformer"})
_UNKNOWN_LENGTH = 10**6
_USUAL_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Encoder:
    """An encoder, as its folder describes it.

    Args:
        task: What it is for.
        max_tokens: Longest input, special tokens among it.
        pooling: How the vectors of tokens become one; of a model that embeds.
        is_normalized: Whether its vectors have length 1.
        labels: Of a classifier, by the number of its output.
        activation: What makes scores of outputs: for pairs (rerank), or for classes.
    """

    task: EncoderTask
    max_tokens: int
    pooling: Pooling = "mean"
    is_normalized: bool = True
    labels: tuple[str, ...] = ()
    activation: Activation = "none"


def files_in(folder: Path) -> dict[str, Path]:
    """Every file of a folder, by its path in it."""
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def read_encoder(files: Mapping[str, Path]) -> Encoder:
    """Reads what describes a model.

    Args:
        files: Path as published → file: ``config.json`` and what sentence-transformers keeps beside it.

    Raises:
        InvalidError: ``bad-encoder``: it is no encoder, or one with parts that are not known here.
    """
    config = _read(files, "config.json")
    if not isinstance(config, dict):
        raise _bad("it has no config.json that can be read")
    longest = _max_tokens(files, config)
    architecture = str((config.get("architectures") or [""])[0])
    if architecture.endswith("ForSequenceClassification"):
        return _classifier(config, longest)
    _check_texts(files)
    pooling, is_normalized = _modules(files)
    return Encoder("embed", longest, pooling, is_normalized)


def _classifier(config: dict[str, Any], longest: int) -> Encoder:
    labels = config.get("id2label")
    if not isinstance(labels, dict) or sorted(labels, key=_number) != [str(number) for number in range(len(labels))]:
        raise _bad("it classifies, and its config.json does not name the classes (id2label)")
    names = tuple(str(labels[str(number)]) for number in range(len(labels)))
    if len(names) == 1:
        return Encoder("rerank", longest, labels=names, activation=_pair_activation(config))
    is_multiple = config.get("problem_type") == "multi_label_classification"
    return Encoder("classify", longest, labels=names, activation="sigmoid" if is_multiple else "softmax")


def _pair_activation(config: dict[str, Any]) -> Activation:
    """Sigmoid, as sentence-transformers takes it for one output, unless the model says that it has none."""
    own = config.get("sentence_transformers")
    said = (own.get("activation_fn") if isinstance(own, dict) else None) or config.get(
        "sbert_ce_default_activation_function"
    )
    return "none" if isinstance(said, str) and said.endswith("Identity") else "sigmoid"


def _check_texts(files: Mapping[str, Path]) -> None:
    """Refuses a model that changes its texts before its tokenizer sees them: it would embed other texts here."""
    own, prompts = _read(files, "sentence_bert_config.json"), _read(files, "config_sentence_transformers.json")
    if isinstance(own, dict) and own.get("do_lower_case") is True:
        raise _bad("it has texts made lower case before they are split (do_lower_case), which is not known here")
    if isinstance(prompts, dict) and prompts.get("default_prompt_name") is not None:
        raise _bad("it puts a prompt before every text (default_prompt_name), which is not known here")


def _modules(files: Mapping[str, Path]) -> tuple[Pooling, bool]:
    """Pooling, and whether vectors are brought to length 1; a model that does not say gets the mean, at length 1."""
    modules = _read(files, "modules.json")
    if not isinstance(modules, list):
        return "mean", True
    pooling: Pooling = "mean"
    is_normalized = False
    for module in modules:
        kind = str(module.get("type", "")).rpartition(".")[2] if isinstance(module, dict) else ""
        if kind == "Pooling":
            pooling = _pooling(_read(files, f"{module.get('path', '')}/config.json"))
        elif kind == "Normalize":
            is_normalized = True
        elif kind != "Transformer":
            raise _bad(f"it has a module {kind[:60]!r}, known are Transformer, Pooling and Normalize")
    return pooling, is_normalized


def _pooling(settings: Any) -> Pooling:
    if not isinstance(settings, dict):
        raise _bad("the settings of its module Pooling cannot be read")
    mode = settings.get("pooling_mode")
    on = (
        [mode]
        if isinstance(mode, str)
        else [key for key, value in settings.items() if key.startswith("pooling_mode_") and value is True]
    )
    known = _POOLINGS if isinstance(mode, str) else _OLD_POOLINGS
    if len(on) != 1 or on[0] not in known:
        raise _bad(f"its pooling is {', '.join(map(str, on))[:80] or 'none'}, known are one of mean, cls and max")
    return known[on[0]]


def _max_tokens(files: Mapping[str, Path], config: dict[str, Any]) -> int:
    """The shortest of all the limits that its files give."""
    positions = _count(config.get("max_position_embeddings"))
    if positions is not None and config.get("model_type") in _SHIFTED_POSITIONS:
        positions -= (_count(config.get("pad_token_id")) or 0) + 1
    own, tokenizer = _read(files, "sentence_bert_config.json"), _read(files, "tokenizer_config.json")
    limits = [
        positions,
        _count(own.get("max_seq_length")) if isinstance(own, dict) else None,
        _count(tokenizer.get("model_max_length")) if isinstance(tokenizer, dict) else None,
    ]
    return min((limit for limit in limits if limit is not None and 0 < limit < _UNKNOWN_LENGTH), default=_USUAL_TOKENS)


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(text: Any) -> int:
    return int(text) if str(text).isdigit() else -1


def _read(files: Mapping[str, Path], name: str) -> Any:
    path = files.get(name)
    try:
        return json.loads(path.read_bytes()) if path is not None else None
    except (OSError, ValueError):
        return None


def _bad(problem: str) -> InvalidError:
    return InvalidError("bad-encoder", f"the model cannot be used as an encoder: {problem}")
