"""Perplexity is what llama.cpp's own tool says, and comparable text by text."""

from __future__ import annotations

import math
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.ggufs import write_chat_model
from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.perplexity import Perplexity, TextScore, measure_perplexity
from undercroft.optimize.measures.reading import Reading

ONE = Reading(threads=1)


@pytest.mark.parametrize(("window_tokens", "expected"), [(64, 351.5488), (128, 341.8219)])
def test_it_is_what_llama_perplexity_says(models: dict[str, Path], window_tokens: int, expected: float) -> None:
    """llama-perplexity of the same release, -c 64 and -c 128, gave these figures for this model and text."""
    reading = Reading(window_tokens=window_tokens, is_as_llama_perplexity=True, threads=1)
    found = measure_perplexity(models["chat"], [BIRDS], reading)
    assert found.value == pytest.approx(expected, abs=0.05)
    assert found.window_tokens == window_tokens


def test_each_text_has_a_record(models: dict[str, Path]) -> None:
    """Tokens, bytes and nats of each text by itself; together they are the whole."""
    texts = ["the cat sat", "ไทย", BIRDS]
    told: list[tuple[int, int]] = []
    found = measure_perplexity(models["chat"], texts, ONE, report=lambda done, total: told.append((done, total)))
    assert [text.size_bytes for text in found.texts] == [len(text.encode()) for text in texts]
    alone = measure_perplexity(models["chat"], [texts[1]], ONE)
    assert found.texts[1] == alone.texts[0]
    assert found.tokens == sum(text.tokens for text in found.texts)
    assert told[-1][0] == told[-1][1] >= found.tokens


def test_figures_follow_from_the_records() -> None:
    """Perplexity is e to the mean of a token, bits per byte the sum over bytes."""
    found = Perplexity((TextScore(2, 8, 2 * math.log(16)), TextScore(2, 8, 2 * math.log(4))), 512)
    assert found.value == pytest.approx(8.0)
    assert found.bits_per_byte == pytest.approx(12 / 16)
    assert Perplexity((TextScore(1, 1, 1e6),), 512).value == math.inf


def test_windows_change_what_a_token_is_judged_by(models: dict[str, Path]) -> None:
    """Both readings judge each token once; those with the same context get the same probability."""
    short = next(token_log_probabilities(models["chat"], [BIRDS], Reading(window_tokens=64, threads=1)))
    long = next(token_log_probabilities(models["chat"], [BIRDS], Reading(window_tokens=512, threads=1)))
    assert short.tokens.tolist() == long.tokens.tolist()
    assert short.log_probabilities[:63] == pytest.approx(long.log_probabilities[:63], abs=0.01)
    assert not np.allclose(short.log_probabilities[63:], long.log_probabilities[63:], atol=0.01)


def test_a_context_is_read_and_not_judged(models: dict[str, Path]) -> None:
    """The tokens of an answer get what they have in the whole text; those of the question count nowhere."""
    question, answer = "where is the cat? ", "on the mat, as it was on the day before."
    whole, judged = token_log_probabilities(models["chat"], [question + answer, answer], ONE, contexts=["", question])
    assert judged.tokens.tolist() == whole.tokens.tolist()[-len(judged.tokens) :]
    assert judged.log_probabilities == pytest.approx(whole.log_probabilities[-len(judged.tokens) :], abs=1e-6)
    assert len(answer) <= judged.size_bytes <= len(answer) + 1
    with pytest.raises(InvalidError, match="one for each of 1 texts, got 2"):
        measure_perplexity(models["chat"], [answer], ONE, contexts=[question, question])


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("encoder", "not-generative", "makes embeddings; what is measured here makes no sense"),
        ("cut", "model-not-loadable", "data is not within the file bounds"),
        ("junk", "model-not-loadable", "invalid magic"),
    ],
)
def test_a_model_that_cannot_be_measured_is_refused(models: dict[str, Path], name: str, code: str, words: str) -> None:
    """An encoder has no perplexity, and a damaged file is told in llama.cpp's own words."""
    with pytest.raises(InvalidError, match=words) as refused:
        measure_perplexity(models[name], ["a bird"], ONE)
    assert refused.value.code == code
    assert f"{name}.gguf" in refused.value.message


def test_weights_that_overflow_are_refused(tmp_path: Path) -> None:
    """Probabilities that are no numbers are no measurement."""
    model = write_chat_model(tmp_path / "huge.gguf")
    output = next(tensor for tensor in gguf.GGUFReader(model).tensors if tensor.name == "output.weight")
    with model.open("r+b") as file:
        file.seek(output.data_offset)
        file.write(np.full(output.n_elements, 3e38, np.float32).tobytes())
    with pytest.raises(InvalidError, match=r"huge\.gguf computes probabilities that are no numbers.*in text 1"):
        measure_perplexity(model, ["a bird"], ONE)


@pytest.mark.parametrize(
    ("texts", "reading", "code"),
    [
        ([], ONE, "no-texts"),
        (["a bird", " \n"], ONE, "empty-text"),
        (["a bird"], Reading(threads=1, is_as_llama_perplexity=True), "text-too-short"),
        (["a bird"], Reading(threads=1, window_tokens=513), "window-too-long"),
    ],
)
def test_texts_that_cannot_be_judged_are_refused(
    models: dict[str, Path], texts: list[str], reading: Reading, code: str
) -> None:
    """No text, an empty one, one shorter than what is asked for, a window beyond what the model was trained for."""
    with pytest.raises(InvalidError) as refused:
        measure_perplexity(models["chat"], texts, reading)
    assert refused.value.code == code


def test_a_reading_is_checked_when_it_is_made() -> None:
    """A window of 7 tokens and no thread are refused."""
    with pytest.raises(InvalidError, match="at least 8 tokens"):
        Reading(window_tokens=7)
    with pytest.raises(InvalidError, match="at least 1 thread, got 0"):
        Reading(threads=0)
