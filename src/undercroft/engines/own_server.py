"""What the servers of our own engines share: bodies read whole, answers written, and who left before the answer.

They are ASGI applications that run in environments of their own: imported is only what those have.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import uvicorn

from undercroft.core.errors import InvalidError

_BODY_LIMIT_BYTES = 32 * 1024 * 1024
_GRACE_SECONDS = 30
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]


class GoneError(Exception):
    """The client went away."""


def has_key(scope: Message, authorization: bytes) -> bool:
    """Whether a request brings the key.

    Args:
        scope: Of the request.
        authorization: The header that it has to bring.
    """
    return hmac.compare_digest(dict(scope["headers"]).get(b"authorization", b""), authorization)


async def until_gone(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def ignored(receive: Receive) -> None:
    """Reads the rest of a request that is refused: who is still sending would see a broken pipe, and no answer."""
    while (await receive()).get("more_body", False):
        pass


async def read_body(receive: Receive) -> bytes:
    """The whole body.

    Raises:
        GoneError: The client left while it sent.
        InvalidError: ``bad-request``: it is too large.
    """
    pieces, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > _BODY_LIMIT_BYTES:
            raise InvalidError("bad-request", f"the body has more than {_BODY_LIMIT_BYTES:,} bytes")
        if not message.get("more_body", False):
            return b"".join(pieces)


def parsed(content: bytes) -> Any:
    """A body as JSON.

    Raises:
        InvalidError: ``bad-request``.
    """
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InvalidError("bad-request", f"the body is not JSON: {error}") from error


async def respond(send: Send, status: int, content: Any) -> None:
    """Sends a whole answer: a text as it is, anything else as JSON."""
    is_text = isinstance(content, str)
    body = content.encode() if is_text else orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    kind = b"text/plain; version=0.0.4; charset=utf-8" if is_text else b"application/json"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def error_content(message: str, kind: str) -> dict[str, Any]:
    """An error as OpenAI's API tells it."""
    return {"error": {"message": message, "type": kind}}


def too_long_content(tokens: int, limit: int) -> dict[str, Any]:
    """The error for a request that does not fit, with both numbers.

    Args:
        tokens: That it has.
        limit: That it may have.
    """
    message = f"the request has {tokens} tokens, this model takes {limit}"
    told = error_content(message, "exceed_context_size_error")
    told["error"] |= {"n_prompt_tokens": tokens, "n_ctx": limit}
    return told


def metrics_text(prefix: str, lines: dict[str, tuple[str, str, float]]) -> str:
    """Figures in Prometheus' text format.

    Args:
        prefix: Before each name.
        lines: Name → kind, help, value.
    """
    return "".join(
        f"# HELP {prefix}:{name} {text}\n# TYPE {prefix}:{name} {kind}\n{prefix}:{name} {value}\n"
        for name, (kind, text, value) in lines.items()
    )


def key_of(run_dir: Path) -> str:
    """The key that requests have to bring."""
    return (run_dir / "key").read_text(encoding="ascii").strip()


def serve(application: Application, *, host: str, port: int) -> None:
    """Answers requests until it is told to end.

    Args:
        application: What answers.
        host: Path of a Unix socket, or an address.
        port: Of the address; 0 with a socket.
    """
    where: dict[str, Any] = {"host": host, "port": port} if port else {"uds": host}
    uvicorn.run(
        application,
        **where,
        loop="asyncio",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=3600,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
