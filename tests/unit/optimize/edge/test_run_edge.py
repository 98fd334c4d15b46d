"""The program that a device runs: what needs no runtime of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from undercroft.optimize.edge.making import PROGRAMS
from undercroft.optimize.edge.programs.run_edge import describe, fitting_length

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


@pytest.mark.parametrize(("tokens", "length"), [(1, 32), (32, 32), (33, 128), (256, 256)])
def test_the_shortest_length_that_takes_a_text(tokens: int, length: int) -> None:
    """A text is filled up to no more than it has to be."""
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


def test_a_device_without_the_folder_is_told(tmp_path: Path) -> None:
    """Started anywhere but beside a model, it says what to give it; it needs nothing installed to say so."""
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAMS / "run_edge.py"), str(tmp_path)], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "there is no edge.json in" in done.stderr


@pytest.mark.parametrize("said", [["--text", "x"], []])
def test_what_a_runtime_does_not_do_is_told_before_it_is_loaded(tmp_path: Path, said: list[str]) -> None:
    """A manifest that somebody changed asks LiteRT to write text: a sentence, without any runtime here."""
    manifest = {"task": "generate", "runtime": "litert", "program": "model.tflite", "tokenizer": "tokenizer.json"}
    (tmp_path / "edge.json").write_text(json.dumps(manifest), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-I", str(PROGRAMS / "run_edge.py"), str(tmp_path), *said], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "edge.json says generate in litert: expected embed in executorch or litert, or generate in executorch\n"
    )
