"""GGUF headers: each thing that can be wrong, one at a time, and each is a sentence."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import ggufs
from tests.support.raw_gguf import ARRAY, BOOL, F32, I32, STRING, U8, U32, U64, RawGguf, RawTensor, sound, text
from undercroft.core.errors import InvalidError
from undercroft.registry.facts import ModelFacts
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.gguf_model import inspect_gguf

Change = Callable[[RawGguf], object]
HUGE = 2**64 - 1


def inspect(path: Path) -> ModelFacts:
    return inspect_gguf([read_gguf(path, path.name)])


def refusal(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(InvalidError) as caught:
        inspect(path)
    assert "\n" not in caught.value.message
    assert caught.value.message.startswith("'m.gguf' is not a usable GGUF file: ")
    return caught.value.message


def test_sound_file_is_accepted(tmp_path: Path) -> None:
    """The file that all others here differ from in one thing passes."""
    path = tmp_path / "m.gguf"
    path.write_bytes(sound().build())
    facts = inspect(path)
    assert (facts.architecture, facts.layers, facts.heads, facts.kv_heads, facts.head_dim) == ("llama", 1, 2, 1, 4)
    assert (facts.context_tokens, facts.vocabulary_tokens, facts.quantization) == (64, 5, "F32")
    assert facts.licence == "unknown"


def add(key: str, kind: int, content: object) -> Change:
    return lambda file: file.set(key, kind, content)


def tensor(name: str, **changes: object) -> Change:
    def change(file: RawGguf) -> None:
        for field, content in changes.items():
            setattr(file.tensor(name), field, content)

    return change


STRUCTURE: dict[str, tuple[Change, str]] = {
    "magic": (lambda f: setattr(f, "magic", b"GGUX"), "begin with b'GGUF'"),
    "version 1": (lambda f: setattr(f, "version", 1), "version 2 or 3, got 1"),
    "version 4": (lambda f: setattr(f, "version", 4), "version 2 or 3, got 4"),
    "big-endian": (lambda f: setattr(f, "version", 3 << 24), "big-endian"),
    "huge number of keys": (lambda f: setattr(f, "key_count", HUGE), "at most 65,536 keys"),
    "more keys than there are": (lambda f: setattr(f, "key_count", len(f.keys) + 40), "gguf"),
    "huge number of tensors": (lambda f: setattr(f, "tensor_count", HUGE), "at most 65,536 tensors"),
    "more tensors than there are": (lambda f: setattr(f, "tensor_count", len(f.tensors) + 9), "gguf"),
    "key twice": (lambda f: f.keys.append(f.keys[0]), "'general.architecture' is there twice"),
    "key not UTF-8": (lambda f: f.keys.append((b"\xff\xfe", text("")[:0])), "not UTF-8"),
    "empty key": (lambda f: f.keys.append(("", b"")), "expected printable text"),
    "key with a control character": (lambda f: f.keys.append(("a\x1b[2J", b"")), "expected printable text"),
    "long key": (lambda f: f.keys.append(("k" * 5000, b"")), "5,000 bytes long"),
    "unknown type of a value": (lambda f: f.set_raw("x", struct.pack("<I", 13)), "has type 13"),
    "string past the end": (
        lambda f: f.set_raw("x", struct.pack("<IQ", STRING, 2**20)),
        "past the end of the file",
    ),
    "endless string": (lambda f: f.set_raw("x", struct.pack("<IQ", STRING, HUGE)), "expected at most"),
    "bool of 2": (lambda f: f.set_raw("x", struct.pack("<IB", BOOL, 2)), "0 or 1"),
    "array of arrays": (lambda f: f.set_raw("x", struct.pack("<IIQ", ARRAY, ARRAY, 1)), "array of arrays"),
    "endless array": (
        lambda f: f.set_raw("x", struct.pack("<IIQ", ARRAY, U64, 2**61)),
        "more than the file has room for",
    ),
    "endless array of strings": (lambda f: f.set_raw("x", struct.pack("<IIQ", ARRAY, STRING, HUGE)), "strings"),
    "string in an array past the end": (
        lambda f: f.set_raw("x", struct.pack("<IIQQ", ARRAY, STRING, 1, 2**40)),
        "more than 1,048,576",
    ),
    "alignment of another type": (add("general.alignment", U64, 32), "has type UINT64, expected UINT32"),
    "alignment of zero": (add("general.alignment", U32, 0), "power of two"),
    "alignment of 48": (add("general.alignment", U32, 48), "power of two"),
    "huge alignment": (add("general.alignment", U32, 2**31), "power of two"),
    "tensor twice": (lambda f: f.tensors.append(RawTensor("output_norm.weight", (8,))), "is there twice"),
    "tensor without a name": (lambda f: f.tensors.append(RawTensor("", (8,))), "expected printable text"),
    "tensor with a long name": (lambda f: f.tensors.append(RawTensor("t" * 64, (8,))), "at most 63"),
    "tensor name not UTF-8": (lambda f: f.tensors.append(RawTensor(b"\xc3\x28", (8,))), "not UTF-8"),
    "no dimensions": (tensor("output_norm.weight", dimensions=0, shape=()), "0 dimensions"),
    "five dimensions": (tensor("output_norm.weight", shape=(2, 2, 2, 1, 1)), "5 dimensions"),
    "dimension of zero": (tensor("output_norm.weight", shape=(0,), size_bytes=32), "at least 1"),
    "product that overflows": (
        tensor("output_norm.weight", shape=(2**32, 2**32, 2), size_bytes=32),
        "whose product fits",
    ),
    "product that overflows to a small number": (
        tensor("output_norm.weight", shape=(2**33, 2**31, 8), size_bytes=32),
        "whose product fits",
    ),
    "unknown kind of tensor": (tensor("output_norm.weight", kind=4), "has type 4, which is not known"),
    "huge kind of tensor": (tensor("output_norm.weight", kind=2**31), "which is not known"),
    "rows that are no whole blocks": (tensor("output_norm.weight", kind=12), "not a multiple of the 256"),
    "offset off by one": (tensor("output_norm.weight", offset=161), "begins at byte 161"),
    "tensors that overlap": (tensor("output_norm.weight", offset=0), "begins at byte 0"),
    "hole between tensors": (tensor("output_norm.weight", offset=192), "begins at byte 192"),
    "offset that overflows": (tensor("token_embd.weight", offset=2**64 - 32), "of the data, expected 0"),
    "larger than the file": (
        tensor("blk.0.ffn_down.weight", shape=(16, 2**30), size_bytes=32),
        "the whole file has",
    ),
    "data cut off": (lambda f: setattr(f, "data", bytes(64)), "it was cut off"),
    "no tensors": (lambda f: f.tensors.clear(), "it holds no tensors"),
}


@pytest.mark.parametrize("case", STRUCTURE, ids=str)
def test_structure(tmp_path: Path, case: str) -> None:
    """A header that is out of bounds, double or unknown in one place is refused with a sentence that names it."""
    change, words = STRUCTURE[case]
    file = sound()
    change(file)
    assert words.lower() in refusal(tmp_path, file.build()).lower()


@pytest.mark.parametrize("length", [0, 1, 3, 4, 7, 8, 15, 23, 24, 25, 100, 500, 1200])
def test_cut_off_anywhere(tmp_path: Path, length: int) -> None:
    """A file that ends early is refused wherever it ends."""
    refusal(tmp_path, sound().build()[:length])


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    """No prefix of a sound file is a sound file."""
    content = sound().build()
    path = tmp_path / "m.gguf"
    for length in range(0, len(content) - 32, 7):
        path.write_bytes(content[:length])
        with pytest.raises(InvalidError):
            inspect(path)


MODEL: dict[str, tuple[Change, str]] = {
    "no architecture": (lambda f: f.drop("general.architecture"), "does not say its general.architecture"),
    "strange architecture": (add("general.architecture", STRING, "../../etc"), "expected a name such as 'llama'"),
    "architecture of another type": (add("general.architecture", U32, 1), "does not say its general.architecture"),
    "projector": (add("general.type", STRING, "mmproj"), "vision or audio part"),
    "no blocks": (add("llama.block_count", U32, 0), "expected 1 to 512"),
    "too many blocks": (add("llama.block_count", U32, 2**31), "expected 1 to 512"),
    "number of blocks of another type": (add("llama.block_count", U64, 1), "has type UINT64"),
    "no number of blocks": (lambda f: f.drop("llama.block_count"), "does not say its llama.block_count"),
    "more blocks than tensors": (add("llama.block_count", U32, 2), "no tensor 'blk.1."),
    "no context": (add("llama.context_length", U32, 0), "llama.context_length is 0"),
    "no heads": (add("llama.attention.head_count", U32, 0), "cannot share"),
    "no key/value heads": (add("llama.attention.head_count_kv", U32, 0), "cannot share"),
    "heads that do not divide": (add("llama.attention.head_count_kv", U32, 3), "cannot share"),
    "number of heads is missing": (lambda f: f.drop("llama.attention.head_count"), "attention.head_count"),
    "too few heads in a list": (add("llama.attention.head_count", ARRAY, (U32, [])), "one for each block"),
    "heads below zero in a list": (add("llama.attention.head_count", ARRAY, (I32, [-1])), "outside 0 to"),
    "width of another size": (add("llama.embedding_length", U32, 16), "expected [16, 5]"),
    "rotation larger than a head": (add("llama.rope.dimension_count", U32, 6), "even number up to 4"),
    "odd rotation": (add("llama.rope.dimension_count", U32, 3), "even number"),
    "rotation smaller than a head": (add("llama.rope.dimension_count", U32, 2), "expected the head size 4"),
    "epsilon not a number": (
        add("llama.attention.layer_norm_rms_epsilon", F32, float("nan")),
        "expected a finite number",
    ),
    "epsilon below zero": (add("llama.attention.layer_norm_rms_epsilon", F32, -1.0), "small positive"),
    "epsilon is missing": (
        lambda f: f.drop("llama.attention.layer_norm_rms_epsilon"),
        "layer_norm_rms_epsilon",
    ),
    "endless rope base": (add("llama.rope.freq_base", F32, float("inf")), "expected a finite number"),
    "too many experts": (add("llama.expert_count", U32, 4096), "expected 0 to 512"),
    "experts and none used": (add("llama.expert_count", U32, 8), "does not say its llama.expert_used_count"),
    "unknown pooling": (add("llama.pooling_type", U32, 9), "expected 0 to 4"),
    "no tokenizer": (lambda f: f.drop("tokenizer.ggml.model"), "does not say its tokenizer.ggml.model"),
    "strange tokenizer": (add("tokenizer.ggml.model", STRING, "a\x1bb"), "expected a name such as 'gpt2'"),
    "tokens of another type": (add("tokenizer.ggml.tokens", ARRAY, (U8, [1])), "not a list of strings"),
    "no tokens": (add("tokenizer.ggml.tokens", ARRAY, (STRING, [])), "not a list of strings"),
    "token twice": (add("tokenizer.ggml.tokens", ARRAY, (STRING, ["a", "b", "c", "<0x0A>", "a"])), "token twice"),
    "fewer tokens than rows": (add("tokenizer.ggml.tokens", ARRAY, (STRING, ["a"])), "one for each token"),
    "fewer scores than tokens": (add("tokenizer.ggml.scores", ARRAY, (F32, [0.0])), "one for each token"),
    "scores of another type": (add("tokenizer.ggml.scores", ARRAY, (I32, [0] * 5)), "expected 5 of FLOAT32"),
    "token types of another number": (add("tokenizer.ggml.token_type", ARRAY, (I32, [1])), "one for each token"),
    "byte that is none": (add("tokenizer.ggml.token_type", ARRAY, (I32, [6, 3, 3, 6, 1])), "stand for a byte"),
    "merges of another type": (add("tokenizer.ggml.merges", ARRAY, (U32, [1])), "not a list of strings"),
    "end token out of range": (add("tokenizer.ggml.eos_token_id", U32, 5), "expected a token below 5"),
    "end token below zero": (add("tokenizer.ggml.eos_token_id", I32, -1), "expected a token below 5"),
    "no embedding": (
        lambda f: setattr(f, "tensors", [t for t in f.tensors if t.name != "token_embd.weight"]),
        "no tensor 'token_embd.weight'",
    ),
    "missing tensor": (
        lambda f: setattr(f, "tensors", [t for t in f.tensors if t.name != "blk.0.ffn_up.weight"]),
        "no tensor 'blk.0.ffn_up.weight'",
    ),
    "tensor of another shape": (tensor("blk.0.attn_k.weight", shape=(8, 8)), "expected [8, 4]"),
    "tensor that nobody knows": (lambda f: f.tensors.append(RawTensor("evil", (8,))), "none of a llama model"),
    "tensor beyond the last block": (
        lambda f: f.tensors.append(RawTensor("blk.7.attn_norm.weight", (8,))),
        "does not have",
    ),
    "one part of several": (add("split.count", U32, 3), "one of 3 parts"),
    "template that is no text": (add("tokenizer.chat_template", U32, 1), "is not text"),
}


@pytest.mark.parametrize("case", MODEL, ids=str)
def test_model(tmp_path: Path, case: str) -> None:
    """A well-formed file that makes no model is refused before an engine sees it."""
    change, words = MODEL[case]
    file = sound()
    change(file)
    assert words in refusal(tmp_path, file.build())


def test_facts_of_a_chat_model(tmp_path: Path) -> None:
    """What a file says of itself is read; the template is kept as it is."""
    path = ggufs.write_chat_model(tmp_path / "m.gguf", licence="apache-2.0", context_tokens=256)
    facts = inspect(path)
    assert facts.task == "generate"
    assert facts.licence == "apache-2.0"
    assert facts.context_tokens == 256
    assert facts.parameters == 116_416
    assert facts.bits_per_weight == 32.0
    assert facts.chat_template == ggufs.CHAT_TEMPLATE
    assert ModelFacts.from_dict(facts.to_dict()) == facts


@pytest.mark.parametrize(
    ("keys", "licence"),
    [
        ({}, "unknown"),
        ({"general.license": "Apache-2.0"}, "apache-2.0"),
        ({"general.license": "other", "general.license.name": "gemma"}, "gemma"),
        ({"general.license": "other"}, "unknown"),
        ({"general.license": "m\x1b[31mit"}, "m [31mit"),
    ],
)
def test_licence(tmp_path: Path, keys: dict[str, str], licence: str) -> None:
    """A licence is what the file names; one that it does not name is unknown."""
    file = sound()
    for key, content in keys.items():
        file.set(key, STRING, content)
    path = tmp_path / "m.gguf"
    path.write_bytes(file.build())
    assert inspect(path).licence == licence


def test_task_is_read_from_architecture_and_pooling(tmp_path: Path) -> None:
    """An encoder embeds; one with a ranking head reranks."""
    assert inspect(ggufs.write_embedding_model(tmp_path / "e.gguf")).task == "embed"
    assert inspect(ggufs.write_rerank_model(tmp_path / "r.gguf")).task == "rerank"


def test_quantization_that_the_tensors_do_not_bear_out(tmp_path: Path) -> None:
    """general.file_type is a claim; tensors of another kind are what counts."""
    file = sound()
    file.set("general.file_type", U32, 15)
    path = tmp_path / "m.gguf"
    path.write_bytes(file.build())
    assert inspect(path).quantization == "F32"


def test_metadata_of_the_base_model(tmp_path: Path) -> None:
    """Languages and base models are read where the file names them."""
    file = sound()
    file.set("general.languages", ARRAY, (STRING, ["en", "th"]))
    file.set("general.base_model.count", U32, 1)
    file.set("general.base_model.0.name", STRING, "Base 1B")
    file.set("general.base_model.0.organization", STRING, "Org")
    path = tmp_path / "m.gguf"
    path.write_bytes(file.build())
    facts = inspect(path)
    assert facts.languages == ("en", "th")
    assert facts.base_models == ("Org/Base 1B",)
