"""The contract of engines, kept by ONNX Runtime where it generates: really installed, with a tiny model."""

from __future__ import annotations

import http.client
import json
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
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
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import EngineRecord, EngineSpec, Health, Task
from undercroft.engines.onnxruntime import OnnxRuntime
from undercroft.environments.installed import Environment

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
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

_TINY = Path(__file__).parents[1] / "support" / "tiny_decoder.py"
_COMPLETIONS, _CHAT = "/v1/completions", "/v1/chat/completions"
HELLO = [{"role": "user", "content": "w1 w2"}]


@pytest.fixture(scope="module")
def environment(environments: Environments, request: pytest.FixtureRequest) -> Environment:
    """The environment ``onnxruntime``, really installed; it takes a third of a gigabyte."""
    if not request.config.getoption("--full"):
        pytest.skip("the environment onnxruntime is installed for encoders already: pytest -m long --full")
    return environments.installed("onnxruntime")


@pytest.fixture
def engine(environment: Environment) -> Iterator[Bench]:
    """The engine with a model that generates."""
    with bench(environment) as made:
        yield made


@contextmanager
def bench(environment: Environment, *words: str) -> Iterator[Bench]:
    """The engine with a tiny model, in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="uc-") as name:
        folder = Path(name)
        command = [str(environment.python), str(_TINY), str(folder / "model"), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        replica_id = new_id("rep")
        spec = EngineSpec(
            replica_id=replica_id,
            name="bot",
            task=Task.GENERATE,
            run_dir=folder / "engines" / replica_id,
            log_path=folder / "engine-bot.log",
            model_path=folder / "model",
            context_tokens=512,
            slots=3,
            threads=1,
            memory_limit_bytes=2 * 1024**3,
            environment=environment.folder,
            digest="digest-of-the-spec",
        )
        yield Bench("onnxruntime", EngineSettings(), OnnxRuntime(EngineSettings()), spec)
        for process in replica_processes(spec.run_dir):
            process.kill()


@pytest.fixture
def speller(environment: Environment) -> Iterator[EngineRecord]:
    """A replica whose model has every byte as a token."""
    with bench(environment, "bytes") as made:
        started = made.engine.start(made.spec)
        healthy(made, started)
        yield started
        made.engine.stop(started, grace_seconds=5)


def keeping(schema: dict[str, Any]) -> dict[str, Any]:
    """The response format of a schema."""
    return {"type": "json_schema", "json_schema": {"name": "told", "schema": schema}}


@pytest.fixture
def record(engine: Bench) -> Iterator[EngineRecord]:
    """A replica that is healthy."""
    started = engine.engine.start(engine.spec)
    healthy(engine, started)
    yield started
    engine.engine.stop(started, grace_seconds=5)


def ask(record: EngineRecord, path: str, **body: Any) -> dict[str, Any]:
    """What it answers."""
    answer = wire.request(wire.endpoint_of(record), "POST", path, body, timeout_seconds=60)
    assert answer.status == 200, answer.body
    found: dict[str, Any] = answer.json()
    return found


def said(record: EngineRecord, prompt: str, **more: Any) -> str:
    """The text of one completion, greedy unless told otherwise."""
    body = {"prompt": prompt, "max_tokens": 12, "temperature": 0, **more}
    return str(ask(record, _COMPLETIONS, **body)["choices"][0]["text"])


def events(record: EngineRecord, path: str, **body: Any) -> list[dict[str, Any]]:
    """What comes in a stream, which ends as it should."""
    endpoint = wire.endpoint_of(record)
    with wire.streamed(endpoint, "POST", path, {**body, "stream": True}, timeout_seconds=60) as response:
        assert response.status == 200
        lines = [line.removeprefix(b"data: ").strip() for line in response if line.startswith(b"data: ")]
    assert lines.pop() == b"[DONE]"
    return [json.loads(line) for line in lines]


def test_says_what_it_can_do(engine: Bench, record: EngineRecord) -> None:
    """A replica tells the context of its model and its slots; its warm-up is timed and counted."""
    found = engine.engine.capabilities(record, engine.spec)
    assert (found.tasks, found.context_tokens, found.slots) == ({"chat", "completions"}, 128, 3)
    assert (found.has_tools, found.protocol) == (False, "openai")
    warm = engine.engine.warm_up(record, engine.spec, timeout_seconds=60)
    assert warm.seconds > 0
    assert (warm.tokens_per_second or 0) > 0
    figures = engine.engine.figures(record)
    assert figures is not None
    assert (figures.running, figures.waiting) == (0, 0)
    assert (figures.answer_tokens or 0) > 0
    assert "sealed" in record.seal_note


def test_the_same_whoever_asks_beside(record: EngineRecord) -> None:
    """More requests than slots at the same time: each gets what it gets alone, drawn or greedy."""
    prompts = [" ".join(f"w{(7 * start + place) % 200}" for place in range(start + 1)) for start in range(12)]
    alone = [said(record, prompt) for prompt in prompts]
    drawn = [said(record, prompt, temperature=1, seed=4) for prompt in prompts]
    with ThreadPoolExecutor(12) as pool:
        assert list(pool.map(lambda prompt: said(record, prompt), prompts)) == alone
        again = list(pool.map(lambda prompt: said(record, prompt, temperature=1, seed=4), prompts))
    assert again == drawn
    assert said(record, prompts[0], temperature=1, seed=5) != drawn[0]


def test_what_was_kept_changes_nothing(engine: Bench, record: EngineRecord) -> None:
    """A prompt that begins as an earlier one goes on from there, and the answer is the same as from the beginning."""
    long = " ".join(f"w{place}" for place in range(80))
    first = said(record, long)
    found = engine.engine.figures(record)
    assert said(record, long) == first
    for other in ("w5 w6 w7", "w9", f"{long} w3"):
        said(record, other)
    assert said(record, long) == first
    after = engine.engine.figures(record)
    assert found is not None
    assert after is not None
    assert (after.prefix_found_tokens or 0) > (found.prefix_found_tokens or 0) + 80


def test_a_stream_says_what_a_whole_answer_says(record: EngineRecord) -> None:
    """Piece by piece the same text; the role first, the reason last, the counts where they were asked for."""
    asked: dict[str, Any] = {"messages": HELLO, "max_tokens": 9, "temperature": 0}
    whole = ask(record, _CHAT, **asked)
    came = events(record, _CHAT, **asked, stream_options={"include_usage": True})
    text = "".join(one["choices"][0]["delta"].get("content", "") for one in came if one["choices"])
    assert text == whole["choices"][0]["message"]["content"]
    assert came[0]["choices"][0]["delta"]["role"] == "assistant"
    assert came[-1]["usage"] == whole["usage"] == {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11}
    assert came[-2]["choices"][0]["finish_reason"] == "length"
    assert all("usage" not in one for one in events(record, _CHAT, **asked))


def test_several_answers_and_prompts_in_one_request(record: EngineRecord) -> None:
    """Each seed is one more than the last, prompts count once, and a stream says which answer a piece belongs to."""
    asked: dict[str, Any] = {"prompt": ["w1 w2", "w3"], "n": 2, "seed": 8, "max_tokens": 5}
    whole = ask(record, _COMPLETIONS, **asked)
    texts = [one["text"] for one in whole["choices"]]
    assert [one["index"] for one in whole["choices"]] == [0, 1, 2, 3]
    assert whole["usage"] == {"prompt_tokens": 3, "completion_tokens": 20, "total_tokens": 23}
    assert texts[1] == said(record, "w1 w2", seed=9, max_tokens=5, temperature=1)
    pieces = ["", "", "", ""]
    for one in events(record, _COMPLETIONS, **asked):
        pieces[one["choices"][0]["index"]] += one["choices"][0]["text"]
    assert pieces == texts


def test_a_stop_text_ends_the_answer(record: EngineRecord) -> None:
    """Before it, for that reason, whole or as a stream."""
    words = said(record, "w1 w2").split()
    stop = words[4]
    before = " ".join(words[: words.index(stop)])
    whole = ask(record, _COMPLETIONS, prompt="w1 w2", max_tokens=12, temperature=0, stop=[stop])
    assert (whole["choices"][0]["text"].strip(), whole["choices"][0]["finish_reason"]) == (before, "stop")
    came = events(record, _COMPLETIONS, prompt="w1 w2", max_tokens=12, temperature=0, stop=stop)
    assert "".join(one["choices"][0]["text"] for one in came).strip() == before


def test_probabilities_of_what_was_said(record: EngineRecord) -> None:
    """The chosen token is the likeliest where nothing is drawn, and probabilities are below 1."""
    found = ask(record, _CHAT, messages=HELLO, max_tokens=4, temperature=0, logprobs=True, top_logprobs=3)
    for one in found["choices"][0]["logprobs"]["content"]:
        assert one["logprob"] < 0
        assert one["top_logprobs"][0]["token"] == one["token"]
        assert len(one["top_logprobs"]) == 3


def test_too_long_is_refused_with_both_numbers(record: EngineRecord) -> None:
    """Nothing is cut: a prompt beyond the context is an error; an answer ends where the context does."""
    words = " ".join(["w1"] * 128)
    body = {"prompt": words, "max_tokens": 1}
    refused = wire.request(wire.endpoint_of(record), "POST", _COMPLETIONS, body, timeout_seconds=60)
    error = refused.json()["error"]
    assert (refused.status, error["n_prompt_tokens"], error["n_ctx"]) == (400, 128, 128)
    fits = ask(record, _COMPLETIONS, prompt=" ".join(["w1"] * 120), temperature=0)
    assert fits["usage"]["completion_tokens"] == 8
    assert fits["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"response_format": keeping({"type": "object"})}, "response_format: the tokenizer of this model"),
        ({"truncate": True}, "truncate"),
        ({"messages": []}, "messages"),
        ({"temperature": 9}, "temperature"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(
    engine: Bench, record: EngineRecord, more: dict[str, Any], named: str
) -> None:
    """Never silently left out; the replica goes on."""
    body = {"messages": HELLO, "max_tokens": 2, **more}
    refused = wire.request(wire.endpoint_of(record), "POST", _CHAT, body, timeout_seconds=60)
    assert refused.status == 400
    assert refused.json()["error"]["message"].startswith(named)
    assert engine.engine.look(record, timeout_seconds=5) is Health.HEALTHY


TOLD = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["billing", "delivery"]},
        "is_urgent": {"type": "boolean"},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "maxItems": 3},
        "note": {"type": "string", "maxLength": 6},
    },
    "required": ["topic", "is_urgent", "tags", "note"],
    "additionalProperties": False,
}


def test_an_answer_keeps_to_its_schema(speller: EngineRecord) -> None:
    """A model that has learnt nothing answers in JSON of the schema's form, drawn or greedy, whole or streamed."""
    asked: dict[str, Any] = {"messages": HELLO, "max_tokens": 110, "response_format": keeping(TOLD)}
    found = set()
    for sampling in ({"temperature": 0}, *({"seed": seed, "temperature": 2} for seed in range(4))):
        choice = ask(speller, _CHAT, **asked, **sampling)["choices"][0]
        told = json.loads(choice["message"]["content"])
        assert choice["finish_reason"] == "stop"
        assert list(told) == ["topic", "is_urgent", "tags", "note"]
        assert told["topic"] in ("billing", "delivery")
        assert isinstance(told["is_urgent"], bool)
        assert set(told["tags"]) <= {"a", "b"}
        again = ask(speller, _CHAT, **asked, **sampling)["choices"][0]
        assert again["message"] == choice["message"]
        found.add(choice["message"]["content"])
    assert len(found) > 1
    body = {**asked, "stream": True, "temperature": 0}
    with wire.streamed(wire.endpoint_of(speller), "POST", _CHAT, body, timeout_seconds=60) as response:
        lines = [line[6:] for line in response.read().decode().splitlines() if line.startswith("data: {")]
    pieces = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines]
    assert "".join(pieces) == ask(speller, _CHAT, **asked, temperature=0)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("schema", [{"type": "nonsense"}, {"$ref": "http://127.0.0.1:1/schema"}])
def test_a_schema_that_is_none_is_refused(speller: EngineRecord, schema: dict[str, Any]) -> None:
    """With the library's reason, nothing is fetched for it, and the next request is answered."""
    body = {"messages": HELLO, "max_tokens": 2, "response_format": keeping(schema)}
    for _ in range(4):
        refused = wire.request(wire.endpoint_of(speller), "POST", _CHAT, body, timeout_seconds=60)
        assert refused.status == 400
        assert refused.json()["error"]["message"].startswith("response_format: Error creating grammar: ")
    assert said(speller, "hello")


def test_any_object_is_json(speller: EngineRecord) -> None:
    """``json_object`` keeps to JSON's own form; an answer that is cut off says that it is."""
    for seed in range(3):
        asked = {"messages": HELLO, "max_tokens": 60, "seed": seed, "response_format": {"type": "json_object"}}
        (choice,) = ask(speller, _CHAT, **asked)["choices"]
        text = choice["message"]["content"]
        assert text.startswith("{")
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(text), dict)


def test_a_schema_changes_no_answer_but_its_own(speller: EngineRecord) -> None:
    """Others at the same time, and those after it in its slot, say what they say alone."""
    alone = said(speller, "hello", max_tokens=20)

    def one(number: int) -> str:
        if number % 2:
            return said(speller, "hello", max_tokens=20)
        return str(
            ask(speller, _CHAT, messages=HELLO, max_tokens=110, seed=1, response_format=keeping(TOLD))["choices"]
        )

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(one, range(12)))
    assert set(told[1::2]) == {alone}
    assert len(set(told[::2])) == 1
    assert {said(speller, "hello", max_tokens=20) for _ in range(4)} == {alone}


def test_who_leaves_is_not_computed_for(engine: Bench, record: EngineRecord) -> None:
    """Every slot is taken by streams that nobody reads to their end; the next one is answered all the same."""
    endpoint = wire.endpoint_of(record)
    for _ in range(2 * engine.spec.slots):
        body = {"prompt": "w1", "stream": True}
        with wire.streamed(endpoint, "POST", _COMPLETIONS, body, timeout_seconds=60) as response:
            assert response.readline().startswith(b"data: ")
    assert said(record, "w1")
    wait_until(lambda: not engine.engine.is_busy(record), what="nothing is computed any more")


def test_without_the_process_that_computes_the_replica_ends(engine: Bench, record: EngineRecord) -> None:
    """It does not pretend to be healthy, so that another one is started."""
    assert record.pid is not None
    (computing,) = psutil.Process(record.pid).children()
    computing.kill()
    ask_once = {"prompt": "w1", "max_tokens": 1}
    with pytest.raises((OSError, http.client.HTTPException)):
        while True:
            wire.request(wire.endpoint_of(record), "POST", _COMPLETIONS, ask_once, timeout_seconds=60)
    wait_until(lambda: engine.engine.look(record, timeout_seconds=5) is Health.DEAD, what="it has ended")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.onnx"])
def test_a_damaged_model_says_why(engine: Bench, name: str) -> None:
    """A network that cannot be loaded, a tokenizer that is none: the replica ends, and the reason is one sentence."""
    assert engine.spec.model_path is not None
    (engine.spec.model_path / name).write_bytes(b"\x08\x0a nothing of use")
    started = engine.engine.start(engine.spec)
    try:
        wait_until(lambda: engine.engine.look(started, timeout_seconds=5) is Health.DEAD, what="it has ended")
        assert "its model cannot be loaded" in (engine.engine.failure(started) or "")
    finally:
        engine.engine.stop(started, grace_seconds=5)
