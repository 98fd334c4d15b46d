"""A published model that generates as a program of LiteRT, computed by XNNPACK, and held against its source.

One signature ``generate_LENGTH`` for each length that is read at once; they share their weights. A program keeps
nothing from call to call: the cache of keys and values goes in, and what is new of it comes out, see
``LendingDecoder``.

Order on stdin, JSON: as of ``to_executorch_decoder``, and ``lengths`` (tokens). Writes ``model.tflite`` and
``tokenizer.json``. The last line on stdout is JSON: as there, and ``layers``, ``heads`` and ``head_width`` of the
cache, ``pieces_nats`` (see ``_pieces_nats``).
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import litert_torch
import numpy as np
import torch

_PROGRAM = "model.tflite"
_PIECES = 3  # whole ones, and a piece of one


def main() -> None:
    """Finds the modules beside this one under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.conversion.programs import expecting  # noqa: PLC0415  (found only now)
    from undercroft.optimize.edge.programs import decoders, on_device, rounding, run_edge  # noqa: PLC0415

    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    said = _export(order, decoders)
    target = Path(order["target"])
    if order["weights"] == "int8":
        rounding.round_weights(target / _PROGRAM)
    manifest = {
        "program": _PROGRAM,
        "tokenizer": "tokenizer.json",
        "lengths": order["lengths"],
        "pad_token": said["pad_token"],
    }
    tokenizer = run_edge.tokenizer_of(target, manifest)
    said["result_split"] = [list(tokenizer.encode(text).ids) for text in order["split_texts"]]
    network = run_edge.LiteRtWriter
    found = expecting.compare(order, lambda: on_device.OnDevice(network(target, manifest, order["threads"])))
    tokens = [token for split in said["result_split"] for token in split]
    said["pieces_nats"] = _pieces_nats(network(target, manifest, order["threads"]), tokens, order)
    print(json.dumps({**found, **said}), flush=True)


def _export(order: dict[str, Any], decoders: Any) -> dict[str, Any]:
    """Writes the program; what it needs of memory goes with it."""
    model, said = decoders.open_decoder(order, attention="grouped")
    decoder = decoders.LendingDecoder(model, order["cache_tokens"]).eval()
    converter: Any = litert_torch
    for length in order["lengths"]:
        converter = converter.signature(f"generate_{length}", decoder, sample_kwargs=decoder.example(length))
    target = Path(order["target"]) / _PROGRAM
    with torch.no_grad():
        converter.convert().export(str(target))
    _, heads, _, width = decoder.shape
    return {**said, "layers": decoder.layers, "heads": heads, "head_width": width}


def _pieces_nats(network: Any, tokens: list[int], order: dict[str, Any]) -> float:
    """Divergence of what is expected of a text that is read in pieces from what is of one read token by token.

    Args:
        network: Of ``run_edge.py``.
        tokens: Of a text.
        order: ``lengths``, ``cache_tokens``.

    Returns:
        Nats, the largest after any piece, of which the last is not a whole one.
    """
    longest = max(order["lengths"])
    read = tokens[: min(_PIECES * longest + longest // 2, order["cache_tokens"])]
    singly = [_log_softmax(network.logits([token], position)) for position, token in enumerate(read)]
    largest = 0.0
    for position in range(0, len(read), longest):
        piece = read[position : position + longest]
        found = _log_softmax(network.logits(piece, position))
        expected = singly[position + len(piece) - 1]
        largest = max(largest, float((np.exp(expected) * (expected - found)).sum()))
    return largest


def _log_softmax(logits: list[float]) -> Any:
    risen = np.asarray(logits, np.float64)
    risen = risen - risen.max()
    return risen - np.log(np.exp(risen).sum())


if __name__ == "__main__":
    main()
