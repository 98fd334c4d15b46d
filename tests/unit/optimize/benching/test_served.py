"""Speed of reading and writing, from answers that an engine gave."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import write_embedding_model
from undercroft.core.errors import UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.benching.served import Served, answer_figures, bench_encoder
from undercroft.optimize.edge.programs.run_edge import percentiles
from undercroft.optimize.evaluation.records import ItemResult, Run, Subject
from undercroft.optimize.evaluation.subjects import Found

_SUBJECT = Subject("m", "", 1, "Q8_0", None)


def answer(first: float, total: float, tokens: int = 11, prompt: int = 50, error: str = "") -> ItemResult:
    """One that came."""
    return ItemResult(
        id="a",
        language=None,
        has_passed=True,
        score=1.0,
        total_seconds=total,
        first_token_seconds=first,
        prompt_tokens=prompt,
        answer_tokens=tokens,
        error=error,
    )


def test_figures_of_answers() -> None:
    """The first answer does not count; reading is prompts over times to the first token, writing what comes after."""
    items = (answer(9.0, 99.0), answer(0.5, 1.5), answer(0.5, 2.5), answer(1.0, 4.0))
    found = answer_figures(Run(_SUBJECT, items))
    assert found["read_tokens_per_second"] == 150 / 2
    assert found["first_token_ms"] == 500
    assert found["written_tokens_per_second"] == pytest.approx(5)
    assert (found["rounds"], found["p50_ms"], found["p99_ms"]) == (3, pytest.approx(200), pytest.approx(300))


def test_answers_that_end_at_once() -> None:
    """A model that says nothing has no speed, and the engine's own words are told."""
    with pytest.raises(UnavailableError, match="every answer ended at once"):
        answer_figures(Run(_SUBJECT, (answer(0.1, 0.1, tokens=1), answer(0.1, 0.1, tokens=1))))
    with pytest.raises(UnavailableError, match="no template"):
        answer_figures(Run(_SUBJECT, (answer(0.1, 0.1, tokens=0, error="no template"),)))


def test_percentiles_are_times_that_came() -> None:
    """The nearest rank: none lies between two measurements."""
    found = percentiles([0.001 * number for number in range(1, 101)])
    assert [found[name] for name in ("p50_ms", "p90_ms", "p99_ms")] == pytest.approx([50, 90, 99])
    assert percentiles([0.25])["p99_ms"] == 250


def test_texts_are_no_longer_than_the_engine_reads(tmp_path: Path) -> None:
    """This vocabulary cuts a word into four tokens: the text is shortened until it is read, and nothing is refused."""
    path = write_embedding_model(tmp_path / "embed.gguf", context_tokens=64)
    found = Found(Subject("m", "", 1, "F32", None), path, 64, None)
    timed = bench_encoder(Served(found), EngineSettings(), rounds=1, threads=1)["lengths"]
    assert 40 < timed[-1]["tokens"] <= 64
