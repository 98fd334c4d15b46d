"""What a published model, in torch, and what was made of it, in its own runtime, expect of the same texts.

Runs in environments that hold torch and transformers. Nothing of a model's is run as code: what needs its own is
refused by transformers.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

_LEAST_WINDOW = 2
_WINDOW_TOKENS = 128


class Reader(Protocol):
    """What was made of a model, in its own runtime."""

    def begin(self, most_tokens: int) -> None:
        """Forgets what it has read; as many tokens come now."""

    def read(self, tokens: list[int]) -> Any:
        """Reads on.

        Returns:
            What follows the last of the tokens: logits ``(vocabulary,)``, where more may stand behind.
        """


def compare(order: dict[str, Any], open_result: Callable[[], Reader]) -> dict[str, Any]:
    """Reads texts with both and goes on with prompts, greedily. The source is computed in float32.

    Args:
        order: ``source`` (folder), ``texts`` (that are read), ``prompts`` (that both go on with), ``split_texts``,
            ``new_tokens``, ``most_tokens`` (of all texts), ``scratch`` (file for the source's log-probabilities, 4
            bytes a token and entry of the vocabulary), ``threads``.
        open_result: Loads what was made; called when the source has gone.

    Returns:
        In nats a token ``tokens``, ``same_top``, ``mean_nats``, ``largest_nats``, ``noise_nats``, ``source_nats``,
        ``result_nats``; ``source`` and ``result``, for each prompt ``prompt``, ``tokens`` (ids), ``logprobs`` and
        ``margins`` (nats to the next best); ``split``, token ids of each of ``split_texts``, with special tokens.
    """
    torch.set_num_threads(order["threads"])
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    windows = _windows(tokenizer, order["texts"], order["most_tokens"])
    prompts = [tokenizer.encode(text) for text in order["prompts"]]
    kept, said = _source(order, windows, prompts)
    expected = _result(open_result(), windows, prompts, kept, order["new_tokens"])
    return {**said, **expected, "split": [tokenizer.encode(text) for text in order["split_texts"]]}


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
    state: dict[str, Any] = {"cache": None}

    def expect(tokens: list[int]) -> Any:
        out = model(input_ids=torch.tensor([tokens]), past_key_values=state["cache"], use_cache=True)
        state["cache"] = out.past_key_values
        return _log_softmax(out.logits[0, -1].float().numpy())

    return _continued(prompt, new_tokens, expect)


def _continued(prompt: list[int], new_tokens: int, expect: Callable[[list[int]], Any]) -> dict[str, Any]:
    """Greedy; the end of text does not stop it, so that there is always as much to compare."""
    tokens: list[int] = []
    logprobs, margins = [], []
    following = prompt
    for _ in range(new_tokens):
        nats = expect(following)
        best, second = np.argsort(-nats, kind="stable")[:2]
        following = [int(best)]
        tokens += following
        logprobs.append(float(nats[best]))
        margins.append(float(nats[best] - nats[second]))
    return {"prompt": prompt, "tokens": tokens, "logprobs": logprobs, "margins": margins}


def _result(
    reader: Reader, windows: list[list[int]], prompts: list[list[int]], kept: Any, new_tokens: int
) -> dict[str, Any]:
    divergences: list[float] = []
    tops: list[bool] = []
    nats, at = 0.0, 0
    vocabulary = kept.shape[1]
    for window in windows:
        reader.begin(len(window))
        for token, following in pairwise(window):
            found = _log_softmax(np.asarray(reader.read([token]))[:vocabulary])
            expected = kept[at].astype(np.float64)
            # What the rounding of sums makes negative is none.
            divergences.append(max(0.0, float((np.exp(expected) * (expected - found)).sum())))
            tops.append(bool(expected.argmax() == found.argmax()))
            nats -= float(found[following])
            at += 1
    continued = []
    for prompt in prompts:
        reader.begin(len(prompt) + new_tokens)
        continued.append(
            _continued(prompt, new_tokens, lambda tokens: _log_softmax(np.asarray(reader.read(tokens))[:vocabulary]))
        )
    return {
        "result": continued,
        "tokens": at,
        "same_top": sum(tops) / max(1, at),
        "mean_nats": sum(divergences) / max(1, at),
        "largest_nats": max(divergences, default=0.0),
        "noise_nats": _noise(kept),
        "result_nats": nats / max(1, at),
    }


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
