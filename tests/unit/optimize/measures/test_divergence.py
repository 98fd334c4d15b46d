"""How far a model has moved from its parent."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.perplexity import measure_perplexity
from undercroft.optimize.measures.reading import Reading

ONE = Reading(window_tokens=64, threads=1)
STARTER = Path(__file__).parents[4] / "src/undercroft/starter/ticket-pilot.gguf"


def test_a_model_has_not_moved_from_itself(models: dict[str, Path]) -> None:
    """Exactly 0 everywhere, and the same token on top."""
    found = measure_divergence(models["chat"], models["chat"], ["a bird", BIRDS], ONE)
    assert (found.mean_nats, found.maximum_nats, found.same_top_ratio) == (0.0, 0.0, 1.0)
    assert found.model == found.parent


def test_two_models_are_told_apart(models: dict[str, Path]) -> None:
    """Both perplexities are those that each has alone, and the distribution of divergences is in order."""
    texts = ["a bird", BIRDS]
    found = measure_divergence(models["other"], models["chat"], texts, ONE)
    assert found.model.texts == pytest.approx(measure_perplexity(models["other"], texts, ONE).texts)
    assert found.parent.texts == pytest.approx(measure_perplexity(models["chat"], texts, ONE).texts)
    assert 0 < found.median_nats < found.percentile_99_nats <= found.maximum_nats
    assert found.mean_nats == pytest.approx(sum(text.divergence_nats for text in found.texts) / found.model.tokens)
    assert 0 <= found.same_top_ratio < 0.5


def test_models_of_other_vocabularies_are_refused(models: dict[str, Path]) -> None:
    """Token by token they cannot be compared; the sentence says what can."""
    with pytest.raises(InvalidError, match="cut texts into other tokens") as refused:
        measure_divergence(models["chat"], STARTER, ["a bird"], Reading(threads=1))
    assert refused.value.code == "other-vocabulary"
    assert "bits per byte" in (refused.value.hint or "")


def test_it_is_what_llama_perplexity_says(models: dict[str, Path]) -> None:
    """llama-perplexity --kl-divergence of the same release, -c 64, gave these figures; a text too short has no part."""
    reading = Reading(window_tokens=64, is_as_llama_perplexity=True, threads=1)
    found = measure_divergence(models["other"], models["chat"], ["a bird", BIRDS], reading)
    assert found.mean_nats == pytest.approx(0.160834, abs=1e-4)
    assert found.median_nats == pytest.approx(0.160911, abs=1e-4)
    assert found.percentile_99_nats == pytest.approx(0.185370, abs=1e-4)
    assert found.maximum_nats == pytest.approx(0.195990, abs=1e-4)
    assert found.same_top_ratio == pytest.approx(0.01959, abs=0.003)
    assert found.model.value == pytest.approx(386.5563, abs=0.05)
    assert [text.tokens for text in found.model.texts] == [0, 28 * 31]
    assert found.texts[0].divergence_nats == 0.0
