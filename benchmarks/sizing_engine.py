"""Loads a file in the real engine, asks it long prompts, and looks at its memory all the while."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.processes import MissingError
from benchmarks.sizing_models import Load
from undercroft.catalog.shapes import ModelShape
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import EngineMemory, EngineRecord, EngineSpec, Health, Task
from undercroft.engines.llamacpp import LlamaCpp

# 0 is what a replica takes; 1 computes faster where other programs hold the cores, and takes the same memory.
THREADS = 0
_LOOK_SECONDS = 0.02
_START_SECONDS, _ANSWER_SECONDS = 180.0, 1200.0
_ANSWER_TOKENS = 8
# A piece is 512 tokens. One slot is asked a piece and a little more, several together two pieces and more: what a
# prompt of any length writes has then been written, but for the mask over the rest of the context.
_PROMPT_TOKENS, _PROMPTS_TOKENS, _SHORTEST_TOKENS = 576, 1152, 80
# Turns of one conversation: each adds snapshots of a slot where the network has a sliding window or keeps a state.
_TURN_TOKENS, _FORGETFUL_TURNS = 40, 5
_FIRST_TOKEN_ID = 300


@dataclass(slots=True)
class Measured:
    """What was seen.

    Args:
        private_bytes: Largest private memory of the engine's process.
        file_bytes: Mapped pages at the end; more is mapped for a moment while it loads.
        total_bytes: Largest sum of both at one time.
        load_seconds: From the start to the first healthy look.
        decode_tokens: A second, of one slot; None for an encoder.
        prefill_tokens: A second, of one slot; None for an encoder.
        prompt_tokens: Asked of each slot.
    """

    private_bytes: int = 0
    file_bytes: int = 0
    total_bytes: int = 0
    load_seconds: float = 0.0
    decode_tokens: float | None = None
    prefill_tokens: float | None = None
    prompt_tokens: int = 0
    answers: list[dict[str, Any]] = field(default_factory=list)


def measure(path: Path, model: ModelShape, load: Load) -> Measured:
    """Loads, asks every slot at once, and stops.

    Args:
        path: The model.
        model: Its shape.
        load: How it is loaded.

    Raises:
        MissingError: The engine did not start or did not answer.
    """
    with tempfile.TemporaryDirectory(prefix="undercroft-sizing-") as folder:
        engine, found = LlamaCpp(EngineSettings()), Measured()
        begun = time.monotonic()
        record = engine.start(_spec(Path(folder), path, model, load))
        try:
            _wait(engine, record, found)
            found.load_seconds = time.monotonic() - begun
            _ask(engine, record, model, load, found)
        finally:
            engine.stop(record, grace_seconds=2.0)
    return found


def _spec(folder: Path, path: Path, model: ModelShape, load: Load) -> EngineSpec:
    kind = load.cache_type
    return EngineSpec(
        replica_id="rep_sizing000000",
        name="sizing",
        task=Task.EMBED if model.is_encoder else Task.GENERATE,
        run_dir=folder / "run",
        log_path=folder / "engine.log",
        model_path=path,
        context_tokens=load.context_tokens,
        slots=load.slots,
        threads=THREADS,
        gpu_layers=0,
        cache_type="q8_0" if kind == "q8_0" else "q4_0" if kind == "q4_0" else "f16",
    )


def _look(engine: LlamaCpp, record: EngineRecord, found: Measured) -> None:
    seen: EngineMemory | None = engine.memory(record)
    if seen is None:
        return
    found.private_bytes = max(found.private_bytes, seen.private_bytes)
    found.total_bytes = max(found.total_bytes, seen.private_bytes + seen.file_bytes)
    found.file_bytes = seen.file_bytes


def _wait(engine: LlamaCpp, record: EngineRecord, found: Measured) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        health = engine.look(record, timeout_seconds=5.0)
        _look(engine, record, found)
        if health is Health.HEALTHY:
            return
        if health is Health.DEAD:
            raise MissingError(f"the engine ended: {engine.failure(record)}")
        time.sleep(_LOOK_SECONDS)
    raise MissingError(f"the engine was not ready after {_START_SECONDS:g} s")


def _ask(engine: LlamaCpp, record: EngineRecord, model: ModelShape, load: Load, found: Measured) -> None:
    """All slots at once, as many turns as it takes; the memory is looked at meanwhile."""
    endpoint = wire.endpoint_of(record)
    turns = _FORGETFUL_TURNS if model.window_layers or model.recurrent_layers else 1
    found.prompt_tokens = _prompt_tokens(model, load, turns)
    answers: list[wire.Answer] = []

    def converse(slot: int) -> None:
        for path, body in _requests(model, found.prompt_tokens, turns, slot):
            answers.append(wire.request(endpoint, "POST", path, body, timeout_seconds=_ANSWER_SECONDS))

    threads = [threading.Thread(target=converse, args=(slot,)) for slot in range(load.slots)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        _look(engine, record, found)
        time.sleep(_LOOK_SECONDS)
    _look(engine, record, found)
    if len(answers) != turns * load.slots or any(answer.status != 200 for answer in answers):
        raise MissingError(f"the engine answered {[answer.status for answer in answers]}: {answers[:1]}")
    _note_speed(answers, model, found)


def _prompt_tokens(model: ModelShape, load: Load, turns: int) -> int:
    """Of each slot; an encoder computes its whole text in one piece, so that only a full one shows the peak."""
    if model.is_encoder:
        return load.context_tokens
    most = load.context_tokens - turns * (_TURN_TOKENS + _ANSWER_TOKENS)
    if load.is_filled:
        return most
    wanted = _PROMPT_TOKENS if load.slots == 1 else max(_SHORTEST_TOKENS, _PROMPTS_TOKENS // load.slots)
    # A snapshot keeps the cells of a window that are taken: a shorter prompt does not show what it comes to.
    return min(max(wanted, model.window_tokens + _TURN_TOKENS if model.window_layers else 0), most)


def _requests(model: ModelShape, tokens: int, turns: int, slot: int) -> list[tuple[str, dict[str, Any]]]:
    """One conversation; each turn repeats what was said and adds to it."""
    if model.is_encoder:
        return [("/v1/embeddings", {"input": _tokens(model, tokens, slot)})]
    prompt, found = _tokens(model, tokens, slot), []
    for turn in range(turns):
        body = {"prompt": prompt, "n_predict": _ANSWER_TOKENS, "ignore_eos": True, "id_slot": slot}
        found.append(("/completion", body))
        prompt = prompt + _tokens(model, _TURN_TOKENS, 1000 + turn)
    return found


def _tokens(model: ModelShape, count: int, seed: int) -> list[int]:
    source = random.Random(seed)
    return [source.randrange(_FIRST_TOKEN_ID, model.vocabulary - 10) for _ in range(count)]


def _note_speed(answers: list[wire.Answer], model: ModelShape, found: Measured) -> None:
    if model.is_encoder:
        return
    timings = [answer.json().get("timings") or {} for answer in answers]
    decode = [t["predicted_per_second"] for t in timings if t.get("predicted_per_second")]
    prefill = [t["prompt_per_second"] for t in timings if t.get("prompt_n", 0) > _TURN_TOKENS * 2]
    found.decode_tokens = sum(decode) / len(decode) if decode else None
    found.prefill_tokens = sum(prefill) / len(prefill) if prefill else None
