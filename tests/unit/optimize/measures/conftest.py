"""Tiny models for what is measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import write_chat_model, write_embedding_model, write_expert_model

BIRDS = " ".join(f"the {n}th bird sat on wire {n * n}, and looked at {{{n}}} cats." for n in range(40))


@pytest.fixture(scope="package")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By name: two Llamas of one vocabulary, one with experts, an encoder, and files that are none."""
    folder = tmp_path_factory.mktemp("models")
    chat = write_chat_model(folder / "chat.gguf")
    whole = chat.read_bytes()
    (folder / "cut.gguf").write_bytes(whole[: len(whole) // 2])
    (folder / "junk.gguf").write_bytes(b"no model at all " * 100)
    return {
        "chat": chat,
        "other": write_chat_model(folder / "other.gguf", seed=1),
        "experts": write_expert_model(folder / "experts.gguf"),
        "encoder": write_embedding_model(folder / "encoder.gguf"),
        "cut": folder / "cut.gguf",
        "junk": folder / "junk.gguf",
    }
