"""What the published model itself says: token ids, greedy continuations, embeddings, from transformers.

Order on stdin, JSON: ``model`` (folder), ``adapter`` (PEFT's folder of a LoRA that changes it, or null), ``task``
(``generate``, ``embed``, or ``split`` for token ids alone), ``split_texts``, ``texts``, ``new_tokens``, ``threads``.
Computed in the type that the weights are published in, in float32 where that is float16, which processors are bad at,
and with an adapter, which would be lost in rounding. The last line on stdout is JSON:

    split        token ids of each of ``split_texts``, without special tokens
    generated    per text: ``prompt`` (ids, with special tokens), ``tokens`` (ids), ``logprobs`` (nats), ``margins``
                 (nats between the best token and the next)
    embedded     per text: a vector of length 1
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

_A, _B = ".lora_A.weight", ".lora_B.weight"


def main() -> None:
    """Answers what stdin asks."""
    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    # Nothing of the model's is run as code: what needs its own is refused by transformers.
    tokenizer = AutoTokenizer.from_pretrained(order["model"], trust_remote_code=False)
    split = [tokenizer.encode(text, add_special_tokens=False) for text in order["split_texts"]]
    said: dict[str, Any] = {"split": split, "generated": [], "embedded": []}
    if order["task"] == "split":
        print(json.dumps(said), flush=True)
        return
    model = _loaded(AutoModelForCausalLM if order["task"] == "generate" else AutoModel, order["model"])
    if order["adapter"] is not None:
        model = _adapted(model.float(), Path(order["adapter"]))
    with torch.inference_mode():
        for text in order["texts"]:
            if order["task"] == "generate":
                said["generated"].append(_generated(model, tokenizer.encode(text), order["new_tokens"]))
            else:
                said["embedded"].append(_embedded(model, tokenizer, text, Path(order["model"])))
    print(json.dumps(said), flush=True)


def _loaded(kind: Any, folder: str) -> Any:
    model = kind.from_pretrained(folder, dtype="auto", trust_remote_code=False)
    return (model.float() if model.dtype == torch.float16 else model).eval()


def _adapted(model: Any, folder: Path) -> Any:
    """With what a LoRA changes added to the weights, as PEFT computes it."""
    settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    weights = load_file(folder / "adapter_model.safetensors")
    for name in [name for name in weights if name.endswith(_A)]:
        matrix = model.get_submodule(name.removeprefix("base_model.model.").removesuffix(_A)).weight
        a, b = weights[name].float(), weights[name.removesuffix(_A) + _B].float()
        rank = math.sqrt(len(a)) if settings.get("use_rslora") else len(a)
        change = settings["lora_alpha"] / rank * (b @ a)
        matrix.data += change.T if settings.get("fan_in_fan_out") else change
    return model


def _generated(model: Any, prompt: list[int], new_tokens: int) -> dict[str, Any]:
    """Greedy, one token at a time; the end of text does not stop it, so that there is always as much to compare."""
    ids, cache = torch.tensor([prompt]), None
    tokens, logprobs, margins = [], [], []
    for _ in range(new_tokens):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        best = torch.log_softmax(out.logits[0, -1].float(), -1).topk(2)
        tokens.append(int(best.indices[0]))
        logprobs.append(float(best.values[0]))
        margins.append(float(best.values[0] - best.values[1]))
        ids = best.indices[:1].view(1, 1)
    return {"prompt": prompt, "tokens": tokens, "logprobs": logprobs, "margins": margins}


def _embedded(model: Any, tokenizer: Any, text: str, folder: Path) -> list[float]:
    hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].float()
    vector = hidden[0] if _pools_first(folder) else hidden.mean(0)
    return list(torch.nn.functional.normalize(vector, dim=0).tolist())


def _pools_first(folder: Path) -> bool:
    """Whether the first token stands for the text, as sentence-transformers keeps it; else it is the mean of all."""
    try:
        settings = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(settings.get("pooling_mode_cls_token"))


if __name__ == "__main__":
    main()
