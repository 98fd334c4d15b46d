"""The contract of engines, kept by ONNX Runtime: the environment is really installed, the models are tiny."""

from __future__ import annotations

import base64
import random
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.contract.test_engines import (
    test_becomes_healthy_by_loading,
    test_idle_is_not_busy,
    test_killed_is_dead,
    test_memory_is_that_of_the_process,
    test_refuses_what_it_cannot_start,
    test_start_leaves_its_record,
    test_stop_ends_what_does_not_listen,
    test_stop_leaves_nothing_and_may_be_repeated,
    test_stopped_by_a_signal_is_silent,
)
from tests.support.engines import Bench, healthy, replica_processes, wait_until
from tests.support.environments import Environments
from undercroft.core.errors import InvalidError
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import Adapter, EngineRecord, EngineSpec, Health, Task
from undercroft.engines.encoder.folder import files_in, read_encoder
from undercroft.engines.onnxruntime import OnnxRuntime
from undercroft.environments.installed import Environment
from undercroft.optimize.triton.configs import Ordered
from undercroft.optimize.triton.making import Order, make_repository
from undercroft.registry.inspection.onnx_signature import read_signature

__all__ = [
    "test_becomes_healthy_by_loading",
    "test_idle_is_not_busy",
    "test_killed_is_dead",
    "test_memory_is_that_of_the_process",
    "test_refuses_what_it_cannot_start",
    "test_start_leaves_its_record",
    "test_stop_ends_what_does_not_listen",
    "test_stop_leaves_nothing_and_may_be_repeated",
    "test_stopped_by_a_signal_is_silent",
]
pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

_TINY = Path(__file__).parents[1] / "support" / "tiny_encoder.py"
_PATHS = {Task.EMBED: "/v1/embeddings", Task.RERANK: "/v1/rerank", Task.CLASSIFY: "/v1/classify"}


@pytest.fixture(scope="module")
def environment(environments: Environments) -> Environment:
    """The environment ``onnxruntime``, really installed; it takes a quarter of a gigabyte."""
    return environments.installed("onnxruntime")


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="uc-") as folder:
        yield Path(folder)


def made(environment: Environment, task: Task, folder: Path, *form: str) -> Bench:
    """A tiny model of a task, and what it would be started with."""
    command = [str(environment.python), str(_TINY), str(task), str(folder / "model"), *form]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    replica_id = new_id("rep")
    spec = EngineSpec(
        replica_id=replica_id,
        name="bot",
        task=task,
        run_dir=folder / "engines" / replica_id,
        log_path=folder / "engine-bot.log",
        model_path=folder / "model",
        context_tokens=512,
        slots=8,
        threads=1,
        memory_limit_bytes=2 * 1024**3,
        environment=environment.folder,
        digest="digest-of-the-spec",
    )
    return Bench("onnxruntime", EngineSettings(), OnnxRuntime(EngineSettings()), spec)


@pytest.fixture
def engine(environment: Environment, short_folder: Path) -> Iterator[Bench]:
    """The engine with a model that embeds."""
    bench = made(environment, Task.EMBED, short_folder)
    yield bench
    for process in replica_processes(bench.spec.run_dir):
        process.kill()


@pytest.fixture
def record(engine: Bench) -> Iterator[EngineRecord]:
    """A replica that is healthy."""
    started = engine.engine.start(engine.spec)
    healthy(engine, started)
    yield started
    engine.engine.stop(started, grace_seconds=5)


def ask(record: EngineRecord, path: str, body: Any) -> wire.Answer:
    return wire.request(wire.endpoint_of(record), "POST", path, body, timeout_seconds=60)


def text(chance: random.Random, words: int) -> str:
    return " ".join(f"w{chance.randrange(200)}" for _ in range(words))


def test_says_what_it_can_do(engine: Bench, record: EngineRecord) -> None:
    """A replica tells its task, the context of its model, and its slots; its warm-up takes time and is counted."""
    found = engine.engine.capabilities(record, engine.spec)
    assert (found.tasks, found.context_tokens, found.slots, found.protocol) == ({"embeddings"}, 64, 8, "openai")
    assert engine.engine.warm_up(record, engine.spec, timeout_seconds=30).seconds > 0
    figures = engine.engine.figures(record)
    assert figures is not None
    assert (figures.running, figures.waiting) == (0, 0)
    assert figures.prompt_tokens is not None
    assert figures.prompt_tokens > 0


def test_is_sealed_and_answers_with_its_key_only(engine: Bench, record: EngineRecord) -> None:
    """It has a Unix socket where the kernel allows, and nobody without the key is answered."""
    endpoint = wire.endpoint_of(record)
    for key in (None, "another"):
        other = replace(endpoint, key=key)
        answer = wire.request(other, "POST", "/v1/embeddings", {"input": "w1"}, timeout_seconds=30)
        assert answer.status == 401
    assert "sealed" in record.seal_note


def test_batches_change_nothing(record: EngineRecord) -> None:
    """Many requests at the same time, of all lengths, get what each gets alone, in both forms; tokens are counted."""
    chance = random.Random(3)
    requests = [[text(chance, chance.randint(1, 60)) for _ in range(chance.randint(1, 9))] for _ in range(24)]
    alone = {one: ask(record, "/v1/embeddings", {"input": one}).json() for part in requests for one in part}
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda part: ask(record, "/v1/embeddings", {"input": part}).json(), requests))
    for part, answer in zip(requests, answers, strict=True):
        assert answer["usage"]["prompt_tokens"] == sum(len(one.split()) + 2 for one in part)
        for one, item in zip(part, answer["data"], strict=True):
            assert item["embedding"] == pytest.approx(alone[one]["data"][0]["embedding"], abs=1e-5)
            assert sum(value * value for value in item["embedding"]) == pytest.approx(1.0, abs=1e-4)
    packed = ask(record, "/v1/embeddings", {"input": requests[0], "encoding_format": "base64"}).json()
    raw = base64.b64decode(packed["data"][0]["embedding"])
    assert struct.unpack(f"<{len(raw) // 4}f", raw) == pytest.approx(answers[0]["data"][0]["embedding"], abs=1e-6)


def test_too_long_is_refused_or_cut_as_asked(record: EngineRecord) -> None:
    """An input beyond the model's context is refused with both numbers; with ``truncate`` its beginning counts."""
    words = text(random.Random(5), 100)
    refused = ask(record, "/v1/embeddings", {"input": ["w1", words]})
    error = refused.json()["error"]
    assert (refused.status, error["type"]) == (400, "exceed_context_size_error")
    assert (error["n_prompt_tokens"], error["n_ctx"]) == (102, 64)
    cut = ask(record, "/v1/embeddings", {"input": words, "truncate": True}).json()
    beginning = ask(record, "/v1/embeddings", {"input": " ".join(words.split()[:62])}).json()
    assert cut["usage"]["prompt_tokens"] == 64
    assert cut["data"][0]["embedding"] == pytest.approx(beginning["data"][0]["embedding"], abs=1e-5)


def test_bad_requests_are_refused_and_end_nothing(engine: Bench, record: EngineRecord) -> None:
    """What is no request is answered in words, and the replica goes on."""
    for path, body in (
        ("/v1/embeddings", {"input": []}),
        ("/v1/embeddings", {"input": [[1, 10_000]]}),
        ("/v1/embeddings", ["x"]),
        ("/v1/rerank", {"query": "w1", "documents": ["w2"]}),
        ("/v1/chat/completions", {"messages": []}),
    ):
        answer = ask(record, path, body)
        assert answer.status in (400, 404), (path, body)
        assert answer.json()["error"]["message"]
    assert ask(record, "/v1/embeddings", {"input": [[4, 5], [6]]}).status == 200
    assert engine.engine.look(record, timeout_seconds=5) is Health.HEALTHY


@pytest.mark.parametrize("task", [Task.RERANK, Task.CLASSIFY])
def test_scores(environment: Environment, short_folder: Path, task: Task) -> None:
    """A reranker orders documents by their scores, a classifier names a class; neither does the other's work."""
    bench = made(environment, task, short_folder)
    started = bench.engine.start(bench.spec)
    try:
        healthy(bench, started)
        assert bench.engine.warm_up(started, bench.spec, timeout_seconds=30).seconds > 0
        assert bench.engine.capabilities(started, bench.spec).tasks == {str(task)}
        if task is Task.RERANK:
            documents = [text(random.Random(number), 5) for number in range(9)]
            found = ask(started, "/v1/rerank", {"query": "w1 w2", "documents": documents}).json()["results"]
            scores = [one["relevance_score"] for one in found]
            assert sorted(scores, reverse=True) == scores
            assert all(0 < score < 1 for score in scores)
            assert sorted(one["index"] for one in found) == list(range(9))
        else:
            found = ask(started, "/v1/classify", {"input": ["w1 w2", "w3"]}).json()["data"]
            for one in found:
                assert sum(one["probs"]) == pytest.approx(1.0, abs=1e-5)
                assert one["label"] == one["labels"][one["probs"].index(max(one["probs"]))]
        assert ask(started, "/v1/embeddings", {"input": "w1"}).status == 400
    finally:
        bench.engine.stop(started, grace_seconds=5)


def test_large_sums_of_signed_weights_are_exact(environment: Environment, short_folder: Path) -> None:
    """Signed weights of 8 bits, made where there is VNNI or published so, do not overflow where there is none.

    Where this processor has it they never do.
    """
    found = {}
    for form in ("f32", "int8"):
        bench = made(environment, Task.EMBED, short_folder / form, form)
        started = bench.engine.start(bench.spec)
        try:
            healthy(bench, started)
            answer = ask(started, "/v1/embeddings", {"input": text(random.Random(9), 20)}).json()
            found[form] = answer["data"][0]["embedding"]
        finally:
            bench.engine.stop(started, grace_seconds=5)
    assert found["int8"] == pytest.approx(found["f32"], abs=0.005)


@pytest.mark.parametrize("name", ["tokenizer.json", "model.onnx"])
def test_a_damaged_model_says_why(engine: Bench, name: str) -> None:
    """A network that cannot be loaded, a tokenizer that is none: the replica ends, and the reason is one sentence."""
    assert engine.spec.model_path is not None
    (engine.spec.model_path / name).write_bytes(b"\x08\x0a nothing of use")
    started = engine.engine.start(engine.spec)
    try:
        wait_until(lambda: engine.engine.look(started, timeout_seconds=5) is Health.DEAD, what="it has ended")
        reason = engine.engine.failure(started)
        assert reason is not None
        assert "its model cannot be loaded" in reason
    finally:
        engine.engine.stop(started, grace_seconds=5)


def test_refuses_what_it_is_not_for(engine: Bench) -> None:
    """An encoder that is to generate, one without its environment, an adapter: refused before anything is started."""
    for changed in ({"task": Task.GENERATE}, {"environment": None}, {"adapters": (Adapter("a", Path("a")),)}):
        with pytest.raises(InvalidError):
            engine.engine.start(engine.with_spec(**changed))
        assert not engine.spec.run_dir.exists()


def test_a_triton_repository_says_the_same(environment: Environment, short_folder: Path) -> None:
    """Made for Triton, a model says part by part what it says here; one that pools otherwise gets no name."""
    source = made(environment, Task.EMBED, short_folder).spec.model_path
    assert source is not None
    encoder, signature = read_encoder(files_in(source)), read_signature(source / "model.onnx", "model.onnx")
    ordered = Ordered("mini", encoder, signature, "onnxruntime", "f32")
    for name, wanted in (("good", ordered), ("bad", replace(ordered, encoder=replace(encoder, pooling="max")))):
        (between := short_folder / f"{name}-between").mkdir()
        order = Order(source, short_folder / name, wanted, 2, between, 1)
        if name == "bad":
            with pytest.raises(InvalidError, match="not-the-same"):
                make_repository(order, environment, EngineSettings(), lambda progress: None)
            continue
        agreement, plan = make_repository(order, environment, EngineSettings(), lambda progress: None)
        assert (agreement.same, plan) == (agreement.compared, {})
        assert agreement.compared > 20
        assert (short_folder / name / "mini_network" / "2" / "model.onnx").is_file()
