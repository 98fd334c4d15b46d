"""Makes a published model smaller with llm-compressor.

Order on stdin, JSON: ``source`` (folder), ``target`` (folder to make), ``preset`` (of compressed-tensors), ``method``
(``gptq``, ``awq``, ``smoothing``, ``rounding``), ``group_size`` (or null), ``texts``, ``samples``, ``sample_tokens``,
``least_tokens``, ``seed``, ``threads``. On stdout JSON, a line each: ``event`` (``layer`` with ``done`` and ``total``),
and last ``outcome``:

    done              ``modules`` (names of what was quantized), ``samples`` and ``tokens`` that were read
    too-little-text   ``tokens``
    os-error          ``errno``, ``path``

Anything else is a failure, told on stderr.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import torch
from compressed_tensors.quantization import preset_name_to_scheme
from llmcompressor import oneshot
from llmcompressor.core import LifecycleCallbacks
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from llmcompressor.modifiers.transform.awq import AWQModifier
from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier
from llmcompressor.pipelines.cache import IntermediatesCache
from safetensors import SafetensorError
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM, AutoTokenizer

_KEPT = ["lm_head"]
_SMOOTHING = 0.8
_ERROR_NUMBER = re.compile(r"os error (\d+)")


def main() -> None:
    """Does what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    torch.manual_seed(order["seed"])
    # Memory is pinned for the transfer to a GPU; without one the library asks for it all the same, and ends.
    IntermediatesCache.pin_memory = lambda self, *arguments, **more: None
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    windows = _windows(tokenizer, order["texts"], order["sample_tokens"])[: order["samples"]]
    tokens = sum(len(window) for window in windows)
    if order["method"] != "rounding" and tokens < order["least_tokens"]:
        _say(outcome="too-little-text", tokens=tokens)
        return
    # Nothing of the model's is run as code: what needs its own is refused by transformers.
    model = AutoModelForCausalLM.from_pretrained(order["source"], dtype="auto", trust_remote_code=False)
    _tell_layers(model.config.num_hidden_layers + 1)
    calibration = {"dataset": _loader(windows), "num_calibration_samples": len(windows)} if windows else {}
    oneshot(
        model=model,
        processor=tokenizer,
        recipe=_modifiers(order),
        max_seq_length=order["sample_tokens"],
        shuffle_calibration_samples=False,
        **calibration,
    )
    modules = [name for name, module in model.named_modules() if _is_quantized(module)]
    try:
        model.save_pretrained(order["target"], save_compressed=True)
    except OSError as error:
        _say(outcome="os-error", errno=error.errno, path=order["target"])
        return
    except SafetensorError as error:
        number = _ERROR_NUMBER.search(str(error))
        if number is None:
            raise
        _say(outcome="os-error", errno=int(number.group(1)), path=order["target"])
        return
    _say(outcome="done", modules=modules, samples=len(windows), tokens=tokens)


def _windows(tokenizer: Any, texts: list[str], length: int) -> list[list[int]]:
    """Token ids of all texts, one after the other, in windows; a rest that is shorter is one, too."""
    ids = [token for text in texts for token in tokenizer.encode(text)]
    return [ids[begin : begin + length] for begin in range(0, len(ids), length)]


def _loader(windows: list[list[int]]) -> Any:
    def batch(one: list[list[int]]) -> dict[str, torch.Tensor]:
        ids = torch.tensor(one)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return DataLoader(windows, batch_size=1, shuffle=False, collate_fn=batch)


def _modifiers(order: dict[str, Any]) -> list[Any]:
    scheme = preset_name_to_scheme(order["preset"], ["Linear"])
    if order["group_size"] is not None and scheme.weights is not None:
        scheme.weights.group_size = order["group_size"]
    what: dict[str, Any] = {"config_groups": {"group_0": scheme}, "ignore": _KEPT}
    if order["method"] == "gptq":
        return [GPTQModifier(**what)]
    if order["method"] == "awq":
        return [AWQModifier(), QuantizationModifier(**what)]
    if order["method"] == "smoothing":
        return [SmoothQuantModifier(smoothing_strength=_SMOOTHING), GPTQModifier(**what)]
    return [QuantizationModifier(**what)]


def _tell_layers(total: int) -> None:
    """Has each layer that is through told on stdout."""
    known = LifecycleCallbacks.sequential_epoch_end
    done = 0

    def through(*arguments: Any, **more: Any) -> Any:
        nonlocal done
        done += 1
        _say(event="layer", done=min(done, total), total=total)
        return known(*arguments, **more)

    LifecycleCallbacks.sequential_epoch_end = through


def _is_quantized(module: Any) -> bool:
    scheme = getattr(module, "quantization_scheme", None)
    return scheme is not None and getattr(scheme, "weights", None) is not None


def _say(**said: Any) -> None:
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
