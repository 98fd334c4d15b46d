"""Thousands of damaged files: each is refused with a sentence, or is in order as far as a header can tell."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.support import ggufs, raw_onnx, raw_safetensors
from tests.support.mutations import mutants
from tests.support.raw_gguf import ARRAY, STRING, U8, sound
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


def long_strings(path: Path, key: str) -> None:
    """A header that claims, and has, an array of 250 strings of 1 MiB each, nearly all of it holes on the disk."""
    file = sound()
    file.set_raw(key, b"")
    head = file.build()[: file.build().index(key.encode()) + len(key)]
    with path.open("wb") as out:
        out.write(head + struct.pack("<IIQ", ARRAY, STRING, 250))
        for _ in range(250):
            out.write(struct.pack("<Q", 2**20))
            out.seek(2**20, 1)
        out.truncate()


BOMBS: dict[str, Callable[[Path], object]] = {
    "long strings": lambda path: long_strings(path, "general.tags"),
    "long tokens": lambda path: long_strings(path, "tokenizer.ggml.tokens"),
    "many strings": lambda path: path.write_bytes(
        gguf_with(struct.pack("<IIQ", ARRAY, STRING, 1_900_000) + bytes(8 * 1_900_000))
    ),
    "many lists": lambda path: path.write_bytes(
        gguf_with(*[struct.pack("<IIQ", ARRAY, U8, 1024) + bytes(1024)] * 20_000)
    ),
    "huge list": lambda path: path.write_bytes(gguf_with(struct.pack("<IIQ", ARRAY, U8, 2**26) + bytes(2**26))),
    "header of lists": lambda path: path.write_bytes(
        raw_safetensors.build_raw(b'{"a":[' + b"[]," * 3_000_000 + b"[]]}", 0)
    ),
    "header of keys": lambda path: path.write_bytes(
        raw_safetensors.build_raw(b"{" + b",".join(b'"%06x":[]' % n for n in range(800_000)) + b"}", 0)
    ),
    "onnx of nothing": lambda path: path.write_bytes(b"\x08\x08" + b"\x12\x00" * 5_000_000),
}


def gguf_with(*values: bytes) -> bytes:
    """A sound file with more values, each given with its type."""
    file = sound()
    for number, raw in enumerate(values):
        file.set_raw(f"x{number}", raw) if len(values) < 100 else file.keys.append((f"x{number}", raw))
    return file.build()


@pytest.mark.parametrize("bomb", BOMBS, ids=str)
def test_memory_is_bounded(tmp_path: Path, bomb: str) -> None:
    """A file that is made to fill the memory is refused, or passed over, in a process that may have 1 GiB."""
    path = tmp_path / "m"
    BOMBS[bomb](path)
    command = [sys.executable, "-m", "tests.support.limited_inspection", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(("refused: ", "accepted"))


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
