"""A stand-in for Triton's HTTP server: ``python fake_triton.py PORT METRICS_PORT [OPTION…]``, with models of each task.

What it answers, and with which status and type, was seen of Triton 2.51; the numbers are made of the texts' words.
Models: ``embed``, ``classify``, ``rerank`` (as Undercroft renders them), ``plain`` (another's, without a note and
without counts), ``image`` (takes no text). Options: ``cold`` is ready after ``POST /warm``; ``redirect`` redirects;
``grpc=PORT`` answers gRPC there, with ``tls=KEY:CERTIFICATES`` over TLS, with ``key=KEY`` only who shows that;
``GET /calls`` tells of its calls.
"""

from __future__ import annotations

import http.server
import json
import sys
import threading
from pathlib import Path
from typing import Any

MOST_INPUTS, MOST_TOKENS, WIDTH = 4, 16, 3
LABELS = ["bad", "fair", "good"]
_KINDS = {"TYPE_STRING": "BYTES", "TYPE_FP32": "FP32", "TYPE_INT32": "INT32"}
_OUTPUTS = {"embed": ("EMBEDDING", WIDTH), "classify": ("PROBABILITIES", 3), "rerank": ("SCORE", 1), "plain": ("v", 3)}


def _tensor(name: str, kind: str, dims: list[int]) -> dict[str, Any]:
    return {"name": name, "data_type": kind, "dims": dims}


def config(model: str) -> dict[str, Any]:
    """A model's settings, as ``/v2/models/NAME/config`` tells them."""
    if model == "image":
        inputs, outputs = [_tensor("pixels", "TYPE_FP32", [3, 224, 224])], [_tensor("classes", "TYPE_FP32", [1000])]
    else:
        names = ["QUERY", "DOCUMENT"] if model == "rerank" else ["TEXT"]
        inputs = [_tensor(name, "TYPE_STRING", [1]) for name in names]
        answer, width = _OUTPUTS[model]
        counts = [] if model == "plain" else [_tensor("TOKENS", "TYPE_INT32", [1])]
        outputs = [_tensor(answer, "TYPE_FP32", [width]), *counts]
    told = {"task": model, "max_tokens": MOST_TOKENS, "labels": LABELS if model == "classify" else []}
    note = {} if model in ("plain", "image") else {"undercroft": {"string_value": json.dumps(told)}}
    return {
        **{"name": model, "platform": "ensemble", "backend": "", "max_batch_size": MOST_INPUTS},
        **{"input": inputs, "output": outputs, "parameters": note},
    }


def row(model: str, texts: list[str]) -> list[float]:
    """What the model gives for one input: numbers of its words alone."""
    words = " ".join(texts).split()[: MOST_TOKENS - 2]
    sizes = [float(len(words)), float(sum(map(len, words))), 1.0]
    if model == "rerank":
        return [len(set(texts[0].split()) & set(texts[1].split())) / 8]
    if model == "classify":
        return [size / sum(sizes) for size in sizes]
    length = sum(size * size for size in sizes) ** 0.5
    return [size / length for size in sizes]


class RefusedError(Exception):
    """What Triton answers in place of an answer."""

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


class State:
    """What all requests share."""

    def __init__(self, options: list[str]) -> None:
        self.options = options
        self.is_ready = "cold" not in options
        self.lock = threading.Lock()
        self.counts = dict.fromkeys((*_OUTPUTS, "image"), 0)
        named = dict(option.split("=", 1) for option in options if "=" in option)
        self.grpc_port = int(named.get("grpc", "0"))
        self.key = named.get("key")
        self.tls = named["tls"].split(":") if "tls" in named else None
        self.metadata: dict[str, Any] = {}
        self.waiting = self.cancelled = 0

    def infer(self, model: str, request: dict[str, Any]) -> dict[str, Any]:
        """What the model answers, in KServe's JSON."""
        if model not in self.counts:
            raise RefusedError(404, f"Request for unknown model: '{model}' is not found")
        settings = config(model)
        wanted = [one["name"] for one in settings["input"]]
        given = {one["name"]: one for one in request["inputs"]}
        for name in given:
            if name not in wanted:
                raise RefusedError(400, f"unexpected inference input '{name}' for model '{model}'")
        rows = [given[name]["shape"][0] for name in wanted]
        if max(rows) > MOST_INPUTS:
            said = f"inference request batch-size must be <= {MOST_INPUTS} for '{model}'"
            raise RefusedError(400, f"[request id: <id_unknown>] {said}")
        columns = [given[name]["data"] for name in wanted]
        if any(given[name]["datatype"] != "BYTES" or given[name]["shape"] != [rows[0], 1] for name in wanted):
            raise RefusedError(400, f"unexpected shape or datatype of an input for model '{model}'")
        if any(not isinstance(text, str) for column in columns for text in column):
            raise RefusedError(500, "Unable to parse JSON bytes array: attempt to access JSON non-string as string")
        with self.lock:
            self.counts[model] += 1
        inputs = [list(texts) for texts in zip(*columns, strict=True)]
        answer, width = _OUTPUTS[model]
        tokens = [len(" ".join(texts).split()) + 2 for texts in inputs]
        outputs = [
            {"name": "TOKENS", "datatype": "INT32", "shape": [len(inputs), 1], "data": tokens},
            {
                **{"name": answer, "datatype": "FP32", "shape": [len(inputs), width]},
                "data": [value for texts in inputs for value in row(model, texts)],
            },
        ]
        asked = [one["name"] for one in request.get("outputs", [])]
        told = [one for one in outputs if not asked or one["name"] in asked]
        return {"model_name": model, "model_version": "1", "parameters": {"sequence_id": 0}, "outputs": told}


class Handler(http.server.BaseHTTPRequestHandler):
    """The routes of KServe's protocol, and those of the model repository."""

    protocol_version = "HTTP/1.1"
    state: State

    def do_GET(self) -> None:
        """Health, settings, metadata."""
        if "redirect" in self.state.options:
            return self._send(307, "", "text/plain", {"location": "http://127.0.0.1:1/elsewhere"})
        parts = self.path.strip("/").split("/")
        if parts == ["calls"]:
            told = {"waiting": self.state.waiting, "cancelled": self.state.cancelled, "metadata": self.state.metadata}
            return self._json(200, told)
        if parts in (["v2", "health", "live"], ["v2", "health", "ready"]):
            return self._send(200 if self.state.is_ready or parts[2] == "live" else 400, "", "text/plain")
        if parts == ["v2"]:
            return self._json(200, {"name": "triton", "version": "2.51.0", "extensions": ["model_repository"]})
        if parts[:2] == ["v2", "models"] and len(parts) in (3, 4):
            known, what = parts[2] in self.state.counts, (parts[3] if len(parts) == 4 else "")
            if what == "ready":
                is_ready = known and self.state.is_ready
                return self._send(200 if is_ready else 400, "" if is_ready else _error("Model version not ready"))
            if not known:
                return self._send(404, _error(f"Request for unknown model: '{parts[2]}' is not found"))
            if what == "config":
                return self._json(200, config(parts[2]))
            if what == "":
                return self._json(200, _metadata(parts[2]))
        self._send(404, _error("Not Found"), "text/plain")

    def do_POST(self) -> None:
        """Inference, and the repository's index."""
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        parts = self.path.strip("/").split("/")
        if parts == ["warm"]:
            self.state.is_ready = True
            return self._send(200, "")
        if parts == ["v2", "repository", "index"]:
            index = [{"name": name, "version": "1", "state": "READY"} for name in sorted(self.state.counts)]
            return self._json(200, index)
        if parts[:2] != ["v2", "models"] or len(parts) != 4 or parts[3] != "infer":
            return self._send(404, _error("Not Found"), "text/plain")
        try:
            self._json(200, self._infer(parts[2], body))
        except RefusedError as error:
            self._send(error.status, _error(str(error)))

    def _infer(self, model: str, body: bytes) -> dict[str, Any]:
        try:
            request = json.loads(body)
        except ValueError:
            raise RefusedError(500, "failed to parse the request JSON buffer: Invalid value. at 0") from None
        return self.state.infer(model, request)

    def _json(self, status: int, data: Any) -> None:
        self._send(status, json.dumps(data), "application/json")

    def _send(
        self, status: int, text: str, kind: str = "application/json", headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(text)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


class Metrics(Handler):
    """The port of the metrics."""

    def do_GET(self) -> None:
        """Prometheus' text."""
        lines = ["# TYPE nv_inference_pending_request_count gauge"]
        for model, count in self.state.counts.items():
            for name in (model, f"{model}_network"):
                lines.append(f'nv_inference_request_success{{model="{name}",version="1"}} {count}')
                lines.append(f'nv_inference_pending_request_count{{model="{name}",version="1"}} 0')
        lines.append('nv_inference_pending_request_count{model="another",version="1"} 7')
        self._send(200, "\n".join(lines) + "\n", "text/plain; charset=utf-8")


def _metadata(model: str) -> dict[str, Any]:
    settings = config(model)
    sides = {
        side: [
            {"name": one["name"], "datatype": _KINDS[one["data_type"]], "shape": [-1, *one["dims"]]}
            for one in settings[side[:-1]]
        ]
        for side in ("inputs", "outputs")
    }
    return {"name": model, "versions": ["1"], "platform": "ensemble", **sides}


def _error(problem: str) -> str:
    return json.dumps({"error": problem})


def main(port: int, metrics_port: int, options: list[str]) -> None:
    """Serves until it is ended."""
    Handler.state = State(options)
    if Handler.state.grpc_port:
        sys.path.insert(0, str(Path(__file__).parents[2]))
        from tests.support import fake_triton_grpc  # noqa: PLC0415 runs as a program, and gRPC is slow to import

        fake_triton_grpc.serve(Handler.state.grpc_port, Handler.state, config)
    metrics = http.server.ThreadingHTTPServer(("127.0.0.1", metrics_port), Metrics)
    threading.Thread(target=metrics.serve_forever, daemon=True).start()
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
