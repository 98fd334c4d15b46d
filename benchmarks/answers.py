"""The fixed requests and answers that the upstreams of `benchmarks.gateway` and `benchmarks.slow_clients` work with."""

from __future__ import annotations

import json

NAME = "memory"

COMPLETION = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": NAME,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Your order is on its way and will arrive tomorrow."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 24, "completion_tokens": 11, "total_tokens": 35},
    },
    separators=(",", ":"),
)

MODELS = json.dumps(
    {"object": "list", "data": [{"id": NAME, "object": "model", "created": 1700000000, "owned_by": "memory"}]},
    separators=(",", ":"),
)


def request_body(model: str, *, frames: int = 0, pace_ms: int = 20, filler_bytes: int = 0) -> bytes:
    """A chat request.

    Args:
        model: Whom to ask.
        frames: Tokens of a streamed answer; 0 asks for an answer in one piece.
        pace_ms: Between the frames of a streamed answer; `benchmarks.stream_upstream` reads it in the first message.
        filler_bytes: Added to the message, to make a long body.
    """
    body = {
        "model": model,
        "messages": [
            {"role": "system", "content": f"You answer in one short sentence, {pace_ms} ms a token."},
            {"role": "user", "content": "Where is my order SG-4471? I need it today." + "x" * filler_bytes},
        ],
        "max_tokens": frames or 64,
    }
    if frames:
        body["stream"] = True
    return json.dumps(body, separators=(",", ":")).encode()


def http_request(port: int, key: str | None, body: bytes) -> bytes:
    """The whole request, as a client puts it on the wire."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
