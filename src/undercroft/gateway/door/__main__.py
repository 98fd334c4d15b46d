"""A door process: ``python -m undercroft.gateway.door --home HOME --listen-fd N --index I``, started by the keeper.

It takes the listening socket as a file descriptor, shares it with the other doors and with the door that takes its
place at a restart, and needs nothing to serve but the last snapshot. SIGTERM drains it.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import structlog
import uvloop

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.home import Home
from undercroft.core.ids import new_id
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import Settings, load_settings
from undercroft.gateway import metrics
from undercroft.gateway.door.access_log import AccessLog
from undercroft.gateway.door.authentication import Hosts, Keys, check_admin
from undercroft.gateway.door.connection import ConnectionLimits, Listener
from undercroft.gateway.door.control_link import ControlLink
from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.door.exchange import Exchange
from undercroft.gateway.door.feedback import take_feedback
from undercroft.gateway.door.proxy import ControlProxy
from undercroft.gateway.door.readiness import readiness
from undercroft.gateway.door.routes import Entrance, Own, Route, find_route
from undercroft.gateway.door.upstream import UpstreamError
from undercroft.gateway.errors import DoorError
from undercroft.serving.listening import tls_context
from undercroft.serving.snapshot import Snapshot, read_kept

_SWEEP_SECONDS = 0.5
_FLUSH_SECONDS = 1.0
_METRICS_SECONDS = 1.0
_BACKLOG = 1024
_ABOUT = b"""This is Undercroft: small language models on hardware of your own, behind an OpenAI-compatible door.
Send requests to /v1 with your key: Authorization: Bearer uc-...
GET /v1/models lists the models; /openapi.json describes every route; /healthz and /readyz need no key.
"""

_log = structlog.get_logger("door")


class Door:
    """Everything of one door process but its sockets.

    Args:
        home: The installation.
        settings: Its settings.
        index: Which of the doors.
    """

    def __init__(self, home: Home, settings: Settings, index: int) -> None:
        self.id = f"{new_id('door')}-{index}"
        self.counters = metrics.Counters()
        self.snapshot: Snapshot | None = None
        self._log = AccessLog(sys.stdout.fileno())
        self._keys = Keys({})
        self._hosts = Hosts(settings.gateway.host, settings.gateway.allowed_hosts)
        self._proxy = ControlProxy(home.control_socket)
        self._active: dict[str, float] = {}
        self._second = (0, "")
        self.link = ControlLink(home.doors_socket, self.id, self.apply, self._gather)
        self.dispatcher = Dispatcher(settings.limits, self.link.emit)
        gateway = settings.gateway
        limits = ConnectionLimits(
            header_timeout_seconds=gateway.header_timeout_seconds,
            body_idle_timeout_seconds=gateway.body_idle_timeout_seconds,
            body_limit_bytes=gateway.body_limit_bytes,
            connections_limit=gateway.connections_limit,
            keep_alive_seconds=gateway.keep_alive_seconds,
        )
        self.listener = Listener(limits, self.screen, self.serve, self.record)

    def apply(self, snapshot: Snapshot) -> None:
        """Puts a snapshot in force."""
        self.snapshot = snapshot
        self._keys = Keys(snapshot.keys)
        self.dispatcher.apply(snapshot)
        self.counters.forget_replicas(self.dispatcher.replica_ids())

    def screen(self, exchange: Exchange) -> None:
        """Refuses what can be refused before the body is read: host, path, method, key."""
        self._hosts.check(exchange.headers.get(b"host"), exchange.connection.local_address)
        exchange.route = route = find_route(exchange.method, exchange.path)
        exchange.trace.route = route.name
        if route.entrance is Entrance.OPEN:
            return
        exchange.key = self._keys.authenticate(exchange.headers)
        exchange.trace.is_background = exchange.key.is_background
        if route.entrance is Entrance.ADMIN:
            check_admin(exchange.key)

    async def serve(self, exchange: Exchange) -> None:
        """Answers a request that was let in."""
        assert isinstance(exchange.route, Route)
        answer = exchange.route.answer
        try:
            if isinstance(answer, Own):
                await self._answer(answer, exchange)
            else:
                await answer(self.dispatcher, exchange)
        except DoorError as error:
            exchange.fail(error)

    def record(self, exchange: Exchange) -> None:
        """Counts, meters and logs a request that is over."""
        trace = exchange.trace
        now = time.monotonic()
        received_at = exchange.received_at or now
        total_seconds = now - received_at
        self.counters.record(trace, total_seconds, received_at)
        first_token = round(trace.first_token_at - received_at, 6) if trace.first_token_at else None
        row: dict[str, Any] = {
            "at": self._now(),
            "request_id": exchange.id,
            "key_id": exchange.key.id if exchange.key is not None else "",
            "deployment": trace.deployment,
            "release": trace.release,
            "replica": trace.replica or None,
            "route": trace.route,
            "status": trace.status,
            "prompt_tokens": trace.prompt_tokens,
            "completion_tokens": trace.completion_tokens,
            "queue_seconds": round(trace.queue_seconds, 6),
            "first_token_seconds": first_token,
            "total_seconds": round(total_seconds, 6),
            "signs": trace.signs,
            "input_language": trace.input_language,
            "input_topic": trace.input_topic,
        }
        self._log.add(row)
        if trace.replica:
            # What was refused is in the metrics and the log; a flood of it does not reach the database.
            self._active[trace.served_by] = time.time()
            self.link.add_usage(row)

    def sweep(self) -> None:
        """What is done twice a second."""
        self.listener.sweep(time.monotonic())
        self._log.flush()

    def close(self) -> None:
        """Closes what is open to engines and control, and writes the last log lines."""
        self.dispatcher.close()
        self._proxy.close()
        self._log.flush()

    def families(self) -> metrics.Families:
        """This door's counters as plain data."""
        self.counters.dropped_events = self.link.dropped
        return self.counters.families(self.dispatcher.depths())

    def _gather(self) -> list[dict[str, Any]]:
        now = time.time()
        for name, deployment in self.dispatcher.deployments.items():
            if deployment.in_flight or deployment.waiting or deployment.background:
                self._active[name] = now
        events: list[dict[str, Any]] = [{"type": "metrics", "door": self.id, "families": self.families()}]
        if self._active:
            events.append({"type": "activity", "deployments": self._active})
            self._active = {}
        return events

    async def _answer(self, what: Own, exchange: Exchange) -> None:
        if what is Own.ALIVE:
            exchange.respond(200, b'{"status":"ok"}')
        elif what is Own.READY:
            status, body = readiness(self.snapshot)
            exchange.respond(status, orjson.dumps(body))
        elif what is Own.METRICS:
            exchange.respond(200, await self._metrics(), metrics.CONTENT_TYPE)
        elif what is Own.FEEDBACK:
            await take_feedback(self._proxy, exchange)
        elif what is Own.CONTROL:
            await self._proxy.forward(exchange)
        else:
            exchange.respond(200, _ABOUT, b"text/plain; charset=utf-8")

    async def _metrics(self) -> bytes:
        """Everybody's metrics from control, or this door's own where control is away."""
        own = self.families()
        try:
            async with asyncio.timeout(_METRICS_SECONDS):
                return await self._proxy.post("/internal/metrics", orjson.dumps({"door": self.id, "families": own}))
        except (UpstreamError, TimeoutError):
            return metrics.render(own)

    def _now(self) -> str:
        """The time to a tenth of a second, made once for many requests."""
        tenth = int(time.time() * 10)
        if self._second[0] != tenth:
            self._second = (tenth, to_iso(utc_now()))
        return self._second[1]


async def run(home: Home, settings: Settings, listener: socket.socket, index: int) -> None:
    """Serves until SIGTERM, then drains.

    Args:
        home: The installation.
        settings: Its settings.
        listener: Bound and listening; shared with other doors.
        index: Which of the doors.
    """
    loop = asyncio.get_running_loop()
    raise_descriptor_limit()
    door = Door(home, settings, index)
    read_snapshot(door, home.snapshot_file)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    listener.setblocking(False)
    tls = tls_context(settings.gateway)
    server = await loop.create_server(
        door.listener,
        sock=listener,
        backlog=_BACKLOG,
        ssl=tls,
        ssl_handshake_timeout=settings.gateway.header_timeout_seconds if tls else None,
    )
    link = asyncio.create_task(door.link.run())
    sweeping = asyncio.create_task(_sweep(door))
    gc.collect()
    gc.freeze()
    # Requests leave no cycles worth looking for often; a collection over everything costs a stream its rhythm.
    gc.set_threshold(50_000, 50, 50)
    _log.info("door open", door=door.id, index=index)
    await ended.wait()
    server.close()
    await drain(door, settings.gateway.drain_seconds)
    await door.link.flush(_FLUSH_SECONDS)
    door.close()
    for task in (sweeping, link):
        task.cancel()
    await asyncio.gather(sweeping, link, return_exceptions=True)
    _log.info("door closed", door=door.id)


async def drain(door: Door, limit_seconds: float) -> None:
    """Lets running requests end; connections that stay are closed when the time is over."""
    listener = door.listener
    began = time.monotonic()
    listener.drain(began)
    while listener.connections and time.monotonic() - began < limit_seconds:
        listener.sweep(time.monotonic())
        await asyncio.sleep(0.05)
    for connection in list(listener.connections):
        connection.transport.abort()
    while listener.connections:
        await asyncio.sleep(0)


def read_snapshot(door: Door, path: Path) -> None:
    """Takes up the last snapshot that control left, if there is one."""
    try:
        snapshot = read_kept(path)
    except ValueError as error:
        _log.warning("the kept snapshot cannot be read", error=str(error))
        return
    if snapshot is not None:
        door.apply(snapshot)


def raise_descriptor_limit() -> None:
    """As many open connections as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _sweep(door: Door) -> None:
    while True:
        door.sweep()
        await asyncio.sleep(_SWEEP_SECONDS)


def configure_logging(level: str) -> None:
    """JSON lines on standard output."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )


def main() -> None:
    """Reads the command line and runs one door to its end."""
    parser = argparse.ArgumentParser(prog="undercroft.gateway.door")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--listen-fd", type=int, required=True)
    parser.add_argument("--index", type=int, default=0)
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    home = Home(given.home.absolute())
    settings = load_settings(home.config_file).settings
    configure_logging(settings.logging.level)
    listener = socket.socket(fileno=given.listen_fd)
    uvloop.run(run(home, settings, listener, given.index))


if __name__ == "__main__":
    main()
