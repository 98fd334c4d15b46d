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
from pathlib import Path
from typing import Any, Literal

import orjson

from undercroft.engines.contract import KserveModel


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
        base_url: ``http://host:port``, ``https://…`` or ``grpc(s)://host:port``, no trailing slash, without ``/v1``.
        key: Key that the replica asks for; None where it asks for none.
        slots: Requests that it computes at the same time.
        protocol: ``llama.cpp`` or ``openai``.
        upstream_model: Name to put into the request's ``model``; None leaves it.
        ca_file: Certificates that it is trusted by, PEM; None is the system's.
        adapters: Names of adapters in the order of their ids.
        kserve: How it is asked where it speaks KServe's protocol; None elsewhere.
    """

    id: str
    socket_path: str | None
    base_url: str | None
    key: str | None
    slots: int
    protocol: Literal["llama.cpp", "openai"]
    upstream_model: str | None = None
    adapters: tuple[str, ...] = ()
    ca_file: str | None = None
    kserve: KserveModel | None = None


@dataclass(frozen=True, slots=True)
class DeploymentEntry:
    """A name that clients may ask for.

    Args:
        name: The deployment, as in the request's ``model``.
        state: ``ready`` at least one replica; ``loading`` will be; ``unloaded`` starts on demand; ``failed`` see note.
        note: In plain words why it is not ready; empty where it is.
        tasks: ``chat``, ``completions``, ``embeddings``, ``rerank``, ``classify``.
        has_tools: Its chat template knows tools.
        context_tokens: Tokens of one request; 0 is not known.
        load_seconds: How long its last load took; None is not known.
        created: Unix seconds.
        replicas: The ready ones.
        serves: Name whose releases it runs; clients ask for that. None where they ask for it by its own name.
        is_replacing: It is loaded in the place of what answered and is unloaded: requests wait for it, however many.
        adapters: Names of LoRAs that it is to serve beside its model; each is asked for as a model of its own.
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
    serves: str | None = None
    is_replacing: bool = False
    adapters: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseEntry:
    """A release as the doors answer with it.

    Args:
        number: Of the name.
        deployment: What runs it.
        prompt: `undercroft.registry.releases.prompts.Prompt` as plain data; None where it has none.
        sampling: Values for what a request leaves open.
        created: Unix seconds.
    """

    number: int
    deployment: str
    prompt: dict[str, Any] | None
    sampling: dict[str, Any]
    created: int


@dataclass(frozen=True, slots=True)
class NameEntry:
    """A name that has releases.

    Args:
        name: As in the request's ``model``.
        live: The release that answers for the name; None is the deployment of that name.
        tags: Tag → number, for ``NAME:tag``.
        releases: Number → release, for ``NAME@7``.
        canary: The release that is being tried; None where none is.
        canary_ratio: Share of the users that it answers.
        is_shadow: It gets copies of requests instead.
        salt: Changes with each promotion, so that the same users are not always the first.
    """

    name: str
    live: int | None
    tags: dict[str, int]
    releases: dict[int, ReleaseEntry]
    canary: int | None = None
    canary_ratio: float = 0.0
    is_shadow: bool = False
    salt: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All of it.

    Args:
        version: Rises with every change within one control process's life.
        keys: sha256 of a key, hex → what it may do.
        deployments: name → entry.
        quarantined: Digests of request bodies that are refused.
        names: Name → its releases; a name that is not here is a deployment.
    """

    version: int
    keys: dict[str, KeyEntry] = field(default_factory=dict)
    deployments: dict[str, DeploymentEntry] = field(default_factory=dict)
    quarantined: frozenset[str] = frozenset()
    names: dict[str, NameEntry] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = asdict(self)
        data["quarantined"] = sorted(self.quarantined)
        for name in data["names"].values():
            name["releases"] = {str(number): release for number, release in name["releases"].items()}
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Snapshot:
        """Reads what `to_dict` wrote, after JSON."""
        return cls(
            version=data["version"],
            keys={digest: KeyEntry(**{**key, "models": _tuple(key["models"])}) for digest, key in data["keys"].items()},
            deployments={name: _deployment(entry) for name, entry in data["deployments"].items()},
            quarantined=frozenset(data["quarantined"]),
            names={name: _name(entry) for name, entry in data["names"].items()},
        )


def read_kept(path: Path) -> Snapshot | None:
    """The last snapshot that control left; None where it left none.

    Raises:
        ValueError: There is one that cannot be read; the sentence says why.
    """
    try:
        return Snapshot.from_dict(orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}"[:200]) from error


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _deployment(entry: dict[str, Any]) -> DeploymentEntry:
    replicas = tuple(_replica(replica) for replica in entry["replicas"])
    lists = {name: tuple(entry.get(name, ())) for name in ("tasks", "adapters")}
    return DeploymentEntry(**{**entry, **lists, "replicas": replicas})


def _replica(entry: dict[str, Any]) -> ReplicaEntry:
    given = entry.get("kserve")
    kserve = KserveModel(**{**given, **{n: tuple(given[n]) for n in ("texts", "labels")}}) if given else None
    return ReplicaEntry(**{**entry, "adapters": tuple(entry["adapters"]), "kserve": kserve})


def _name(entry: dict[str, Any]) -> NameEntry:
    releases = {int(number): ReleaseEntry(**release) for number, release in entry["releases"].items()}
    return NameEntry(**{**entry, "releases": releases})
