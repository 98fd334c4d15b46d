"""Writes a tiny random encoder in ONNX: ``python tiny_encoder.py embed|rerank|classify FOLDER [f32|int8]``.

Run by the Python of the environment ``onnxruntime``; imports nothing of ours. A word is a row of a table, times a
matrix; scores are the mean of these over the words of an input, times another. With a third word the network embeds
with numbers that are all large and of one sign, in F32 or with its matrix in signed 8 bits: sums of such products do
not fit into 16 bits.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(200))]
_WIDTH, _POSITIONS = 32, 64
_CLASSES = {"rerank": ["LABEL_0"], "classify": ["bad", "fair", "good"]}


def write(task: str, folder: Path, form: str | None = None) -> None:
    """Writes network, tokenizer and settings."""
    folder.mkdir(parents=True)
    chance = np.random.default_rng(11)
    onnx.save(_network(task, chance) if form is None else _large_sums(form, chance), folder / "model.onnx")
    _tokenizer().save(str(folder / "tokenizer.json"))
    labels = _CLASSES.get(task)
    config: dict[str, Any] = {
        "model_type": "bert",
        "architectures": ["BertModel" if labels is None else "BertForSequenceClassification"],
        "max_position_embeddings": _POSITIONS,
        "hidden_size": _WIDTH,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "intermediate_size": _WIDTH,
        "vocab_size": len(_WORDS),
        "type_vocab_size": 2,
    }
    if labels is not None:
        config["id2label"] = {str(number): label for number, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _network(task: str, chance: np.random.Generator) -> onnx.ModelProto:
    weights = {"table": chance.standard_normal((len(_WORDS), _WIDTH)), "matrix": chance.standard_normal((_WIDTH,) * 2)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"]),
        helper.make_node("MatMul", ["words", "matrix"], ["last_hidden_state"]),
    ]
    shape, name = ["inputs", "tokens", _WIDTH], "last_hidden_state"
    integers = {}
    if task in _CLASSES:
        weights["head"] = 0.2 * chance.standard_normal((_WIDTH, len(_CLASSES[task])))
        shape, name = ["inputs", len(_CLASSES[task])], "logits"
        integers = {"last": np.array([-1]), "tokens_axis": np.array([1])}
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["kept"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["kept", "last"], ["mask"]),
            helper.make_node("Mul", ["last_hidden_state", "mask"], ["masked"]),
            helper.make_node("ReduceSum", ["masked", "tokens_axis"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "tokens_axis"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
            helper.make_node("MatMul", ["mean", "head"], ["logits"]),
        ]
    given = ["input_ids", "attention_mask"] if task in _CLASSES else ["input_ids"]
    stored = {key: value.astype(np.float32) for key, value in weights.items()}
    stored |= {key: value.astype(np.int64) for key, value in integers.items()}
    return _made(nodes, given, (name, shape), stored)


def _large_sums(form: str, chance: np.random.Generator) -> onnx.ModelProto:
    """Half of the columns of the matrix are of one sign; in the others the signs change and nothing adds up."""
    table = chance.uniform(0.8, 1.0, (len(_WORDS), _WIDTH))
    signs = np.where(np.arange(_WIDTH)[:, None] % 2 == np.arange(_WIDTH) % 4 // 2, 1, -1)
    signs[:, ::2] = 1
    matrix = signs * np.array([100, 127])[chance.integers(0, 2, (_WIDTH,) * 2)]
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["words"])]
    stored = {"table": table.astype(np.float32), "matrix": matrix.astype(np.float32)}
    if form == "f32":
        nodes.append(helper.make_node("MatMul", ["words", "matrix"], ["last_hidden_state"]))
    else:
        stored |= {"matrix": matrix.astype(np.int8), "zero": np.zeros((), np.int8)}
        nodes += [
            helper.make_node("DynamicQuantizeLinear", ["words"], ["rounded", "scale", "middle"]),
            helper.make_node("MatMulInteger", ["rounded", "matrix", "middle", "zero"], ["sums"]),
            helper.make_node("Cast", ["sums"], ["sums_f32"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["sums_f32", "scale"], ["last_hidden_state"]),
        ]
    return _made(nodes, ["input_ids"], ("last_hidden_state", ["inputs", "tokens", _WIDTH]), stored)


def _made(nodes: list[Any], given: list[str], output: tuple[str, list[Any]], stored: dict[str, Any]) -> onnx.ModelProto:
    name, shape = output
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(one, TensorProto.INT64, ["inputs", "tokens"]) for one in given],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, key) for key, value in stored.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    special = [(word, _WORDS.index(word)) for word in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=special
    )
    return tokenizer


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
