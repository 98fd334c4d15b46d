"""In the worker: log-probabilities of texts, window by window, and the divergence from a parent beside them.

Both models are loaded in one process and read the same piece one after the other, so that no more logits than those of
one piece of each are ever kept, whatever the length of the texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.log_softmax import chosen_log_probabilities, compare
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.muting import Muter
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.orders import Order
from undercroft.optimize.llama_library.windows import DEFAULT_WINDOW_TOKENS, Window, WindowRule, windows

Arrays = dict[str, NDArray[Any]]


def window_rule(order: Order, networks: list[Network]) -> WindowRule:
    """The rule that an order means, for the models that it is about.

    Raises:
        InvalidError: The window is longer than what a model was trained for, or too short.
    """
    trained = min(network.trained_tokens for network in networks)
    wanted = order.window_tokens or min(DEFAULT_WINDOW_TOKENS, trained)
    if wanted > trained:
        raise InvalidError(
            "window-too-long",
            f"a window of {wanted:,} tokens is longer than the {trained:,} tokens that the model was trained for",
            hint=f"use {trained} or fewer",
        )
    return WindowRule(wanted, order.is_as_llama_perplexity)


def score(order: Order, library: LlamaLibrary, load: Callable[[str], Network]) -> Iterator[Message]:
    """Reads texts with a model, and with its parent where there is one.

    Args:
        order: What is wanted.
        library: Whose graph it is.
        load: Loads a model; raises its errors.

    Yields:
        One message a text, with an array value for each judged token, and progress in between.

    Raises:
        InvalidError: A model cannot be used, both do not share their tokens, or logits are not finite.
    """
    networks = [load(path) for path in (order.model, order.parent) if path is not None]
    rule = window_rule(order, networks)
    contexts = [_tokens(text, networks, order) for text in order.contexts] or [[] for _ in order.texts]
    pairs = zip(order.contexts or [""] * len(order.texts), order.texts, strict=True)
    tokens = [_tokens(context + text, networks, order) for context, text in pairs]
    muter = Muter(library) if order.parent_muted else None
    observers = [None, muter.observer if muter is not None else None]
    for network, observer in zip(networks, observers, strict=False):
        network.open(context_tokens=rule.window_tokens, threads=order.threads, observer=observer)
    if order.adapter is not None:
        networks[0].adapt(order.adapter)
    if muter is not None:
        _mute(muter, networks[1], order)
    beginning = networks[0].beginning
    plans = [
        windows(len(one), rule, has_beginning=bool(beginning), first_judged=_shared(one, context))
        for one, context in zip(tokens, contexts, strict=True)
    ]
    total = sum(window.end - window.start for plan in plans for window in plan)
    done = 0
    for index, (text, plan) in enumerate(zip(tokens, plans, strict=True)):
        parts: list[Arrays] = []
        for window in plan:
            parts.extend(_window(networks, [*beginning, *text[window.start : window.end]], window, index))
            done += window.end - window.start
            yield Message({"progress": done, "total": total})
        if muter is not None and muter.failure is not None:
            raise muter.failure
        yield _record(networks[0], index, order.texts[index], len(text), parts, rule)


def _mute(muter: Muter, parent: Network, order: Order) -> None:
    """Leaves inputs out of the parent from now on; any token tells it which node makes them."""
    for _ in parent.logits([0], first_row=0):
        continue
    muter.learnt()
    muter.mute(order.parent_muted)


def _tokens(text: str, networks: list[Network], order: Order) -> list[int]:
    found = [network.tokens(text, has_marks=order.has_marks) for network in networks]
    beginnings = {tuple(network.beginning) for network in networks}
    sizes = {network.vocabulary_tokens for network in networks}
    if len(beginnings) > 1 or len(sizes) > 1 or any(other != found[0] for other in found[1:]):
        raise InvalidError(
            "other-vocabulary",
            f"{order.model} and {order.parent} cut texts into other tokens, so that their probabilities cannot be "
            "compared token by token",
            hint="compare their bits per byte: measure each of them without the other",
        )
    return found[0]


def _shared(text: list[int], context: list[int]) -> int:
    """Tokens that a text shares with its context: its last ones may have grown together with what follows."""
    pairs = zip(text, context, strict=False)
    return next((place for place, (one, other) in enumerate(pairs) if one != other), min(len(text), len(context)))


def _window(networks: list[Network], fed: list[int], window: Window, text: int) -> Iterator[Arrays]:
    """The arrays of one window, piece by piece. The last token is judged, and nothing is asked after it."""
    ids = np.asarray(fed, np.int32)
    row = window.first_judged - window.start + len(networks[0].beginning) - 1
    streams = [network.logits(fed[:-1], first_row=row) for network in networks]
    for pieces in zip(*streams, strict=True):
        targets = ids[row + 1 : row + 1 + len(pieces[0])]
        row += len(targets)
        if len(networks) == 1:
            arrays: Arrays = {
                "log_probabilities": chosen_log_probabilities(pieces[0], targets),
                "is_likeliest": pieces[0].argmax(axis=1) == targets,
            }
        else:
            compared = compare(pieces[0], pieces[1], targets)
            arrays = {
                "log_probabilities": compared.log_probabilities,
                "parent_log_probabilities": compared.parent_log_probabilities,
                "divergences": compared.divergences,
                "is_same_top": compared.is_same_top,
            }
        _check_finite(networks, arrays, text)
        yield {"tokens": targets, **arrays}


def _check_finite(networks: list[Network], arrays: Arrays, text: int) -> None:
    names = ("log_probabilities", "parent_log_probabilities", "divergences")
    for name, network in zip(names, [*networks, networks[0]], strict=False):
        if name in arrays and not np.isfinite(arrays[name]).all():
            raise InvalidError(
                "not-finite",
                f"{network.path} computes probabilities that are no numbers, or nothing at all, in text {text + 1}",
                hint="make the model again; its weights are damaged or overflow",
            )


def _record(
    network: Network, index: int, text: str, text_tokens: int, parts: list[Arrays], rule: WindowRule
) -> Message:
    names = parts[0] if parts else {}
    arrays = {name: np.concatenate([part[name] for part in parts]) for name in names}
    judged = arrays.get("tokens", np.empty(0, np.int32))
    whole = len(judged) == text_tokens
    judged_bytes = len(text.encode()) if whole else sum(len(network.piece(int(token))) for token in judged)
    return Message({"text": index, "bytes": judged_bytes, "window_tokens": rule.window_tokens}, arrays)
