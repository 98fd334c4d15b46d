"""The caller's side: starts a worker for one order and hands its answers on."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, cast

from undercroft.core import errors
from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError, UndercroftError
from undercroft.engines import spawning
from undercroft.engines.failures import explain, is_out_of_memory
from undercroft.engines.llamacpp import model_files
from undercroft.optimize.llama_library.messages import Message, receive
from undercroft.optimize.llama_library.orders import Order

_WORKER = "undercroft.optimize.llama_library.worker"
_OUTPUT_BYTES = 16 * 1024
_KINDS: dict[str, type[UndercroftError]] = {
    kind.__name__: kind
    for kind in (InvalidError, NotFoundError, UnavailableError, errors.RefusedError, errors.ConflictError)
}


def answers(order: Order) -> Generator[Message, None, None]:
    """What a worker says to an order, as it says it. Leaving the iteration ends the worker.

    Args:
        order: What is wanted; what it may read and use is filled in here.

    Yields:
        Messages of the operation.

    Raises:
        NotFoundError: There is no file of the model.
        InvalidError: A text cannot be encoded, or what the worker found wrong.
        UnavailableError: The worker died, or the library is not there.
    """
    paths = [Path(path).resolve() for path in (order.model, order.parent) if path is not None]
    for path in paths:
        if not path.is_file():
            raise NotFoundError("model-not-found", f"there is no model file {path}")
    files = [piece for path in paths for piece in model_files(path)]
    adapter = Path(order.adapter).resolve() if order.adapter is not None else None
    with tempfile.TemporaryFile() as said:
        filled_in = replace(
            order,
            model=str(paths[0]),
            parent=str(paths[1]) if order.parent is not None else None,
            adapter=str(adapter) if adapter is not None else None,
            readable=spawning.readable_paths(
                Path(sys.executable), [*files, *([adapter] if adapter is not None else [])]
            ),
            devices=spawning.devices(),
        )
        line = _line(filled_in)
        worker = _start(said)
        try:
            yield from _talk(worker, line, order, said)
        finally:
            _end(worker)


def _start(said: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", _WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=said,
        env={**clean_environment(), "OPENBLAS_NUM_THREADS": "1"},  # numpy multiplies nothing here
        cwd="/",
    )


def _talk(worker: subprocess.Popen[bytes], line: bytes, order: Order, said: IO[bytes]) -> Iterator[Message]:
    sent, received = cast(IO[bytes], worker.stdin), cast(IO[bytes], worker.stdout)
    with contextlib.suppress(BrokenPipeError):  # it died; why is told below
        sent.write(line)
        sent.flush()
    while (message := receive(received)) is not None:
        header = message.header
        if "failed" in header:
            raise _KINDS[header["failed"]](header["code"], header["message"], hint=header["hint"])
        if "done" in header:
            return
        yield message
    raise _died(worker, order, said)


def _died(worker: subprocess.Popen[bytes], order: Order, said: IO[bytes]) -> UnavailableError:
    code = worker.wait()
    size = said.seek(0, os.SEEK_END)
    said.seek(max(0, size - _OUTPUT_BYTES))
    output = said.read().decode("utf-8", "replace")
    reason = explain(output, -code if code < 0 else code << 8)
    models = " and ".join(path for path in (order.model, order.parent) if path is not None)
    if reason is not None and is_out_of_memory(reason):
        return UnavailableError(
            "out-of-memory", f"the process that measures {models} is gone: {reason}", hint="free memory and try again"
        )
    return UnavailableError("llama-process-ended", f"the process that measures {models} is gone: {reason}")


def _line(order: Order) -> bytes:
    try:
        return json.dumps(order.header(), ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError as error:
        raise InvalidError(
            "text-not-unicode",
            f"a text holds half of a surrogate pair ({error.object[error.start]!r}), which is no character",
            hint="read the texts as UTF-8",
        ) from error


def _end(worker: subprocess.Popen[bytes]) -> None:
    """Its warden takes it along."""
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with contextlib.suppress(BrokenPipeError):
                stream.close()
    worker.kill()
    worker.wait()
