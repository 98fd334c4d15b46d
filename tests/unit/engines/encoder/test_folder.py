"""What the files of an encoder say of it, in the forms in which they are published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.folder import Encoder, files_in, read_encoder

BERT = {"model_type": "bert", "architectures": ["BertModel"], "max_position_embeddings": 512}


def folder_of(folder: Path, config: dict[str, Any], **files: Any) -> dict[str, Path]:
    """The files; ``pooling`` is the settings of its module."""
    named = {"config.json": config, **{f"{name}.json": content for name, content in files.items() if name != "pooling"}}
    if "pooling" in files:
        (folder / "1_Pooling").mkdir()
        named["1_Pooling/config.json"] = files["pooling"]
    for name, content in named.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    return files_in(folder)


def modules(*kinds: str) -> list[dict[str, str]]:
    paths = {"Transformer": "", "Pooling": "1_Pooling"}
    return [{"type": f"sentence_transformers.models.{kind}", "path": paths.get(kind, kind)} for kind in kinds]


def test_a_plain_encoder(tmp_path: Path) -> None:
    """Without modules it is the mean of its tokens, at length 1."""
    assert read_encoder(folder_of(tmp_path, BERT)) == Encoder("embed", 512, "mean", is_normalized=True)


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "first"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"embedding_dimension": 384, "pooling_mode": "cls"}, "first"),
    ],
)
def test_pooling_as_it_is_kept(tmp_path: Path, pooling: dict[str, Any], expected: str) -> None:
    """Pooling is read in the older and in the newer form; vectors are as long as they are without Normalize."""
    found = read_encoder(folder_of(tmp_path, BERT, modules=modules("Transformer", "Pooling"), pooling=pooling))
    assert (found.pooling, found.is_normalized) == (expected, False)


def test_normalization_is_a_module(tmp_path: Path) -> None:
    """With Normalize among its modules its vectors have length 1."""
    pooling = {"pooling_mode_mean_tokens": True}
    made = folder_of(tmp_path, BERT, modules=modules("Transformer", "Pooling", "Normalize"), pooling=pooling)
    assert read_encoder(made).is_normalized


def test_the_shortest_limit_counts(tmp_path: Path) -> None:
    """Positions, sentence-transformers and the tokenizer each say how long an input may be."""
    made = folder_of(
        tmp_path, BERT, sentence_bert_config={"max_seq_length": 256}, tokenizer_config={"model_max_length": 300}
    )
    assert read_encoder(made).max_tokens == 256


def test_roberta_counts_positions_from_its_padding(tmp_path: Path) -> None:
    """Of RoBERTa's 514 positions 512 are for tokens."""
    config = {**BERT, "model_type": "roberta", "max_position_embeddings": 514, "pad_token_id": 1}
    unlimited = {"model_max_length": 10**30}
    assert read_encoder(folder_of(tmp_path, config, tokenizer_config=unlimited)).max_tokens == 512


def test_one_class_is_a_reranker(tmp_path: Path) -> None:
    """Scores are between 0 and 1 unless the model says that they are left as they are."""
    config = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}
    found = read_encoder(folder_of(tmp_path, config))
    assert (found.task, found.activation) == ("rerank", "sigmoid")
    config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    assert read_encoder(folder_of(tmp_path, config)).activation == "none"


def test_several_classes(tmp_path: Path) -> None:
    """Classes exclude each other unless the model says otherwise; names come in the order of their numbers."""
    labels = {str(number): f"label {number}" for number in reversed(range(12))}
    config = {**BERT, "architectures": ["BertForSequenceClassification"], "id2label": labels}
    found = read_encoder(folder_of(tmp_path, config))
    assert (found.task, found.activation, found.labels[10]) == ("classify", "softmax", "label 10")
    config["problem_type"] = "multi_label_classification"
    assert read_encoder(folder_of(tmp_path, config)).activation == "sigmoid"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"modules": modules("Transformer", "Pooling", "Dense"), "pooling": {"pooling_mode": "mean"}}, "'Dense'"),
        ({"modules": modules("Transformer", "Pooling"), "pooling": {"pooling_mode": "lasttoken"}}, "lasttoken"),
        ({"modules": modules("Transformer", "Pooling")}, "cannot be read"),
        (
            {
                "modules": modules("Transformer", "Pooling"),
                "pooling": {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
            },
            "known are one of",
        ),
        ({"sentence_bert_config": {"do_lower_case": True}}, "do_lower_case"),
        ({"config_sentence_transformers": {"default_prompt_name": "query"}}, "default_prompt_name"),
    ],
)
def test_what_would_give_other_vectors_is_refused(tmp_path: Path, files: dict[str, Any], said: str) -> None:
    """A part that is not known here is named, never left out."""
    with pytest.raises(InvalidError, match=said):
        read_encoder(folder_of(tmp_path, BERT, **files))


def test_a_folder_without_settings_is_refused(tmp_path: Path) -> None:
    """Without a config.json nothing is known of a model."""
    with pytest.raises(InvalidError, match=r"no config\.json"):
        read_encoder({})
