"""A stand-in for ``trtllm-serve``: ``python fake_trtllm.py PORT KEY``, with one model ``upstream``.

Routes and names of metrics as TensorRT-LLM's documentation and its collector of metrics have them; not seen running.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from typing import Any


class Handler(http.server.BaseHTTPRequestHandler):
    """OpenAI's protocol, and what TensorRT-LLM has beside it."""

    protocol_version = "HTTP/1.1"
    key = ""
    lock = threading.Lock()
    prompt_tokens = 0

    def do_GET(self) -> None:
        """Health, models, metrics."""
        if self.path == "/health":
            return self._send(200, b"", "text/plain")
        if self.path == "/v1/models":
            return self._json(200, {"object": "list", "data": [{"id": "upstream", "object": "model"}]})
        if self.path == "/metrics":  # iterations, in JSON
            return self._json(200, [{"iter": 1, "numActiveRequests": 0, "numQueuedRequests": 0}])
        if self.path == "/prometheus/metrics":
            labels = '{engine_type="trtllm",model_name="upstream"}'
            values = {"num_requests_running": 0, "num_requests_waiting": 0, "kv_cache_utilization": 0.25}
            text = "".join(f"trtllm_{name}{labels} {value}\n" for name, value in values.items())
            text += f"trtllm_prompt_tokens_total{labels} {self.prompt_tokens}\n"
            return self._send(200, text.encode(), "text/plain")
        self._json(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        """Chat."""
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        if self.headers.get("authorization") != f"Bearer {self.key}":
            return self._json(401, {"error": {"message": "no such key"}})
        if self.path != "/v1/chat/completions":
            return self._json(404, {"detail": "Not Found"})
        tokens = len(" ".join(message["content"] for message in body["messages"]).split())
        with Handler.lock:
            Handler.prompt_tokens += tokens
        message = {"role": "assistant", "content": "hello"}
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        told = {"id": "c", "object": "chat.completion", "created": 1, "model": "upstream", "choices": [choice]}
        self._json(200, {**told, "usage": usage})

    def _json(self, status: int, data: Any) -> None:
        self._send(status, json.dumps(data).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


if __name__ == "__main__":
    Handler.key = sys.argv[2]
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
