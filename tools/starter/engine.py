"""A GGUF served by llama.cpp inside this process, asked over its own HTTP interface."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import xllamacpp

SLOTS = 4
CONTEXT_TOKENS = 1024


class Engine:
    """llama.cpp's server on a free loopback port with four slots of the model's whole context."""

    def __init__(self, model: Path, *, threads: int = 2) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = SLOTS * CONTEXT_TOKENS
        params.n_parallel = SLOTS
        params.cpuparams.n_threads = threads
        params.use_jinja = True
        params.port = 0
        self._server = xllamacpp.Server(params)
        self.address: str = self._server.listening_address

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST JSON and return the parsed answer.

        Raises:
            urllib.error.HTTPError: The server answered with an error status.
        """
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.address + path, data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def chat(self, messages: list[dict[str, Any]], **options: Any) -> dict[str, Any]:
        """The assistant's message, greedy unless ``options`` say otherwise."""
        body = {"messages": messages, "temperature": 0.0, "max_tokens": 256, "cache_prompt": False, **options}
        message: dict[str, Any] = self.post("/v1/chat/completions", body)["choices"][0]["message"]
        return message
