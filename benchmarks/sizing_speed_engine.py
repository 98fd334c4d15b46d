"""Loads a file in the real engine and takes its rates: answers to one and to several at once, prompts, loading."""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.processes import MissingError
from undercroft.catalog.shapes import ModelShape
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import EngineRecord, EngineSpec, Health, Task
from undercroft.engines.llamacpp import LlamaCpp

SLOTS = 4
CONTEXT_TOKENS = 2304
_START_SECONDS, _ANSWER_SECONDS, _LOOK_SECONDS = 180.0, 600.0, 0.01
_SHORT_PROMPT_TOKENS, _SHORT_ANSWER_TOKENS, _LONG_ANSWER_TOKENS = 32, 33, 17
_FIRST_TOKEN_ID = 300


@dataclass(frozen=True, slots=True)
class Case:
    """One question to a loaded model.

    Args:
        is_decode: The rate of the answer counts; false: that of the prompt.
        streams: Asked at the same time; count.
        prompt_tokens: Of each.
        answer_tokens: Of each.
    """

    is_decode: bool
    streams: int
    prompt_tokens: int
    answer_tokens: int

    @property
    def name(self) -> str:
        """``decode, 2 streams``, ``prefill of 512`` …"""
        if not self.is_decode:
            return f"prefill of {self.prompt_tokens}"
        if self.prompt_tokens > _SHORT_PROMPT_TOKENS:
            return f"decode after {self.prompt_tokens}"
        return f"decode, {self.streams} stream{'s' if self.streams > 1 else ''}"


SHORT = tuple(Case(True, streams, _SHORT_PROMPT_TOKENS, _SHORT_ANSWER_TOKENS) for streams in (1, 2, 4))
PIECE = Case(False, 1, 512, 1)
LONG = Case(False, 1, 2048, _LONG_ANSWER_TOKENS)
AFTER_LONG = Case(True, 1, 2048, _LONG_ANSWER_TOKENS)
# Enough for the kernels of long prompts, and short enough where only a part of one core can be had.
SHORT_PIECE = Case(False, 1, 160, 1)
_FEW_TOKENS = 7
CASES = (*SHORT, PIECE, LONG, AFTER_LONG)


def long_cases(model: ModelShape) -> tuple[Case, Case]:
    """The long prompt and the answer after it; shorter for a network whose context cannot hold both.

    Args:
        model: Its shape.
    """
    tokens = min(LONG.prompt_tokens, model.context_tokens - _LONG_ANSWER_TOKENS - 1)
    return replace(LONG, prompt_tokens=tokens), replace(AFTER_LONG, prompt_tokens=tokens)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long one model is asked.

    Args:
        seconds: After which no further round begins.
        least_rounds: Whatever they take.
        most_rounds: However short they are.
    """

    seconds: float
    least_rounds: int
    most_rounds: int


@dataclass(slots=True)
class Rates:
    """What was seen.

    Args:
        load_seconds: From the start to the first healthy look, with the file out of the cache.
        samples: Case → tokens a second of one stream, one entry a round.
    """

    load_seconds: float = 0.0
    samples: dict[Case, list[float]] = field(default_factory=dict)

    def rate(self, case: Case) -> float:
        """The median of the faster half: whatever else runs on the machine only ever slows an engine down."""
        ordered = sorted(self.samples[case], reverse=True)
        return statistics.median(ordered[: (len(ordered) + 1) // 2])

    def spread(self, case: Case) -> float:
        """How far the slowest round lay below the fastest, as a ratio; 0 is no spread."""
        return 1 - min(self.samples[case]) / max(self.samples[case])


def measure(path: Path, model: ModelShape, effort: Effort) -> Rates:
    """Loads from the disk, asks round after round, and stops.

    Args:
        path: The model.
        model: Its shape.
        effort: How long.

    Raises:
        MissingError: The engine did not start or did not answer.
    """
    found = Rates()
    _drop_from_cache(path)
    with _running(path, found) as record:
        endpoint = wire.endpoint_of(record)
        _touch(endpoint, model)
        begun = time.monotonic()
        for number in range(effort.most_rounds):
            if number >= effort.least_rounds and time.monotonic() - begun > effort.seconds:
                break
            for case, rate in _round(endpoint, model, seed=number).items():
                found.samples.setdefault(case, []).append(rate)
    return found


def measure_processor_time(path: Path, model: ModelShape, *, rounds: int) -> Rates:
    """The same with one thread, in seconds of that thread's own processor time: waiting for a core is not counted.

    Args:
        path: The model.
        model: Its shape.
        rounds: Of each case.

    Returns:
        Answers of one, two and four sequences, and a prompt of `SHORT_PIECE`.

    Raises:
        MissingError: The engine did not start or did not answer.
    """
    found = Rates()
    with _running(path, found, threads=1) as record:
        endpoint, pids = wire.endpoint_of(record), machine.tree(record.pid or 0)

        def spent(bodies: Sequence[dict[str, Any]]) -> float:
            before = machine.cpu_seconds(pids)
            _ask(endpoint, bodies)
            return machine.cpu_seconds(pids) - before

        for slot in range(SLOTS):
            _ask(endpoint, [_body(model, SHORT[0], 0, slot, is_cached=True)])
        for number in range(rounds):
            for case in SHORT:
                bodies = [_body(model, case, 0, slot, is_cached=True) for slot in range(case.streams)]
                beginning = spent([{**body, "n_predict": 1} for body in bodies])
                whole = spent([{**body, "n_predict": _FEW_TOKENS} for body in bodies])
                found.samples.setdefault(case, []).append((_FEW_TOKENS - 1) / (whole - beginning))
            seconds = spent([_body(model, SHORT_PIECE, number + 1, 0, is_cached=False)])
            found.samples.setdefault(SHORT_PIECE, []).append(SHORT_PIECE.prompt_tokens / seconds)
    return found


def _drop_from_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


@contextmanager
def _running(path: Path, found: Rates, *, threads: int = 0) -> Iterator[EngineRecord]:
    """The engine as a replica runs it; with 0 as many threads as a replica takes."""
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        engine = LlamaCpp(EngineSettings())
        spec = EngineSpec(
            replica_id="rep_sizing000000",
            name="sizing",
            task=Task.GENERATE,
            run_dir=Path(folder, "run"),
            log_path=Path(folder, "engine.log"),
            model_path=path,
            context_tokens=CONTEXT_TOKENS,
            slots=SLOTS,
            threads=threads,
            gpu_layers=0,
        )
        begun = time.monotonic()
        record = engine.start(spec)
        try:
            until = begun + _START_SECONDS
            while (health := engine.look(record, timeout_seconds=5.0)) is not Health.HEALTHY:
                if health is Health.DEAD:
                    raise MissingError(f"the engine ended: {engine.failure(record)}")
                if time.monotonic() > until:
                    raise MissingError(f"the engine was not ready after {_START_SECONDS:g} s")
                time.sleep(_LOOK_SECONDS)
            found.load_seconds = time.monotonic() - begun
            yield record
        finally:
            engine.stop(record, grace_seconds=2.0)


def _touch(endpoint: wire.Endpoint, model: ModelShape) -> None:
    """Reads every page and fills every buffer once, before anything counts."""
    for case in (PIECE, SHORT[-1]):
        _ask(endpoint, [_body(model, case, 1000, slot, is_cached=False) for slot in range(case.streams)])


def _round(endpoint: wire.Endpoint, model: ModelShape, seed: int) -> dict[Case, float]:
    """Every case once; the long prompt, which takes longer than all others together, in every other round."""
    found = {case: _decode(endpoint, model, case, seed) for case in SHORT}
    (piece,) = _ask(endpoint, [_body(model, PIECE, seed, 0, is_cached=False)])
    found[PIECE] = _prompt_rate(piece)
    if seed % 2 == 0:
        prompt, after = long_cases(model)
        (long,) = _ask(endpoint, [_body(model, prompt, seed, 0, is_cached=False)])
        found |= {prompt: _prompt_rate(long), after: _answer_rate(long)}
    return found


def _decode(endpoint: wire.Endpoint, model: ModelShape, case: Case, seed: int) -> float:
    """Answers to prompts that lie in the cache already, so that nobody waits for another one's prompt."""
    bodies = [_body(model, case, seed, slot, is_cached=True) for slot in range(case.streams)]
    for body in bodies:
        _ask(endpoint, [{**body, "n_predict": 1}])
    return statistics.fmean(map(_answer_rate, _ask(endpoint, bodies)))


def _body(model: ModelShape, case: Case, seed: int, slot: int, *, is_cached: bool) -> dict[str, Any]:
    source = random.Random(f"{seed} {slot} {case.prompt_tokens}")
    tokens = [source.randrange(_FIRST_TOKEN_ID, model.vocabulary - 10) for _ in range(case.prompt_tokens)]
    count = case.answer_tokens
    return {"prompt": tokens, "n_predict": count, "ignore_eos": True, "id_slot": slot, "cache_prompt": is_cached}


def _ask(endpoint: wire.Endpoint, bodies: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The engine's own timings of requests that are sent at the same time."""
    answers: dict[int, wire.Answer] = {}

    def ask(index: int) -> None:
        answers[index] = wire.request(endpoint, "POST", "/completion", bodies[index], timeout_seconds=_ANSWER_SECONDS)

    threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(answers) != len(bodies) or any(answer.status != 200 for answer in answers.values()):
        raise MissingError(f"the engine answered {[(a.status, a.body[:200]) for a in answers.values()]}")
    return [answers[index].json()["timings"] for index in range(len(bodies))]


def _answer_rate(timings: dict[str, Any]) -> float:
    """The engine's clock starts with the first token, so there is one step less than tokens."""
    return float((timings["predicted_n"] - 1) / (timings["predicted_ms"] / 1000))


def _prompt_rate(timings: dict[str, Any]) -> float:
    return float(timings["prompt_n"] / (timings["prompt_ms"] / 1000))
