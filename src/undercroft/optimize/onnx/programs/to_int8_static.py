"""Rounds the matrices of an ONNX model to 8 bits, and what they read by the ranges that texts of the user's excite.

Order on stdin, JSON: ``source``, ``target``, ``tokenizer`` (files), ``folder`` (for what is in between), ``inputs``
(texts, or pairs of texts), ``most_tokens`` (of one), ``operators`` (kinds that are rounded), ``is_signed`` (the numbers
that they are rounded to). The last line on stdout is JSON: ``rounded``, how many matrices, ``others``, how many of
these operators stayed as they were, and ``tokens`` that were read.

What a matrix gives stays in single precision: rounded, too, it took all-MiniLM-L6-v2 from a mean cosine of 0.989 to
0.922.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from tokenizers import Tokenizer


class _Texts(CalibrationDataReader):  # type: ignore[misc]  # another Python has onnxruntime
    """Inputs one by one, each as long as it is, so that no padding is in the ranges."""

    def __init__(self, order: dict[str, Any], names: list[str]) -> None:
        tokenizer = Tokenizer.from_file(order["tokenizer"])
        tokenizer.no_padding()
        tokenizer.enable_truncation(order["most_tokens"], strategy="longest_first")
        self.tokens = 0
        self._fed = self._feed(tokenizer, order["inputs"], names)

    def get_next(self) -> dict[str, Any] | None:
        """The next one; None when all were read."""
        return next(self._fed, None)

    def _feed(self, tokenizer: Any, inputs: list[Any], names: list[str]) -> Iterator[dict[str, Any]]:
        for one in inputs:
            split = tokenizer.encode(*([one] if isinstance(one, str) else one))
            self.tokens += len(split.ids)
            given = {"input_ids": split.ids, "attention_mask": [1] * len(split.ids), "token_type_ids": split.type_ids}
            yield {name: np.array([given[name]], np.int64) for name in names}


def main() -> None:
    """Finds the module of ours under its full name, without a path to the packages of another Python."""
    package = types.ModuleType("undercroft")
    package.__path__ = [str(Path(__file__).parents[3])]
    sys.modules["undercroft"] = package
    from undercroft.optimize.onnx.programs.preparing import prepare  # noqa: PLC0415  (found only now)

    order: dict[str, Any] = json.load(sys.stdin)
    prepared = prepare(order)
    graph = onnx.load(str(prepared), load_external_data=False).graph
    texts = _Texts(order, [one.name for one in graph.input])
    weights = {one.name for one in graph.initializer}
    quantize_static(
        str(prepared),
        order["target"],
        texts,
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=order["operators"],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8 if order["is_signed"] else QuantType.QUInt8,
        extra_options={"MatMulConstBOnly": True, "OpTypesToExcludeOutputQuantization": order["operators"]},
    )
    prepared.unlink()
    made = onnx.load(order["target"], load_external_data=False).graph
    read = {node.output[0] for node in made.node if node.op_type == "DequantizeLinear"}
    matrices = [node for node in made.node if node.op_type in order["operators"]]
    rounded = sum(set(node.input) <= read for node in matrices)
    others = sum(node.input[1] in weights for node in matrices)
    print(json.dumps({"rounded": rounded, "others": others, "tokens": texts.tokens}), flush=True)


if __name__ == "__main__":
    main()
