"""What `undercroft status` and the metrics show of serving. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from undercroft.serving.courses import Course
from undercroft.serving.deployments import Deployment
from undercroft.serving.ledger import Entry, Ledger, ReplicaForecast
from undercroft.serving.replica import ReplicaView
from undercroft.serving.served import ServedName, name_served
from undercroft.serving.snapshot import Snapshot

_NO_TOTALS = {"requests": 0, "errors": 0, "prompt_tokens": 0, "completion_tokens": 0, "tokens_per_second": 0.0}


def deployments_status(
    deployments: Sequence[Deployment],
    views: Sequence[ReplicaView],
    courses: Mapping[str, Course],
    snapshot: Snapshot,
    totals: Mapping[str, Mapping[str, float]],
    ledger: Ledger,
    names: Mapping[str, ServedName],
) -> list[dict[str, Any]]:
    """One entry a deployment, by name, as plain data; releases that nobody needs now are left out."""
    entries = {entry.replica_id: entry for entry in ledger.entries}
    alive = {view.spec.name for view in views}
    runs = {deployment.name: _releases(deployment.name, names, snapshot) for deployment in deployments}
    return [
        {
            "name": deployment.name,
            "engine": deployment.engine,
            "model": deployment.model,
            "state": _state(deployment, snapshot),
            "note": _told(deployment.name, snapshot, "note", ""),
            "restarts": courses[deployment.name].restarts if deployment.name in courses else 0,
            "wanted_replicas": deployment.replicas if deployment.is_running else 0,
            "context_tokens": _told(deployment.name, snapshot, "context_tokens", 0),
            "tasks": list(_told(deployment.name, snapshot, "tasks", ())),
            "priority": deployment.settings.priority,
            "is_pinned": deployment.settings.is_pinned,
            "replicas": [
                replica_status(view, entries.get(view.spec.replica_id))
                for view in views
                if view.spec.name == deployment.name
            ],
            "releases": runs[deployment.name],
            "adapters": [
                {"name": adapter, **_summed(_names_of_adapter(adapter, runs[deployment.name]), totals)}
                for adapter in sorted(deployment.settings.adapters)
            ],
            **_summed([deployment.name, *(release["release"] for release in runs[deployment.name])], totals),
        }
        for deployment in deployments
        if deployment.name in alive
        or name_served(deployment.name) is None
        or any(release["is_live"] or release["tags"] for release in runs[deployment.name])
    ]


def promotions_status(names: Mapping[str, ServedName]) -> list[dict[str, Any]]:
    """The promotions that run, as plain data."""
    return [named.promotion.to_dict() for named in names.values() if named.promotion is not None]


def _releases(deployment: str, names: Mapping[str, ServedName], snapshot: Snapshot) -> list[dict[str, Any]]:
    """The releases that a deployment runs, and what they are for."""
    name = name_served(deployment)
    named, told = names.get(name or ""), snapshot.names.get(name or "")
    if named is None:
        return []
    return [
        {
            "release": f"{name}@{number}",
            "tags": sorted(tag for tag, at in named.tags.items() if at == number),
            "is_live": told is not None and told.live == number,
        }
        for number in sorted(named.releases)
        if named.groups[number] == deployment
    ]


def _names_of_adapter(adapter: str, releases: Sequence[Mapping[str, Any]]) -> list[str]:
    """What an adapter's requests were metered as: by its name, and by the release of its base that answered."""
    return [adapter, *(f"{adapter}@{release['release'].rpartition('@')[2]}" for release in releases)]


def _summed(names: Sequence[str], totals: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    found = [totals[name] for name in dict.fromkeys(names) if name in totals]
    return {key: sum(one[key] for one in found) for key in _NO_TOTALS}


def ledger_status(ledger: Ledger) -> dict[str, Any]:
    """Who holds which memory, as plain data."""
    return {
        "rooms": {pool: asdict(room) for pool, room in ledger.rooms.items()},
        "reserve_bytes": ledger.reserve_bytes,
        "entries": [
            {
                "replica": entry.replica_id,
                "deployment": entry.deployment,
                "phase": entry.phase.value,
                "claims": dict(entry.claims),
                "measured": dict(entry.measured),
            }
            for entry in ledger.entries
        ],
    }


def replica_status(view: ReplicaView, entry: Entry | None) -> dict[str, Any]:
    """One replica, as plain data."""
    record, memory = view.record, view.memory
    return {
        "id": view.spec.replica_id,
        "state": view.state.value,
        "note": view.note,
        "pid": record.pid if record else None,
        "is_sealed": record.is_sealed if record else None,
        "seal_note": record.seal_note if record else "",
        "slots": view.capabilities.slots if view.capabilities else view.spec.slots,
        "private_bytes": memory.private_bytes if memory else None,
        "file_bytes": memory.file_bytes if memory else None,
        "forecast": _forecast_status(entry.forecast) if entry and entry.forecast else None,
        "memory_limit_bytes": view.spec.memory_limit_bytes,
        "load_seconds": view.load_seconds,
        "warm_up_seconds": view.warm_up.seconds if view.warm_up else None,
        "warm_up_tokens_per_second": view.warm_up.tokens_per_second if view.warm_up else None,
        "ready_seconds": time.monotonic() - view.ready_since if view.ready_since is not None else None,
        "was_adopted": view.was_adopted,
        "started_at": record.started_at if record else None,
    }


def _state(deployment: Deployment, snapshot: Snapshot) -> str:
    if not deployment.is_running:
        return "stopped"
    return str(_told(deployment.name, snapshot, "state", "loading"))


def _told(name: str, snapshot: Snapshot, attribute: str, otherwise: Any) -> Any:
    entry = snapshot.deployments.get(name)
    return getattr(entry, attribute) if entry else otherwise


def _forecast_status(forecast: ReplicaForecast) -> dict[str, Any]:
    return {
        "private_bytes": forecast.private_bytes,
        "file_bytes": forecast.file_bytes,
        "gpu_bytes": dict(forecast.gpu_bytes),
        "note": forecast.note,
    }
