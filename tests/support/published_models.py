"""Writes small random models the way they are published: ``python published_models.py KIND FOLDER``.

Run by the Python of the environment ``convert``; imports nothing of ours.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import sentencepiece
import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_TEXTS = (
    "The cellar keeps what is yours, and the door has a lock. Nobody had locked it since Tuesday.",
    "To install the pump, first close the valve; then open it again. I'm sure they've said it's hers.",
    "สวัสดี 你好，服务器放在地下室里 xin chào, máy chủ مرحبا الخادم في القبو 12345 67890",
    "def area(width_mm, height_mm):\n    return width_mm * height_mm\n\nfor (int i = 0; i < n; ++i) { total += 1; }\n",
)
_SHAPE = {
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 512, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
}  # fmt: skip
_SPECIAL = ["<pad>", "<s>", "</s>", "<|endoftext|>", "<|user|>"]
# kind → (configuration, model, whether its vocabulary is of sentencepiece, more of its shape)
_KINDS: dict[str, tuple[str, str, bool, dict[str, Any]]] = {
    "llama": ("LlamaConfig", "LlamaForCausalLM", False, {}),
    "mistral": ("MistralConfig", "MistralForCausalLM", False, {}),
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", False, {}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", False, {"head_dim": 16}),
    "glm4": ("Glm4Config", "Glm4ForCausalLM", False, {"head_dim": 16}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", True, {"head_dim": 16, "query_pre_attn_scalar": 16}),
    # One without positions beyond those that it was trained with, which would need factors for them.
    "phi3": ("Phi3Config", "Phi3ForCausalLM", False, {"original_max_position_embeddings": 512}),
    "vllm": ("LlamaConfig", "LlamaForCausalLM", False, {"head_dim": 32}),  # its kernels know heads from 32 on
}


def write(kind: str, folder: Path) -> None:
    """Writes a model of a kind into a folder, with its tokenizer."""
    torch.manual_seed(7)
    folder.mkdir(parents=True)
    if kind == "bert":
        _write_bert(folder)
        return
    configuration, model, is_sentencepiece, more = _KINDS[kind]
    # llama.cpp looks for a token of Phi 3's by its name.
    special = [*_SPECIAL, "<unk>"] if kind == "phi3" else _SPECIAL
    size = _sentencepiece(folder) if is_sentencepiece else _byte_pairs(folder, special)
    made = getattr(transformers, model)(getattr(transformers, configuration)(vocab_size=size, **_SHAPE, **more))
    _randomize(made)
    made.save_pretrained(folder)
    if kind == "vllm":
        template = "{% for message in messages %}<|user|>{{ message['content'] }}\n{% endfor %}"
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if kind == "phi3":  # as Phi-4 says it: a vocabulary of byte pairs
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings["tokenizer_class"] = "GPT2Tokenizer"
        (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _randomize(model: Any) -> None:
    """Weights large enough that the best token leads by more than rounding."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, 0.0, 0.2)
        elif name.endswith("bias"):
            torch.nn.init.normal_(parameter, 0.0, 0.1)


def _byte_pairs(folder: Path, special: list[str]) -> int:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        _TEXTS, trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, special_tokens=special)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    return len(fast)


def _sentencepiece(folder: Path) -> int:
    texts = folder / "texts.txt"
    texts.write_text("\n".join(_TEXTS), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(texts), model_prefix=str(folder / "tokenizer"), vocab_size=420, byte_fallback=True, pad_id=0,
        bos_id=1, eos_id=2, unk_id=3, character_coverage=0.98, model_type="bpe", hard_vocab_limit=False,
        split_digits=True, normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=False, minloglevel=2,
    )  # fmt: skip
    texts.unlink()
    (folder / "tokenizer.vocab").unlink()
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GemmaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "legacy": False,
                    "pad_token": "<pad>", "unk_token": "<unk>", "add_bos_token": True, "add_eos_token": False}),
        encoding="utf-8",
    )  # fmt: skip
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    return sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).get_piece_size()  # type: ignore[no-any-return]


def _write_bert(folder: Path) -> None:
    words = sorted({word for text in _TEXTS for word in text.lower().replace(",", " ").replace(".", " ").split()})
    letters = [f"{mark}{letter}" for mark in ("", "##") for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,;:!?()-'/", *letters, *words]
    (folder / "vocab.txt").write_text("\n".join(dict.fromkeys(pieces)) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"), do_lower_case=True)
    shape = {
        key: _SHAPE[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    }
    model = transformers.BertModel(
        transformers.BertConfig(vocab_size=len(tokenizer), max_position_embeddings=512, **shape)
    )
    _randomize(model)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    (folder / "modules.json").write_text(
        json.dumps([{"idx": index, "name": str(index), "path": path, "type": f"sentence_transformers.models.{kind}"}
                    for index, (path, kind) in enumerate(modules)]),
        encoding="utf-8",
    )  # fmt: skip
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"word_embedding_dimension": _SHAPE["hidden_size"], "pooling_mode_mean_tokens": True,
                    "pooling_mode_cls_token": False}),
        encoding="utf-8",
    )  # fmt: skip


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
