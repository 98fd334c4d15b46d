"""A Triton server before the door: asked in OpenAI's words, it is asked in KServe's, and answered for in OpenAI's."""

from __future__ import annotations

import base64
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import fake_triton
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.engines import can_connect, free_port, wait_until
from undercroft.engines.contract import KserveModel, Task
from undercroft.engines.kserve import read_model

_ROUTES = {Task.EMBED: "embeddings", Task.CLASSIFY: "classify", Task.RERANK: "rerank"}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """A server that somebody else runs; its URL."""
    port = free_port()
    program = Path(fake_triton.__file__)
    process = subprocess.Popen([sys.executable, str(program), str(port), str(free_port())])
    try:
        wait_until(lambda: can_connect(port), what="the server listens")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def push(door: DoorProcess, server: str, model: str, task: Task) -> KserveModel:
    """Makes a model of the server the only replica of ``bot``."""
    found = read_model(fake_triton.config(model), model, task)
    one = replica("rep_kserve", protocol="openai", base_url=server, key=None, upstream_model=model, kserve=found)
    door.push(door.snapshot(deployment("bot", one, tasks=(_ROUTES[task],), context_tokens=found.most_tokens)))
    return found


def test_embeddings(door: DoorProcess, server: str) -> None:
    """Each text has its vector, in their order, and tokens are counted; one text alone is one vector."""
    push(door, server, "embed", Task.EMBED)
    texts = ["one two", "ein längerer Text: \u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35"]
    reply = door.post("/v1/embeddings", {"model": "bot", "input": texts})
    assert reply.status == 200, reply.text
    found = reply.json()
    assert [one["embedding"] for one in found["data"]] == [fake_triton.row("embed", [text]) for text in texts]
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
    assert [one["embedding"] for one in found["data"]] == [fake_triton.row("embed", [text]) for text in texts]
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
    assert found["data"][0] == {
        "index": 0,
        "label": fake_triton.LABELS[probabilities.index(max(probabilities))],
        "probs": probabilities,
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
    assert found["data"][0]["embedding"] == fake_triton.row("plain", ["one two"])
    assert "usage" not in found


def test_a_model_that_went_away(door: DoorProcess, server: str) -> None:
    """What the server says is told as the engine's error, and never as the client's."""
    found = read_model(fake_triton.config("embed"), "gone", Task.EMBED)
    one = replica("rep_gone", protocol="openai", base_url=server, key=None, upstream_model="gone", kserve=found)
    door.push(door.snapshot(deployment("bot", one, tasks=("embeddings",))))
    reply = door.post("/v1/embeddings", {"model": "bot", "input": "one"})
    assert reply.status == 502
    assert "Request for unknown model" in reply.error["message"]
