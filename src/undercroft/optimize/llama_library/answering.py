"""In the worker: loads the library, does what is ordered, and answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from undercroft.core.errors import UnavailableError, UndercroftError
from undercroft.optimize.llama_library.binding import LlamaLibrary
from undercroft.optimize.llama_library.collecting import collect
from undercroft.optimize.llama_library.continuing import continue_texts
from undercroft.optimize.llama_library.messages import Message, send
from undercroft.optimize.llama_library.network import Network
from undercroft.optimize.llama_library.omitting import omit
from undercroft.optimize.llama_library.orders import Order
from undercroft.optimize.llama_library.scoring import score
from undercroft.optimize.llama_library.splitting import split
from undercroft.optimize.llama_library.timing import time_models

_WARNING = 3
_KEPT_LINES = 64


def answer(order: Order, answers: BinaryIO) -> None:
    """Does one order; an error that a user can understand is an answer, too."""
    try:
        for message in _work(order):
            send(answers, message)
        send(answers, Message({"done": True}))
    except MemoryError:
        _refuse(answers, UnavailableError("out-of-memory", f"memory is short while {order.model} is measured"))
    except UndercroftError as error:
        _refuse(answers, error)


def _work(order: Order) -> Iterator[Message]:
    log: deque[str] = deque(maxlen=_KEPT_LINES)

    def keep(level: int, text: str) -> None:
        if level >= _WARNING and text.strip():
            log.append(text.strip())

    def load(path: str) -> Network:
        return Network(library, Path(path), log, may_embed=order.operation == "collect")

    library = LlamaLibrary(log=keep)
    if order.operation == "score":
        yield from score(order, library, load)
    elif order.operation == "omit":
        yield from omit(order, library, load)
    elif order.operation == "time":
        yield from time_models(order, load)
    elif order.operation == "continue":
        yield from continue_texts(order, load)
    elif order.operation == "split":
        yield from split(order, library, log)
    else:
        yield from collect(order, library, load)


def _refuse(answers: BinaryIO, error: UndercroftError) -> None:
    header = {"failed": type(error).__name__, "code": error.code, "message": error.message, "hint": error.hint}
    send(answers, Message(header))
