"""Restarting what serves a name: its replicas end after their requests, and the reconciler starts others."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.core.errors import NotFoundError
from undercroft.engines.contract import ReplicaState
from undercroft.serving.replica import Replica
from undercroft.serving.served import name_served

_ENDED = frozenset({ReplicaState.STOPPING, ReplicaState.STOPPED, ReplicaState.FAILED})


def stop_replicas(name: str, replicas: Sequence[Replica], version: int) -> list[tuple[int, Replica]]:
    """Stops every replica of a name, of all its releases.

    Args:
        name: As in a request's ``model``.
        replicas: All that there are.
        version: Of the first snapshot that does not name them.

    Returns:
        Version and replica, as the reconciler releases them once every door has that version.

    Raises:
        NotFoundError: ``nothing-to-restart``: none of its replicas is alive.
    """
    alive = [
        replica
        for replica in replicas
        if replica.view.state not in _ENDED and name in (replica.view.spec.name, name_served(replica.view.spec.name))
    ]
    if not alive:
        raise NotFoundError("nothing-to-restart", f"{name!r} has no replica that runs", hint="undercroft status")
    for replica in alive:
        replica.stop()
    return [(version, replica) for replica in alive]
