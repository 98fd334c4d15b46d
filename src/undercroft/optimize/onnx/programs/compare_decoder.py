"""Reads texts with a published model, in torch, and with what was made of it, in onnxruntime-genai, and goes on.

Order on stdin, JSON: ``source`` and ``result`` (folders), ``texts`` (that are read), ``prompts`` (that both go on
with, greedily), ``split_texts``, ``new_tokens``, ``most_tokens`` (of all texts), ``scratch`` (file for the source's
log-probabilities, 4 bytes a token and entry of the vocabulary), ``threads``. The source is computed in float32. The
last line on stdout is JSON, in nats a token:

    tokens, same_top, mean_nats, largest_nats, noise_nats, source_nats, result_nats
    source, result   for each prompt: ``prompt``, ``tokens`` (ids), ``logprobs``, ``margins`` (nats to the next best)
    split            token ids of each of ``split_texts``, with special tokens
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import onnxruntime_genai
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_LEAST_WINDOW = 2
_WINDOW_TOKENS = 128


def main() -> None:
    """Answers what stdin asks."""
    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    onnxruntime_genai.disable_telemetry_events()
    # Nothing of the model's is run as code: what needs its own is refused by transformers.
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    windows = _windows(tokenizer, order["texts"], order["most_tokens"])
    prompts = [tokenizer.encode(text) for text in order["prompts"]]
    kept, said = _source(order, windows, prompts)
    expected = _result(order, windows, prompts, kept, said)
    expected["split"] = [tokenizer.encode(text) for text in order["split_texts"]]
    print(json.dumps(expected), flush=True)


def _windows(tokenizer: Any, texts: list[str], left: int) -> list[list[int]]:
    """Each text by itself, so that none is read as the continuation of another; the long ones cut."""
    windows = []
    for text in texts:
        window = tokenizer.encode(text)[: min(_WINDOW_TOKENS, left + 1)]
        if len(window) >= _LEAST_WINDOW and left > 0:
            windows.append(window)
            left -= len(window) - 1
    return windows


def _source(order: dict[str, Any], windows: list[list[int]], prompts: list[list[int]]) -> tuple[Any, dict[str, Any]]:
    model = AutoModelForCausalLM.from_pretrained(order["source"], dtype=torch.float32, trust_remote_code=False).eval()
    kept: Any = None
    at, nats = 0, 0.0
    with torch.inference_mode():
        for window in windows:
            logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, :-1].float()
            found = torch.log_softmax(logits, -1).numpy()
            if kept is None:
                tokens = sum(len(one) - 1 for one in windows)
                kept = np.memmap(order["scratch"], dtype=np.float32, mode="w+", shape=(tokens, found.shape[1]))
            kept[at : at + len(found)] = found
            nats -= float(found[np.arange(len(found)), window[1:]].astype(np.float64).sum())
            at += len(found)
        continued = [_continued_in_torch(model, prompt, order["new_tokens"]) for prompt in prompts]
    del model
    gc.collect()
    return kept, {"source": continued, "source_nats": nats / max(1, at)}


def _continued_in_torch(model: Any, prompt: list[int], new_tokens: int) -> dict[str, Any]:
    state: dict[str, Any] = {"ids": torch.tensor([prompt]), "cache": None}

    def expect(token: int | None) -> Any:
        if token is not None:
            state["ids"] = torch.tensor([[token]])
        out = model(input_ids=state["ids"], past_key_values=state["cache"], use_cache=True)
        state["cache"] = out.past_key_values
        return _log_softmax(out.logits[0, -1].float().numpy())

    return _continued(prompt, new_tokens, expect)


def _continued(prompt: list[int], new_tokens: int, expect: Callable[[int | None], Any]) -> dict[str, Any]:
    """Greedy; the end of text does not stop it, so that there is always as much to compare."""
    tokens, logprobs, margins = [], [], []
    last: int | None = None
    for _ in range(new_tokens):
        nats = expect(last)
        best, second = np.argsort(-nats, kind="stable")[:2]
        last = int(best)
        tokens.append(last)
        logprobs.append(float(nats[best]))
        margins.append(float(nats[best] - nats[second]))
    return {"prompt": prompt, "tokens": tokens, "logprobs": logprobs, "margins": margins}


def _result(
    order: dict[str, Any], windows: list[list[int]], prompts: list[list[int]], kept: Any, said: dict[str, Any]
) -> dict[str, Any]:
    model = onnxruntime_genai.Model(order["result"])
    divergences: list[float] = []
    tops: list[bool] = []
    nats, at = 0.0, 0
    for window in windows:
        generator = _generator(model, len(window))
        for token, following in pairwise(window):
            generator.append_tokens(np.array([token], np.int32))
            found = _log_softmax(generator.get_logits()[0, -1])[: kept.shape[1]]
            expected = kept[at].astype(np.float64)
            # What the rounding of sums makes negative is none.
            divergences.append(max(0.0, float((np.exp(expected) * (expected - found)).sum())))
            tops.append(bool(expected.argmax() == found.argmax()))
            nats -= float(found[following])
            at += 1
    continued = [_continued_in_genai(model, prompt, order["new_tokens"]) for prompt in prompts]
    return {
        **said,
        "result": continued,
        "tokens": at,
        "same_top": sum(tops) / max(1, at),
        "mean_nats": sum(divergences) / max(1, at),
        "largest_nats": max(divergences, default=0.0),
        "noise_nats": _noise(kept),
        "result_nats": nats / max(1, at),
    }


def _generator(model: Any, most_tokens: int) -> Any:
    settings = onnxruntime_genai.GeneratorParams(model)
    settings.set_search_options(max_length=most_tokens)
    return onnxruntime_genai.Generator(model, settings)


def _continued_in_genai(model: Any, prompt: list[int], new_tokens: int) -> dict[str, Any]:
    generator = _generator(model, len(prompt) + new_tokens)

    def expect(token: int | None) -> Any:
        generator.append_tokens(np.array(prompt if token is None else [token], np.int32))
        return _log_softmax(generator.get_logits()[0, -1])

    return _continued(prompt, new_tokens, expect)


def _log_softmax(logits: Any) -> Any:
    risen = np.asarray(logits, np.float64)
    risen = risen - risen.max()
    return risen - np.log(np.exp(risen).sum())


def _noise(kept: Any) -> float:
    """Mean divergence of the mean expectation from what the source expects at each token."""
    mean = np.zeros(kept.shape[1])
    for row in kept:
        mean += np.exp(row.astype(np.float64))
    logs = np.log(np.maximum(mean / len(kept), 1e-300))
    total = 0.0
    for row in kept:
        one = row.astype(np.float64)
        total += float((np.exp(one) * (one - logs)).sum())
    return total / len(kept)


if __name__ == "__main__":
    main()
