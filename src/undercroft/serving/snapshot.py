"""What control tells the doors: everything a door needs to serve, as plain data.

Control writes it to ``run/snapshot.json`` and pushes it, as one JSON line, to every door that is connected to
``run/doors.sock``. A door answers with JSON lines: ``{"type": "ack", "version": N}`` and batches of events.
The door reads the snapshot with `Snapshot.from_dict`; it never touches the database.

Events that a door sends (each a JSON object with ``type``):

    ack        version                                        the snapshot is in force here
    usage      rows: list of columns of the table ``usage``   requests that ended
    demand     deployment                                     a request waits for a deployment that is not loaded
    activity   deployments: {name: unix seconds}              last request per deployment, for idle unloading
    broke      replica, in_flight: [request digest]           a replica closed its connections in the middle of requests
    quarantine deployment, digest, reason                     a request that ended two replicas
    metrics    door, families                                 this door's counters since it started (gateway.metrics)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """What a key may do. The key itself is known by its digest only.

    Args:
        id: ``key_…``.
        models: Names it may use; None is all.
        expires_at: Unix seconds; None is never.
        is_admin: It opens ``/admin``.
        is_background: Its requests wait until nobody else does.
    """

    id: str
    models: tuple[str, ...] | None
    expires_at: float | None
    is_admin: bool
    is_background: bool = False


@dataclass(frozen=True, slots=True)
class ReplicaEntry:
    """Where a ready replica listens.

    Args:
        id: ``rep_…``.
        socket_path: Unix socket, or None where ``base_url`` is given.
        base_url: ``http://host:port`` or ``https://…``, no trailing slash, without ``/v1``.
        key: Key that the replica asks for; None where it asks for none.
        slots: Requests that it computes at the same time.
        protocol: ``llama.cpp`` or ``openai``.
        upstream_model: Name to put into the request's ``model``; None leaves it.
        adapters: Names of adapters in the order of their ids.
    """

    id: str
    socket_path: str | None
    base_url: str | None
    key: str | None
    slots: int
    protocol: Literal["llama.cpp", "openai"]
    upstream_model: str | None = None
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeploymentEntry:
    """A name that clients may ask for.

    Args:
        name: The deployment, as in the request's ``model``.
        state: ``ready`` at least one replica; ``loading`` will be; ``unloaded`` starts on demand; ``failed`` see note.
        note: In plain words why it is not ready; empty where it is.
        tasks: ``chat``, ``completions``, ``embeddings``, ``rerank``.
        has_tools: Its chat template knows tools.
        context_tokens: Tokens of one request; 0 is not known.
        load_seconds: How long its last load took; None is not known.
        created: Unix seconds.
        replicas: The ready ones.
    """

    name: str
    state: Literal["ready", "loading", "unloaded", "failed"]
    note: str
    tasks: tuple[str, ...]
    has_tools: bool
    context_tokens: int
    load_seconds: float | None
    created: int
    replicas: tuple[ReplicaEntry, ...] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it.

    Args:
        version: Rises with every change within one control process's life.
        keys: sha256 of a key, hex → what it may do.
        deployments: name → entry.
        quarantined: Digests of request bodies that are refused.
    """

    version: int
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    deployments: dict[str, DeploymentEntry] = field(default_factory=dict)
    quarantined: frozenset[str] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = asdict(self)
        data["quarantined"] = sorted(self.quarantined)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Snapshot:
        """Reads what `to_dict` wrote, after JSON."""
        return cls(
            version=data["version"],
            keys={digest: KeyEntry(**{**key, "models": _tuple(key["models"])}) for digest, key in data["keys"].items()},
            deployments={name: _deployment(entry) for name, entry in data["deployments"].items()},
            quarantined=frozenset(data["quarantined"]),
        )


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _deployment(entry: dict[str, Any]) -> DeploymentEntry:
    replicas = tuple(ReplicaEntry(**{**r, "adapters": tuple(r["adapters"])}) for r in entry["replicas"])
    return DeploymentEntry(**{**entry, "tasks": tuple(entry["tasks"]), "replicas": replicas})
