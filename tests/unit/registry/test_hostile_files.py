"""Thousands of damaged files: each is refused with a sentence, or is in order as far as a header can tell."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support import ggufs, raw_onnx, raw_safetensors
from tests.support.mutations import mutants
from tests.support.raw_gguf import sound
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.inspection.repository import inspect_files

Writer = Callable[..., Path]
WRITERS: dict[str, Writer] = {
    "chat": ggufs.write_chat_model,
    "embedding": ggufs.write_embedding_model,
    "rerank": ggufs.write_rerank_model,
}
_MEMORY_BYTES = 256 * 1024 * 1024


def verdict(path: Path) -> str | None:
    """None where a file is accepted, else why not; anything but a refusal fails the test."""
    try:
        inspect_files({path.name: path})
    except (InvalidError, RefusedError) as error:
        return error.message
    return None


def survey(path: Path, content: bytes, *, count: int, seed: int, header_bytes: int) -> tuple[int, int]:
    """How many of a number of mutants were refused, and how many accepted."""
    before = psutil.Process().memory_info().rss
    refused = accepted = 0
    for mutant in mutants(content, count=count, seed=seed, header_bytes=header_bytes):
        path.write_bytes(mutant.content)
        try:
            message = verdict(path)
        except Exception as error:
            raise AssertionError(f"{mutant.what}: {error!r}") from error
        assert message is None or ("\n" not in message and len(message) < 600), mutant.what
        refused, accepted = refused + (message is not None), accepted + (message is None)
    assert psutil.Process().memory_info().rss - before < _MEMORY_BYTES
    return refused, accepted


def small(kind: str, folder: Path) -> tuple[bytes, int]:
    """A sound model of a kind, and where its header ends."""
    more = {} if kind == "chat" else {"context_tokens": 32}
    path = WRITERS[kind](folder / "sound.gguf", width=16, layers=1, **more)
    content = path.read_bytes()
    data = sum(-(-tensor.size_bytes // 32) * 32 for tensor in read_gguf(path, "sound").tensors)
    return content, len(content) - data


@pytest.mark.parametrize(("kind", "seed"), [("chat", 1), ("embedding", 2), ("rerank", 3)])
def test_damaged_gguf(tmp_path: Path, kind: str, seed: int) -> None:
    """Of a thousand damaged models each is refused in one sentence or is well formed, in bounded memory."""
    content, header_bytes = small(kind, tmp_path)
    refused, accepted = survey(tmp_path / "m.gguf", content, count=1000, seed=seed, header_bytes=header_bytes)
    assert refused + accepted == 1000
    assert refused > 700


def test_damaged_small_gguf(tmp_path: Path) -> None:
    """The same for a file that is nearly all header, where every byte means something."""
    content = sound().build()
    refused, _ = survey(tmp_path / "m.gguf", content, count=1000, seed=4, header_bytes=len(content))
    assert refused > 500


def test_damaged_safetensors(tmp_path: Path) -> None:
    """The same for safetensors."""
    content = raw_safetensors.build(raw_safetensors.sound_header())
    refused, _ = survey(tmp_path / "m.safetensors", content, count=600, seed=5, header_bytes=len(content) - 40)
    assert refused > 450


def test_damaged_onnx(tmp_path: Path) -> None:
    """The same for ONNX, whose format says less about itself."""
    content = raw_onnx.model(raw_onnx.tensor("w", [4, 4]))
    refused, _ = survey(tmp_path / "m.onnx", content, count=600, seed=6, header_bytes=len(content) - 64)
    assert refused > 200


@pytest.mark.long
@pytest.mark.parametrize("kind", WRITERS)
def test_what_is_accepted_does_not_crash_the_engine(tmp_path: Path, kind: str, is_full: bool) -> None:
    """A damaged file that passes may be refused by the engine's loader, and never ends its process."""
    content, header_bytes = small(kind, tmp_path)
    accepted: dict[str, str] = {}
    count = 20_000 if is_full else 1000
    for number, mutant in enumerate(mutants(content, count=count, seed=7, header_bytes=header_bytes)):
        path = tmp_path / f"{number}.gguf"
        path.write_bytes(mutant.content)
        if verdict(path) is None:
            accepted[str(path)] = mutant.what
        else:
            path.unlink()
    names = list(accepted)
    assert names
    for begin in range(0, len(names), 500):
        command = [sys.executable, "-m", "tests.support.engine_loader", *names[begin : begin + 500]]
        endings = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        crashed = {accepted[name]: ending for name, ending in endings.items() if ending < 0}
        assert not crashed
