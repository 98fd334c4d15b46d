"""A Triton that is attached by its gRPC port: its health, its models' settings and answers, for control."""

from __future__ import annotations

import json
from typing import Any

from undercroft.core.errors import UnavailableError
from undercroft.engines import wire
from undercroft.engines.contract import EngineRecord
from undercroft.engines.external import key_of, trouble
from undercroft.engines.grpc import client, messages
from undercroft.engines.grpc.conversation import Reply


def look(record: EngineRecord, model: str, *, timeout_seconds: float) -> wire.Answer:
    """Whether a model is ready, as Triton's HTTP server would tell it: status 200, or 400 where it is not.

    Raises:
        OSError: Nobody answered.
    """
    endpoint = wire.endpoint_of(record)
    reply = client.call(endpoint, messages.READY, messages.name_message(model), timeout_seconds=timeout_seconds)
    if reply.code != 0:
        return wire.Answer(reply.status, json.dumps({"error": reply.reason}).encode())
    try:
        is_ready = messages.read_ready(reply.message)
    except ValueError as error:
        raise ConnectionError(f"the answer to {messages.READY} is another message: {error}") from error
    return wire.Answer(200 if is_ready else 400, b"")


def settings_of(record: EngineRecord, model: str, *, timeout_seconds: float) -> dict[str, Any]:
    """What `undercroft.engines.kserve.read_model` reads.

    Raises:
        UnavailableError: ``external-silent`` or ``external-error``.
    """
    message = _ask(record, messages.CONFIG, messages.name_message(model), timeout_seconds)
    try:
        return messages.read_config(message)
    except ValueError as error:
        raise _wrong(record, messages.CONFIG, error) from error


def infer(record: EngineRecord, model: str, body: dict[str, Any], *, timeout_seconds: float) -> dict[str, Any]:
    """One inference.

    Args:
        record: Of the replica.
        model: What the server calls it.
        body: As `undercroft.engines.kserve.infer_body` makes it.
        timeout_seconds: For all of it.

    Returns:
        The answer, as `undercroft.engines.kserve.read_answer` takes it.

    Raises:
        UnavailableError: ``external-silent`` or ``external-error``.
    """
    message = _ask(record, messages.INFER, messages.infer_message(model, body), timeout_seconds)
    try:
        return messages.read_infer(message)
    except ValueError as error:
        raise _wrong(record, messages.INFER, error) from error


def _ask(record: EngineRecord, method: str, message: bytes, timeout_seconds: float) -> bytes:
    try:
        reply = client.call(wire.endpoint_of(record), method, message, timeout_seconds=timeout_seconds)
    except OSError as error:
        raise UnavailableError("external-silent", f"{record.deployment!r}: {trouble(error, record)}") from error
    if reply.code != 0:
        raise UnavailableError("external-error", f"{record.deployment!r}: {_refusal(reply, record, method)}")
    return reply.message


def _refusal(reply: Reply, record: EngineRecord, method: str) -> str:
    where = f"{record.base_url}{method}"
    if reply.status in (401, 403):
        return f"{where} does not accept {key_of(record)} ({reply.code_name})"
    return f"{where} expected OK, got {reply.code_name}: {' '.join(reply.reason.split())[:300]}"


def _wrong(record: EngineRecord, method: str, error: ValueError) -> UnavailableError:
    return UnavailableError(
        "external-error", f"{record.deployment!r}: {record.base_url}{method} answered with something else: {error}"
    )
