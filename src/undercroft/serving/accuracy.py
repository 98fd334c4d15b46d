"""Forecasts beside what came: kept at every load and for every hour that was served, so that the next one is better.

At a load a replica has not touched all the memory that it will: compute buffers fill with the first long prompt. So
what is measured then is learnt from only where it is *more* than forecast; the peak of a replica that has computed a
whole piece of a prompt counts in full. Answers are compared by how many were made at once and over what context, each
with the terms of its forecast, so that reading, arithmetic, attention and overhead are learnt apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select

from undercroft.core.clock import from_iso, to_iso, utc_now
from undercroft.engines.contract import EngineMemory
from undercroft.hardware.measurements import newest
from undercroft.planning.calibration import Corrections, Kind, Pair, Quantity
from undercroft.planning.step_terms import StepTerms
from undercroft.serving.answer_rates import Answer, AnswerRate, answer_rates
from undercroft.serving.ledger import ReplicaForecast
from undercroft.storage.tables import forecasts, usage

_WHOLE_PIECE_TOKENS = 512
_FEWEST_ANSWER_TOKENS = 16
_READ_PAIRS = 2000
_TIMES = frozenset({Quantity.DECODE_TOKENS, Quantity.PREFILL_TOKENS, Quantity.LOAD_SECONDS})
_BASES_OF_TIMES = frozenset({"memory-bandwidth", "matrix", "matrix-vector", "disk-read"})


@dataclass(frozen=True, slots=True)
class Served:
    """What a replica did in a stretch of time.

    Args:
        requests: That it answered; count.
        longest_prompt_tokens: Of them.
        rates: Of answers, by how many were made at once and over what context; empty with too few of them.
    """

    requests: int
    longest_prompt_tokens: int
    rates: tuple[AnswerRate, ...] = ()


@dataclass(frozen=True, slots=True)
class Observation:
    """A pair, and whether what was measured is all that there will be."""

    pair: Pair
    is_whole: bool


def at_load(forecast: ReplicaForecast, memory: EngineMemory | None, load_seconds: float | None) -> list[Observation]:
    """Observations of a replica that has just become ready.

    Args:
        forecast: As made before.
        memory: As measured after its first request.
        load_seconds: From its start until it answered; None for one that was adopted.
    """
    measured: dict[Quantity, float | None] = {Quantity.LOAD_SECONDS: load_seconds}
    if memory is not None:
        measured |= {Quantity.PRIVATE_BYTES: memory.private_bytes, Quantity.FILE_BYTES: memory.file_bytes}
        if memory.gpu_bytes:
            measured[Quantity.GPU_BYTES] = sum(memory.gpu_bytes.values())
    return _observations(forecast, measured, unfinished={Quantity.PRIVATE_BYTES, Quantity.FILE_BYTES})


def in_service(forecast: ReplicaForecast, peak: EngineMemory | None, served: Served) -> list[Observation]:
    """Observations of a replica that has served for a while.

    Args:
        forecast: As made before it was loaded.
        peak: The most that it held.
        served: What it did meanwhile.
    """
    measured: dict[Quantity, float | None] = {}
    if peak is not None and served.requests:
        measured[Quantity.PRIVATE_BYTES] = peak.private_bytes
    is_whole = served.longest_prompt_tokens >= _WHOLE_PIECE_TOKENS
    held = _observations(forecast, measured, unfinished=set() if is_whole else {Quantity.PRIVATE_BYTES})
    return [*held, *_answered(forecast, served.rates)]


def _answered(forecast: ReplicaForecast, rates: Iterable[AnswerRate]) -> list[Observation]:
    """Each rate beside what was forecast for as many answers at once over the same context."""
    answers, kind = forecast.answers, forecast.kind
    if answers is None or kind is None:
        return []
    found = []
    for rate in rates:
        terms = answers.terms(rate.sequences, rate.context_tokens)
        corrected = 1 / answers.seconds(rate.sequences, rate.context_tokens)
        came = rate.tokens_per_second
        pair = Pair(kind, Quantity.DECODE_TOKENS, 1 / terms.total, corrected, came, terms=terms)
        found.append(Observation(pair, is_whole=True))
    return found


def _observations(
    forecast: ReplicaForecast, measured: Mapping[Quantity, float | None], *, unfinished: set[Quantity]
) -> list[Observation]:
    if forecast.kind is None:
        return []
    found = []
    for quantity, value in measured.items():
        figure = forecast.figures.get(quantity)
        if value and figure is not None and figure.plain > 0:
            pair = Pair(forecast.kind, quantity, figure.plain, figure.corrected, float(value))
            found.append(Observation(pair, quantity not in unfinished))
    return found


def served(connection: Connection, replica_id: str, since: str) -> Served:
    """What a replica did since a moment (ISO 8601, UTC), out of the usage rows."""
    rows = connection.execute(
        select(
            usage.c.at,
            usage.c.prompt_tokens,
            usage.c.completion_tokens,
            usage.c.first_token_seconds,
            usage.c.total_seconds,
        ).where(usage.c.replica == replica_id, usage.c.at >= since, usage.c.status == 200)
    ).all()
    answers = [answer for answer in map(_answer, rows) if answer is not None]
    longest = max((row.prompt_tokens or 0 for row in rows), default=0)
    return Served(len(rows), longest, tuple(answer_rates(answers)))


def _answer(row: Any) -> Answer | None:
    """After its first token; None where the answer was too short, or nobody saw its first token."""
    if row.first_token_seconds is None or (row.completion_tokens or 0) < _FEWEST_ANSWER_TOKENS:
        return None
    seconds = row.total_seconds - row.first_token_seconds
    if seconds <= 0:
        return None
    ended = from_iso(row.at).timestamp()
    context = (row.prompt_tokens or 0) + row.completion_tokens / 2
    return Answer(ended - seconds, ended, row.completion_tokens - 1, context)


def keep(
    connection: Connection, observations: Iterable[Observation], *, deployment: str, model_digest: str | None
) -> None:
    """Writes observations down."""
    at = to_iso(utc_now())
    rows = [
        {
            "at": at,
            "deployment": deployment,
            "model_digest": model_digest,
            "engine": o.pair.kind.engine,
            "architecture": o.pair.kind.architecture,
            "quantization": o.pair.kind.quantization,
            "device": o.pair.kind.device,
            "quantity": o.pair.quantity.value,
            "plain": o.pair.plain,
            "forecast": o.pair.forecast,
            "measured": o.pair.measured,
            "detail": {"is_whole": o.is_whole, **({"terms": o.pair.terms.seconds} if o.pair.terms else {})},
        }
        for o in observations
    ]
    if rows:
        connection.execute(insert(forecasts), rows)


def read_pairs(connection: Connection) -> list[Pair]:
    """The newest pairs that can be compared, oldest first: whole ones, and those that came out above their forecast."""
    return [_pair(row) for row in _newest(connection) if _is_comparable(row)]


def read_unfinished(connection: Connection) -> list[Pair]:
    """The newest pairs whose measurement is not all that there will be, and was below the forecast; oldest first.

    Nothing is learnt from them: they say only that reality is at least so much.
    """
    return [_pair(row) for row in _newest(connection) if not _is_comparable(row)]


def _newest(connection: Connection) -> list[Row[Any]]:
    rows = connection.execute(select(forecasts).order_by(forecasts.c.id.desc()).limit(_READ_PAIRS)).all()
    return list(reversed(rows))


def _is_comparable(row: Row[Any]) -> bool:
    return bool(row.detail.get("is_whole")) or row.measured > row.plain


def read_corrections(connection: Connection) -> Corrections:
    """What all of them teach.

    Forecasts of time rest on what ``undercroft hardware measure`` found. Once that is measured again they are made from
    new figures, and what was learnt of the old ones would correct them a second time: it is passed over. So are answers
    whose forecast did not tell its terms: the formula was another one.
    """
    bases = [one.at for one in newest(connection) if one.kind in _BASES_OF_TIMES]
    since = max(bases, default="")
    return Corrections(pair for pair in read_pairs(connection) if _is_of_now(pair, since))


def _is_of_now(pair: Pair, since: str) -> bool:
    if pair.quantity is Quantity.DECODE_TOKENS and pair.terms is None:
        return False
    return pair.quantity not in _TIMES or pair.at >= since


def _pair(row: Row[Any]) -> Pair:
    kind = Kind(row.engine, row.device, row.architecture, row.quantization)
    terms = row.detail.get("terms")
    made_of = StepTerms(*terms) if terms else None
    return Pair(kind, Quantity(row.quantity), row.plain, row.forecast, row.measured, row.at, made_of)
