"""Reads texts with a model and with what was made of it, one after the other, and counts how far they are apart.

Order on stdin, JSON: ``source`` and ``result`` (folders), ``texts``, ``window_tokens``, ``most_tokens``, ``scratch``
(file for the source's log-probabilities, 4 bytes a token and entry of the vocabulary), ``threads``. On stdout JSON, a
line each: ``event`` (``window`` with ``done`` and ``total``), and last, in nats a token:

    tokens, same_top, mean_nats, largest_nats, noise_nats, source_nats, result_nats

Both are computed in the type that their weights are stored in, in float32 where that is float16, which processors are
bad at.
"""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_LEAST_WINDOW = 2


def main() -> None:
    """Answers what stdin asks."""
    order: dict[str, Any] = json.load(sys.stdin)
    torch.set_num_threads(order["threads"])
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    windows = _windows(tokenizer, order)
    tokens = sum(len(window) - 1 for window in windows)
    if tokens == 0:
        print(json.dumps({"tokens": 0}), flush=True)
        return
    kept, source_nats, mean = _source(order, windows, tokens)
    divergences, tops, result_nats = _result(order, windows, kept)
    said = {
        "tokens": tokens,
        "same_top": sum(tops) / tokens,
        "mean_nats": sum(divergences) / tokens,
        "largest_nats": max(divergences),
        "noise_nats": _noise(kept, mean),
        "source_nats": source_nats / tokens,
        "result_nats": result_nats / tokens,
    }
    print(json.dumps(said), flush=True)


def _windows(tokenizer: Any, order: dict[str, Any]) -> list[list[int]]:
    """Each text by itself, so that none is read as the continuation of another; the long ones cut."""
    length, left = order["window_tokens"], order["most_tokens"]
    windows: list[list[int]] = []
    for text in order["texts"]:
        ids = tokenizer.encode(text)
        for begin in range(0, len(ids), length):
            window = ids[begin : begin + min(length, left + 1)]
            if len(window) >= _LEAST_WINDOW and left > 0:
                windows.append(window)
                left -= len(window) - 1
    return windows


def _source(order: dict[str, Any], windows: list[list[int]], tokens: int) -> tuple[Any, float, Any]:
    """Its log-probabilities in a file; its surprise at the texts in all; its mean expectation."""
    kept: Any = None
    mean: Any = None
    nats, at = 0.0, 0
    for number, (window, found) in enumerate(_read(order["source"], windows)):
        if kept is None:
            kept = np.memmap(order["scratch"], dtype=np.float32, mode="w+", shape=(tokens, found.shape[1]))
            mean = np.zeros(found.shape[1], dtype=np.float64)
        kept[at : at + len(found)] = found.numpy()
        mean += found.double().exp().sum(0).numpy()
        nats += _surprise(found, window)
        at += len(found)
        _tell(number, len(windows))
    return kept, nats, mean / tokens


def _result(order: dict[str, Any], windows: list[list[int]], kept: Any) -> tuple[list[float], list[bool], float]:
    """Divergence at each token, whether the likeliest is the same, its surprise at the texts in all."""
    divergences: list[float] = []
    tops: list[bool] = []
    nats, at = 0.0, 0
    for number, (window, found) in enumerate(_read(order["result"], windows)):
        source = torch.from_numpy(np.array(kept[at : at + len(found)]))
        # What the rounding of sums makes negative is none.
        divergences += torch.clamp((source.double().exp() * (source - found).double()).sum(-1), min=0.0).tolist()
        tops += (source.argmax(-1) == found.argmax(-1)).tolist()
        nats += _surprise(found, window)
        at += len(found)
        _tell(len(windows) + number, len(windows))
    return divergences, tops, nats


def _read(folder: str, windows: list[list[int]]) -> Iterator[tuple[list[int], torch.Tensor]]:
    """Log-probabilities of what comes next at each token but the last of a window."""
    # Nothing of the model's is run as code: what needs its own is refused by transformers.
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", trust_remote_code=False)
    model = (model.float() if model.dtype == torch.float16 else model).eval()
    with torch.inference_mode():
        for window in windows:
            logits = model(input_ids=torch.tensor([window]), use_cache=False).logits[0, :-1].float()
            yield window, torch.log_softmax(logits, -1)
    del model
    gc.collect()


def _surprise(found: torch.Tensor, window: list[int]) -> float:
    return float(-found.gather(1, torch.tensor(window[1:]).unsqueeze(1)).double().sum())


def _noise(kept: Any, mean: Any) -> float:
    """Mean divergence of the mean expectation from what the source expects at each token."""
    logs = np.log(np.maximum(mean, 1e-300))
    total = 0.0
    for row in kept:
        one = row.astype(np.float64)
        total += float((np.exp(one) * (one - logs)).sum())
    return total / len(kept)


def _tell(number: int, windows: int) -> None:
    print(json.dumps({"event": "window", "done": number + 1, "total": 2 * windows}), flush=True)


if __name__ == "__main__":
    main()
