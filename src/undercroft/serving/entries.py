"""From what runs to what the doors are told. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from undercroft.engines.contract import ReplicaState, Task
from undercroft.serving.deployments import Deployment
from undercroft.serving.replica import ReplicaView
from undercroft.serving.snapshot import DeploymentEntry, ReplicaEntry

# So many failures in a row, and requests are told instead of kept waiting.
_FAILURES_TOLD = 3

_TASKS = {
    Task.GENERATE: ("chat", "completions"),
    Task.EMBED: ("embeddings",),
    Task.RERANK: ("rerank",),
    Task.CLASSIFY: ("classify",),
}


def entry_for(
    deployment: Deployment,
    views: Sequence[ReplicaView],
    *,
    note: str,
    lasting_note: str = "",
    is_blocked: bool = False,
    failures: int,
    is_loaded: bool,
    load_seconds: float | None,
    serves: str | None = None,
) -> DeploymentEntry:
    """What the doors are told of one running deployment.

    Args:
        deployment: What is wanted.
        views: Its replicas.
        note: Why it is not ready, if something failed.
        lasting_note: What is to be known of it, though it is ready.
        is_blocked: No replica can even be tried.
        failures: In a row.
        is_loaded: False where it waits for a request.
        load_seconds: Of its last load; None is not known.
        serves: Name whose releases it runs; None where it is asked for by its own.
    """
    ready = [view for view in views if view.state is ReplicaState.READY and view.capabilities and view.record]
    known = [view.capabilities for view in views if view.capabilities]
    expected = deployment.settings.task or Task.GENERATE
    return DeploymentEntry(
        name=deployment.name,
        state=_state(bool(ready), is_loaded, is_blocked or failures >= _FAILURES_TOLD),
        note=lasting_note if ready else note or lasting_note,
        tasks=tuple(sorted(known[0].tasks)) if known else _TASKS[expected],
        has_tools=any(capabilities.has_tools for capabilities in known),
        context_tokens=min((capabilities.context_tokens for capabilities in known), default=0),
        load_seconds=load_seconds,
        created=deployment.created_unix,
        replicas=tuple(_replica(view) for view in ready),
        serves=serves,
        adapters=tuple(sorted(deployment.settings.adapters)),
    )


def patient(
    told: Mapping[str, DeploymentEntry], waited_for: Collection[str], replacing: Collection[str] = ()
) -> dict[str, DeploymentEntry]:
    """The entries as the doors get them.

    Args:
        told: By name.
        waited_for: Deployments that take the place of one that was unloaded for them. Where they fail, requests go on
            waiting for the moment until that is loaded again.
        replacing: Deployments that are loaded in the place of what answered until now.
    """
    return {
        name: replace(
            entry,
            state="loading" if entry.state == "failed" and name in waited_for else entry.state,
            is_replacing=name in replacing,
        )
        for name, entry in told.items()
    }


def _state(is_ready: bool, is_loaded: bool, has_failed: bool) -> Literal["ready", "loading", "unloaded", "failed"]:
    if is_ready:
        return "ready"
    if has_failed:
        return "failed"
    return "loading" if is_loaded else "unloaded"


def _replica(view: ReplicaView) -> ReplicaEntry:
    record, capabilities = view.record, view.capabilities
    assert record is not None
    assert capabilities is not None
    return ReplicaEntry(
        id=record.replica_id,
        socket_path=record.socket_path,
        base_url=record.base_url,
        key=Path(record.key_file).read_text(encoding="utf-8").strip() if record.key_file else None,
        slots=capabilities.slots or view.spec.slots,
        protocol=capabilities.protocol,
        upstream_model=record.upstream_model,
        adapters=capabilities.adapters,
        ca_file=record.ca_file,
        kserve=capabilities.kserve,
    )
