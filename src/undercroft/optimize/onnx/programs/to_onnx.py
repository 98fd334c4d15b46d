"""Writes a published encoder as ONNX, and says what it answers itself, in torch.

Order on stdin, JSON: ``model`` (folder), ``target`` (folder to write to), ``task`` (``embed``, ``rerank``,
``classify``), ``pooling`` (``mean``, ``first``, ``max``), ``is_normalized``, ``activation`` (``none``, ``sigmoid``,
``softmax``), ``inputs`` (texts; pairs of texts to rerank), ``most_tokens``, ``threads``.

Written are ``model.onnx``, with the inputs and the output that the field knows (``input_ids``, ``attention_mask``,
``token_type_ids`` where there are two kinds; ``last_hidden_state`` or ``logits``), and ``tokenizer.json``. The last
line on stdout is JSON: ``answers``, a list of numbers for each input, computed one by one in float32, and ``tokens``,
the count of each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import onnx
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

_OPSET = 18
_OPERATORS = ("input_ids", "attention_mask", "token_type_ids")


class _Network(torch.nn.Module):  # type: ignore[misc]  # another Python has torch
    """The model with plain tensors in and one tensor out."""

    def __init__(self, model: Any, output: str) -> None:
        super().__init__()
        self.model, self.output = model, output

    def forward(self, *given: Any) -> Any:
        return self.model(**dict(zip(_OPERATORS, given, strict=False)))[self.output]


def main() -> None:
    """Answers what stdin orders, then writes."""
    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    # Nothing of the model's is run as code: what needs its own is refused by transformers.
    tokenizer = AutoTokenizer.from_pretrained(order["model"], trust_remote_code=False)
    kind = AutoModel if order["task"] == "embed" else AutoModelForSequenceClassification
    model = kind.from_pretrained(
        order["model"], dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    names = [name for name in _OPERATORS if name in tokenizer.model_input_names]
    with torch.inference_mode():
        found = [_answer(model, tokenizer, names, order, text) for text in order["inputs"]]
    target = Path(order["target"])
    _export(_Network(model, "last_hidden_state" if order["task"] == "embed" else "logits"), names, tokenizer, target)
    tokenizer.backend_tokenizer.save(str(target / "tokenizer.json"))
    print(json.dumps({"answers": [answer for answer, _ in found], "tokens": [count for _, count in found]}), flush=True)


def _answer(
    model: Any, tokenizer: Any, names: list[str], order: dict[str, Any], text: str | list[str]
) -> tuple[list[float], int]:
    parts = [text] if isinstance(text, str) else text
    split = tokenizer(*parts, return_tensors="pt", truncation=True, max_length=order["most_tokens"])
    said = model(**{name: split[name] for name in names})
    count = int(split["input_ids"].shape[1])
    if order["task"] != "embed":
        logits = said.logits[0]
        scores = {"none": lambda: logits, "sigmoid": logits.sigmoid, "softmax": lambda: logits.softmax(0)}
        return list(scores[order["activation"]]().tolist()), count
    hidden = said.last_hidden_state[0]
    pooled = {"mean": lambda: hidden.mean(0), "first": lambda: hidden[0], "max": lambda: hidden.max(0).values}
    vector = pooled[order["pooling"]]()
    vector = torch.nn.functional.normalize(vector, dim=0) if order["is_normalized"] else vector
    return list(vector.tolist()), count


def _export(network: Any, names: list[str], tokenizer: Any, target: Path) -> None:
    """Both dimensions are free, and the two inputs of the trace differ in length, so that padding is in it."""
    split = tokenizer(["one text", "another text, and a longer one"], padding=True, return_tensors="pt")
    free = {0: torch.export.Dim("inputs"), 1: torch.export.Dim("tokens", min=2)}
    with torch.inference_mode():
        program = torch.onnx.export(
            network,
            tuple(split[name] for name in names),
            dynamo=True,
            input_names=names,
            output_names=[network.output],
            dynamic_shapes=(tuple(free for _ in names),),
            opset_version=_OPSET,
            external_data=False,
        )
    made = program.model_proto
    _forget_where(made)
    onnx.save(made, str(target / "model.onnx"))


def _forget_where(made: Any) -> None:
    """Removes what the exporter noted of every operator: which line of which file it came from, on this machine.

    Others have no use for it, it tells names of folders, and the same model would have another digest in another home.
    """
    graph = made.graph
    del made.metadata_props[:]
    for part in (graph, *graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.ClearField("doc_string")


if __name__ == "__main__":
    main()
