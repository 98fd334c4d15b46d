"""The loop that makes what runs equal to what is wanted.

Kill it at any time: what is wanted is in the database, what runs lies in the home, and a new loop converges.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import structlog
from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import SQLAlchemyError

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.engines import records
from undercroft.engines.all import engines
from undercroft.engines.contract import Engine, EngineRecord, ReplicaState
from undercroft.engines.failures import is_out_of_memory
from undercroft.environments.installed import needed
from undercroft.environments.recipes import find
from undercroft.registry import models as registry
from undercroft.registry.model_paths import model_path
from undercroft.registry.upkeep import verify
from undercroft.serving import entries, specs
from undercroft.serving.adapters import load_adapters
from undercroft.serving.admission import Admission
from undercroft.serving.allocation import Allocator, Usage
from undercroft.serving.courses import Course, as_shrunk, carry_on, shrunk_note
from undercroft.serving.decisions import Seen, Wanted, backoff_seconds, decide
from undercroft.serving.deployments import Deployment
from undercroft.serving.forecasting import MachineForecaster
from undercroft.serving.ledger import Ledger
from undercroft.serving.measuring import Measuring
from undercroft.serving.replica import Deadlines, Replica, ReplicaView
from undercroft.serving.restarting import stop_replicas
from undercroft.serving.served import (
    Served,
    ServedName,
    find_served,
    name_served,
    readiness,
    replacing_groups,
    tell_names,
)
from undercroft.serving.snapshot import DeploymentEntry, KeyEntry, NameEntry, Snapshot, read_kept
from undercroft.storage import journal
from undercroft.storage.database import Database
from undercroft.storage.tables import quarantined_requests

_log = structlog.get_logger("reconciler")

_TICK_SECONDS = 1.0
_STABLE_SECONDS = 30.0  # a replica that was ready this long ends a row of failures


class Reconciler:
    """Compares, starts, stops, and tells the doors.

    Args:
        database: What is wanted.
        home: Where replicas live.
        settings: Everything that can be set.
        read_keys: Digest → key entry, read inside a transaction.
        publish: Gives a snapshot to every door; called from the loop's thread.
        acked_version: The newest version that every connected door has in force.
    """

    def __init__(
        self,
        database: Database,
        home: Home,
        settings: Settings,
        *,
        read_keys: Callable[[Connection], dict[str, KeyEntry]],
        publish: Callable[[Snapshot], None],
        acked_version: Callable[[], int],
    ) -> None:
        self._database = database
        self._home = home
        self._settings = settings
        self._read_keys = read_keys
        self._publish = publish
        self._acked_version = acked_version
        self._engines: dict[str, Engine] = engines(settings.engines)
        self._allocator = Allocator(
            settings.admission,
            MachineForecaster(database, home, has_gpu_engine=settings.engines.llama_server is not None),
        )
        self._deadlines = Deadlines(
            start=settings.engines.start_timeout_seconds,
            silence=settings.engines.health_deadline_seconds,
            drain=settings.gateway.drain_seconds,
        )
        self._lock = threading.RLock()
        self._wake = threading.Event()
        self._ending = threading.Event()
        self._first_pass = threading.Event()
        self._replicas: list[Replica] = []
        self._courses: dict[str, Course] = {}
        self._wanted: list[Deployment] = []
        self._served = Served()
        self._live, self._replacing = _known_before(home)
        self._entries: dict[str, DeploymentEntry] = {}
        self._snapshot = Snapshot(version=0)
        self._to_release: list[tuple[int, Replica]] = []
        self._checked_models: set[str] = set()
        self._checking: set[str] = set()
        self._measuring = Measuring(database, self._allocator)
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)

    # Called from other threads.

    def begin(self) -> None:
        """Starts the loop."""
        self._thread.start()

    def leave(self) -> None:
        """Ends the loop and leaves the engines running, to be adopted."""
        self._ending.set()
        self._wake.set()
        self._thread.join(10)
        for replica in self._replicas:
            replica.leave()
        for replica in self._replicas:
            replica.join(3)

    def wake(self) -> None:
        """Something changed: look at once."""
        self._wake.set()

    def refresh(self) -> int:
        """One pass now; the version of the snapshot that tells of everything committed before the call."""
        self._pass()
        return self._snapshot.version

    def demand(self, name: str) -> None:
        """A request waits for a deployment that is not loaded."""
        with self._lock:
            course = self._course(name)
            course.is_loaded = True
            course.last_used = course.last_demand = time.time()
        self._wake.set()

    def used(self, moments: dict[str, float]) -> None:
        """Last request per deployment, unix seconds."""
        with self._lock:
            for name, moment in moments.items():
                course = self._course(name)
                course.last_used = max(course.last_used, float(moment))
                course.last_demand = max(course.last_demand, float(moment))

    def quarantine(self, *, digest: str, deployment: str, reason: str) -> None:
        """A request that ended two replicas: refused from now on, by every door."""
        with self._database.write() as connection:
            known = connection.execute(
                select(quarantined_requests.c.digest).where(quarantined_requests.c.digest == digest)
            ).first()
            if known is None:
                connection.execute(
                    insert(quarantined_requests).values(
                        digest=digest, deployment=deployment, at=to_iso(utc_now()), reason=reason
                    )
                )
        self._wake.set()

    def look(self) -> tuple[list[Deployment], list[Replica], dict[str, Course], Snapshot]:
        """What there is now, for status and metrics."""
        with self._lock:
            courses = {name: replace(course) for name, course in self._courses.items()}
            return list(self._wanted), list(self._replicas), courses, self._snapshot

    def entry(self, name: str) -> DeploymentEntry | None:
        """How a deployment is; None where it is not wanted, or was not looked at yet."""
        with self._lock:
            return self._entries.get(name)

    def names(self) -> dict[str, ServedName]:
        """Names that have releases, as wanted now."""
        with self._lock:
            return dict(self._served.names)

    def lacks_memory(self, name: str) -> bool:
        """Whether a deployment waits for memory, or was refused it."""
        with self._lock:
            wish = self._allocator.wish(name)
            return bool(wish.waiting or wish.refusal)

    def outlook(self, name: str) -> str:
        """What loading a replica of a deployment takes, in words."""
        with self._lock:
            return self._allocator.outlook(name, [replica.view for replica in self._replicas])

    def never_fits(self, name: str, without: str | None) -> bool:
        """Whether a deployment would not get its memory even if all that may be unloaded were, and ``without``, too."""
        with self._lock:
            views = [replica.view for replica in self._replicas]
            return self._allocator.never_fits(name, without, views, {d.name: d for d in self._wanted})

    def restart(self, name: str) -> None:
        """Ends the replicas of a name after their requests; others start in their place."""
        with self._lock:
            self._to_release += stop_replicas(name, self._replicas, self._snapshot.version + 1)
        self._wake.set()

    def ledger(self) -> Ledger:
        """Who holds which memory now, and what is left."""
        with self._lock:
            return self._allocator.ledger([replica.view for replica in self._replicas])

    # The loop.

    def _loop(self) -> None:
        while not self._ending.is_set():
            try:
                self._pass()
            except (SQLAlchemyError, OSError, UndercroftError) as error:
                # A full disk or a locked database: what runs goes on, the next pass tries again.
                _log.error("pass failed", error=str(error))
            self._wake.wait(_TICK_SECONDS)
            self._wake.clear()

    def _pass(self) -> None:
        with self._lock:
            with self._database.read() as connection:
                keep_warm = self._settings.releases.keep_warm_seconds
                self._served = find_served(connection, keep_warm_seconds=keep_warm)
                self._wanted = self._served.deployments
                self._courses = carry_on(self._courses, self._wanted)
                keys = self._read_keys(connection)
                quarantined = frozenset(connection.execute(select(quarantined_requests.c.digest)).scalars())
                templates = self._templates(connection)
            if not self._first_pass.is_set():
                self._adopt(templates)
                self._first_pass.set()
            self._bury(templates)
            self._unload_idle()
            self._return_unloaded()
            self._act(templates)
            self._tell(keys, quarantined)
            self._release()

    def _templates(self, connection: Connection) -> dict[str, specs.Template]:
        """By name, of every running deployment that can be started; the others get a note."""
        found = {}
        for deployment in self._wanted:
            if not deployment.is_running:
                continue
            course = self._course(deployment.name)
            try:
                model = registry.get(connection, deployment.model) if deployment.model else None
                path = model_path(self._home, connection, model) if model else None
                described = as_shrunk(deployment, course)
                beside = load_adapters(self._home, connection, deployment.settings.adapters)
                template = specs.template_for(described, model, path, self._settings.engines, beside)
                if model is not None and template.engine == "vllm":
                    template = self._allocator.forecaster.place(template, model, deployment.settings)
                if model is not None and template.engine == "onnxruntime":
                    template = specs.housed(template, model, needed(self._home, find(template.engine)).folder)
                found[deployment.name] = template
                self._allocator.describe(template, model)
                course.obstacle = ""
            except UndercroftError as error:
                course.obstacle = str(error)
                if error.code == "model-changed" and deployment.model is not None:
                    for name in (deployment.model, *deployment.settings.adapters.values()):
                        self._check_model(name)
        return found

    def _check_model(self, name: str) -> None:
        """Reads a model's files once more, beside the loop: a home that was copied or restored has other inodes, and
        the same content. Once in the life of this process; damage is found by the same look and stays an obstacle."""
        if name in self._checked_models:
            return
        self._checked_models.add(name)
        _log.info("checking a model whose files look changed", model=name)

        def check() -> None:
            try:
                verify(self._database, self._home, [name])
            except UndercroftError as error:
                _log.error("check failed", model=name, error=error.message)
            self._checking.discard(name)
            self.wake()

        self._checking.add(name)
        threading.Thread(target=check, name=f"check-{name}", daemon=True).start()

    def _adopt(self, templates: dict[str, specs.Template]) -> None:
        """Takes over engines that an earlier control process left, and clears away what is left of dead ones."""
        for record in records.list_all(self._home.engines):
            template = templates.get(record.deployment)
            engine = self._engines.get(record.engine)
            if engine is None:
                continue
            if template is None or not records.is_adoptable(record):
                engine.stop(record, grace_seconds=5.0 if template is None else 0.0)
                continue
            self._start(record.deployment, template, engine, record)
            course = self._course(record.deployment)
            course.is_loaded = True
            course.last_used = time.time()
        records.remove_broken(self._home.engines)

    def _bury(self, templates: dict[str, specs.Template]) -> None:
        """Drops replicas that ended; each failure makes the next start of its deployment later."""
        now = time.monotonic()
        for replica in list(self._replicas):
            view = replica.view
            course = self._course(view.spec.name)
            if view.state is ReplicaState.READY:
                course.note = ""
                if view.load_seconds is not None and course.load_seconds != view.load_seconds:
                    course.load_seconds = view.load_seconds
                    self._measuring.loaded(view)
                if view.ready_since is not None and now - view.ready_since > _STABLE_SECONDS:
                    course.failures, course.made_room = 0, frozenset()
            elif view.state in {ReplicaState.FAILED, ReplicaState.STOPPED}:
                self._replicas.remove(replica)
                self._measuring.served([view])
                if view.state is ReplicaState.FAILED:
                    course.failures += 1
                    course.restarts += 1
                    course.note = view.note
                    limit = self._settings.engines.restart_backoff_limit_seconds
                    course.not_before = now + backoff_seconds(course.failures, limit=limit)
                    if is_out_of_memory(view.note) and self._make_room(view, course):
                        # As it was described it fails again; the next pass describes it anew.
                        templates.pop(view.spec.name, None)
                        self._wake.set()

    def _make_room(self, view: ReplicaView, course: Course) -> bool:
        """Memory ran out all the same: idle models go and, where it is allowed, the context is halved, each once;
        whether the latter was done."""
        name = view.spec.name
        deployment = next((d for d in self._wanted if d.name == name), None)
        course.made_room |= self._unload_others(name, course.made_room)
        course.note = f"{view.note}; see what would fit: undercroft plan {deployment.model if deployment else name}"
        if deployment is None or not deployment.settings.may_shrink_context or course.shrunk_context_tokens:
            return False
        course.shrunk_context_tokens = max(1, view.spec.context_tokens // 2)
        course.shrunk_from_tokens = deployment.settings.context_tokens
        _log.warning("memory ran out, context halved", deployment=name, context_tokens=course.shrunk_context_tokens)
        with self._database.write() as connection:
            journal.record(
                connection,
                actor="system",
                action="deployment.shrink",
                subject=name,
                before={"context_tokens": view.spec.context_tokens},
                after={"context_tokens": course.shrunk_context_tokens},
                reason=view.note,
            )
        return True

    def _unload_others(self, name: str, spared: Collection[str]) -> frozenset[str]:
        """Those that hold memory and are idle; which were unloaded."""
        idle_since = time.time() - self._settings.admission.idle_seconds
        holding = {r.view.spec.name for r in self._replicas if r.view.spec.url is None} - {name, *spared}
        found = [one.name for one in self._wanted if one.name in holding and not one.settings.is_pinned]
        idle = frozenset(n for n in found if self._course(n).is_loaded and self._course(n).last_used < idle_since)
        for one in idle:
            self._unload(one, name)
        return idle

    def _unload(self, name: str, for_whom: str) -> None:
        """Gives up a deployment's memory; its next request, or a calmer time, asks for it again."""
        _log.info("unloading", deployment=name, for_whom=for_whom)
        self._course(name).is_loaded = False
        wish = self._allocator.wish(name)
        wish.unloaded_for, wish.unloaded_at = for_whom, time.monotonic()
        self._wake.set()

    def _return_unloaded(self) -> None:
        """What is wanted always and was unloaded for others asks for memory again, now and then."""
        for deployment in self._wanted:
            course, wish = self._course(deployment.name), self._allocator.wish(deployment.name)
            is_wanted = deployment.is_running and deployment.settings.load == "always"
            may_return = bool(wish.unloaded_for) and self._allocator.may_return(deployment.name)
            may_return = may_return or (is_wanted and course.load == "on-demand")
            if course.load and course.load != deployment.settings.load:
                self._begin_anew(deployment, course)
            course.load = deployment.settings.load
            if deployment.settings.is_pinned or (is_wanted and not course.is_loaded and may_return):
                course.is_loaded = True

    def _begin_anew(self, deployment: Deployment, course: Course) -> None:
        """A release came into production or left it, or became a candidate: what failed before counts no more, and
        what nobody needs any longer is not tried again and again."""
        course.failures, course.not_before, course.made_room = 0, 0.0, frozenset()
        states = {r.view.state for r in self._replicas if r.view.spec.name == deployment.name}
        if deployment.settings.load == "on-demand" and ReplicaState.READY not in states:
            course.is_loaded = False

    def _unload_idle(self) -> None:
        now = time.time()
        for deployment in self._wanted:
            limit = deployment.settings.idle_unload_seconds
            course = self._course(deployment.name)
            is_loading = any(
                r.view.spec.name == deployment.name and r.view.state in {ReplicaState.STARTING, ReplicaState.WARMING}
                for r in self._replicas
            )
            if limit and course.is_loaded and not is_loading and now - course.last_used > limit:
                course.is_loaded = False
                _log.info("idle, unloading", deployment=deployment.name)

    def _act(self, templates: dict[str, specs.Template]) -> None:
        wanted = {}
        for deployment in self._wanted:
            template = templates.get(deployment.name)
            if template is None and deployment.is_running:
                # It cannot be started as it is now described; what runs of it goes on.
                continue
            course = self._course(deployment.name)
            count = deployment.replicas if deployment.is_running and course.is_loaded else 0
            digest = template.digest if template else ""
            wanted[deployment.name] = Wanted(deployment.name, digest, count, course.not_before)
        kept = {d.name for d in self._wanted if d.is_running and d.name not in templates}
        seen = [
            Seen(r.view.spec.replica_id, r.view.spec.name, r.view.spec_digest, r.view.state)
            for r in self._replicas
            if r.view.spec.name not in kept
        ]
        decision = decide(wanted, seen, now=time.monotonic())
        by_name = {d.name: d for d in self._wanted}
        admission = self._admit(decision.start, by_name)
        for name in admission.start:
            self._start(name, templates[name], self._engines[by_name[name].engine], None)
        for replica in self._replicas:
            if replica.view.spec.replica_id in {*decision.stop, *admission.stop}:
                replica.stop()
                self._to_release.append((self._snapshot.version + 1, replica))

    def _admit(self, wanted: list[str], by_name: dict[str, Deployment]) -> Admission:
        """Which of the wanted replicas have their memory; the others make room, wait, or are unloaded again."""
        views = [replica.view for replica in self._replicas]
        usage = {
            name: Usage(course.last_used, course.last_demand, course.load_seconds)
            for name, course in ((name, self._course(name)) for name in by_name)
        }
        admission = self._allocator.admit(wanted, views, by_name, usage)
        for name, other in admission.unload.items():
            self._unload(name, other)
        alive = {view.spec.name for view in views} | set(admission.start)
        for name in admission.unwanted:
            if name not in alive:
                self._unload(name, "others that are used")
        return admission

    def _start(self, name: str, template: specs.Template, engine: Engine, record: EngineRecord | None) -> None:
        if record is None:
            spec, digest = specs.for_replica(template, self._home), template.digest
        else:
            spec, digest = specs.adopted(template, self._home, record.replica_id), record.spec_digest
        replica = Replica(engine, spec, digest, self._deadlines, self.wake, record)
        self._replicas.append(replica)
        self._allocator.begin(spec.replica_id, name)
        _log.info("replica begins", deployment=name, replica=spec.replica_id, is_adopted=record is not None)
        replica.begin()

    def _tell(self, keys: dict[str, KeyEntry], quarantined: frozenset[str]) -> None:
        told = {
            deployment.name: entries.entry_for(
                deployment,
                [r.view for r in self._replicas if r.view.spec.name == deployment.name],
                note=self._note(deployment),
                lasting_note=shrunk_note(self._course(deployment.name)),
                is_blocked=self._is_blocked(deployment),
                failures=self._course(deployment.name).failures,
                is_loaded=self._course(deployment.name).is_loaded,
                load_seconds=self._course(deployment.name).load_seconds,
                serves=name_served(deployment.name),
            )
            for deployment in self._wanted
            if deployment.is_running
        }
        self._entries = told
        names = self._names(told)
        states = {name: entry.state for name, entry in told.items()}
        over = self._served.taking_over
        self._replacing = replacing_groups(names, self._live, states, over, self._replacing)
        patient = entries.patient(told, over, self._replacing)
        new = Snapshot(self._snapshot.version, keys, patient, quarantined, names)
        if new != self._snapshot or self._snapshot.version == 0 or self._to_release:
            self._snapshot = replace(new, version=self._snapshot.version + 1)
            self._publish(self._snapshot)

    def _names(self, told: Mapping[str, DeploymentEntry]) -> dict[str, NameEntry]:
        """Which release answers for each name; who answered last is remembered, and stands in the last snapshot."""
        replicas = {deployment.name: deployment.replicas for deployment in self._wanted}
        states = {
            name: readiness(
                entry, replicas[name], is_growing=not (self._course(name).failures or self.lacks_memory(name))
            )
            for name, entry in told.items()
        }
        found, self._live, awaited = tell_names(self._served, states, self._live)
        for group in awaited:
            course = self._course(group)
            course.is_loaded, course.last_demand = True, time.time()
        return found

    def _note(self, deployment: Deployment) -> str:
        course = self._course(deployment.name)
        if deployment.model in self._checking:
            return "its files were copied or touched; they are read and compared with their digest"
        return course.obstacle or self._allocator.wish(deployment.name).note or course.note

    def _is_blocked(self, deployment: Deployment) -> bool:
        is_obstructed = bool(self._course(deployment.name).obstacle) and deployment.model not in self._checking
        return is_obstructed or bool(self._allocator.wish(deployment.name).refusal)

    def _release(self) -> None:
        """Replicas that no door names any more may end."""
        acked = self._acked_version()
        for version, replica in list(self._to_release):
            if acked >= version:
                replica.release()
                self._to_release.remove((version, replica))

    def learn(self) -> None:
        """Compares what ran since the last time with its forecasts; called once an hour."""
        with self._lock:
            self._measuring.served(replica.view for replica in self._replicas)

    def _course(self, name: str) -> Course:
        if name not in self._courses:
            self._courses[name] = self._new_course(name)
        return self._courses[name]

    def _new_course(self, name: str) -> Course:
        deployment = next((d for d in self._wanted if d.name == name), None)
        is_loaded = deployment is not None and deployment.settings.load == "always"
        known = self._measuring.load_seconds(name)
        created_at = deployment.created_at if deployment is not None else ""
        return Course(is_loaded=is_loaded, last_used=time.time(), load_seconds=known, created_at=created_at)


def _known_before(home: Home) -> tuple[dict[str, int], frozenset[str]]:
    """Who answered last for each name, and what was taking the place of another, as an earlier control process left it.

    Without it a restart in the middle of a rollback would make requests wait, though who answered until then still can.
    """
    try:
        kept = read_kept(home.snapshot_file)
    except ValueError as error:
        _log.warning("the kept snapshot cannot be read", error=str(error))
        kept = None
    if kept is None:
        return {}, frozenset()
    live = {name: named.live for name, named in kept.names.items() if named.live is not None}
    return live, frozenset(name for name, entry in kept.deployments.items() if entry.is_replacing)
