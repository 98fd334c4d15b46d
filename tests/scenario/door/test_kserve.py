"""A Triton server before the door: asked in OpenAI's words, it is asked in KServe's, and answered for in OpenAI's."""

from __future__ import annotations

import base64
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support import fake_triton
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.engines import can_connect, free_port, wait_until
from undercroft.engines import wire
from undercroft.engines.contract import KserveModel, Task
from undercroft.engines.kserve import read_model

# Numbers go over gRPC as single-precision floats, as Triton has them.
_SINGLE = 1e-7
_ROUTES = {Task.EMBED: "embeddings", Task.CLASSIFY: "classify", Task.RERANK: "rerank"}


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[int, int]]:
    """A server that somebody else runs; its ports of HTTP and of gRPC."""
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, fake_triton.__file__, str(port), str(free_port()), f"grpc={grpc_port}"]
    process = subprocess.Popen(command)
    try:
        wait_until(lambda: can_connect(port), what="the server listens")
        yield port, grpc_port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["http", "grpc"])
def server(served: tuple[int, int], request: pytest.FixtureRequest) -> str:
    """Where it is asked."""
    return f"{request.param}://127.0.0.1:{served[0 if request.param == 'http' else 1]}"


def read(server: str, model: str, task: Task, config: str | None = None) -> KserveModel:
    """How a model of the server is asked."""
    found = read_model(fake_triton.config(config or model), model, task)
    return replace(found, is_grpc=server.startswith("grpc"))


def push(door: DoorProcess, server: str, model: str, task: Task) -> KserveModel:
    """Makes a model of the server the only replica of ``bot``."""
    found = read(server, model, task)
    one = replica("rep_kserve", protocol="openai", base_url=server, key=None, upstream_model=model, kserve=found)
    door.push(door.snapshot(deployment("bot", one, tasks=(_ROUTES[task],), context_tokens=found.most_tokens)))
    return found


def rows(answer: dict[str, Any]) -> list[list[float]]:
    """The vectors of an answer."""
    return [one["embedding"] for one in answer["data"]]


def approximately(wanted: list[list[float]]) -> list[Any]:
    """The same to single precision."""
    return [pytest.approx(one, abs=_SINGLE) for one in wanted]


def test_embeddings(door: DoorProcess, server: str) -> None:
    """Each text has its vector, in their order, and tokens are counted; one text alone is one vector."""
    push(door, server, "embed", Task.EMBED)
    texts = ["one two", "ein längerer Text: \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"]
    reply = door.post("/v1/embeddings", {"model": "bot", "input": texts})
    assert reply.status == 200, reply.text
    found = reply.json()
    assert rows(found) == approximately([fake_triton.row("embed", [text]) for text in texts])
    assert [one["index"] for one in found["data"]] == [0, 1]
    assert found["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    assert (found["model"], found["object"]) == ("bot", "list")
    alone = door.post("/v1/embeddings", {"model": "bot", "input": texts[0]}).json()
    assert [one["embedding"] for one in alone["data"]] == [found["data"][0]["embedding"]]


def test_more_inputs_than_the_server_takes_at_once(door: DoorProcess, server: str) -> None:
    """They are asked in pieces: every text gets its own vector, and tokens of all are added up."""
    push(door, server, "embed", Task.EMBED)
    texts = [f"word {'x' * number}" for number in range(1, 12)]
    assert len(texts) > 2 * fake_triton.MOST_INPUTS
    reply = door.post("/v1/embeddings", {"model": "bot", "input": texts})
    assert reply.status == 200, reply.text
    found = reply.json()
    assert rows(found) == approximately([fake_triton.row("embed", [text]) for text in texts])
    assert [one["index"] for one in found["data"]] == list(range(11))
    assert found["usage"]["prompt_tokens"] == 4 * 11


def test_base64(door: DoorProcess, server: str) -> None:
    """Vectors come as little-endian floats where the client wants them so, as OpenAI's client does by itself."""
    push(door, server, "embed", Task.EMBED)
    body = {"model": "bot", "input": "one two", "encoding_format": "base64"}
    told = door.post("/v1/embeddings", body).json()["data"][0]["embedding"]
    assert list(struct.unpack("<3f", base64.b64decode(told))) == pytest.approx(fake_triton.row("embed", ["one two"]))


def test_dimensions(door: DoorProcess, server: str) -> None:
    """A width that the model does not give is refused."""
    push(door, server, "embed", Task.EMBED)
    reply = door.post("/v1/embeddings", {"model": "bot", "input": "one", "dimensions": 5})
    assert (reply.status, reply.error["param"]) == (400, "dimensions")


def test_classes(door: DoorProcess, server: str) -> None:
    """Each text has its class by name, with the probability of every class."""
    push(door, server, "classify", Task.CLASSIFY)
    found = door.post("/v1/classify", {"model": "bot", "input": ["one two", "three"]}).json()
    probabilities = fake_triton.row("classify", ["one two"])
    first = found["data"][0]
    assert first.pop("probs") == pytest.approx(probabilities, abs=_SINGLE)
    assert first == {
        "index": 0,
        "label": fake_triton.LABELS[probabilities.index(max(probabilities))],
        "num_classes": 3,
        "labels": fake_triton.LABELS,
    }
    assert (found["model"], found["usage"]["prompt_tokens"]) == ("bot", 7)


def test_ranking(door: DoorProcess, server: str) -> None:
    """Documents come best first, more of them than the server takes at once, too."""
    push(door, server, "rerank", Task.RERANK)
    documents = ["nothing", "red car", "a red car", "blue", "red", "car red fast"]
    body = {"model": "bot", "query": "red car fast", "documents": documents, "top_n": 3}
    reply = door.post("/v1/rerank", body)
    assert reply.status == 200, reply.text
    assert [one["index"] for one in reply.json()["results"]] == [5, 1, 2]
    assert reply.json()["usage"]["prompt_tokens"] == sum(3 + len(one.split()) + 2 for one in documents)


def test_a_text_that_is_too_long(door: DoorProcess, server: str) -> None:
    """Nothing is cut in silence: both numbers are told, unless the client said that it may be cut."""
    push(door, server, "embed", Task.EMBED)
    body = {"model": "bot", "input": ["short", "word " * 40]}
    reply = door.post("/v1/embeddings", body)
    assert (reply.status, reply.error["code"]) == (400, "context_length_exceeded")
    assert "takes 16 tokens, the request has 42" in reply.error["message"]
    cut = door.post("/v1/embeddings", {**body, "truncate": True})
    assert cut.status == 200
    assert cut.json()["usage"]["prompt_tokens"] == 3 + 16


def test_token_ids_are_refused(door: DoorProcess, server: str) -> None:
    """The server splits texts by itself, so that token ids mean nothing to it."""
    push(door, server, "embed", Task.EMBED)
    reply = door.post("/v1/embeddings", {"model": "bot", "input": [[1, 2, 3]]})
    assert (reply.status, reply.error["param"]) == (400, "input")
    assert "expected texts" in reply.error["message"]


def test_tokens_that_nobody_counts(door: DoorProcess, server: str) -> None:
    """A model that does not count tokens answers without usage."""
    push(door, server, "plain", Task.EMBED)
    found = door.post("/v1/embeddings", {"model": "bot", "input": "one two"}).json()
    assert found["data"][0]["embedding"] == pytest.approx(fake_triton.row("plain", ["one two"]), abs=_SINGLE)
    assert "usage" not in found


def test_a_model_that_went_away(door: DoorProcess, server: str) -> None:
    """What the server says is told as the engine's error, and never as the client's."""
    found = read(server, "gone", Task.EMBED, config="embed")
    one = replica("rep_gone", protocol="openai", base_url=server, key=None, upstream_model="gone", kserve=found)
    door.push(door.snapshot(deployment("bot", one, tasks=("embeddings",))))
    reply = door.post("/v1/embeddings", {"model": "bot", "input": "one"})
    assert reply.status == 502
    assert "Request for unknown model" in reply.error["message"]


def calls(server: tuple[int, int]) -> dict[str, Any]:
    """What the server tells of its calls."""
    answer = wire.request(
        wire.Endpoint(None, f"http://127.0.0.1:{server[0]}", None), "GET", "/calls", timeout_seconds=5
    )
    found: dict[str, Any] = answer.json()
    return found


def test_a_long_text_over_grpc(door: DoorProcess, served: tuple[int, int]) -> None:
    """A request that is larger than the server's window goes in pieces, as it makes room."""
    push(door, f"grpc://127.0.0.1:{served[1]}", "embed", Task.EMBED)
    texts = ["\u0e2a" * 400_000, "short"]
    reply = door.post("/v1/embeddings", {"model": "bot", "input": texts})
    assert reply.status == 200, reply.text
    assert rows(reply.json()) == approximately([fake_triton.row("embed", [text]) for text in texts])
    told = calls(served)["metadata"]
    assert told["user-agent"] == "undercroft"


def test_a_client_that_goes_ends_the_call(door: DoorProcess, served: tuple[int, int]) -> None:
    """The server of a call over gRPC is told as soon as nobody waits for its answer."""
    push(door, f"grpc://127.0.0.1:{served[1]}", "embed", Task.EMBED)
    before = calls(served)
    body = json.dumps({"model": "bot", "input": "wait"}).encode()
    head = f"POST /v1/embeddings HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {door.key}\r\n"
    with socket.create_connection(("127.0.0.1", door.port)) as client:
        client.sendall(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: calls(served)["waiting"] == before["waiting"] + 1, what="the server computes it")
        assert calls(served)["cancelled"] == before["cancelled"]
    wait_until(lambda: calls(served)["cancelled"] == before["cancelled"] + 1, what="the server is told")
    reply = door.post("/v1/embeddings", {"model": "bot", "input": "one"})
    assert reply.status == 200, reply.text


def test_a_server_that_goes_away_over_grpc(door: DoorProcess) -> None:
    """A kept connection that the server has closed is no failure; a server that nobody runs is told as over HTTP."""
    port, grpc_port = free_port(), free_port()
    command = [sys.executable, fake_triton.__file__, str(port), str(free_port()), f"grpc={grpc_port}"]
    for _ in range(2):
        process = subprocess.Popen(command)
        try:
            wait_until(lambda: can_connect(port), what="the server listens")
            push(door, f"grpc://127.0.0.1:{grpc_port}", "embed", Task.EMBED)
            assert door.post("/v1/embeddings", {"model": "bot", "input": "one"}).status == 200
        finally:
            process.kill()
            process.wait()
    reply = door.post("/v1/embeddings", {"model": "bot", "input": "one"})
    assert (reply.status, reply.error["code"]) == (502, "engine-unreachable")
