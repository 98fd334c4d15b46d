"""A deployment as a door sees it: its replicas, the requests that they have, and those that wait."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from undercroft.engines.grpc.messages import with_request_id
from undercroft.engines.kserve import path_of
from undercroft.gateway.door import balance
from undercroft.gateway.door.pool import Pool, target_of
from undercroft.gateway.door.upstream import UpstreamConnection
from undercroft.serving.snapshot import DeploymentEntry, ReplicaEntry

if TYPE_CHECKING:
    from undercroft.gateway.door.dispatch import Dispatcher


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it goes to an engine.

    Args:
        route: Path on the engine; also the route in records.
        body: The client's bytes; they name the request in the quarantine.
        payload: The body for a given replica.
        check: Raises `DoorError` where the deployment, now that it is loaded, cannot do it after all.
        content_field: The client's field that holds what may be too long for the model.
        translate: Makes OpenAI's answer of the whole one that a given replica gave; it raises `DoorError`.
    """

    route: str
    body: bytes
    payload: Callable[[ReplicaEntry], bytes]
    check: Callable[[], None]
    content_field: str
    translate: Callable[[ReplicaEntry, bytes], bytes] = lambda entry, body: body


class Replica:
    """A replica and the requests that it has."""

    __slots__ = ("breaks", "broken_at", "entry", "heads", "in_flight", "load", "pool")

    def __init__(self, entry: ReplicaEntry, capacity: int, silence_seconds: float) -> None:
        self.entry = entry
        self.load = balance.Load(entry.id, capacity)
        self.pool = Pool(target_of(entry), silence_seconds)
        self.in_flight: set[Lease] = set()
        self.heads: dict[str, bytes] = {}
        self.breaks = 0
        self.broken_at = 0.0

    def request(self, route: str, payload: bytes, request_id: str) -> bytes:
        """Bytes of an HTTP request; of one over gRPC its message."""
        if self.pool.target.is_grpc:
            return with_request_id(payload, request_id)
        head = self.heads.get(route)
        if head is None:
            key = f"authorization: Bearer {self.entry.key}\r\n" if self.entry.key else ""
            target = self.pool.target
            path = route if self.entry.kserve is None else path_of(self.entry.kserve.name, "infer")
            head = self.heads[route] = (
                f"POST {target.prefix}{path} HTTP/1.1\r\nhost: {target.host_header}\r\n{key}"
                "accept: application/json, text/event-stream\r\ncontent-type: application/json\r\n"
            ).encode()
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n\r\n%b" % (
            head,
            request_id.encode(),
            len(payload),
            payload,
        )


class Deployment:
    """A name, its replicas, and the requests that wait for them; those in the background when nobody else does.

    Those that came while it took the place of another are excused: they do not count where a queue is full.
    """

    __slots__ = (
        "background",
        "entry",
        "excused",
        "input_seen_at",
        "isolation",
        "last_active",
        "loading_since",
        "replicas",
        "service_seconds",
        "waiting",
    )

    def __init__(self, entry: DeploymentEntry) -> None:
        self.entry = entry
        self.replicas: dict[str, Replica] = {}
        self.waiting: deque[asyncio.Future[Replica]] = deque()
        self.background: deque[asyncio.Future[Replica]] = deque()
        self.excused: set[asyncio.Future[Replica]] = set()
        self.isolation = asyncio.Lock()
        self.loading_since: float | None = None
        self.service_seconds = 1.0
        self.last_active = 0.0
        self.input_seen_at = 0.0

    def take(self, now: float, adapter: str | None = None) -> Replica | None:
        """A replica with room, which then counts one request more; of those with the adapter, where there are any."""
        replicas = list(self.replicas.values())
        if adapter is not None:
            # While new ones take their place, some have it and some do not.
            replicas = [replica for replica in replicas if adapter in replica.entry.adapters] or replicas
        load = balance.choose([replica.load for replica in replicas], now)
        if load is None:
            return None
        load.in_flight += 1
        load.served += 1
        return self.replicas[load.id]

    @property
    def in_flight(self) -> int:
        """Requests at its replicas."""
        return sum(replica.load.in_flight for replica in self.replicas.values())


class Isolation:
    """A suspect's turn at being tried alone; ends once, whoever ends it.

    Args:
        lock: Of the deployment; held.
    """

    __slots__ = ("_lock", "is_over")

    def __init__(self, lock: asyncio.Lock) -> None:
        self._lock = lock
        self.is_over = False

    def end(self) -> None:
        """Lets the next suspect be tried."""
        if not self.is_over:
            self.is_over = True
            self._lock.release()


class Lease:
    """One request's place at a replica; `close` it whatever happens."""

    __slots__ = (
        "_dispatcher",
        "_is_closed",
        "call",
        "connection",
        "deployment",
        "isolation",
        "replica",
        "started_at",
    )

    def __init__(
        self,
        deployment: Deployment,
        replica: Replica,
        call: Call,
        dispatcher: Dispatcher,
        isolation: Isolation | None,
    ) -> None:
        self._dispatcher = dispatcher
        self._is_closed = False
        self.deployment = deployment
        self.replica = replica
        self.call = call
        self.isolation = isolation
        self.started_at = time.monotonic()
        self.connection: UpstreamConnection = None  # type: ignore[assignment]  # set before anybody else has the lease
        replica.in_flight.add(self)

    def close(self) -> None:
        """Frees the place; an answer that was not read to its end is cancelled at the engine."""
        if self._is_closed:
            return
        self._is_closed = True
        if self.connection is not None:
            self.replica.pool.give_back(self.connection)
        self._dispatcher.leave(self)

    def broke(self) -> None:
        """The connection ended in the middle of the answer."""
        self._dispatcher.broke(self)
