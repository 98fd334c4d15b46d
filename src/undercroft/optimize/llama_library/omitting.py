"""In the worker: how far a model moves when inputs of its weights are left out, one variation after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.log_softmax import Floats, compare
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.muting import Muter
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.orders import Order
from undercroft.optimize.llama_library.scoring import window_rule
from undercroft.optimize.llama_library.windows import windows


def omit(order: Order, library: LlamaLibrary, load: Callable[[str], Network]) -> Iterator[Message]:
    """Reads windows of texts with the model as it is, and with each variation; no more logits than a window's are kept.

    Args:
        order: What is wanted: ``variations``, and ``most_tokens`` of the texts, in windows spread evenly.
        library: Whose graph it is.
        load: Loads a model; raises its errors.

    Yields:
        Progress, and one message a variation at the end, with sums over all judged tokens.

    Raises:
        InvalidError: The model cannot be used, a weight is not there, or the texts are too short.
    """
    network, muter = load(order.model), Muter(library)
    rule = window_rule(order, [network])
    network.open(context_tokens=rule.window_tokens, threads=order.threads, observer=muter.observer)
    pieces = _pieces(order, network, rule.window_tokens)
    if not pieces:
        raise InvalidError("text-too-short", "no text has 8 tokens, which is the least", hint="give longer texts")
    _logits(network, muter, pieces[0])
    muter.learnt()
    divergences, surprises = np.zeros(len(order.variations)), np.zeros(len(order.variations))
    parent_surprise, steps = 0.0, len(pieces) * len(order.variations)
    for number, piece in enumerate(pieces):
        targets = np.asarray(piece[1:], np.int32)
        muter.mute({})
        parent = _logits(network, muter, piece)
        for index, muted in enumerate(order.variations):
            muter.mute(muted)
            compared = compare(_logits(network, muter, piece), parent, targets)
            divergences[index] += compared.divergences.sum()
            surprises[index] -= compared.log_probabilities.sum()
            yield Message({"progress": number * len(order.variations) + index + 1, "total": steps})
        parent_surprise -= compared.parent_log_probabilities.sum()
    tokens = sum(len(piece) - 1 for piece in pieces)
    for index, (divergence, surprise) in enumerate(zip(divergences, surprises, strict=True)):
        found = {"divergence": divergence, "surprise": surprise, "parent_surprise": parent_surprise, "tokens": tokens}
        yield Message({"variation": index, **found})


def _pieces(order: Order, network: Network, window_tokens: int) -> list[list[int]]:
    """Tokens that are read together, the mark of a beginning included."""
    found = []
    for text in order.texts:
        tokens = network.tokens(text, has_marks=order.has_marks)
        cut = windows(len(tokens), rule=window_rule(order, [network]), has_beginning=bool(network.beginning))
        found += [[*network.beginning, *tokens[window.start : window.end]] for window in cut]
    whole = [piece for piece in found if 8 <= len(piece) <= window_tokens]
    read = sum(len(piece) for piece in whole)
    wanted = len(whole) * (order.most_tokens or read) // max(1, read)
    count = min(len(whole), max(1, wanted))
    return [whole[number * len(whole) // count] for number in range(count)]


def _logits(network: Network, muter: Muter, piece: list[int]) -> Floats:
    """Shape ``(tokens - 1, vocabulary)``."""
    found = np.concatenate([rows.copy() for rows in network.logits(piece[:-1], first_row=0)])
    if muter.failure is not None:
        raise muter.failure
    return found
