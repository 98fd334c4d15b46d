"""Who gets the memory: brings forecasts, the ledger and the decision together for the reconciler's loop.

Not thread-safe; the reconciler's lock is held around every call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from undercroft.core.settings import AdmissionSettings
from undercroft.core.units import format_bytes, format_duration
from undercroft.engines.contract import ReplicaState
from undercroft.hardware.main_memory import read_memory
from undercroft.planning.calibration import Quantity
from undercroft.registry.entries import Model
from undercroft.serving.admission import Admission, Ask, Occupant, admit, never_fits
from undercroft.serving.deployments import Deployment
from undercroft.serving.forecasting import Forecaster
from undercroft.serving.ledger import Ledger, Reading, ReplicaForecast, make_ledger
from undercroft.serving.replica import ReplicaView
from undercroft.serving.specs import Template

# A request that waits tells of itself every second; after this long without a word nobody waits any more.
_DEMAND_SECONDS = 10.0
# Something that was unloaded for another model comes back by itself only after this long.
_RETURN_SECONDS = 60.0
_MAPPED = (ReplicaState.STARTING, ReplicaState.WARMING, ReplicaState.READY)


@dataclass(slots=True)
class Wish:
    """What the allocator remembers of one deployment between passes.

    Args:
        since: Monotonic seconds since when a replica is asked for; None while none is.
        waiting: What it waits for; empty where it does not.
        refusal: Why it cannot be loaded; empty where it can.
        unloaded_for: Deployment that it was unloaded for last.
        unloaded_at: Monotonic seconds of that.
    """

    since: float | None = None
    waiting: str = ""
    refusal: str = ""
    unloaded_for: str = ""
    unloaded_at: float = 0.0

    @property
    def note(self) -> str:
        """In plain words, for status and for who waits."""
        return self.refusal or self.waiting


@dataclass(frozen=True, slots=True)
class Usage:
    """How a deployment is used, as the reconciler knows it.

    Args:
        last_used: Unix seconds of its last request, or of control's start.
        last_demand: Unix seconds of its last request; 0 before the first.
        load_seconds: Of its last load; None is not known.
    """

    last_used: float
    last_demand: float
    load_seconds: float | None


@dataclass(slots=True)
class Allocator:
    """Decides for every replica that is to be started whether its memory is there.

    Args:
        settings: Limits and patience.
        forecaster: Forecasts a replica's memory.
    """

    settings: AdmissionSettings
    forecaster: Forecaster
    _by_deployment: dict[str, ReplicaForecast] = field(default_factory=dict)
    _files: dict[str, Path | None] = field(default_factory=dict)
    _by_replica: dict[str, ReplicaForecast] = field(default_factory=dict)
    _wishes: dict[str, Wish] = field(default_factory=dict)

    def describe(self, template: Template, model: Model | None) -> None:
        """A deployment as its next replica would be started; its forecast is made once for each description."""
        forecast = self.forecaster.forecast(template, model)
        self._files[template.spec.name] = template.spec.model_path
        if forecast is None:  # external: its memory is another machine's, or another's business
            self._by_deployment.pop(template.spec.name, None)
        else:
            self._by_deployment[template.spec.name] = forecast

    def begin(self, replica_id: str, name: str) -> None:
        """A replica begins, or is adopted, with the forecast of its deployment."""
        if name in self._by_deployment:
            self._by_replica[replica_id] = self._by_deployment[name]
        wish = self.wish(name)
        wish.since, wish.waiting, wish.refusal = None, "", ""

    def forecast_of(self, replica_id: str) -> ReplicaForecast | None:
        """What a replica was forecast to take; None where nothing was."""
        return self._by_replica.get(replica_id)

    def wish(self, name: str) -> Wish:
        """What is remembered of a deployment."""
        return self._wishes.setdefault(name, Wish())

    def may_return(self, name: str) -> bool:
        """Whether a deployment that is wanted always, and was unloaded for another, may ask for memory again."""
        return time.monotonic() - self.wish(name).unloaded_at > _RETURN_SECONDS

    def ledger(self, views: Iterable[ReplicaView]) -> Ledger:
        """What is held and what is left, now."""
        own = [v for v in views if v.state not in {ReplicaState.FAILED, ReplicaState.STOPPED} and v.spec.url is None]
        alive = {view.spec.replica_id for view in own}
        self._by_replica = {key: value for key, value in self._by_replica.items() if key in alive}
        return make_ledger(
            own,
            self._by_replica,
            self._reading(),
            host_limit_bytes=self.settings.host_limit_bytes,
            reserve_bytes=self.settings.reserve_bytes,
        )

    def admit(
        self,
        wanted: Sequence[str],
        views: Sequence[ReplicaView],
        deployments: Mapping[str, Deployment],
        usage: Mapping[str, Usage],
    ) -> Admission:
        """Answers for every replica that is to be started.

        Args:
            wanted: Deployment names, once for each replica.
            views: Replicas that there are.
            deployments: By name.
            usage: By deployment name.
        """
        now = time.monotonic()
        free = [name for name in wanted if name not in self._by_deployment]
        asked = [name for name in wanted if name in self._by_deployment]
        if not asked:
            self._forget(wanted)
            return Admission(start=free)
        ledger = self.ledger(views)
        admission = admit(
            [self._ask(name, views, deployments[name], usage[name], now) for name in asked],
            self._occupants(ledger, views, deployments, usage, now),
            ledger.rooms,
            now=now,
            idle_seconds=self.settings.idle_seconds,
            patience_seconds=self.settings.patience_seconds,
        )
        admission.start.extend(free)
        self._remember(admission, wanted, deployments)
        return admission

    def outlook(self, name: str, views: Sequence[ReplicaView]) -> str:
        """What loading a replica takes, in words; empty where nothing is forecast.

        Args:
            name: Of the deployment.
            views: Replicas that there are.
        """
        forecast = self._by_deployment.get(name)
        if forecast is None:
            return ""
        rooms = self.ledger(views).rooms
        parts = []
        for pool, need in forecast.needs(is_file_counted=True).items():
            if pool in rooms:
                free = format_bytes(max(0, rooms[pool].free_bytes))
                parts.append(f"{format_bytes(need)} of {rooms[pool].name}, {free} are free")
        figure = forecast.figures.get(Quantity.LOAD_SECONDS)
        load = f"; loading takes about {format_duration(figure.corrected)}" if figure is not None else ""
        return f"it needs {' and '.join(parts)}{load}" if parts else ""

    def never_fits(
        self, name: str, without: str | None, views: Sequence[ReplicaView], deployments: Mapping[str, Deployment]
    ) -> bool:
        """Whether a deployment would not fit even if everything that may go were gone.

        Args:
            name: Of the deployment.
            without: One whose memory counts as free, though it may not be unloaded; None is none.
            views: Replicas that there are.
            deployments: By name.
        """
        forecast = self._by_deployment.get(name)
        if forecast is None or name not in deployments:
            return False
        ledger = self.ledger(views)
        ask = Ask(name, forecast.needs(is_file_counted=True), priority=deployments[name].settings.priority)
        others = [one for one in self._occupants(ledger, views, deployments, {}, 0.0) if one.deployment != without]
        return never_fits(ask, others, ledger.rooms)

    def _reading(self) -> Reading:
        memory = read_memory()
        return Reading(memory.total_bytes, memory.available_bytes, self.forecaster.read_gpus())

    def _ask(self, name: str, views: Sequence[ReplicaView], deployment: Deployment, usage: Usage, now: float) -> Ask:
        own = [v for v in views if v.spec.name == name and v.state is ReplicaState.READY]
        is_mapped = any(v.spec.model_path == self._files[name] and v.state in _MAPPED for v in views)
        wish = self.wish(name)
        wish.since = now if wish.since is None else wish.since
        return Ask(
            deployment=name,
            needs=self._by_deployment[name].needs(is_file_counted=not is_mapped),
            priority=deployment.settings.priority,
            since=wish.since,
            has_demand=deployment.settings.is_pinned or bool(own) or time.time() - usage.last_demand < _DEMAND_SECONDS,
            replaces=frozenset(v.spec.replica_id for v in own),
        )

    def _occupants(
        self,
        ledger: Ledger,
        views: Sequence[ReplicaView],
        deployments: Mapping[str, Deployment],
        usage: Mapping[str, Usage],
        now: float,
    ) -> list[Occupant]:
        ready_since = {v.spec.replica_id: v.ready_since for v in views}
        found = []
        for entry in ledger.entries:
            deployment, used = deployments.get(entry.deployment), usage.get(entry.deployment)
            since = ready_since[entry.replica_id]
            found.append(
                Occupant(
                    entry.replica_id,
                    entry.deployment,
                    entry.claims,
                    entry.phase,
                    priority=deployment.settings.priority if deployment else 0,
                    is_pinned=deployment.settings.is_pinned if deployment else False,
                    idle_seconds=max(0.0, time.time() - used.last_used) if used else 0.0,
                    ready_seconds=now - since if since is not None else 0.0,
                    reload_seconds=(used.load_seconds if used else None) or 1.0,
                )
            )
        return found

    def _remember(self, admission: Admission, wanted: Sequence[str], deployments: Mapping[str, Deployment]) -> None:
        self._forget(wanted)
        for name in wanted:
            wish = self.wish(name)
            wish.waiting = admission.waiting.get(name, "")
            wish.refusal = admission.refused.get(name, "")
            if wish.refusal:
                wish.refusal += f"; see what would fit: undercroft plan {deployments[name].model}"

    def _forget(self, wanted: Sequence[str]) -> None:
        for name, wish in self._wishes.items():
            if name not in wanted:
                wish.since, wish.waiting, wish.refusal = None, "", ""
