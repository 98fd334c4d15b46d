"""A published model that generates as a program of ExecuTorch, computed by XNNPACK, and held against its source.

Order on stdin, JSON: ``target`` (folder that is there), ``weights`` (``f32``, ``int8``), ``cache_tokens``, and what
``compare`` of ``conversion/programs/expecting.py`` takes; ``source`` is the published model. Writes ``model.pte`` and
``tokenizer.json``. The last line on stdout is JSON: what ``compare`` returns, ``result_split`` (ids of each of
``split_texts`` as a device splits them), ``parameters``, ``pad_token``, ``end_tokens``, ``vocabulary``.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path
from typing import Any

import torch
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
from executorch.exir import to_edge_transform_and_lower
from torchao.quantization import Int8DynamicActivationIntxWeightConfig, quantize_
from torchao.quantization.granularity import PerAxis

_EXAMPLE_TOKENS = 3  # one would be taken for a constant
_PROGRAM = "model.pte"


def main() -> None:
    """Finds the modules beside this one under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.conversion.programs import expecting  # noqa: PLC0415  (found only now)
    from undercroft.optimize.edge.programs import decoders, on_device, run_edge  # noqa: PLC0415

    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    said = _export(order, decoders)
    target = Path(order["target"])
    manifest = {"program": _PROGRAM, "tokenizer": "tokenizer.json"}
    tokenizer = run_edge.tokenizer_of(target, manifest)
    said["result_split"] = [list(tokenizer.encode(text).ids) for text in order["split_texts"]]
    network = run_edge.ExecuTorchNetwork
    found = expecting.compare(order, lambda: on_device.OnDevice(network(target, manifest, order["threads"])))
    print(json.dumps({**found, **said}), flush=True)


def _export(order: dict[str, Any], decoders: Any) -> dict[str, Any]:
    """Writes the program; what it needs of memory goes with it."""
    model, said = decoders.open_decoder(order)
    decoder = decoders.Decoder(model, order["cache_tokens"]).eval()
    if order["weights"] == "int8":
        # Inputs are rounded as they come, weights once, each row by a factor of its own.
        quantize_(
            decoder, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
        )
    tokens = torch.export.Dim("tokens", min=1, max=order["cache_tokens"])
    example = (torch.ones(1, _EXAMPLE_TOKENS, dtype=torch.long), torch.arange(_EXAMPLE_TOKENS))
    with torch.no_grad():
        exported = torch.export.export(decoder, example, dynamic_shapes=({1: tokens}, {0: tokens}), strict=False)
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    with open(Path(order["target"]) / _PROGRAM, "wb") as file:
        program.write_to_file(file)
    return dict(said)


if __name__ == "__main__":
    main()
