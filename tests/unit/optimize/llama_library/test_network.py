"""Which models have a next token to predict, and how much is computed at once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from undercroft.optimize.llama_library.collecting import chunks, passages
from undercroft.optimize.llama_library.layout import weight_name
from undercroft.optimize.llama_library.network import Kind, piece_tokens, refusal

LLAMA = Kind("llama", has_vocabulary=True, has_encoder=False, is_diffusion=False, is_causal=True, pooling=None)


def test_a_model_that_writes_is_not_refused() -> None:
    """A causal model is measured, also where its file says that it pools nothing."""
    assert refusal(LLAMA) is None
    assert refusal(replace(LLAMA, pooling="0")) is None


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (replace(LLAMA, has_vocabulary=False), "no tokenizer"),
        (replace(LLAMA, has_encoder=True), "encoder"),
        (replace(LLAMA, is_diffusion=True), "masked tokens"),
        (replace(LLAMA, is_causal=False), "makes embeddings"),
        (replace(LLAMA, pooling="3"), "one embedding of a whole text"),
    ],
)
def test_other_models_are_refused_with_their_reason(kind: Kind, words: str) -> None:
    """What has no next token to predict is told apart by what it is."""
    assert words in (refusal(kind) or "")


def test_pieces_bound_the_memory_of_logits() -> None:
    """The larger the vocabulary, the fewer tokens are computed at once; 64 MiB of logits in between."""
    assert piece_tokens(512, 1_000) == 512
    assert piece_tokens(512, 32_768) == 512
    assert piece_tokens(512, 262_144) == 64
    assert piece_tokens(512, 10_000_000) == 32
    assert piece_tokens(100, 1_000) == 100


def test_pieces_of_a_window_have_about_one_length() -> None:
    """A window of 520 tokens is two times 260, not 512 and a rest of 8 that is too short to be seen."""
    assert piece_tokens(520, 32_768) == 260


def test_chunks_are_those_of_llama_imatrix() -> None:
    """Whole chunks, the first token of each replaced by the mark of beginning; a rest is left out."""
    assert chunks(list(range(10, 19)), 4, [1]) == [[1, 10, 11, 12], [1, 14, 15, 16]]
    assert chunks(list(range(10, 19)), 4, []) == [[10, 11, 12, 13], [14, 15, 16, 17]]


def test_an_encoder_reads_texts_by_themselves() -> None:
    """Each text, and each part of a long one, stands between the model's marks."""
    texts = [[10, 11], [20, 21, 22, 23, 24], []]
    assert passages(texts, [2, 3], [2], 5) == [[2, 10, 11, 3], [2, 20, 21, 22, 3], [2, 23, 24, 3]]
    assert passages(texts[:1], [], [], 5) == [[10, 11]]


def test_a_model_of_embeddings_will_do_where_it_is_asked_for() -> None:
    """An encoder has inputs that matter, though it has no next token; one without a tokenizer reads nothing."""
    encoder = replace(LLAMA, is_causal=False, pooling="1")
    assert refusal(encoder, may_embed=True) is None
    assert refusal(replace(encoder, has_vocabulary=False), may_embed=True) is not None


def test_a_text_shorter_than_a_chunk_is_a_chunk() -> None:
    """Few texts are better than none."""
    assert chunks([10, 11], 4, [1]) == [[1, 10, 11]]


@pytest.mark.parametrize("name", [b"blk.0.attn_k.weight", b"CUDA0#blk.0.attn_k.weight#0", b"#blk.0.attn_k.weight"])
def test_names_are_those_of_the_file(name: bytes) -> None:
    """What a scheduler puts around the name of a weight is taken off."""
    assert weight_name(name) == "blk.0.attn_k.weight"
