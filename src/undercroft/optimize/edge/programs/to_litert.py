"""A published encoder as a program of LiteRT, computed by XNNPACK: one signature ``embed_LENGTH`` for each length.

Order on stdin, JSON: as of ``to_executorch``, and ``lengths`` (tokens). Writes ``model.tflite`` and ``tokenizer.json``.
The last line on stdout is JSON, see ``open_encoder``.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import litert_torch
import torch


def main() -> None:
    """Finds the modules beside this one under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.edge.programs import encoders, rounding  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    encoder, said = encoders.open_encoder(order)
    target = Path(order["target"]) / "model.tflite"
    _write(encoder, order["lengths"], target)
    if order["weights"] == "int8":
        rounding.round_weights(target)
    print(json.dumps(said), flush=True)


def _write(encoder: torch.nn.Module, lengths: list[int], target: Path) -> None:
    converter: Any = litert_torch
    for length in lengths:
        example = torch.ones(1, length, dtype=torch.long)
        given = {"input_ids": example, "attention_mask": example.clone()}
        converter = converter.signature(f"embed_{length}", encoder, sample_kwargs=given)
    converter.convert().export(str(target))


if __name__ == "__main__":
    main()
