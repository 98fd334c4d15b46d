"""The server of an encoder's replica: OpenAI's routes over a Unix socket, with a key. Runs in its own environment."""

from __future__ import annotations

import asyncio
import json
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder import asked
from undercroft.engines.encoder.batching import Limits
from undercroft.engines.encoder.computing import Computer
from undercroft.engines.encoder.folder import Encoder, files_in, read_encoder
from undercroft.engines.encoder.inputs import Tokens, TooLongError
from undercroft.engines.encoder.network import Network
from undercroft.engines.encoder.pooling import Floats
from undercroft.engines.encoder.texts import TextReader
from undercroft.engines.own_server import (
    GoneError,
    Message,
    Receive,
    Send,
    error_content,
    has_key,
    ignored,
    key_of,
    metrics_text,
    parsed,
    read_body,
    respond,
    serve,
    too_long_content,
    until_gone,
)


class Server:
    """Answers requests; an ASGI application.

    Args:
        name: What answers call the model.
        encoder: What it is.
        reader: Its tokenizer.
        computer: What computes.
        key: That requests have to bring.
    """

    def __init__(self, name: str, encoder: Encoder, reader: TextReader, computer: Computer, key: str) -> None:
        self._name, self._encoder = name, encoder
        self._reader, self._computer = reader, computer
        self._authorization = f"Bearer {key}".encode()
        # One thread: the library itself splits a list of texts with several.
        self._splitting = ThreadPoolExecutor(1, thread_name_prefix="splitting")

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        assert scope["type"] == "http"
        if not has_key(scope, self._authorization):
            await ignored(receive)
            await respond(send, 401, error_content("wrong or missing key", "authentication_error"))
            return
        try:
            status, content = await self._answer(scope["method"], scope["path"], receive)
        except GoneError:
            return
        except TooLongError as error:
            status, content = 400, too_long_content(error.tokens, error.limit)
        except InvalidError as error:
            status, content = 400, error_content(error.message, "invalid_request_error")
        except Exception as error:  # noqa: BLE001  (the boundary of a request)
            print(f"undercroft: a request failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            status, content = 500, error_content(f"it could not be computed: {type(error).__name__}", "server_error")
        await respond(send, status, content)

    async def _answer(self, method: str, path: str, receive: Receive) -> tuple[int, Any]:
        if method == "GET":
            return self._look(path)
        task = asked.ROUTES.get(path)
        content = await read_body(receive)
        if task is None or method != "POST":
            return 404, error_content(f"there is nothing at {path[:80]}", "not_found_error")
        if task != self._encoder.task:
            return 400, error_content(
                f"the model is one for {self._encoder.task}, not for {task}", "invalid_request_error"
            )
        request = asked.read_request(task, parsed(content))
        tokens: list[Tokens] = await asyncio.get_running_loop().run_in_executor(
            self._splitting, lambda: self._reader.read(request.inputs, may_cut=request.may_cut)
        )
        rows = await _unless_gone(self._computer.submit(tokens), receive)
        return 200, self._told(request, rows, sum(len(one.ids) for one in tokens))

    def _told(self, request: asked.Asked, rows: Floats, tokens: int) -> dict[str, Any]:
        if self._encoder.task == "embed":
            return asked.embeddings_answer(self._name, rows, tokens, is_base64=request.is_base64)
        if self._encoder.task == "rerank":
            return asked.rerank_answer(self._name, rows, tokens, best=request.best)
        return asked.classify_answer(self._name, rows, tokens, self._encoder.labels)

    def _look(self, path: str) -> tuple[int, Any]:
        if path == "/health":
            return (200, {"status": "ok"}) if self._computer.is_alive else (503, {"status": "its thread has ended"})
        if path == "/metrics":
            return 200, self._metrics()
        if path == "/props":
            return 200, {"task": self._encoder.task, "max_tokens": self._reader.max_tokens}
        return 404, error_content(f"there is nothing at {path[:80]}", "not_found_error")

    def _metrics(self) -> str:
        counts = self._computer.counts
        requests, inputs = self._computer.waiting()
        lines: dict[str, tuple[str, str, float]] = {
            "requests": ("gauge", "Requests that are not answered yet.", requests),
            "inputs_waiting": ("gauge", "Inputs that no batch has taken yet.", inputs),
            "batches_total": ("counter", "Runs of the network.", counts.batches),
            "inputs_total": ("counter", "Inputs that were computed.", counts.inputs),
            "prompt_tokens_total": ("counter", "Tokens of these inputs.", counts.tokens),
            "padded_tokens_total": ("counter", "Tokens that were computed, padding among them.", counts.padded_tokens),
        }
        return metrics_text("encoder", lines)


async def _unless_gone(future: Future[Floats], receive: Receive) -> Floats:
    """The result; cancelled where the client goes away before it is there.

    Raises:
        GoneError: It went away.
    """
    wanted: asyncio.Future[Floats] = asyncio.wrap_future(future)
    leaving: asyncio.Future[Any] = asyncio.ensure_future(until_gone(receive))
    both: list[asyncio.Future[Any]] = [wanted, leaving]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise GoneError
        return wanted.result()
    finally:
        leaving.cancel()
        wanted.cancel()


def main(run_dir: Path) -> int:
    """Serves until it is told to end; ends by itself where the model cannot be loaded.

    Args:
        run_dir: Of the replica: ``encoder.json`` and ``key`` lie there.
    """
    options = json.loads((run_dir / "encoder.json").read_bytes())
    folder, threads = Path(options["model"]), int(options["threads"])
    try:
        encoder = read_encoder(files_in(folder))
        if encoder.task != options["task"]:
            raise InvalidError("bad-encoder", f"it is a model for {encoder.task}, asked for is {options['task']}")
        reader = TextReader(folder / "tokenizer.json", min(encoder.max_tokens, int(options["context_tokens"])))
        network = Network(folder / options["file"], encoder, threads)
    except InvalidError as error:
        print(f"undercroft: error loading model: {error.message}", file=sys.stderr, flush=True)
        return 1
    computer = Computer(network.run, Limits(int(options["batch_tokens"]), float(options["padding_ratio"])))
    server = Server(options["name"], encoder, reader, computer, key_of(run_dir))
    print(f"undercroft: the encoder listens on {options['host']}", file=sys.stderr, flush=True)
    serve(server, host=options["host"], port=int(options["port"]))
    computer.close()
    return 0
