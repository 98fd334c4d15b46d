"""In the worker: how fast models read and write on this machine, in turns, so that what else it does meets both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.orders import Order

_FEWEST_TOKENS = 16


def time_models(order: Order, load: Callable[[str], Network]) -> Iterator[Message]:
    """Reads a text at once, then goes on token by token as an answer does; the text's own tokens, so both do the same.

    Args:
        order: What is wanted: a model, its parent, texts; ``rounds`` of each, ``most_tokens`` one by one.
        load: Loads a model; raises its errors.

    Yields:
        Progress, and one message a round and model: seconds and tokens of reading and of writing.

    Raises:
        InvalidError: A model cannot be used, or the texts are too short.
    """
    networks = [load(path) for path in (order.model, order.parent) if path is not None]
    read_tokens = min(order.window_tokens or 512, *(network.trained_tokens for network in networks)) - order.most_tokens
    for network in networks:
        network.open(context_tokens=read_tokens + order.most_tokens, threads=order.threads)
    tokens = networks[0].tokens("\n".join(order.texts), has_marks=order.has_marks)
    if len(tokens) < _FEWEST_TOKENS:
        raise InvalidError("text-too-short", f"the texts have {len(tokens)} tokens together, expected at least 16")
    tokens *= -(-(read_tokens + order.most_tokens) // len(tokens))
    for number in range(order.rounds + 1):
        for index, network in enumerate(networks):
            timed = _timed(network, tokens, read_tokens, order.most_tokens)
            if number:  # the first warms up
                yield Message({"model": index, **timed})
        yield Message({"progress": number, "total": order.rounds})


def _timed(network: Network, tokens: list[int], read_tokens: int, written_tokens: int) -> dict[str, float]:
    begin = time.perf_counter()
    for _ in network.logits(tokens[:read_tokens], first_row=read_tokens - 1):
        continue
    middle = time.perf_counter()
    for position in range(read_tokens, read_tokens + written_tokens):
        network.decode(tokens[position : position + 1], position=position, first_row=position)
    end = time.perf_counter()
    return {
        "read_per_second": read_tokens / (middle - begin),
        "written_per_second": written_tokens / (end - middle),
    }
