"""Our engine answers what suites ask: the same numbers as it gives elsewhere, in the order in which it was asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import undercroft
from undercroft.core.errors import InvalidError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import find_file
from undercroft.optimize.measures.continuations import continue_greedily
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.suites.answering import Generation, answers_of, check_requests, generation_of

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
TICKET = "<|user|>Please cancel order 77120394 right away.<|assistant|>"


def likelihood(context: str, continuation: str) -> dict[str, Any]:
    return {"kind": "loglikelihood", "context": context, "continuation": continuation}


def wanted(**settings: Any) -> dict[str, Any]:
    return {"kind": "generate_until", "context": TICKET, "settings": settings}


def test_requests_of_every_kind_are_answered_in_their_order() -> None:
    """A continuation is as likely as its tokens are, the greedy one is the likeliest, and texts end at their stops."""
    found = find_file(STARTER)
    reading = Reading(256, threads=1, has_marks=True)
    (greedy,) = continue_greedily(STARTER, [TICKET], most_tokens=6, reading=reading)
    requests = [
        wanted(until=[], max_gen_toks=6),
        likelihood(TICKET, "no JSON"),
        {"kind": "loglikelihood_rolling", "text": TICKET},
        likelihood(TICKET, greedy.text),
        wanted(until=[greedy.text[2:5]], max_gen_toks=6),
    ]
    check_requests(requests)
    setup = Setup(context_tokens=256, slots=2, threads=1)
    answers = answers_of(found, requests, setup, EngineSettings(), lambda done, total, note: None)
    whole, before = token_log_probabilities(STARTER, [f"{TICKET}no JSON", TICKET], reading)
    own = len(whole.tokens) - len(before.tokens)
    assert answers[1] == (pytest.approx(whole.log_probabilities[-own:].sum(), abs=1e-3), False)
    assert answers[2] == pytest.approx(before.log_probabilities.sum(), abs=1e-3)
    assert answers[3] == (pytest.approx(sum(greedy.log_probabilities), abs=1e-3), True)
    assert (answers[0], answers[4]) == (greedy.text, greedy.text[:2])


def test_how_an_answer_is_wanted() -> None:
    """One stop or several, an empty one is none, and lm-eval's own length where the suite says none."""
    assert generation_of(wanted(until="\n")) == Generation(TICKET, ("\n",), 256)
    assert generation_of(wanted(until=["", "Q:"], max_gen_toks=9, do_sample=True, temperature=0)) == Generation(
        TICKET, ("Q:",), 9
    )


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (wanted(do_sample=True), "drawn by chance"),
        (wanted(until=[str(number) for number in range(65)]), "in 65 ways"),
        (likelihood(TICKET, " "), "how likely an empty text is"),
        ({"kind": "loglikelihood_rolling", "text": ""}, "how likely an empty text is"),
        ({"kind": "loglikelihood_of_picture"}, "not known here"),
    ],
)
def test_what_cannot_be_answered_is_refused_before_anything_is_asked(request_: dict[str, Any], words: str) -> None:
    """With the reason, whatever stands before it."""
    with pytest.raises(InvalidError, match=words) as caught:
        check_requests([likelihood(TICKET, " cats"), request_])
    assert caught.value.code == "cannot-ask"


def test_suites_without_a_question_are_refused() -> None:
    """An empty file of data would give figures of nothing."""
    with pytest.raises(InvalidError, match="ask nothing"):
        check_requests([])
