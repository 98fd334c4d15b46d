"""A vLLM without a model: real processes that take its flags, ask for its key, count its metrics, misbehave on demand.

`install` makes a folder that looks like the environment ``vllm``: its ``bin/python`` is this program. What a chat says,
it says back, one word a token; the words with a meaning are those of `fake_llama_server`. As vLLM does, it has a second
process (``EngineCore``) that the first talks to over a Unix socket in the folder for temporary files and over its
loopback, and ends when that one ends. Answers, chunks, errors and metrics are those that vLLM 0.32 gave on a processor.
Asked for an adapter by its name, it begins with that one's number: ``lora1 hello``. What a prompt left in the cache is
for the same adapter only.

``config.json`` may say how loading goes: ``{"load_seconds": 1.5}``, ``{"fails": "why"}``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

try:
    from tests.support import fake_llama_server as base
except ImportError:  # as a program, with a copy of that module beside it
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    import fake_llama_server as base

_MODULE = "vllm.entrypoints.openai.api_server"
_BLOCK_TOKENS = 4
_LAST_WORDS = "(EngineCore pid=18) ERROR 11-22 09:49:08 [core.py:1510] RuntimeError: poison"
_FIXED_FLAGS = ("--enforce-eager", "--enable-prefix-caching", "--disable-uvicorn-access-log", "--enable-lora")
_TEXT_FLAGS = ("--model", "--served-model-name", "--uds", "--host", "--dtype", "--runner", "--kv-cache-dtype")
_MORE_TEXT_FLAGS = ("--chat-template", "--gpu-memory-utilization")
_NUMBER_FLAGS = ("--port", "--max-model-len", "--max-num-seqs", "--seed", "--tensor-parallel-size")
_MORE_NUMBER_FLAGS = ("--kv-cache-memory-bytes", "--max-loras", "--max-lora-rank", "--max-cpu-loras")
# What a process of an engine may not have inherited, and what it must be told.
_WANTED_ENVIRONMENT = ("VLLM_NO_USAGE_STATS", "DO_NOT_TRACK", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "VLLM_API_KEY")


def install(folder: Path) -> Path:
    """Makes ``folder/bin/python``; returns the folder."""
    programs = folder / "bin"
    programs.mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("fake_llama_server.py"), programs)
    program = programs / "python"
    program.write_text(f"#!{sys.executable} -P\n{Path(__file__).read_text(encoding='utf-8')}", encoding="utf-8")
    program.chmod(0o755)
    return folder


def parse(arguments: list[str]) -> argparse.Namespace:
    """vLLM's flags behind ``-P -m``; one that it does not have ends the program, as there."""
    if arguments[:3] != ["-P", "-m", _MODULE]:
        sys.exit(f"fake vllm: expected -P -m {_MODULE}, got {arguments[:3]}")
    parser = argparse.ArgumentParser(prog="api_server.py")
    for flag in (*_TEXT_FLAGS, *_MORE_TEXT_FLAGS):
        parser.add_argument(flag)
    for flag in (*_NUMBER_FLAGS, *_MORE_NUMBER_FLAGS):
        parser.add_argument(flag, type=int, default=0)
    for flag in _FIXED_FLAGS:
        parser.add_argument(flag, action="store_true")
    parser.add_argument("--lora-modules", nargs="+", default=[])
    return parser.parse_args(arguments[3:])


class Fake:
    """What the handlers share."""

    def __init__(self, flags: argparse.Namespace) -> None:
        self.flags = flags
        self.key = os.environ["VLLM_API_KEY"]
        self.name = str(flags.served_model_name)
        settings = Path(flags.model, "tokenizer_config.json")
        own = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
        has_file = Path(flags.model, "chat_template.jinja").is_file()
        self.has_template = bool(flags.chat_template or has_file or own.get("chat_template"))
        self.loras = dict(module.split("=", 1) for module in flags.lora_modules)
        self.slots = threading.Semaphore(flags.max_num_seqs)
        self.lock = threading.Lock()
        self.running = 0
        self.is_hanging = threading.Event()
        self.seen: set[tuple[str | None, ...]] = set()
        self.counts = dict.fromkeys(
            ("prompt_tokens", "generation_tokens", "prefix_cache_queries", "prefix_cache_hits"), 0
        )

    def count_prompt(self, words: list[str], model: str) -> None:
        """Whole blocks that earlier prompts for the same adapter began with are not computed again."""
        with self.lock:
            key = self.loras.get(model)
            blocks = [(key, *words[:end]) for end in range(_BLOCK_TOKENS, len(words) + 1, _BLOCK_TOKENS)]
            found = max((len(block) - 1 for block in blocks if block in self.seen), default=0)
            self.seen.update(blocks)
            self.counts["prompt_tokens"] += len(words)
            self.counts["prefix_cache_queries"] += len(words)
            self.counts["prefix_cache_hits"] += min(found, len(words) - 1)


class Handler(base.StandIn):
    """The routes of vLLM that Undercroft uses."""

    fake: Fake

    def _refuse_text(self) -> None:
        self._error(400, "Bad Request", "1 validation error: JSON decode error", "body.1")

    def _route(self, body: dict[str, Any]) -> None:
        fake, path = self.fake, self.path.partition("?")[0]
        if fake.is_hanging.is_set():
            threading.Event().wait()
        if path.startswith("/v1") and self.headers.get("Authorization") != f"Bearer {fake.key}":
            self._send(401, b'{"error":"Unauthorized"}', "application/json")
        elif path == "/health":
            self._send(200, b"", "text/plain")
        elif path == "/metrics":
            self._send(200, metrics(fake).encode(), "text/plain; version=0.0.4; charset=utf-8")
        elif path == "/v1/models":
            listed = [self._listed(fake.name, fake.flags.model, None, fake.flags.max_model_len)]
            listed += [self._listed(name, path, fake.name, None) for name, path in fake.loras.items()]
            self._answer({"object": "list", "data": listed})
        elif path == "/probe":
            self._answer(base.probe(body))
        elif path == "/v1/embeddings" and fake.flags.runner == "pooling":
            self._answer(base.vectors(path, body, body.get("model", "")))
        elif path in {"/v1/chat/completions", "/v1/completions"} and fake.flags.runner != "pooling":
            self._generate(body, is_chat=path == "/v1/chat/completions")
        else:
            self._send(404, b'{"detail":"Not Found"}', "application/json")

    def _listed(self, name: str, root: str, parent: str | None, context: int | None) -> dict[str, Any]:
        own = {"id": name, "object": "model", "created": int(time.time()), "owned_by": "vllm", "root": root}
        return {**own, "parent": parent, "max_model_len": context, "permission": []}

    def _generate(self, body: dict[str, Any], *, is_chat: bool) -> None:
        fake, limit = self.fake, self.fake.flags.max_model_len
        words = base.prompt_words(body, is_chat=is_chat)
        wanted = body.get("max_completion_tokens") or body.get("max_tokens")
        if body.get("model") not in (fake.name, *fake.loras):
            valid = f"Valid aliases: {fake.name}."
            self._error(404, "NotFoundError", f"The model `{body.get('model')}` does not exist. {valid}", "model")
        elif is_chat and not fake.has_template:
            message = (
                "As of transformers v4.44, default chat template is no longer allowed, so you must provide a chat "
                "template if the tokenizer does not define one."
            )
            self._error(400, "BadRequestError", message, None)
        elif len(words) > limit:
            message = (
                f"This model's maximum context length is {limit} tokens. However, your prompt contains at least "
                f"{limit + 1} input tokens, which exceeds this limit even without any output tokens. Please reduce the "
                f"length of the input prompt. (parameter=input_tokens, value={limit + 1})"
            )
            self._error(400, "BadRequestError", message, "input_tokens")
        elif wanted is not None and wanted > limit:
            message = (
                f"max_tokens={wanted} cannot be greater than max_model_len={limit}. Please request fewer output "
                f"tokens. (parameter=max_tokens, value={wanted})"
            )
            self._error(400, "BadRequestError", message, "max_tokens")
        else:
            self._say(body, words, int(wanted or len(words)), is_chat=is_chat)

    def _say(self, body: dict[str, Any], words: list[str], wanted: int, *, is_chat: bool) -> None:
        fake = self.fake
        with fake.slots:
            with fake.lock:
                fake.running += 1
            try:
                self._misbehave(words, _LAST_WORDS)
                fake.count_prompt(words, body["model"])
                words = words if len(words) > 1 else 2 * (words or ["nothing"])  # a second token that can be timed
                loras = list(fake.loras)
                marks = [f"lora{loras.index(body['model'])}"] if body["model"] in loras else []
                said = [*marks, *words[:wanted]]
                pause = 0.2 if "SLOW" in words else 0.0
                reason = "length" if wanted < len(words) else "stop"
                if body.get("stream"):
                    self._stream(said, pause, len(words), body, reason, is_chat=is_chat)
                else:
                    time.sleep(pause * len(said))
                with fake.lock:
                    fake.counts["generation_tokens"] += len(said)
            finally:
                with fake.lock:
                    fake.running -= 1
            if not body.get("stream"):  # whoever has the answer finds nothing running
                self._answer(complete(body["model"], said, len(words), reason, is_chat=is_chat))

    def _stream(
        self, said: list[str], pause: float, prompt: int, body: dict[str, Any], reason: str, *, is_chat: bool
    ) -> None:
        self._begin_stream("text/event-stream; charset=utf-8")
        if is_chat:
            self._event(chunk(body["model"], {"role": "assistant", "content": ""}, None, is_chat=True))
        for number, word in enumerate(said):
            time.sleep(pause)
            is_last = number == len(said) - 1
            text = word if is_last else word + " "
            delta = {"content": text} if is_chat else {"text": text}
            self._event(chunk(body["model"], delta, reason if is_last else None, is_chat=is_chat))
        if (body.get("stream_options") or {}).get("include_usage"):
            last = chunk(body["model"], {}, None, is_chat=is_chat)
            counts = {**base.usage(prompt, len(said)), "prompt_tokens_details": None}
            self._event({**last, "choices": [], "usage": counts, "system_fingerprint": "vllm-0.32.0-fake"})
        self._chunk(b"data: [DONE]\n\n")
        self._chunk(b"")

    def _encoded(self, data: Any) -> bytes:
        return json.dumps(data, separators=(",", ":")).encode()

    def _error(self, status: int, kind: str, message: str, parameter: str | None) -> None:
        body = {"error": {"message": message, "type": kind, "param": parameter, "code": status}}
        self._send(status, self._encoded(body), "application/json")


def complete(model: str, said: list[str], prompt: int, reason: str, *, is_chat: bool) -> dict[str, Any]:
    """A whole answer, with the fields that vLLM adds to OpenAI's."""
    text = " ".join(said)
    message = {"role": "assistant", "content": text, "refusal": None, "annotations": None, "audio": None}
    choice = {"message": {**message, "function_call": None, "reasoning": None}} if is_chat else {"text": text}
    whole = {"logprobs": None, "finish_reason": reason, "stop_reason": None, "token_ids": None}
    return {
        "id": "chatcmpl-fake" if is_chat else "cmpl-fake",
        "object": "chat.completion" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, **choice, **whole}],
        "service_tier": None,
        "system_fingerprint": "vllm-0.32.0-fake",
        "usage": {**base.usage(prompt, len(said)), "prompt_tokens_details": None},
        "prompt_logprobs": None,
        "kv_transfer_params": None,
    }


def chunk(model: str, delta: dict[str, Any], reason: str | None, *, is_chat: bool) -> dict[str, Any]:
    """An event of a stream."""
    content = {"delta": delta} if is_chat else {"text": delta.get("text", "")}
    return {
        "id": "chatcmpl-fake" if is_chat else "cmpl-fake",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": reason, "token_ids": None}],
    }


def metrics(fake: Fake) -> str:
    """The part of vLLM's metrics that Undercroft reads, and a few that it does not."""
    labels = f'{{engine="0",model_name="{fake.flags.served_model_name}"}}'
    with fake.lock:
        counts, running = dict(fake.counts), fake.running
    lines = [
        "# HELP vllm:num_requests_running Number of requests in model execution batches.",
        "# TYPE vllm:num_requests_running gauge",
        f"vllm:num_requests_running{labels} {running}.0",
        f"vllm:num_requests_waiting{labels} 0.0",
        'vllm:num_requests_waiting_by_reason{engine="0",reason="capacity"} 0.0',
        f"vllm:kv_cache_usage_perc{labels} {0.25 if running else 0.0}",
        f"vllm:num_preemptions_total{labels} 0.0",
        *(f"vllm:{name}_total{labels} {value}.0" for name, value in counts.items()),
        *(f"vllm:{name}_created{labels} 1.795340115167674e+09" for name in counts),
        'vllm:time_to_first_token_seconds_bucket{engine="0",le="0.001"} 0.0',
    ]
    return "\n".join(lines) + "\n"


def start_core() -> subprocess.Popen[bytes]:
    """The second process; it has come when both of its connections are there.

    Returns:
        The process.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    path = tempfile.mktemp(prefix="fake-vllm-")
    inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    inner.bind(path)
    inner.listen()
    core = subprocess.Popen([sys.executable, "-P", "-c", _CORE, str(listening.getsockname()[1]), path])
    for one in (listening, inner):
        one.settimeout(30)
        connection, _ = one.accept()
        threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    os.unlink(path)
    return core


_CORE = """
import signal, socket, sys
tcp = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
unix = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
unix.connect(sys.argv[2])
signal.signal(signal.SIGTERM, signal.SIG_DFL)
tcp.recv(1)
"""


def _end_with(connection: socket.socket) -> None:
    """As vLLM does: without its core it ends."""
    connection.recv(1)
    print("(APIServer pid=2) ERROR 11-22 09:49:08 [core_client.py:700] Engine core proc EngineCore died.", flush=True)
    os._exit(1)


def lora_problem(flags: argparse.Namespace) -> str | None:
    """Why adapters cannot be loaded, in vLLM's words."""
    if not flags.lora_modules:
        return None
    if not flags.enable_lora or flags.max_cpu_loras < flags.max_loras:
        return f"ValueError: max_cpu_loras ({flags.max_cpu_loras}) must be >= max_loras ({flags.max_loras})."
    for name, path in (module.split("=", 1) for module in flags.lora_modules):
        folder = Path(path)
        if not (folder / "adapter_config.json").is_file() or not (folder / "adapter_model.safetensors").is_file():
            return f"ValueError: Loading lora {name} failed: No adapter found for {path}"
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        rank = max([config["r"], *(config.get("rank_pattern") or {}).values()])
        if rank > flags.max_lora_rank:
            return f"ValueError: LoRA rank {rank} is greater than max_lora_rank {flags.max_lora_rank}."
    return None


def main() -> None:
    """Loads (or fails to), listens, serves."""
    flags = parse(sys.argv[1:])
    lacking = [name for name in _WANTED_ENVIRONMENT if not os.environ.get(name)]
    if lacking:
        sys.exit(f"fake vllm: expected in its environment: {', '.join(lacking)}")
    loading = json.loads(Path(flags.model, "config.json").read_text(encoding="utf-8"))
    time.sleep(float(loading.get("load_seconds", 0)))
    if "fails" in loading:
        print("(APIServer pid=2) Traceback (most recent call last):", file=sys.stderr)
        print(loading["fails"], file=sys.stderr, flush=True)
        os._exit(1)
    core = start_core()
    if problem := lora_problem(flags):
        print(f"(APIServer pid=2) Traceback (most recent call last):\n{problem}", file=sys.stderr, flush=True)
        core.kill()
        os._exit(1)
    Handler.fake = Fake(flags)

    def end(_number: int, _frame: object) -> None:
        core.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    base.serve(flags.uds, flags.host, flags.port, Handler)
    print("INFO:     Application startup complete.", flush=True)
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
