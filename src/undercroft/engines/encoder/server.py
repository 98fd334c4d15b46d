"""The server of an encoder's replica: OpenAI's routes over a Unix socket, with a key. Runs in its own environment."""

from __future__ import annotations

import asyncio
import hmac
import json
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder import asked
from undercroft.engines.encoder.batching import Limits
from undercroft.engines.encoder.computing import Computer
from undercroft.engines.encoder.folder import Encoder, files_in, read_encoder
from undercroft.engines.encoder.inputs import Tokens, TooLongError
from undercroft.engines.encoder.network import Network
from undercroft.engines.encoder.pooling import Floats
from undercroft.engines.encoder.texts import TextReader

_BODY_LIMIT_BYTES = 32 * 1024 * 1024
_GRACE_SECONDS = 30
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class _GoneError(Exception):
    """The client went away."""


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
        headers = dict(scope["headers"])
        if not hmac.compare_digest(headers.get(b"authorization", b""), self._authorization):
            await _ignored(receive)
            await _respond(send, 401, _error("wrong or missing key", "authentication_error"))
            return
        try:
            status, content = await self._answer(scope["method"], scope["path"], receive)
        except _GoneError:
            return
        except TooLongError as error:
            told = _error(f"the request has {error}", "exceed_context_size_error")
            told["error"] |= {"n_prompt_tokens": error.tokens, "n_ctx": error.limit}
            status, content = 400, told
        except InvalidError as error:
            status, content = 400, _error(error.message, "invalid_request_error")
        except Exception as error:  # noqa: BLE001  (the boundary of a request)
            print(f"undercroft: a request failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
            status, content = 500, _error(f"it could not be computed: {type(error).__name__}", "server_error")
        await _respond(send, status, content)

    async def _answer(self, method: str, path: str, receive: Receive) -> tuple[int, Any]:
        if method == "GET":
            return self._look(path)
        task = asked.ROUTES.get(path)
        content = await _body(receive)
        if task is None or method != "POST":
            return 404, _error(f"there is nothing at {path[:80]}", "not_found_error")
        if task != self._encoder.task:
            return 400, _error(f"the model is one for {self._encoder.task}, not for {task}", "invalid_request_error")
        try:
            body = orjson.loads(content)
        except orjson.JSONDecodeError as error:
            raise InvalidError("bad-request", f"the body is not JSON: {error}") from error
        request = asked.read_request(task, body)
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
        return 404, _error(f"there is nothing at {path[:80]}", "not_found_error")

    def _metrics(self) -> str:
        counts = self._computer.counts
        requests, inputs = self._computer.waiting()
        lines = {
            "requests": ("gauge", "Requests that are not answered yet.", requests),
            "inputs_waiting": ("gauge", "Inputs that no batch has taken yet.", inputs),
            "batches_total": ("counter", "Runs of the network.", counts.batches),
            "inputs_total": ("counter", "Inputs that were computed.", counts.inputs),
            "prompt_tokens_total": ("counter", "Tokens of these inputs.", counts.tokens),
            "padded_tokens_total": ("counter", "Tokens that were computed, padding among them.", counts.padded_tokens),
        }
        return "".join(
            f"# HELP encoder:{name} {text}\n# TYPE encoder:{name} {kind}\nencoder:{name} {value}\n"
            for name, (kind, text, value) in lines.items()
        )


async def _unless_gone(future: Future[Floats], receive: Receive) -> Floats:
    """The result; cancelled where the client goes away before it is there.

    Raises:
        _GoneError: It went away.
    """
    wanted: asyncio.Future[Floats] = asyncio.wrap_future(future)
    leaving: asyncio.Future[Any] = asyncio.ensure_future(_left(receive))
    both: list[asyncio.Future[Any]] = [wanted, leaving]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if not wanted.done():
            raise _GoneError
        return wanted.result()
    finally:
        leaving.cancel()
        wanted.cancel()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _ignored(receive: Receive) -> None:
    """Reads the rest of a request that is refused: who is still sending would see a broken pipe, and no answer."""
    while (await receive()).get("more_body", False):
        pass


async def _body(receive: Receive) -> bytes:
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _GoneError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > _BODY_LIMIT_BYTES:
            raise InvalidError("bad-request", f"the body has more than {_BODY_LIMIT_BYTES:,} bytes")
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _respond(send: Send, status: int, content: Any) -> None:
    is_text = isinstance(content, str)
    body = content.encode() if is_text else orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    kind = b"text/plain; version=0.0.4; charset=utf-8" if is_text else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _error(message: str, kind: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind}}


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
    key = (run_dir / "key").read_text(encoding="ascii").strip()
    server = Server(options["name"], encoder, reader, computer, key)
    where = {"host": options["host"], "port": options["port"]} if options["port"] else {"uds": options["host"]}
    print(f"undercroft: the encoder listens on {options['host']}", file=sys.stderr, flush=True)
    uvicorn.run(
        server,
        **where,
        loop="asyncio",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    computer.close()
    return 0
