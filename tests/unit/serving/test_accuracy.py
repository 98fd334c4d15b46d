"""Forecasts beside what came."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import insert

from tests.unit.planning.published import LLAMA_8B
from undercroft.engines.contract import EngineMemory
from undercroft.hardware.measurements import Measurement, store
from undercroft.planning.calibration import Kind, Pair, Quantity
from undercroft.planning.forecasts import Workload
from undercroft.planning.speed import decode_forecast
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.serving import accuracy
from undercroft.serving.answer_rates import AnswerRate
from undercroft.serving.ledger import Figure, ReplicaForecast
from undercroft.storage.database import Database
from undercroft.storage.tables import usage

HOST = Pool("host", "EPYC", "cpu", 2**37, 2**37, Rate(3e11, 3e11, 3e11, ""), {"fp32": Rate(4e12, 4e12, 4e12, "")})
TARGET = Target("test", HOST, (), Rate(2e9, 1e9, 3e9, ""))
KIND = Kind("llama.cpp", "EPYC", "llama", "Q8_0")
FORECAST = ReplicaForecast(
    100,
    50,
    kind=KIND,
    figures={
        Quantity.PRIVATE_BYTES: Figure(100.0, 100.0),
        Quantity.FILE_BYTES: Figure(50.0, 50.0),
    },
    answers=decode_forecast(LLAMA_8B, Workload(quantization="Q8_0"), TARGET, 0),
)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "state.db")


def keep(database: Database, seen: list[accuracy.Observation]) -> None:
    with database.write() as connection:
        accuracy.keep(connection, seen, deployment="bot", model_digest="sha256:0")


def factor(database: Database, quantity: Quantity) -> float:
    assert FORECAST.answers is not None
    terms = FORECAST.answers.terms(1, 100.0) if quantity is Quantity.DECODE_TOKENS else None
    with database.read() as connection:
        return accuracy.read_corrections(connection).correction(KIND, quantity, terms).factor


def plain(sequences: int, context_tokens: float) -> float:
    assert FORECAST.answers is not None
    return 1 / FORECAST.answers.terms(sequences, context_tokens).total


def answer(replica: str, prompt: int, completion: int, seconds: float, at: str = "2026-11-21T10:00:00.000Z") -> dict:
    return {
        "at": at,
        "request_id": "r",
        "key_id": "k",
        "deployment": "bot",
        "replica": replica,
        "route": "chat",
        "status": 200,
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "queue_seconds": 0.0,
        "first_token_seconds": 1.0,
        "total_seconds": 1.0 + seconds,
    }


def test_less_memory_at_load_teaches_nothing(database: Database) -> None:
    """A replica that has not computed a long prompt yet holds less than it will: the next forecast stays."""
    keep(database, accuracy.at_load(FORECAST, EngineMemory(70, 50), None))
    assert factor(database, Quantity.PRIVATE_BYTES) == 1.0


def test_more_memory_at_load_teaches_at_once(database: Database) -> None:
    """A replica that took more than forecast raises the next forecast of its kind."""
    keep(database, accuracy.at_load(FORECAST, EngineMemory(120, 50), None))
    assert 1.1 < factor(database, Quantity.PRIVATE_BYTES) <= 1.2


def test_the_peak_after_a_whole_piece_teaches_downwards_too(database: Database) -> None:
    """Once a prompt filled the buffers, less than forecast lowers the next forecast; a short prompt does not."""
    short = accuracy.in_service(FORECAST, EngineMemory(80, 50), accuracy.Served(3, 100))
    keep(database, short)
    assert factor(database, Quantity.PRIVATE_BYTES) == 1.0
    keep(database, accuracy.in_service(FORECAST, EngineMemory(80, 50), accuracy.Served(3, 600)))
    assert 0.8 <= factor(database, Quantity.PRIVATE_BYTES) < 0.9


def test_speed_is_that_of_the_fastest_answers(database: Database) -> None:
    """Of ten answers, one after the other, the fastest tenth counts; other replicas, short and earlier ones do not."""
    rows = [answer("rep_a", 10, 21, 20 / rate, at=f"2026-11-21T10:00:{rate}.000Z") for rate in range(10, 20)]
    rows += [answer("rep_b", 10, 21, 0.01), answer("rep_a", 900, 5, 0.01)]
    rows += [answer("rep_a", 10, 21, 0.01, at="2026-11-20T10:00:00.000Z")]
    with database.write() as connection:
        connection.execute(insert(usage), rows)
        found = accuracy.served(connection, "rep_a", "2026-11-21T00:00:00.000Z")
    (rate,) = found.rates
    assert rate.tokens_per_second == pytest.approx(19.0)
    assert rate.context_tokens == 20.5
    assert (found.requests, found.longest_prompt_tokens) == (11, 900)


def test_too_few_answers_say_nothing_of_speed(database: Database) -> None:
    """Four answers are no measurement."""
    with database.write() as connection:
        connection.execute(insert(usage), [answer("rep_a", 10, 21, 1.0)] * 4)
        assert accuracy.served(connection, "rep_a", "2026").rates == ()


def test_answers_made_at_once_are_compared_with_a_forecast_for_as_many(database: Database) -> None:
    """Five at once, alike: what came stands beside the rate of five over their context, terms and all."""
    with database.write() as connection:
        connection.execute(insert(usage), [answer("rep_a", 500, 201, 10.0)] * 5)
        did = accuracy.served(connection, "rep_a", "2026")
    keep(database, accuracy.in_service(FORECAST, None, did))
    with database.read() as connection:
        (pair,) = accuracy.read_pairs(connection)
    assert (pair.quantity, pair.measured) == (Quantity.DECODE_TOKENS, pytest.approx(20.0))
    assert pair.plain == pair.forecast == pytest.approx(plain(5, 600.5))
    assert pair.terms is not None
    assert pair.terms.total == pytest.approx(1 / pair.plain)


def test_answers_of_an_earlier_formula_are_not_learnt_from(database: Database) -> None:
    """A pair whose forecast did not tell its terms stays in the history and corrects nothing."""
    old = Pair(KIND, Quantity.DECODE_TOKENS, 100.0, 100.0, 50.0)
    keep(database, [accuracy.Observation(old, True)])
    assert factor(database, Quantity.DECODE_TOKENS) == 1.0
    with database.read() as connection:
        assert accuracy.read_pairs(connection)[0].measured == 50.0


def test_measuring_the_machine_again_forgets_speeds_and_keeps_memory(database: Database) -> None:
    """A forecast that is made from new figures is not corrected by what was learnt of the old ones."""
    slow = AnswerRate(1, 100.0, plain(1, 100.0) / 2)
    seen = accuracy.in_service(FORECAST, EngineMemory(80, 50), accuracy.Served(30, 600, (slow,)))
    keep(database, seen)
    assert factor(database, Quantity.DECODE_TOKENS) < 0.7
    found = Measurement("memory-bandwidth", "EPYC", 30e9, "read, all threads")
    store(database, [found], actor="test", at=datetime(2100, 1, 1, tzinfo=UTC))
    assert factor(database, Quantity.DECODE_TOKENS) == 1.0
    assert factor(database, Quantity.PRIVATE_BYTES) < 0.9
    with database.read() as connection:
        assert len(accuracy.read_pairs(connection)) == len(seen)


def test_less_than_forecast_at_load_is_kept_as_a_lower_bound(database: Database) -> None:
    """What a replica held right after loading is told apart from what can be compared."""
    keep(database, accuracy.at_load(FORECAST, EngineMemory(70, 60), None))
    with database.read() as connection:
        unfinished, compared = accuracy.read_unfinished(connection), accuracy.read_pairs(connection)
    assert [(pair.quantity, pair.measured) for pair in unfinished] == [(Quantity.PRIVATE_BYTES, 70.0)]
    assert [pair.quantity for pair in compared] == [Quantity.FILE_BYTES]


def test_a_guess_teaches_nothing() -> None:
    """A forecast from the size of a file has no kind, so nothing is learnt from it."""
    guess = ReplicaForecast(100, 50)
    assert accuracy.at_load(guess, EngineMemory(300, 50), 1.0) == []
