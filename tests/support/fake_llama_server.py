"""A ``llama-server`` without a model: a real process that takes its flags, asks for its key, and misbehaves on demand.

`install` copies it into a folder as a program that can be run; it needs nothing but Python.

What a chat or completion says, it says back, one word a token. Words with a meaning:

    POISON   the process aborts                     EXIT   it exits with status 3
    HANG     nothing is answered any more           SLOW   every token takes a fifth of a second
    GROW     it takes memory until it gets none

Where adapters are loaded, an answer begins with the numbers of those that computed it: ``lora1 hello``. A request that
names none gets those of the request before, as llama.cpp's cache does.

The model file, where it is JSON, says how loading goes: ``{"load_seconds": 1.5}``, ``{"fails": "why"}``.
``POST /probe`` tries what a sealed engine must not be able to do, and says what came of it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

_WORD_SECONDS_SLOW = 0.2


# What `install` was told: the longest context that there is memory for; 0 is any.
MOST_CONTEXT_TOKENS = 0


def install(folder: Path, *, most_context_tokens: int = 0) -> Path:
    """Copies this program to ``folder/llama-server``; with a longer context it runs out of memory. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "llama-server"
    text = Path(__file__).read_text(encoding="utf-8")
    text = text.replace("MOST_CONTEXT_TOKENS = 0", f"MOST_CONTEXT_TOKENS = {most_context_tokens}", 1)
    program.write_text(f"#!{sys.executable} -P\n{text}", encoding="utf-8")
    program.chmod(0o755)
    return program


def parse(arguments: list[str]) -> argparse.Namespace:
    """llama-server's flags; one that it does not have ends the program, as there."""
    parser = argparse.ArgumentParser(prog="llama-server")
    for flag in ("--model", "--alias", "--host", "--api-key-file", "--chat-template-file", "--flash-attn"):
        parser.add_argument(flag)
    for flag in ("--cache-type-k", "--cache-type-v", "--pooling", "--n-gpu-layers"):
        parser.add_argument(flag)
    for flag in ("--port", "--ctx-size", "--parallel", "--batch-size", "--ubatch-size", "--threads", "--threads-http"):
        parser.add_argument(flag, type=int, default=0)
    for flag in ("--cache-ram", "--ctx-checkpoints"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--lora", action="append", default=[])
    for flag in ("--no-context-shift", "--no-kv-unified", "--no-warmup", "--no-webui", "--jinja", "--metrics"):
        parser.add_argument(flag, action="store_true")
    for flag in ("--slots", "--offline", "--lora-init-without-apply", "--embedding", "--reranking"):
        parser.add_argument(flag, action="store_true")
    return parser.parse_args(arguments)


class Fake:
    """What the handlers share."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.key = Path(flags.api_key_file).read_text(encoding="utf-8").strip()
        self.context_tokens = flags.ctx_size // max(1, flags.parallel)
        self.slots = threading.Semaphore(flags.parallel)
        self.busy = 0
        self.lock = threading.Lock()
        self.is_loaded = threading.Event()
        self.is_hanging = threading.Event()
        self.requests = 0
        self.lora: list[str] = []


class StandIn(BaseHTTPRequestHandler):
    """What every stand-in for an engine does alike: reads requests, sends answers and chunks, misbehaves."""

    protocol_version = "HTTP/1.1"
    fake: Any

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: engines do not log requests here either."""

    def address_string(self) -> str:
        return "unix"

    def do_GET(self) -> None:
        self._route({})

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            body = json.loads(text or b"{}")
        except ValueError:
            self._refuse_text()
            return
        self._route(body)

    def _route(self, body: dict[str, Any]) -> None:
        raise NotImplementedError

    def _refuse_text(self) -> None:
        """What is said of a body that is no JSON."""
        raise NotImplementedError

    def _misbehave(self, words: list[str], last_words: str) -> None:
        if "POISON" in words:
            sys.stderr.write(f"{last_words}\n")
            sys.stderr.flush()
            os.abort()
        if "EXIT" in words:
            os._exit(3)
        if "HANG" in words:
            self.fake.is_hanging.set()
            threading.Event().wait()
        if "GROW" in words:
            grow()

    def _begin_stream(self, content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _event(self, data: dict[str, Any]) -> None:
        self._chunk(b"data: " + self._encoded(data) + b"\n\n")

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _answer(self, data: Any) -> None:
        self._send(200, self._encoded(data), "application/json")

    def _encoded(self, data: Any) -> bytes:
        return json.dumps(data).encode()

    def _send(self, status: int, data: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Handler(StandIn):
    """The routes of llama-server that Undercroft uses."""

    fake: Fake
    closes = False

    def _refuse_text(self) -> None:
        self._error(400, "invalid_request_error", "Failed to parse JSON")

    def _route(self, body: dict[str, Any]) -> None:
        fake, path = self.fake, self.path.partition("?")[0]
        if fake.is_hanging.is_set():
            threading.Event().wait()
        if path not in {"/health", "/v1/health"} and self.headers.get("Authorization") != f"Bearer {fake.key}":
            self._error(401, "authentication_error", "Invalid API Key")
        elif not fake.is_loaded.is_set():
            self._error(503, "unavailable_error", "Loading model")
        elif path == "/health":
            self._answer({"status": "ok"})
        elif path == "/slots":
            with fake.lock:
                busy = fake.busy
            count = fake.flags.parallel
            self._answer([{"id": i, "n_ctx": fake.context_tokens, "is_processing": i < busy} for i in range(count)])
        elif path == "/props":
            self._answer(
                {
                    "default_generation_settings": {"n_ctx": fake.context_tokens},
                    "total_slots": fake.flags.parallel,
                    "model_alias": fake.flags.alias,
                    "chat_template_caps": {"supports_tools": True},
                }
            )
        elif path == "/v1/models":
            meta = {"n_ctx": fake.context_tokens}
            self._answer({"object": "list", "data": [{"id": fake.flags.alias, "object": "model", "meta": meta}]})
        elif path == "/metrics":
            self._send(200, b"llamacpp:prompt_tokens_total 0\n", "text/plain; version=0.0.4")
        elif path == "/probe":
            self._answer(probe(body))
        elif path in {"/v1/embeddings", "/v1/rerank", "/rerank"}:
            self._answer(vectors(path, body, fake.flags.alias))
        elif path in {"/v1/chat/completions", "/v1/completions"}:
            self._generate(body, is_chat=path == "/v1/chat/completions")
        else:
            self._error(404, "not_found_error", "File Not Found")

    def _generate(self, body: dict[str, Any], *, is_chat: bool) -> None:
        fake = self.fake
        words = prompt_words(body, is_chat=is_chat)
        if len(words) >= fake.context_tokens:
            message = f"request ({len(words)} tokens) exceeds the available context size ({fake.context_tokens} tokens)"
            extra = {"n_prompt_tokens": len(words), "n_ctx": fake.context_tokens}
            self._error(400, "exceed_context_size_error", message, **extra)
            return
        with fake.slots:
            with fake.lock:
                fake.busy += 1
                fake.requests += 1
            try:
                self._misbehave(words, "GGML_ASSERT(poison == nullptr) failed")
                limit = body.get("max_tokens") or body.get("max_completion_tokens") or len(words)
                said = [*self._adapters(body), *(words or ["nothing"])][: int(limit) + len(fake.flags.lora)]
                pause = _WORD_SECONDS_SLOW if "SLOW" in words else 0.0
                if body.get("stream"):
                    self._stream(said, pause, len(words), body, is_chat=is_chat)
                else:
                    time.sleep(pause * len(said))
                    reason = "length" if len(said) < len(words) else "stop"
                    self._answer(complete(fake.flags.alias, said, len(words), reason, is_chat=is_chat))
            finally:
                with fake.lock:
                    fake.busy -= 1

    def _adapters(self, body: dict[str, Any]) -> list[str]:
        """``lora1`` for each adapter that computes the answer; an unknown number is the base, as in llama.cpp."""
        if not self.fake.flags.lora:
            return []
        if "lora" in body:
            known = [one["id"] for one in body["lora"] if one["scale"] and one["id"] < len(self.fake.flags.lora)]
            self.fake.lora = [f"lora{number}" for number in known]
        return self.fake.lora

    def _stream(self, said: list[str], pause: float, prompt: int, body: dict[str, Any], *, is_chat: bool) -> None:
        self._begin_stream("text/event-stream")
        alias = self.fake.flags.alias
        for number, word in enumerate(said):
            time.sleep(pause)
            self._event(chunk(alias, word + (" " if number < len(said) - 1 else ""), None, is_chat=is_chat))
        last = chunk(alias, None, "stop", is_chat=is_chat)
        last["timings"] = timings(prompt, len(said))
        self._event(last)
        if (body.get("stream_options") or {}).get("include_usage"):
            self._event({**chunk(alias, None, None, is_chat=is_chat), "choices": [], "usage": usage(prompt, len(said))})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _error(self, status: int, kind: str, message: str, **extra: Any) -> None:
        body = {"error": {"code": status, "message": message, "type": kind, **extra}}
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, data: bytes, content_type: str) -> None:
        self.closes = status >= 400
        super()._send(status, data, content_type)

    def end_headers(self) -> None:
        """An error closes its connection, as there."""
        if self.closes:
            self.send_header("Connection", "close")
            self.close_connection = True
        super().end_headers()


def prompt_words(body: dict[str, Any], *, is_chat: bool) -> list[str]:
    """The words of the last message, or of the prompt."""
    if not is_chat:
        prompt = body.get("prompt", "")
        return str(prompt[0] if isinstance(prompt, list) and prompt else prompt).split()
    messages = body.get("messages") or [{}]
    content = messages[-1].get("content") or ""
    if isinstance(content, list):
        content = " ".join(part.get("text", "") for part in content)
    return str(content).split()


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def timings(prompt: int, completion: int) -> dict[str, float]:
    return {
        **{"cache_n": 0, "prompt_n": prompt, "prompt_ms": 1.0, "predicted_n": completion, "predicted_ms": 2.0},
        "predicted_per_second": completion * 500.0,
    }


def complete(alias: str, said: list[str], prompt: int, reason: str, *, is_chat: bool) -> dict[str, Any]:
    text = " ".join(said)
    choice = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": alias,
        "choices": [{"index": 0, "finish_reason": reason, **choice}],
        "usage": usage(prompt, len(said)),
        "timings": timings(prompt, len(said)),
    }


def chunk(alias: str, text: str | None, reason: str | None, *, is_chat: bool) -> dict[str, Any]:
    delta = {"delta": {} if text is None else {"content": text}} if is_chat else {"text": text or ""}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": alias,
        "choices": [{"index": 0, "finish_reason": reason, **delta}],
    }


def vectors(path: str, body: dict[str, Any], alias: str) -> dict[str, Any]:
    if path.endswith("rerank"):
        documents = body.get("documents") or []
        results = [{"index": i, "relevance_score": float(len(documents) - i)} for i in range(len(documents))]
        return {"model": alias, "object": "list", "results": results, "usage": usage(len(documents), 0)}
    given = body.get("input") or ""
    inputs = given if isinstance(given, list) else [given]
    data = [{"object": "embedding", "index": i, "embedding": [1.0, 0.0, 0.0]} for i in range(len(inputs))]
    return {"model": alias, "object": "list", "data": data, "usage": usage(len(inputs), 0)}


def grow() -> None:
    """Takes memory, really written to, until the kernel gives no more; then ends as a C++ program would."""
    held = []
    try:
        while True:
            held.append(bytearray(b"x") * (16 * 1024 * 1024))
    except MemoryError:
        held.clear()
        sys.stderr.write("terminate called after throwing an instance of 'std::bad_alloc'\n")
        sys.stderr.flush()
        os.abort()


def probe(wanted: dict[str, Any]) -> dict[str, str]:
    """Tries each thing asked for; ``ok`` or the error's name, by thing."""
    tries = {
        "tcp": lambda target: socket.create_connection((target[0], int(target[1])), timeout=2).close(),
        "udp": _send_datagram,
        "unix": _connect_unix,
        "unix_datagram": _send_unix_datagram,
        "read": lambda path: Path(path).read_bytes(),
        "write": lambda path: Path(path).write_bytes(b"x"),
        "signal": lambda pid: os.kill(int(pid), 0),
        "environment": lambda name: os.environ[name],
    }
    found = {}
    for name, target in wanted.items():
        try:
            tries[name](target)
            found[name] = "ok"
        except (OSError, KeyError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def _send_datagram(target: list[Any]) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        sending.sendto(b"x", (target[0], int(target[1])))


def _connect_unix(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connecting:
        connecting.connect(path)


def _send_unix_datagram(path: str) -> None:
    first, second = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.sendto(b"x", path)


class _UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 512


class _LoopbackServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True


def serve(socket_path: str | None, host: str, port: int, handler: type[StandIn]) -> None:
    """Answers from now on, in threads of its own, on a Unix socket or an address."""
    server: socketserver.BaseServer
    server = _UnixServer(socket_path, handler) if socket_path else _LoopbackServer((host, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    """Loads (or fails to), listens, serves."""
    flags = parse(sys.argv[1:])
    model = Path(flags.model).read_bytes()
    loading: dict[str, Any] = {}
    with contextlib.suppress(ValueError):
        loading = json.loads(model[:4096]) if model.startswith(b"{") else {}
    fake = Fake(flags)
    Handler.fake = fake
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    serve(flags.host if flags.host.endswith(".sock") else None, flags.host, flags.port, Handler)
    print(f"main: server is listening on {flags.host}", flush=True)
    time.sleep(float(loading.get("load_seconds", 0)))
    if 0 < MOST_CONTEXT_TOKENS < fake.flags.ctx_size:
        print("ggml_backend_cpu_buffer_type_alloc_buffer: failed to allocate buffer", file=sys.stderr, flush=True)
        os._exit(1)
    if "fails" in loading:
        print(f"llama_model_load: error loading model: {loading['fails']}", file=sys.stderr, flush=True)
        os._exit(1)
    fake.is_loaded.set()
    print("main: model loaded", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
