"""Adapters chosen per request, against a real engine that has two."""

from __future__ import annotations

from pathlib import Path

from tests.support.adapters import write_adapter
from tests.support.doors import DoorProcess, deployment, replica
from tests.support.ggufs import write_chat_model
from tests.support.real_engine import EngineRequest, RealEngine


def test_each_request_gets_its_own_adapter(tmp_path: Path) -> None:
    """Requests with an adapter, another one, and none do not disturb each other, in any order."""
    model = write_chat_model(tmp_path / "chat.gguf")
    adapters = tuple(write_adapter(tmp_path / f"lora{i}.gguf", seed=i, scale=4.0) for i in (1, 2))
    request = EngineRequest(model, tmp_path / "engine.sock", "bot", adapters=adapters)
    with RealEngine(request) as engine, DoorProcess(tmp_path / "home") as door:
        entry = replica(socket_path=str(engine.request.socket), adapters=("calm", "wild"))
        door.start(door.snapshot(deployment("bot", entry)))

        def ask(adapter: str | None) -> str:
            asked = {"model": "bot", "messages": [{"role": "user", "content": "hello"}], "temperature": 0}
            asked |= {"max_tokens": 12, "logit_bias": {str(token): -100 for token in range(259)}}
            reply = door.post("/v1/chat/completions", asked | ({"adapter": adapter} if adapter else {}))
            assert reply.status == 200, reply.text
            return str(reply.json()["choices"][0]["message"]["content"])

        base, calm, wild = ask(None), ask("calm"), ask("wild")
        assert len({base, calm, wild}) == 3
        assert [ask("wild"), ask(None), ask("calm"), ask(None)] == [wild, base, calm, base]
        unknown = door.post(
            "/v1/chat/completions",
            {"model": "bot", "messages": [{"role": "user", "content": "hello"}], "adapter": "other"},
        )
        assert unknown.status == 400
        assert "'calm', 'wild'" in unknown.error["message"]
        assert unknown.error["param"] == "adapter"
