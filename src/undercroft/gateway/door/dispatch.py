"""Sends requests to replicas: queues them, tries once more when a replica breaks, keeps harmful ones apart.

The shell around `undercroft.gateway.door.balance` and `undercroft.gateway.door.quarantine`, which decide.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import structlog

from undercroft.core.settings import LimitSettings
from undercroft.gateway.door import balance, engine_errors
from undercroft.gateway.door.quarantine import Quarantine, request_digest
from undercroft.gateway.door.replicas import Call, Deployment, Isolation, Lease, Replica
from undercroft.gateway.door.upstream import ConnectError, LostError, UpstreamError
from undercroft.gateway.errors import DisplacedError, DoorError, OvertakenError
from undercroft.gateway.trace import Trace
from undercroft.serving.snapshot import DeploymentEntry, NameEntry, ReplicaEntry, Snapshot

Emit = Callable[[dict[str, Any]], None]

_SUSPECT_SECONDS = 1.0
# An engine that cannot be reached is tried again for this long: control needs a moment to start it anew.
_RECONNECT_SECONDS = 5.0
# The loop's clock counts milliseconds: a timer may come a little before its time.
_CLOCK_SLACK_SECONDS = 0.02
# A suspect that has been computed alone for this long is given company: what ends an engine does so at its start, and
# the others that wait for their turn must not wait for a long answer.
_ISOLATION_SECONDS = 5.0
_SERVICE_WEIGHT = 0.1

_log = structlog.get_logger("door")


class Dispatcher:
    """All deployments of a door.

    Args:
        limits: The settings.
        emit: Takes an event for control; never blocks.
    """

    def __init__(self, limits: LimitSettings, emit: Emit) -> None:
        self.limits = limits
        self.quarantine = Quarantine()
        self.deployments: dict[str, Deployment] = {}
        self.names: dict[str, NameEntry] = {}
        self.adapters: dict[str, str] = {}
        self.emit = emit

    def apply(self, snapshot: Snapshot) -> None:
        """Makes the snapshot true here. Requests at replicas that are gone from it go on to their end."""
        self.quarantine.tell(snapshot.quarantined)
        before, self.names = self.names, snapshot.names
        self.adapters = adapter_bases(snapshot)
        for name in [name for name in self.deployments if name not in snapshot.deployments]:
            gone = self.deployments.pop(name)
            self._set_replicas(gone, ())
            _refuse_waiting(gone, _no_longer_served(name))
        for name, entry in snapshot.deployments.items():
            deployment = self.deployments.get(name)
            if deployment is None:
                deployment = self.deployments[name] = Deployment(entry)
            is_changed = deployment.entry.state != entry.state or _who_answers(before, entry) != _who_answers(
                self.names, entry
            )
            if is_changed and self._is_overtaken(entry):
                _refuse_waiting(deployment, _overtaken(entry))
            self._update(deployment, entry)

    async def send(self, deployment: Deployment, call: Call, trace: Trace, request_id: str, *, whole: bool) -> Lease:
        """Sends a request to a replica, waiting for one, and once more to another where the first one broke.

        Args:
            deployment: Whose replicas.
            call: What to send.
            trace: Gets replica and queue time.
            request_id: For the engine's log.
            whole: Wait for the whole answer; else for status and headers only.

        Returns:
            The lease, whose connection has the answer.

        Raises:
            DoorError: It is refused, or there was no answer.
        """
        isolation: Isolation | None = None
        has_lease = False
        losses = 0
        unreachable_since: float | None = None
        try:
            while True:
                self.check_quarantine(call)
                if isolation is None and self.quarantine.is_suspect(call.route, call.body):
                    isolation = await self._isolate(deployment)
                    continue
                replica = await self._acquire(deployment, trace, is_retry=losses > 0 or unreachable_since is not None)
                trace.replica = replica.entry.id
                trace.prompt_tokens = trace.completion_tokens = None
                lease = Lease(deployment, replica, call, self, isolation)
                if isolation is not None:
                    asyncio.get_running_loop().call_later(_ISOLATION_SECONDS, isolation.end)
                try:
                    if trace.queue_seconds:
                        call.check()
                    data = replica.request(call.route, call.payload(replica.entry), request_id)
                    lease.connection = await replica.pool.request(data, whole=whole)
                    has_lease = True
                    return lease
                except ConnectError as error:
                    self._suspect(replica)
                    now = time.monotonic()
                    unreachable_since = unreachable_since or now
                    if now - unreachable_since > _RECONNECT_SECONDS:
                        raise engine_errors.from_upstream(error, deployment.entry.name) from error
                except LostError as error:
                    self.broke(lease)
                    losses += 1
                    if losses > 1:
                        raise engine_errors.crashed(deployment.entry.name) from error
                except UpstreamError as error:
                    raise engine_errors.from_upstream(error, deployment.entry.name) from error
                finally:
                    if not has_lease:
                        lease.isolation = None  # this loop still needs it
                        lease.close()
        finally:
            if isolation is not None and not has_lease:
                isolation.end()

    def check_quarantine(self, call: Call) -> None:
        """Raises `DoorError` where the request ended two replicas before."""
        digest = self.quarantine.refused_digest(call.route, call.body)
        if digest is not None:
            raise DoorError(
                409,
                "request-quarantined",
                f"this very request ended two engine processes and is refused; its digest is sha256:{digest}",
            )

    def leave(self, lease: Lease) -> None:
        """A request left its replica: the next one that waits takes the place."""
        deployment, replica = lease.deployment, lease.replica
        if lease.connection is not None and lease.connection.is_complete:
            self.quarantine.answered(lease.call.route, lease.call.body)
        replica.in_flight.discard(lease)
        replica.load.in_flight -= 1
        if lease.isolation is not None:
            lease.isolation.end()
        now = time.monotonic()
        deployment.last_active = time.time()
        pace = (now - lease.started_at) / max(1, sum(r.load.capacity for r in deployment.replicas.values()))
        deployment.service_seconds += _SERVICE_WEIGHT * (pace - deployment.service_seconds)
        if deployment.waiting or deployment.background:
            self._pump(deployment)

    def broke(self, lease: Lease) -> None:
        """A replica's connection ended before its answer did: strikes for whom it may be, and control is told.

        That is all that it had; or, where it had one that was being tried alone, that one.
        """
        replica, deployment = lease.replica, lease.deployment
        if replica.broken_at >= lease.started_at:
            return  # noticed by another request that it had at that time
        replica.broken_at = time.monotonic()
        replica.breaks += 1
        break_id = f"{replica.entry.id}#{replica.breaks}"
        digests = [request_digest(other.call.route, other.call.body) for other in replica.in_flight]
        alone = [other for other in replica.in_flight if other.isolation is not None and not other.isolation.is_over]
        for other in alone or replica.in_flight:
            if self.quarantine.strike(other.call.route, other.call.body, break_id):
                self.emit(
                    {
                        "type": "quarantine",
                        "deployment": deployment.entry.name,
                        "digest": request_digest(other.call.route, other.call.body),
                        "reason": f"two replicas of '{deployment.entry.name}' ended while they computed it",
                    }
                )
        _log.warning("replica broke", deployment=deployment.entry.name, replica=replica.entry.id, requests=len(digests))
        self._suspect(replica, digests)

    def close(self) -> None:
        """Closes all connections to engines; at the end of a door."""
        for deployment in self.deployments.values():
            self._set_replicas(deployment, ())

    def depths(self) -> Iterator[tuple[str, int, int]]:
        """Deployment, requests in flight, requests waiting."""
        for name, deployment in self.deployments.items():
            yield name, deployment.in_flight, len(deployment.waiting) + len(deployment.background)

    def replica_ids(self) -> set[str]:
        """All replicas there are."""
        return {replica for deployment in self.deployments.values() for replica in deployment.replicas}

    def _suspect(self, replica: Replica, digests: list[str] | None = None) -> None:
        replica.load.suspect_until = time.monotonic() + _SUSPECT_SECONDS
        self.emit({"type": "broke", "replica": replica.entry.id, "in_flight": digests or []})
        asyncio.get_running_loop().call_later(_SUSPECT_SECONDS + _CLOCK_SLACK_SECONDS, self._pump_all)

    async def _isolate(self, deployment: Deployment) -> Isolation:
        limit = self.limits.queue_wait_seconds
        try:
            async with asyncio.timeout(limit):
                await deployment.isolation.acquire()
                return Isolation(deployment.isolation)
        except TimeoutError as error:
            raise self._waited_too_long(deployment, limit) from error

    async def _acquire(self, deployment: Deployment, trace: Trace, *, is_retry: bool) -> Replica:
        if self.deployments.get(deployment.entry.name) is not deployment:
            raise _no_longer_served(deployment.entry.name)
        began = time.monotonic()
        deployment.last_active = time.time()
        queue = deployment.background if trace.is_background else deployment.waiting
        if not deployment.waiting and not queue:
            replica = deployment.take(began, trace.adapter)
            if replica is not None:
                return replica
        entry = deployment.entry
        loading_seconds = began - (deployment.loading_since or began)
        if entry.state == "unloaded":
            self.emit({"type": "demand", "deployment": entry.name})
        counted = len(queue) if trace.is_background else max(0, len(queue) - len(deployment.excused))
        limit = balance.wait_limit_seconds(
            entry,
            waiting=-1 if is_retry else counted,  # who was in already is not sent away
            limits=self.limits,
            loading_seconds=loading_seconds,
            service_seconds=deployment.service_seconds,
        )
        turn: asyncio.Future[Replica] = asyncio.get_running_loop().create_future()
        queue.append(turn)
        if balance.is_patient(entry) and not trace.is_background:
            deployment.excused.add(turn)
        try:
            async with asyncio.timeout(limit):
                return await turn
        except TimeoutError as error:
            self._abandon(deployment, turn)
            if deployment.entry.state in ("loading", "unloaded"):
                raise balance.loading(
                    deployment.entry, time.monotonic() - (deployment.loading_since or began)
                ) from error
            raise self._waited_too_long(deployment, limit) from error
        except BaseException:
            self._abandon(deployment, turn)
            raise
        finally:
            deployment.excused.discard(turn)
            trace.queue_seconds += time.monotonic() - began

    def _abandon(self, deployment: Deployment, turn: asyncio.Future[Replica]) -> None:
        """Leaves the queue; a place that was given at the very same moment goes to the next."""
        for queue in (deployment.waiting, deployment.background):
            if turn in queue:
                queue.remove(turn)
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            turn.result().load.in_flight -= 1
            self._pump(deployment)

    def _waited_too_long(self, deployment: Deployment, waited_seconds: float) -> DoorError:
        return balance.waited_too_long(
            deployment.entry,
            waited_seconds=waited_seconds,
            waiting=len(deployment.waiting),
            service_seconds=deployment.service_seconds,
        )

    def _is_overtaken(self, entry: DeploymentEntry) -> bool:
        """Whether it cannot answer now, and another deployment answers for the name."""
        named = self.names.get(entry.serves or "")
        if entry.state == "ready" or named is None or named.live is None:
            return False
        return named.releases[named.live].deployment != entry.name

    def _pump(self, deployment: Deployment) -> None:
        now = time.monotonic()
        for queue in (deployment.waiting, deployment.background):
            while queue:
                if queue[0].done():
                    queue.popleft()
                    continue
                replica = deployment.take(now)
                if replica is None:
                    return
                queue.popleft().set_result(replica)

    def _pump_all(self) -> None:
        for deployment in self.deployments.values():
            self._pump(deployment)

    def _update(self, deployment: Deployment, entry: DeploymentEntry) -> None:
        deployment.entry = entry
        if entry.state != "loading":
            deployment.loading_since = None
        elif deployment.loading_since is None:
            deployment.loading_since = time.monotonic()
        self._set_replicas(deployment, entry.replicas)
        if entry.state == "failed":
            _refuse_waiting(
                deployment,
                DisplacedError(
                    503,
                    "deployment-failed",
                    f"the model '{entry.name}' is not served: {entry.note}",
                    source="engine",
                ),
            )
        elif entry.state == "unloaded" and (deployment.waiting or deployment.background):
            self.emit({"type": "demand", "deployment": entry.name})
        self._pump(deployment)

    def _set_replicas(self, deployment: Deployment, entries: tuple[ReplicaEntry, ...]) -> None:
        before, deployment.replicas = deployment.replicas, {}
        for entry in entries:
            replica = before.get(entry.id)
            if replica is not None and replica.entry == entry:
                del before[entry.id]
                replica.load.suspect_until = 0.0
                deployment.replicas[entry.id] = replica
                continue
            factor = self.limits.concurrency_per_slot if entry.protocol == "llama.cpp" else 1.0
            capacity = balance.capacity_of(entry.slots, factor)
            try:
                deployment.replicas[entry.id] = Replica(entry, capacity, self.limits.request_timeout_seconds)
            except ValueError as error:
                _log.error("replica cannot be used", deployment=deployment.entry.name, reason=str(error))
        for replica in before.values():
            replica.pool.close()


def adapter_bases(snapshot: Snapshot) -> dict[str, str]:
    """Name of an adapter → the name of the base that serves it, as clients ask for it. Pure.

    A name that is a deployment's own is that; where two bases have an adapter of one name, the first by name has it.
    """
    served = {name: entry.serves or name for name, entry in snapshot.deployments.items()}
    own = {*snapshot.names, *served.values()}
    found: dict[str, str] = {}
    for name in sorted(served, key=lambda name: (served[name], name)):
        for adapter in snapshot.deployments[name].adapters:
            if adapter not in own:
                found.setdefault(adapter, served[name])
    return found


def _refuse_waiting(deployment: Deployment, error: DoorError) -> None:
    for queue in (deployment.waiting, deployment.background):
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_exception(error)


def _who_answers(names: Mapping[str, NameEntry], entry: DeploymentEntry) -> tuple[int | None, int | None] | None:
    """The live release and the canary of the name that a deployment serves."""
    named = names.get(entry.serves or "")
    return (named.live, named.canary) if named is not None else None


def _overtaken(entry: DeploymentEntry) -> OvertakenError:
    return OvertakenError(
        503, "deployment-failed", f"the model '{entry.name}' is not served: {entry.note}", source="engine"
    )


def _no_longer_served(name: str) -> DisplacedError:
    return DisplacedError(404, "model_not_found", f"the model '{name}' is no longer served here", param="model")
