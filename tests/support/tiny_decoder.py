"""Writes a tiny random model that generates, in ONNX for onnxruntime-genai: ``python tiny_decoder.py FOLDER [bytes]``.

Its tokens are words, or with ``bytes`` every byte, so that any text can be spelled. Run by the Python of the
environment ``onnxruntime``; imports nothing of ours. One block of attention with rotary positions and a cache, as the
library's own builder lays it out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

_SPECIAL = ["<pad>", "<unk>", "</s>"]
_WORDS = [f"w{number}" for number in range(200)]
_HEADS, _KV_HEADS, _HEAD, _CONTEXT = 4, 2, 16, 128
_WIDTH = _HEADS * _HEAD
_TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"


def write(folder: Path, *, of_bytes: bool = False) -> None:
    """Writes network, tokenizer and settings."""
    folder.mkdir(parents=True)
    tokens = [*_SPECIAL, *(sorted(pre_tokenizers.ByteLevel.alphabet()) if of_bytes else _WORDS)]
    onnx.save(_network(np.random.default_rng(13), len(tokens)), folder / "model.onnx")
    numbered = {word: number for number, word in enumerate(tokens)}
    if of_bytes:
        tokenizer = Tokenizer(models.BPE(numbered, []))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        tokenizer.add_special_tokens(_SPECIAL)
    else:
        tokenizer = Tokenizer(models.WordLevel(numbered, unk_token="<unk>"))
        tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    shape = {
        "hidden_size": _WIDTH, "num_attention_heads": _HEADS, "num_key_value_heads": _KV_HEADS, "num_hidden_layers": 1,
    }  # fmt: skip
    (folder / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama", "architectures": ["LlamaForCausalLM"], "max_position_embeddings": _CONTEXT,
                "vocab_size": len(tokens), "head_dim": _HEAD, "intermediate_size": _WIDTH, **shape,
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": _TEMPLATE}), encoding="utf-8")
    decoder = {
        "session_options": {"provider_options": []}, "filename": "model.onnx", "head_size": _HEAD, **shape,
        "inputs": {"input_ids": "input_ids", "attention_mask": "attention_mask",
                   "past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"},
        "outputs": {"logits": "logits", "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value"},
    }  # fmt: skip
    model = {
        "type": "llama", "context_length": _CONTEXT, "vocab_size": len(tokens), "bos_token_id": 2, "eos_token_id": 2,
        "pad_token_id": 0, "decoder": decoder,
    }  # fmt: skip
    settings = {"model": model, "search": {"max_length": _CONTEXT, "past_present_share_buffer": True}}
    (folder / "genai_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _network(chance: np.random.Generator, tokens: int) -> onnx.ModelProto:
    def node(kind: str, given: list[str], made: list[str], **settings: object) -> onnx.NodeProto:
        return helper.make_node(kind, given, made, **settings)

    nodes = [
        node("ReduceSum", ["attention_mask", "one_axis"], ["seen"], keepdims=0),
        node("Sub", ["seen", "one_axis"], ["last"]),
        node("Cast", ["last"], ["last_32"], to=TensorProto.INT32),
        node("Shape", ["attention_mask"], ["mask_shape"]),
        node("Gather", ["mask_shape", "one"], ["total"], axis=0),
        node("Cast", ["total"], ["total_32"], to=TensorProto.INT32),
        node("Gather", ["table", "input_ids"], ["words"]),
        node("MatMul", ["words", "projections"], ["qkv"]),
        node(
            "GroupQueryAttention",
            ["qkv", "", "", "past_key_values.0.key", "past_key_values.0.value", "last_32", "total_32", "cos", "sin"],
            ["attended", "present.0.key", "present.0.value"],
            domain="com.microsoft", num_heads=_HEADS, kv_num_heads=_KV_HEADS, do_rotary=1, scale=_HEAD**-0.5,
        ),
        node("MatMul", ["attended", "out"], ["mixed"]),
        node("Add", ["words", "mixed"], ["sum"]),
        node("MatMul", ["sum", "head"], ["logits"]),
    ]  # fmt: skip
    angles = np.outer(np.arange(_CONTEXT), 10_000.0 ** -(np.arange(0, _HEAD, 2) / _HEAD))
    weights = {
        "table": chance.standard_normal((tokens, _WIDTH)),
        "projections": 0.2 * chance.standard_normal((_WIDTH, (_HEADS + 2 * _KV_HEADS) * _HEAD)),
        "out": 0.4 * chance.standard_normal((_WIDTH, _WIDTH)),
        "head": 0.4 * chance.standard_normal((_WIDTH, tokens)),
        "cos": np.cos(angles),
        "sin": np.sin(angles),
    }
    # What ends an answer never comes by itself, so that answers are as long as tests want them.
    weights["head"][:, :3] = 0.0
    cache = ["inputs", _KV_HEADS, "past", _HEAD]
    names = ["past_key_values.0.key", "past_key_values.0.value"]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["inputs", "tokens"]),
         helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["inputs", "all"]),
         *(helper.make_tensor_value_info(name, TensorProto.FLOAT, cache) for name in names)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["inputs", "tokens", tokens]),
         *(helper.make_tensor_value_info(name.replace("past_key_values", "present"), TensorProto.FLOAT, cache)
           for name in names)],
        [numpy_helper.from_array(value.astype(np.float32), key) for key, value in weights.items()]
        + [numpy_helper.from_array(np.array([1]), "one_axis"), numpy_helper.from_array(np.array(1), "one")],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


if __name__ == "__main__":
    write(Path(sys.argv[1]), of_bytes=sys.argv[2:] == ["bytes"])
