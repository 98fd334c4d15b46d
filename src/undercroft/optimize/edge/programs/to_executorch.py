"""A published encoder as a program of ExecuTorch, computed by XNNPACK.

Order on stdin, JSON: ``model`` (folder), ``target`` (folder that is there), ``weights`` (``f32``, ``int8``),
``pooling`` (``mean``, ``first``, ``max``), ``is_normalized``, ``most_tokens``, ``texts``, ``threads``. Writes
``model.pte`` and ``tokenizer.json``. The last line on stdout is JSON, see ``open_encoder``: what the source says itself
among it, computed in float32.
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

_EXAMPLE_TOKENS, _FEWEST_TOKENS = 16, 2


def main() -> None:
    """Finds the modules beside this one under their full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.edge.programs import encoders  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    encoder, said = encoders.open_encoder(order)
    if order["weights"] == "int8":
        # Inputs are rounded as they come, weights once, each row by a factor of its own.
        quantize_(
            encoder, Int8DynamicActivationIntxWeightConfig(weight_dtype=torch.int8, weight_granularity=PerAxis(0))
        )
    ids, mask = (torch.ones(1, _EXAMPLE_TOKENS, dtype=torch.long) for _ in range(2))  # one tensor would be one input
    tokens = torch.export.Dim("tokens", min=_FEWEST_TOKENS, max=order["most_tokens"])
    with torch.no_grad():
        exported = torch.export.export(encoder, (ids, mask), dynamic_shapes=({1: tokens}, {1: tokens}), strict=False)
    program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
    with open(Path(order["target"]) / "model.pte", "wb") as file:
        program.write_to_file(file)
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
