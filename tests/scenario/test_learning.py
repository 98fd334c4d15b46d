"""A forecast that met reality makes the next one better. The engine is a fake whose speed is given, and a process."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from benchmarks import sizing_files
from sqlalchemy import func, select

from tests.support import fake_llama_server
from tests.support.server import Server, wait_for
from tests.unit.planning.published import llama
from undercroft.core.home import Home
from undercroft.hardware.detection import detect
from undercroft.hardware.measurements import Measurement, store
from undercroft.planning.calibration import Pair, Quantity
from undercroft.serving.accuracy import read_pairs
from undercroft.storage.database import Database
from undercroft.storage.tables import usage

# 104 million weights of two bytes at 3 GB/s: about 14 tokens a second are forecast. The fake gives five.
SHAPE = llama(12, 768, 12, 4, 3072, 1000)
BANDWIDTH = 3e9
WORDS = " ".join(["SLOW", *(f"word{number}" for number in range(17))])
REQUESTS = 6


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server whose memory is said to be slow, with a model of real size and an engine that is slower still."""
    program = fake_llama_server.install(tmp_path / "program")
    server = Server(tmp_path / "home", UNDERCROFT_ENGINES__LLAMA_SERVER=str(program))
    try:
        sizing_files.write(tmp_path / "bot.gguf", SHAPE, "F16")
        server.run("model", "pull", str(tmp_path / "bot.gguf"), "--name", "bot")
        server.run("deployment", "create", "bot", "--context", "512", "--slots", str(REQUESTS))
        processor = detect(server.home).processor.name
        found = Measurement("memory-bandwidth", processor, BANDWIDTH, "read, all threads")
        store(Database(Home(server.home).database_file), [found], actor="test")
        server.up()
        yield server
    finally:
        server.down()


def _serve(server: Server) -> None:
    """Streamed answers of seventeen words to several clients, then an end, at which the server looks back on what the
    door has told it by then."""
    server.wait_ready("bot")
    before = _answered(server)

    def ask(_number: int) -> str:
        stream = client.completions.create(model="bot", prompt=WORDS, stream=True)
        return "".join(chunk.choices[0].text for chunk in stream if chunk.choices)

    with server.client() as client, ThreadPoolExecutor(REQUESTS) as pool:
        assert [answer.split() for answer in pool.map(ask, range(REQUESTS))] == [WORDS.split()] * REQUESTS
    wait_for(lambda: _answered(server) == before + REQUESTS, "all to be counted")
    server.run("deployment", "stop", "bot")


def _answered(server: Server) -> int:
    with Database(Home(server.home).database_file).read() as connection:
        return connection.execute(select(func.count()).select_from(usage)).scalar_one()


def _speeds(server: Server) -> list[Pair]:
    with Database(Home(server.home).database_file).read() as connection:
        return [pair for pair in read_pairs(connection) if pair.quantity is Quantity.DECODE_TOKENS]


def _error(forecast: float, measured: float) -> float:
    return abs(math.log(forecast / measured))


def test_the_second_forecast_of_a_deployment_is_closer(server: Server) -> None:
    """The first forecast knows nothing of this engine; what was served in between corrects the second one, and
    `plan accuracy` shows both."""
    _serve(server)
    wait_for(lambda: len(_speeds(server)) == 1, "the first hour to be compared")
    server.run("deployment", "start", "bot")
    _serve(server)
    wait_for(lambda: len(_speeds(server)) == 2, "the second one to be compared")
    first, second = _speeds(server)
    assert first.forecast == first.plain
    assert first.plain > 2 * first.measured
    assert second.plain == pytest.approx(first.plain, rel=0.4)  # not corrected; as many at once, or a few fewer
    assert _error(second.forecast, second.measured) < _error(first.forecast, first.measured) / 2
    (told,) = [one for one in server.json("plan", "accuracy") if one["quantity"] == "decode_tokens"]
    assert told["pairs"] == 2
    assert told["median_error_after_ratio"] < told["median_error_before_ratio"]
