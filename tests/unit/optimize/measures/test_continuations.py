"""The likeliest continuations of texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.adapters import write_adapter
from tests.unit.optimize.measures.conftest import BIRDS
from undercroft.core.errors import InvalidError
from undercroft.optimize.measures.continuations import Continuation, agreement, continue_greedily
from undercroft.optimize.measures.reading import Reading

STARTER = Path(__file__).parents[4] / "src/undercroft/starter/ticket-pilot.gguf"
TICKET = "<|im_start|>user\nWhere is my parcel?<|im_end|>\n<|im_start|>assistant\n"
MARKS = Reading(has_marks=True, threads=1)


def continued(*tokens: int, has_ended: bool = False) -> Continuation:
    return Continuation((7,), "", tokens, (0.0,) * len(tokens), 2 if has_ended else None)


def test_the_starter_answers_a_ticket() -> None:
    """What it says is text of its own, it ends by itself, and each token had a probability."""
    found = continue_greedily(STARTER, [TICKET, TICKET], most_tokens=60, reading=MARKS)
    assert found[0] == found[1]
    assert "order_status" in found[0].text
    assert "<|" not in found[0].text
    assert found[0].has_ended
    assert len(found[0].log_probabilities) == len(found[0].tokens) > 5
    assert all(value <= 0 for value in found[0].log_probabilities)


def test_a_continuation_is_cut_where_it_was_to_end(models: dict[str, Path]) -> None:
    """A model that does not end by itself says as many tokens as were asked for, the same for any number."""
    short = continue_greedily(models["chat"], [BIRDS[:40]], most_tokens=3, reading=MARKS)[0]
    long = continue_greedily(models["chat"], [BIRDS[:40]], most_tokens=6, reading=MARKS)[0]
    assert len(short.tokens) == 3
    assert not short.has_ended
    assert long.tokens[:3] == short.tokens
    assert long.prompt == short.prompt


def test_an_adapter_changes_what_is_continued(models: dict[str, Path], tmp_path: Path) -> None:
    """A LoRA of zeros changes nothing, one of numbers does, and one of another model is refused."""
    plain = continue_greedily(models["chat"], [BIRDS[:40]], most_tokens=6, reading=MARKS)[0]
    found = [
        continue_greedily(models["chat"], [BIRDS[:40]], most_tokens=6, adapter=adapter, reading=MARKS)[0]
        for adapter in (write_adapter(tmp_path / "zero.gguf", scale=0.0), write_adapter(tmp_path / "random.gguf"))
    ]
    assert found[0].tokens == plain.tokens
    assert found[1].log_probabilities != plain.log_probabilities
    other = write_adapter(tmp_path / "other.gguf", width=32)
    with pytest.raises(InvalidError, match="cannot load the adapter"):
        continue_greedily(models["chat"], [BIRDS[:40]], most_tokens=6, adapter=other, reading=MARKS)


def test_what_does_not_fit_is_refused(models: dict[str, Path]) -> None:
    """A text and its continuation have to fit what the model was trained for, and something has to be asked for."""
    with pytest.raises(InvalidError, match="more than the 512") as refused:
        continue_greedily(models["chat"], ["a bird"], most_tokens=600, reading=MARKS)
    assert refused.value.code == "prompt-too-long"
    with pytest.raises(InvalidError, match="at least 1 token"):
        continue_greedily(models["chat"], ["a bird"], most_tokens=0)


def test_agreement_names_the_first_difference() -> None:
    """The place of the first token that differs; one that ends earlier differs there; none where both are equal."""
    ours = [continued(1, 2, 3), continued(1, 2), continued(1, 2, has_ended=True), continued(5, 6)]
    theirs = [continued(1, 2, 3), continued(1, 2, 3), continued(1, 2), continued(5, 7)]
    found = agreement(ours, theirs)
    assert found.first_differences == (None, 2, 2, 1)
    assert found.same_texts == 1


def test_continuations_of_other_texts_are_not_compared() -> None:
    """Lists of different length are a mistake, not a disagreement."""
    with pytest.raises(InvalidError, match="got 1 and 2"):
        agreement([continued(1)], [continued(1), continued(2)])
