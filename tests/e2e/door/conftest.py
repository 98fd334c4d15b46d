"""One door before three real engines with tiny random models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import openai
import pytest

from tests.support.doors import DoorProcess, deployment, replica
from tests.support.ggufs import TOOLS_TEMPLATE, write_chat_model, write_embedding_model, write_rerank_model
from tests.support.real_engine import EngineRequest, RealEngine


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DoorProcess]:
    """Deployments ``bot`` (chat with tools), ``plain`` (chat without), ``vectors`` and ``judge``."""
    folder = tmp_path_factory.mktemp("d")
    with ExitStack() as stack:
        chat = write_chat_model(folder / "chat.gguf", chat_template=TOOLS_TEMPLATE)
        plain = write_chat_model(folder / "plain.gguf", seed=1)
        vectors = write_embedding_model(folder / "vectors.gguf")
        judge = write_rerank_model(folder / "judge.gguf")

        def engine(model: Path, name: str, task: str) -> str:
            started = stack.enter_context(RealEngine(EngineRequest(model, folder / f"{name}.sock", name, task)))
            return str(started.request.socket)

        own = stack.enter_context(DoorProcess(folder / "home"))
        own.start(
            own.snapshot(
                deployment("bot", replica("rep_bot", socket_path=engine(chat, "bot", "generate")), has_tools=True),
                deployment("plain", replica("rep_plain", socket_path=engine(plain, "plain", "generate"))),
                deployment(
                    "vectors",
                    replica("rep_vectors", socket_path=engine(vectors, "vectors", "embed")),
                    tasks=("embeddings",),
                ),
                deployment(
                    "judge", replica("rep_judge", socket_path=engine(judge, "judge", "rerank")), tasks=("rerank",)
                ),
            )
        )
        yield own


@pytest.fixture
def client(door: DoorProcess) -> Iterator[openai.OpenAI]:
    """OpenAI's own client with the door's key."""
    with openai.OpenAI(base_url=door.url + "/v1", api_key=door.key, max_retries=0) as made:
        yield made
