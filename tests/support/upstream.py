"""An engine in memory: a real HTTP server on a Unix socket or a loopback port whose every move a test decides."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

Behaviour = Callable[["Received", asyncio.StreamWriter], Awaitable[None]]


@dataclass(slots=True)
class Received:
    """A request as the engine got it."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    gone: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def json(self) -> dict[str, Any]:
        """The body as data."""
        data = orjson.loads(self.body)
        assert isinstance(data, dict)
        return data


class Upstream:
    """Runs in a thread of its own; use as a context manager.

    Args:
        behaviour: What it does with a request; may be replaced at any time.
        socket_path: Unix socket to listen on; None takes a free loopback port.
    """

    def __init__(self, behaviour: Behaviour, socket_path: Path | None = None) -> None:
        self.behaviour = behaviour
        self.socket_path = socket_path
        self.port = 0
        self.received: list[Received] = []
        self.aborted = threading.Semaphore(0)
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Upstream:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base_url(self) -> str:
        """Where it listens on loopback."""
        return f"http://127.0.0.1:{self.port}"

    def call(self, action: Callable[[], None]) -> None:
        """Runs ``action`` in the engine's own thread; for events that a behaviour waits for."""
        self._loop.call_soon_threadsafe(action)

    def reset(self, behaviour: Behaviour) -> None:
        """Forgets what it has seen, and behaves as given from now on."""
        self.behaviour = behaviour
        self.received = []
        self.connections = 0
        self.aborted = threading.Semaphore(0)
        if self._server is None:
            self.revive()

    def crash(self) -> None:
        """Stops listening and cuts every connection, as a process that ends does."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    def revive(self) -> None:
        """Listens again at the same place."""
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    async def _open(self) -> None:
        if self.socket_path is not None:
            self.socket_path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, str(self.socket_path))
        else:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in list(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _end(self) -> None:
        """Leaves no task and no connection behind, whatever a behaviour still waits for."""
        await self._close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for _ in range(3):  # aborted transports close in the loop's next rounds
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self.connections += 1
        try:
            while request := await _read(reader):
                self.received.append(request)
                await self._answer(request, reader, writer)
                if writer.is_closing():
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _answer(self, request: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Runs the behaviour, and ends it when the client closes its connection first."""
        work = asyncio.ensure_future(self.behaviour(request, writer))
        watch = asyncio.ensure_future(_end_of(reader))
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            request.gone.set()
            self.aborted.release()
            writer.transport.abort()
        watch.cancel()
        ended, _ = await asyncio.gather(work, watch, return_exceptions=True)
        if isinstance(ended, OSError):
            self.aborted.release()


async def _end_of(reader: asyncio.StreamReader) -> None:
    while not reader.at_eof():
        if reader.exception() is not None:
            return
        await asyncio.sleep(0.005)


async def _read(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Received(method, path, headers, body)


def answer_json(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Always answers the same JSON."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        write_json(writer, data, status, headers)
        await writer.drain()

    return behave


def write_json(
    writer: asyncio.StreamWriter, data: Any, status: int = 200, headers: dict[str, str] | None = None
) -> None:
    """Writes one whole answer."""
    body = data if isinstance(data, bytes) else orjson.dumps(data)
    extra = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n{extra}\r\n"
    writer.write(head.encode() + body)


def begin_stream(writer: asyncio.StreamWriter) -> None:
    """Writes the head of a stream."""
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")


def write_event(writer: asyncio.StreamWriter, data: dict[str, Any] | str) -> None:
    """Writes one server-sent event in a chunk of its own."""
    text = data.encode() if isinstance(data, str) else orjson.dumps(data)
    frame = b"data: " + text + b"\n\n"
    writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))


def end_stream(writer: asyncio.StreamWriter) -> None:
    """Ends a stream as it should end."""
    write_event(writer, "[DONE]")
    writer.write(b"0\r\n\r\n")


def chunk(content: str, model: str = "bot", **others: Any) -> dict[str, Any]:
    """A frame of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": None}
    return {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": model, "choices": [choice], **others}


def completion(content: str = "hello", model: str = "bot", prompt: int = 5, answer: int = 2) -> dict[str, Any]:
    """A whole chat completion."""
    return {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer},
    }


def stream(*contents: str, model: str = "bot", timings: dict[str, int] | None = None) -> Behaviour:
    """Streams the texts; the last frame has llama.cpp's timings."""

    async def behave(_: Received, writer: asyncio.StreamWriter) -> None:
        begin_stream(writer)
        for content in contents:
            write_event(writer, chunk(content, model))
        last = {"index": 0, "delta": {}, "finish_reason": "stop"}
        counts = timings or {"cache_n": 0, "prompt_n": 5, "predicted_n": len(contents)}
        write_event(writer, {**chunk("", model), "choices": [last], "timings": counts})
        end_stream(writer)
        await writer.drain()

    return behave


async def crash(_: Received, writer: asyncio.StreamWriter) -> None:
    """Closes the connection in place of an answer."""
    writer.transport.abort()


async def hang(_: Received, __: asyncio.StreamWriter) -> None:
    """Never answers."""
    await asyncio.Event().wait()
