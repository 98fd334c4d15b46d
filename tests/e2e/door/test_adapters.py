"""Adapters of one base, against the real engine: every answer is that of its adapter alone, whatever went before."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import undercroft
from tests.support.adapters import write_adapter
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.real_engine import ENGINE_KEY, EngineRequest, RealEngine
from tests.support.server import wait_for
from undercroft.engines import wire

STARTER = Path(undercroft.__file__).parent / "starter" / "ticket-pilot.gguf"
ADAPTERS = ("polite", "terse")
ASKED = {
    "messages": [
        {
            "role": "user",
            "content": "Hello, I ordered two lamps three weeks ago, number SG-4471, and only one of them came. Where "
            "is the other one? I need it before Friday, because we move house then.",
        }
    ],
    "temperature": 0,
    "max_tokens": 6,
    "logprobs": True,
    "top_logprobs": 3,
}
# What a prompt that is in the cache already, or another size of batch, changes in a logarithm of a probability by
# rounding was 0.03 at most; these adapters change one by 3.5 at least, and the trap below did by 3.8.
TOLERANCE = 0.3


@dataclass(frozen=True)
class Said:
    """Tokens of an answer, and for each the logarithms of its probability and of the likeliest ones."""

    tokens: tuple[str, ...]
    logarithms: tuple[float, ...]

    def is_like(self, other: Said) -> bool:
        """Whether they are the same but for rounding."""
        if self.tokens != other.tokens:
            return False
        return all(abs(a - b) <= TOLERANCE for a, b in zip(self.logarithms, other.logarithms, strict=True))


def said(answer: dict[str, Any]) -> Said:
    """What an answer holds."""
    found = answer["choices"][0]["logprobs"]["content"]
    likely = [one["logprob"] for token in found for one in (token, *token["top_logprobs"])]
    return Said(tuple(token["token"] for token in found), tuple(likely))


def ask_engine(engine: RealEngine, **more: Any) -> Said:
    """Asks the engine itself, with nothing of ours between; waits until it has loaded."""

    def ask() -> dict[str, Any] | None:
        place = wire.Endpoint(str(engine.request.socket), None, ENGINE_KEY)
        try:
            answer = wire.request(place, "POST", "/v1/chat/completions", {**ASKED, **more}, timeout_seconds=60)
        except ConnectionError:
            return None
        assert answer.status in (200, 503), answer
        found: dict[str, Any] = answer.json()
        return found if answer.status == 200 else None

    return said(wait_for(ask, "the engine to load"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """Two random adapters of the starter, strong enough to change what it says."""
    folder = tmp_path_factory.mktemp("adapters")
    return tuple(
        write_adapter(folder / f"{name}.gguf", seed=seed, width=192, scale=0.2) for seed, name in enumerate(ADAPTERS, 1)
    )


def start(folder: Path, *adapters: Path, slots: int = 2) -> RealEngine:
    """The real engine with the starter."""
    return RealEngine(EngineRequest(STARTER, folder / "e.sock", "bot", slots=slots, adapters=adapters))


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, ...]) -> dict[str, Said]:
    """What the base and each adapter say as the first and only request of a process that has nothing else."""
    found = {}
    with start(tmp_path_factory.mktemp("base")) as engine:
        found["bot"] = ask_engine(engine)
    for name, file in zip(ADAPTERS, files, strict=True):
        with start(tmp_path_factory.mktemp(name), file) as engine:
            found[name] = ask_engine(engine, lora=[{"id": 0, "scale": 1.0}])
    return found


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory, files: tuple[Path, ...]) -> Iterator[DoorProcess]:
    """A door before one engine with both adapters, whose two slots all requests share."""
    folder = tmp_path_factory.mktemp("both")
    with start(folder, *files) as engine, DoorProcess(folder / "home") as made:
        ask_engine(engine, lora=[{"id": number, "scale": 0.0} for number in range(len(files))])
        entry = replica(socket_path=str(engine.request.socket), key=ENGINE_KEY, adapters=ADAPTERS)
        made.start(made.snapshot(deployment("bot", entry, adapters=ADAPTERS)))
        yield made


def test_alone_they_say_different_things(alone: dict[str, Said]) -> None:
    """What the other tests compare with can be told apart."""
    names = list(alone)
    for index, name in enumerate(names):
        assert not any(alone[name].is_like(alone[other]) for other in names[index + 1 :])


def test_a_request_that_names_no_adapter_is_answered_with_anothers_cache(
    tmp_path: Path, files: tuple[Path, ...], alone: dict[str, Said]
) -> None:
    """This is what the door has to prevent: the engine mixes two adapters up, and does not when all are named."""
    with start(tmp_path, *files, slots=1) as engine:
        of_polite = ask_engine(engine, lora=[{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}])
        assert of_polite.is_like(alone["polite"])
        unnamed = ask_engine(engine)
        assert not unnamed.is_like(alone["bot"])
        ask_engine(engine, lora=[{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.0}])
        named = ask_engine(engine, lora=[{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}])
        # To the last digit: nothing of what was there before is used.
        assert named == alone["bot"]


def test_requests_in_any_order_get_what_their_adapter_says_alone(door: DoorProcess, alone: dict[str, Said]) -> None:
    """One after the other with one prompt, through the door: the answer is that of a process of its own."""
    for name in ("polite", "bot", "terse", "bot", "bot", "polite", "terse", "polite"):
        reply = door.post("/v1/chat/completions", {**ASKED, "model": name})
        assert reply.status == 200, reply.text
        assert said(reply.json()).is_like(alone[name]), name


def test_requests_at_the_same_time_get_what_their_adapter_says_alone(door: DoorProcess, alone: dict[str, Said]) -> None:
    """Six clients at once, streamed and whole, over two slots: nobody gets anything of another's adapter."""

    def ask(number: int) -> tuple[str, Said]:
        name = ("bot", *ADAPTERS)[number % 3]
        is_streamed = number % 2 == 1
        reply = door.post("/v1/chat/completions", {**ASKED, "model": name, "stream": is_streamed})
        assert reply.status == 200, reply.text
        if not is_streamed:
            return name, said(reply.json())
        frames = [event for event in reply.events if event != "[DONE]" and event["choices"]]
        content = [one for frame in frames for one in (frame["choices"][0].get("logprobs") or {}).get("content", ())]
        return name, said({"choices": [{"logprobs": {"content": content}}]})

    with ThreadPoolExecutor(6) as clients:
        for name, answer in clients.map(ask, range(36)):
            assert answer.is_like(alone[name]), name
