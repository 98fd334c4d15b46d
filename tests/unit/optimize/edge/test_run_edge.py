"""The program that a device runs: what needs no runtime of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from undercroft.optimize.edge.making import PROGRAMS
from undercroft.optimize.edge.programs.run_edge import LiteRtWriter, describe, fitting_length

_FOUND: dict[str, Any] = {
    "runtime": "litert",
    "runtime_version": "2.3.0",
    "weights": "int8",
    "machine": "Linux aarch64, 4 processors",
    "threads": None,
    "size_bytes": 23_456_789,
    "load_seconds": 0.0421,
    "before_bytes": 54_000_000,
    "peak_bytes": 187_000_000,
}
_TIMES = {"rounds": 100, "p50_ms": 1234.5, "p90_ms": 2345.25, "p99_ms": 12345.75}


@pytest.mark.parametrize(("tokens", "length"), [(1, 32), (32, 32), (33, 128), (256, 256), (300, 256)])
def test_the_shortest_length_that_takes_a_text(tokens: int, length: int) -> None:
    """A text is filled up to no more than it has to be; of one that no length takes, the longest takes a piece."""
    assert fitting_length(tokens, (256, 32, 128)) == length


@pytest.mark.parametrize(
    "timed",
    [
        {"lengths": [{"tokens": 500, "computed_tokens": 512, "texts_per_second": 1234.5, **_TIMES}]},
        {
            "answer": {
                "read_tokens": 32,
                "read_tokens_per_second": 1234.5,
                "first_token_ms": 12345.75,
                "written_tokens": 32,
                "written_tokens_per_second": 1234.5,
                **_TIMES,
            }
        },
    ],
)
def test_figures_fit_a_terminal(timed: dict[str, Any]) -> None:
    """No line is wider than 80 columns, and size, memory and percentiles are among them."""
    lines = describe({**_FOUND, **timed})
    assert max(len(line) for line in lines) <= 80
    text = "\n".join(lines)
    assert all(said in text for said in ("23.5 MB", "187 MB", "1,234.50", "12,345.75"))


class Adding:
    """A signature that keeps each token as its key, and whose likeliest token is the sum of all that it sees."""

    def __init__(self, length: int, calls: list[tuple[list[int], int, int]]) -> None:
        self._length, self._calls = length, calls

    def __call__(self, *, input_ids: Any, position: Any, last: Any, keys_0: Any) -> dict[str, Any]:
        (ids,), at, end = input_ids, int(position[0]), int(last[0])
        self._calls.append((ids.tolist(), at, end))
        seen = int(keys_0[0, 0, :at, 0].sum()) + int(ids[: end + 1].sum())
        return {"logits": np.eye(100)[[[seen]]], "keys_0": ids.astype(np.float32)[None, None, :, None]}


def test_a_text_is_read_in_pieces() -> None:
    """The last one is filled up, and of what comes back only its own is kept, where the next call begins."""
    calls: list[tuple[list[int], int, int]] = []
    writer = LiteRtWriter.__new__(LiteRtWriter)
    writer._numpy, writer._fill = np, 9
    writer._runners = {1: Adding(1, calls), 4: Adding(4, calls)}
    writer._kept = {"keys_0": np.zeros((1, 1, 8, 1), np.float32)}
    assert np.argmax(writer.logits([1, 2, 3, 4, 5, 6], 0)) == 21
    assert np.argmax(writer.logits([7], 6)) == 28
    assert np.argmax(writer.logits([5, 5], 1)) == 11  # what came after the first is forgotten
    assert calls == [([1, 2, 3, 4], 0, 3), ([5, 6, 9, 9], 4, 1), ([7], 6, 0), ([5, 5, 9, 9], 1, 1)]
    assert writer._kept["keys_0"][0, 0, :, 0].tolist() == [1, 5, 5, 4, 5, 6, 7, 0]


def test_a_device_without_the_folder_is_told(tmp_path: Path) -> None:
    """Started anywhere but beside a model, it says what to give it; it needs nothing installed to say so."""
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAMS / "run_edge.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there is no edge.json in" in done.stderr


@pytest.mark.parametrize("said", [["--text", "x"], []])
def test_what_a_runtime_does_not_do_is_told_before_it_is_loaded(tmp_path: Path, said: list[str]) -> None:
    """A manifest that somebody changed asks LiteRT to rank: a sentence, without any runtime here."""
    manifest = {"task": "rerank", "runtime": "litert", "program": "model.tflite", "tokenizer": "tokenizer.json"}
    (tmp_path / "edge.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAMS / "run_edge.py"), str(tmp_path), *said], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "edge.json says rerank in litert: expected embed in executorch or litert, or generate in executorch or litert\n"
    )
