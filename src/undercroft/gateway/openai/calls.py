"""The way of every ``/v1`` request that an engine answers: whom it may ask, sending, and reading the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.ids import new_id
from undercroft.gateway.door import engine_errors
from undercroft.gateway.door.authentication import check_model
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.replicas import Call, Deployment, Lease
from undercroft.gateway.door.upstream import LostError, UpstreamError
from undercroft.gateway.errors import DisplacedError, DoorError, OvertakenError
from undercroft.gateway.openai.answers import token_counts
from undercroft.gateway.openai.releases import find_release
from undercroft.gateway.openai.stream import Relay
from undercroft.gateway.trace import Trace
from undercroft.registry.releases.references import base_name
from undercroft.serving.snapshot import DeploymentEntry, ReleaseEntry, ReplicaEntry
from undercroft.watch.promotion.evidence import SHADOW_KEY

T = TypeVar("T")

_OF_THE_RELEASE = (
    b"x-undercroft-deployment",
    b"x-undercroft-release",
    b"x-undercroft-replica",
    b"x-undercroft-adapter",
)
_TASK_ROUTES = {
    "chat": "/v1/chat/completions and /v1/responses",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
    "classify": "/v1/classify",
}


async def answer_by_release(
    dispatcher: Dispatcher,
    exchange: Exchange,
    data: Mapping[str, Any],
    task: str,
    answer: Callable[[Deployment, ReleaseEntry | None], Awaitable[T]],
) -> T:
    """Answers a request by the release that it means, or by the one that takes its place meanwhile.

    A request that waited for a release which left goes to the one that came. One that a candidate fails, while that is
    tried with a share of the users, is answered by what is in production: the candidate is judged by it, and the user
    sees nothing of it. A request that both refuse says nothing of the candidate.

    Args:
        data: The checked request.
        task: What is asked.
        answer: Has the request answered by a deployment, as a release or, with None, as it is.

    Raises:
        DoorError: As `find_deployment` and ``answer``.
    """
    is_spared = False
    refused: dict[str, Any] | None = None
    try:
        while True:
            deployment: Deployment | None = None
            began = time.monotonic()
            try:
                deployment, release = find_deployment(dispatcher, exchange, data, task, is_spared=is_spared)
                return await answer(deployment, release)
            except DoorError as error:
                # What the trace says of a trial is old where there is no deployment any more.
                if exchange.trace.is_on_trial and not is_spared and not exchange.is_started:
                    failed = _row(exchange.path, exchange.trace, status=error.status, began=began)
                    if error.status < 500:
                        refused = failed  # until it is known whether production refuses it, too
                    else:
                        _emit(dispatcher, failed)
                    is_spared = True
                    continue
                if error.status < 500:
                    refused = None  # the request is to blame
                if exchange.is_started or not isinstance(error, DisplacedError):
                    raise
                if isinstance(error, OvertakenError):
                    continue
                if find_deployment(dispatcher, exchange, data, task, is_spared=is_spared)[0] is deployment:
                    raise
    finally:
        if refused is not None:
            _emit(dispatcher, refused)


def quarantine_body(exchange: Exchange, body: bytes) -> bytes:
    """What a request is known by in the quarantine: its own bytes, so that whoever sends them again is recognised.

    One that ends a candidate's engine may be harmless to that of production, and is known by another name there.
    """
    trace = exchange.trace
    return b"%d\0%b" % (trace.release or 0, body) if trace.is_on_trial else body


def emit_row(dispatcher: Dispatcher, route: str, trace: Trace, *, status: int, began: float) -> None:
    """Tells control how a candidate did with a request whose answer no user sees.

    Args:
        status: HTTP status that the candidate's answer would have had.
        began: Monotonic seconds when it was asked.
    """
    _emit(dispatcher, _row(route, trace, status=status, began=began))


def _emit(dispatcher: Dispatcher, row: dict[str, Any]) -> None:
    dispatcher.emit({"type": "usage", "rows": [row]})


def _row(route: str, trace: Trace, *, status: int, began: float) -> dict[str, Any]:
    return {
        "at": to_iso(utc_now()),
        "request_id": new_id("shadow"),
        "key_id": SHADOW_KEY,
        "deployment": trace.deployment,
        "release": trace.release,
        "replica": trace.replica or None,
        "route": route,
        "status": status,
        "prompt_tokens": trace.prompt_tokens,
        "completion_tokens": trace.completion_tokens,
        "queue_seconds": round(trace.queue_seconds, 6),
        "first_token_seconds": None,
        "total_seconds": round(time.monotonic() - began, 6),
        "signs": trace.signs,
    }


def find_deployment(
    dispatcher: Dispatcher, exchange: Exchange, data: Mapping[str, Any], task: str, *, is_spared: bool = False
) -> tuple[Deployment, ReleaseEntry | None]:
    """The deployment that a request names, and the release that answers it; None where the name has none.

    Args:
        data: The checked request.
        task: What is asked of it.
        is_spared: The candidate that is being tried has failed this request, which is not sent to it again.

    Raises:
        DoorError: The key may not use it (403), there is none (404), or it does something else (400).
    """
    assert exchange.key is not None
    model = data["model"]
    check_model(exchange.key, base_name(model))
    asked, adapter = split_adapter(dispatcher, model)
    # A candidate is tried with requests for its base.
    asked_data = data if adapter is None else {**data, "model": asked}
    is_spared = is_spared or adapter is not None
    name, release = find_release(dispatcher, asked_data, exchange.key.id, is_spared=is_spared)
    deployment = find_served(dispatcher, name, release, adapter)
    if deployment is None:
        shown = model if len(model) <= 80 else model[:80] + "…"
        raise DoorError(
            404,
            "model_not_found",
            f"there is no model '{shown}'. GET /v1/models lists those that this key may use",
            param="model",
        )
    trace = exchange.trace
    trace.deployment, trace.adapter, trace.served_by = adapter or name, adapter, deployment.entry.name
    trace.release, trace.is_tried, trace.is_on_trial = None, False, False
    trace.headers = [pair for pair in trace.headers if pair[0] not in _OF_THE_RELEASE]
    trace.headers.append((b"x-undercroft-deployment", name.encode()))
    if adapter is not None:
        trace.headers.append((b"x-undercroft-adapter", adapter.encode()))
    if release is not None:
        trace.release = release.number
        named = dispatcher.names[name]
        trace.is_tried = named.canary is not None and adapter is None
        trace.is_on_trial = model == name and named.canary == release.number != named.live
        trace.headers.append((b"x-undercroft-release", f"{name}@{release.number}".encode()))
    check_task(deployment.entry, task)
    return deployment, release


def split_adapter(dispatcher: Dispatcher, model: str) -> tuple[str, str | None]:
    """What a request that names an adapter asks of its base, and the adapter: ``polite@3`` is ``support@3`` with it.

    Returns:
        ``model`` itself and None where it names no adapter.
    """
    adapter = base_name(model)
    base = dispatcher.adapters.get(adapter)
    return (model, None) if base is None else (base + model[len(adapter) :], adapter)


def find_served(
    dispatcher: Dispatcher, name: str, release: ReleaseEntry | None, adapter: str | None
) -> Deployment | None:
    """The deployment that answers for a name and one of its releases, if it has the adapter that is asked for."""
    found = dispatcher.deployments.get(release.deployment if release is not None else name)
    if found is None or (release is None and found.entry.serves is not None):
        return None
    return found if adapter is None or adapter in found.entry.adapters else None


def check_task(entry: DeploymentEntry, task: str) -> None:
    """Raises `DoorError` (400) where the deployment does something else.

    A deployment that never ran is not known to do anything, and is asked again once it is loaded.
    """
    if entry.tasks and task not in entry.tasks:
        offered = ", ".join(_TASK_ROUTES.get(one, one) for one in entry.tasks)
        raise DoorError(
            400, "task-not-offered", f"the model '{entry.name}' does not do {task}; it answers {offered}", param="model"
        )


async def ask(
    dispatcher: Dispatcher, exchange: Exchange, deployment: Deployment, call: Call, trace: Trace
) -> tuple[bytes, ReplicaEntry]:
    """Sends a request and returns the engine's whole answer with the replica that gave it.

    Raises:
        DoorError: It is refused, there was no answer, or the answer is an error.
    """
    lease = await dispatcher.send(deployment, call, trace, exchange.id, whole=True)
    connection = lease.connection
    try:
        _name_replica(exchange, lease)
        body = connection.body[0]
        if connection.status != 200:
            trace.prompt_tokens = trace.completion_tokens = 0
            raise engine_errors.from_answer(connection.status, connection.headers, body, call.content_field)
        entry = lease.replica.entry
        is_binary = entry.kserve is not None and entry.kserve.is_grpc
        if not is_binary and not body.lstrip().startswith(b"{"):
            raise DoorError(502, "engine-error", "the engine answered with something that is not JSON", source="engine")
        body = call.translate(entry, body)
        trace.prompt_tokens, trace.completion_tokens = token_counts(body) or (None, None)
        return body, entry
    finally:
        lease.close()


async def ask_for_stream(
    dispatcher: Dispatcher,
    exchange: Exchange,
    deployment: Deployment,
    call: Call,
    trace: Trace,
    make_relay: Callable[[ReplicaEntry], Relay],
) -> None:
    """Sends a request and relays the engine's stream to its end, once more where nothing had come when it broke.

    Raises:
        DoorError: It is refused, there was no answer, the answer is an error, or the stream broke.
    """
    has_lost = False
    while True:
        lease = await dispatcher.send(deployment, call, trace, exchange.id, whole=False)
        connection = lease.connection
        relay = make_relay(lease.replica.entry)
        try:
            _name_replica(exchange, lease)
            if connection.status != 200:
                body = await connection.whole()
                trace.prompt_tokens = trace.completion_tokens = 0
                raise engine_errors.from_answer(connection.status, connection.headers, body, call.content_field)
            if not connection.headers.get(b"content-type", b"").startswith(b"text/event-stream"):
                raise DoorError(502, "engine-error", "the engine answered without a stream", source="engine")
            exchange.attach(connection)
            await connection.pipe(relay.feed)
            relay.flush()
            if connection.is_close_delimited and not relay.is_done:
                raise LostError("the engine closed the connection")
            if relay.error is not None:
                raise relay.error
            return
        except LostError as error:
            lease.broke()
            if relay.has_begun:
                raise engine_errors.broken_stream(deployment.entry.name) from error
            if has_lost:
                raise engine_errors.crashed(deployment.entry.name) from error
            has_lost = True
        except UpstreamError as error:
            raise engine_errors.from_upstream(error, deployment.entry.name) from error
        finally:
            relay.settle()
            if connection in exchange.sources:
                exchange.sources.remove(connection)
            lease.close()


def _name_replica(exchange: Exchange, lease: Lease) -> None:
    if exchange.trace.replica == "" or not exchange.is_started:
        exchange.trace.replica = lease.replica.entry.id
        exchange.trace.headers = [pair for pair in exchange.trace.headers if pair[0] != b"x-undercroft-replica"]
        exchange.trace.headers.append((b"x-undercroft-replica", lease.replica.entry.id.encode()))
