"""What suites ask, answered by our engine: log-probabilities by llama.cpp as a library, texts by a sealed replica."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.hardware.main_memory import read_memory
from undercroft.optimize.evaluation.evaluating import Told, check_room
from undercroft.optimize.evaluation.replica import NAME, Setup, running
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.measures.log_probabilities import token_log_probabilities
from undercroft.optimize.measures.reading import Reading, Report

LIKELIHOOD, ROLLING, TEXT = "loglikelihood", "loglikelihood_rolling", "generate_until"
_USUAL_TOKENS = 256  # of an answer, where the suite does not say: lm-eval's own
_MOST_STOPS = 64
_SHOWN = 200

Request = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Generation:
    """How one answer is made.

    Args:
        context: What stands before it.
        stops: Texts at which it ends.
        most_tokens: Longest.
    """

    context: str
    stops: tuple[str, ...]
    most_tokens: int


def check_requests(requests: Sequence[Request]) -> None:
    """Refuses what our engine does not answer, before any is answered. Pure.

    Raises:
        InvalidError: ``cannot-ask``, with the reason.
    """
    if not requests:
        raise InvalidError("cannot-ask", "the suites ask nothing", hint="look at their data")
    for request in requests:
        kind = request["kind"]
        if kind not in (LIKELIHOOD, ROLLING, TEXT):
            raise InvalidError("cannot-ask", f"a suite asks for {kind!r}, which is not known here", hint="leave it out")
        if kind == TEXT:
            generation_of(request)
        elif not request["continuation" if kind == LIKELIHOOD else "text"].strip():
            raise InvalidError(
                "cannot-ask",
                f"a suite asks how likely an empty text is, after {request.get('context', '')[-60:]!r}",
                hint="correct its choices",
            )


def generation_of(request: Request) -> Generation:
    """How an answer is wanted. Pure.

    Raises:
        InvalidError: ``cannot-ask``: it is to be drawn by chance, or ended in too many ways.
    """
    settings = request["settings"]
    if settings.get("do_sample") and settings.get("temperature", 1.0) > 0:
        raise InvalidError(
            "cannot-ask",
            "a suite wants answers that are drawn by chance, and here the likeliest ones are judged",
            hint="set do_sample: false in its task file",
        )
    stops = settings.get("until") or ()
    stops = tuple(stop for stop in ((stops,) if isinstance(stops, str) else stops) if stop)
    if len(stops) > _MOST_STOPS:
        raise InvalidError("cannot-ask", f"a suite ends its answers in {len(stops)} ways", hint="give fewer")
    return Generation(request["context"], stops, int(settings.get("max_gen_toks", _USUAL_TOKENS)))


def answers_of(
    found: Found, requests: Sequence[Request], setup: Setup, settings: EngineSettings, told: Told
) -> list[Any]:
    """An answer to each request, in their order, as the program that judges them reads it.

    Args:
        found: The model.
        requests: From `check_requests`.
        setup: How it is run.
        settings: Which engine.
        told: Told how far it is.

    Raises:
        InvalidError: The model cannot be used, or a question is too long for it.
        UnavailableError: Memory is short, or the model does not load.
    """
    answers: list[Any] = [None] * len(requests)
    for kind, answering in ((LIKELIHOOD, _likelihoods), (ROLLING, _rolling)):
        places = [place for place, request in enumerate(requests) if request["kind"] == kind]
        if places:
            note = f"reading suites with {found.subject.name}"
            reading = Reading(setup.context_tokens, has_marks=True, threads=setup.threads or None)
            given = answering(found, [requests[place] for place in places], reading, _reporting(told, note))
            for place, answer in zip(places, given, strict=True):
                answers[place] = answer
    places = [place for place, request in enumerate(requests) if request["kind"] == TEXT]
    if places:
        asked = [generation_of(requests[place]) for place in places]
        for place, text in zip(places, _texts(found, asked, setup, settings, told), strict=True):
            answers[place] = text
    return answers


def _likelihoods(
    found: Found, requests: Sequence[Request], reading: Reading, report: Report
) -> list[tuple[float, bool]]:
    """How likely each continuation is, in nats below 0, and whether it is what the model would say."""
    read = token_log_probabilities(
        found.path,
        [request["continuation"] for request in requests],
        reading,
        contexts=[request["context"] for request in requests],
        report=report,
    )
    return [(float(one.log_probabilities.sum()), bool(one.is_likeliest.all())) for one in read]


def _rolling(found: Found, requests: Sequence[Request], reading: Reading, report: Report) -> list[float]:
    """How likely each text is, in nats below 0."""
    read = token_log_probabilities(found.path, [request["text"] for request in requests], reading, report=report)
    return [float(one.log_probabilities.sum()) for one in read]


def _texts(found: Found, asked: Sequence[Generation], setup: Setup, settings: EngineSettings, told: Told) -> list[str]:
    """What the model goes on with, greedily, several at once."""
    note = f"asking suites of {found.subject.name}"
    check_room(found, setup, read_memory().available_bytes)
    told(0, len(asked), f"loading {found.subject.name}")
    texts: list[str] = []
    with (
        running(
            found.path, replace(setup, memory_limit_bytes=settings.memory_limit_bytes or None), settings
        ) as replica,
        ThreadPoolExecutor(max_workers=setup.slots, thread_name_prefix="suite") as pool,
    ):
        try:
            for text in pool.map(lambda one: _text(replica.endpoint, one, setup), asked):
                texts.append(text)
                told(len(texts), len(asked), note)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return texts


def _text(endpoint: wire.Endpoint, asked: Generation, setup: Setup) -> str:
    body = {
        "model": NAME,
        "prompt": asked.context,
        "max_tokens": asked.most_tokens,
        "stop": list(asked.stops),
        "temperature": 0,
        "seed": 1,
        "cache_prompt": False,
    }
    try:
        answer = wire.request(endpoint, "POST", "/v1/completions", body, timeout_seconds=setup.request_timeout_seconds)
        if answer.status == 200:
            return str(answer.json()["choices"][0]["text"])
        why = str(answer.json()["error"]["message"])
    except (OSError, ValueError, KeyError, TypeError, IndexError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        raise UnavailableError("engine-failed", f"a question of a suite was not answered: {why[:_SHOWN]}") from error
    raise InvalidError(
        "cannot-ask",
        f"the engine refuses a question of a suite, {json.dumps(asked.context[:60])} …: {why[:_SHOWN]}",
        hint="give fewer shots, a longer --context, or leave the suite out",
    )


def _reporting(told: Told, note: str) -> Report:
    return lambda done, total: told(done, total, note)
