"""In the worker: the likeliest continuations of texts, token by token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.log_softmax import chosen_log_probabilities
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.orders import Order


def continue_texts(order: Order, load: Callable[[str], Network]) -> Iterator[Message]:
    """Continues each text by itself, always with the likeliest token, the one with the lowest number among equals.

    Args:
        order: What is wanted.
        load: Loads a model; raises its errors.

    Yields:
        One message a text, and progress in between.

    Raises:
        InvalidError: The model cannot be used, or a text leaves no room for its continuation.
    """
    network = load(order.model)
    prompts = [[*network.beginning, *network.tokens(text, has_marks=order.has_marks)] for text in order.texts]
    longest = max(len(prompt) for prompt in prompts) + order.most_tokens
    if longest > network.trained_tokens:
        raise InvalidError(
            "prompt-too-long",
            f"the longest text and {order.most_tokens:,} tokens after it are {longest:,} tokens, more than the "
            f"{network.trained_tokens:,} that {network.path} was trained for",
            hint="shorten the text, or ask for fewer tokens",
        )
    if not all(prompts):
        raise InvalidError(
            "text-too-short", "a text without a token cannot be continued", hint="leave out texts that are empty"
        )
    network.open(context_tokens=longest, threads=order.threads)
    if order.adapter is not None:
        network.adapt(order.adapter)
    for index, prompt in enumerate(prompts):
        yield _continued(network, prompt, order.most_tokens, index)
        yield Message({"progress": index + 1, "total": len(prompts)})


def _continued(network: Network, prompt: list[int], most_tokens: int, index: int) -> Message:
    """The rest of one text; a token that ends an answer is not part of it."""
    tokens: list[int] = []
    log_probabilities: list[float] = []
    ending: int | None = None
    *_, rows = network.logits(prompt, first_row=len(prompt) - 1)
    while len(tokens) < most_tokens:
        best = rows.argmax(axis=1).astype(np.int32)
        probability = float(chosen_log_probabilities(rows, best)[0])
        if not np.isfinite(probability):
            raise InvalidError(
                "not-finite",
                f"{network.path} computes probabilities that are no numbers after text {index + 1}",
                hint="make the model again; its weights are damaged or overflow",
            )
        token = int(best[0])
        if network.ends(token):
            ending = token
            break
        tokens.append(token)
        log_probabilities.append(probability)
        position = len(prompt) + len(tokens) - 1
        if len(tokens) < most_tokens:
            rows = network.decode([token], position=position, first_row=position)
    text = b"".join(network.piece(token, has_marks=False) for token in tokens).decode("utf-8", "replace")
    arrays: dict[str, NDArray[Any]] = {
        "prompt": np.asarray(prompt, np.int32),
        "tokens": np.asarray(tokens, np.int32),
        "log_probabilities": np.asarray(log_probabilities, np.float64),
    }
    return Message({"text": index, "continuation": text, "ending": ending}, arrays)
