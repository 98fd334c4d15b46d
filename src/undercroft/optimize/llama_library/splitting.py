"""In the worker: how a model's vocabulary splits texts. Its weights are not read, and need not be there."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

import numpy as np

from undercroft.core.errors import InvalidError
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.messages import Message
from undercroft.optimize.llama_library.orders import Order


def split(order: Order, library: LlamaLibrary, log: Sequence[str]) -> Iterator[Message]:
    """The tokens of each text, without a mark of its beginning.

    Args:
        order: What is wanted.
        library: Who splits.
        log: What the library said.

    Yields:
        One message a text.

    Raises:
        InvalidError: The file has no vocabulary that the library knows.
    """
    functions = library.functions
    parameters = library.model_parameters()
    parameters.vocab_only = True
    model = functions.llama_model_load_from_file(order.model.encode(), parameters)
    if model is None:
        raise InvalidError(
            "model-not-loadable", f"llama.cpp cannot load the vocabulary of {order.model}: {' '.join(log)[-300:]}"
        )
    vocabulary = functions.llama_model_get_vocab(model)
    for index, text in enumerate(order.texts):
        raw = text.encode()
        room = len(raw) + 8
        found = (ctypes.c_int32 * room)()
        count = functions.llama_tokenize(vocabulary, raw, len(raw), found, room, False, order.has_marks)
        if count < 0:
            found = (ctypes.c_int32 * -count)()
            count = functions.llama_tokenize(vocabulary, raw, len(raw), found, -count, False, order.has_marks)
        yield Message({"text": index}, {"tokens": np.asarray(found[:count], np.int32)})
