"""``/readyz``: whether the door can answer what it is there for. Counts only; no names without a key."""

from __future__ import annotations

from typing import Any

from undercroft.serving.snapshot import Snapshot


def readiness(snapshot: Snapshot | None) -> tuple[int, dict[str, Any]]:
    """Status and body: 200 where at least one deployment is ready or loads with its first request.

    One that failed beside others that answer is a matter for the metrics: a balancer must not take the machine away.
    """
    if snapshot is None:
        return 503, {"status": "not-ready", "reasons": ["nothing is known yet of what to serve"]}
    live = {
        name.releases[name.live].deployment for name in snapshot.names.values() if name.live is not None
    }  # of the releases of a name, those that answer for it
    states = [one.state for one in snapshot.deployments.values() if one.serves is None or one.name in live]
    counts = {state: states.count(state) for state in ("ready", "loading", "unloaded", "failed")}
    if not counts["ready"] and not counts["unloaded"]:
        reasons = ["no deployment is ready"]
        if counts["failed"]:
            reasons.append(f"{counts['failed']} of {len(states)} deployments failed")
        return 503, {"status": "not-ready", "reasons": reasons, "deployments": counts}
    return 200, {"status": "ready", "deployments": counts}
