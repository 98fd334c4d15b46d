"""Drift: reads what happened since the last look, lets the detectors judge it, and says what they found.

`look` may be called by anybody at any time, also while another looks: what was read is kept only where nobody was
faster, and a restart goes on where the last look ended.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.home import Home
from undercroft.registry.releases.references import base_name
from undercroft.registry.upkeep import verify
from undercroft.storage.database import Database
from undercroft.storage.tables import detector_states
from undercroft.watch.drift.leaks import LEAK_KINDS, Leak, leaks_of
from undercroft.watch.drift.probes import RULES, ProbeState
from undercroft.watch.drift.reading import (
    damaged_models,
    is_served,
    names_served,
    new_outcomes,
    samples_of,
    serving_of,
    spans_of,
    stored_files,
)
from undercroft.watch.drift.requests import MEASURES, RequestState
from undercroft.watch.drift.sentences import grouped, leak_finding, probe_findings, request_findings, weights_finding
from undercroft.watch.findings import Finding, Kind

# All that a look may find.
DRIFT_KINDS = frozenset({*RULES, *MEASURES, *LEAK_KINDS, Kind.WEIGHTS_CHANGED})
PROBE = "probe:"
REQUESTS = "requests"
_REPLICA = "replica:"
_WEIGHTS = "weights"
_Key = tuple[str, str]
# How far outcomes of standard questions were read: of all probes together.
_OUTCOMES: _Key = ("", "outcomes")


@dataclass(frozen=True, slots=True)
class Kept:
    """A state as the database has it.

    Args:
        position: What was read up to; another look that was faster has moved it.
        state: As plain data.
    """

    position: str
    state: dict[str, Any]


@dataclass(slots=True)
class Drift:
    """What the detectors know at one moment.

    Args:
        probes: (deployment, probe) → what is remembered of it.
        requests: Name → what is remembered of the requests to it.
        leaks: Deployment → kind → its leak, the worst of its replicas.
        damaged: Model → since when, files that are not what they were, and deployments that serve it.
        samples: Deployment → samples of its replicas that run now; count.
        files: Model → stored files; count.
        known: States as they were read.
        changed: States to keep.
        gone: States to drop: of what is there no more.
    """

    probes: dict[_Key, ProbeState] = field(default_factory=dict)
    requests: dict[str, RequestState] = field(default_factory=dict)
    leaks: dict[str, dict[Kind, Leak]] = field(default_factory=dict)
    damaged: dict[str, tuple[str, int, list[str]]] = field(default_factory=dict)
    samples: dict[str, int] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    known: dict[_Key, Kept] = field(default_factory=dict)
    changed: dict[_Key, Kept] = field(default_factory=dict)
    gone: set[_Key] = field(default_factory=set)

    def findings(self) -> list[Finding]:
        """All that hold, one a kind and subject, the gravest first."""
        found: list[Finding] = []
        for (subject, probe), probe_state in self.probes.items():
            found.extend(probe_findings(probe_state, subject, probe))
        for subject, request_state in self.requests.items():
            found.extend(request_findings(request_state, subject))
        for subject, leaks in self.leaks.items():
            found.extend(leak_finding(kind, subject, leak) for kind, leak in leaks.items())
        found.extend(weights_finding(model, *damage) for model, damage in self.damaged.items())
        return grouped(found)


def look(database: Database, home: Home, now: datetime) -> list[Finding]:
    """Judges what happened since the last look, and keeps what the detectors remember.

    A model's file that was written since it was read last is read again, which may take as long as its size asks for.

    Args:
        database: Of the home.
        home: Whose stored files are looked at.
        now: The current time.

    Returns:
        All findings that hold, old and new.

    Raises:
        UnavailableError: The database cannot be read or written.
    """
    with database.read() as connection:
        _, touched = damaged_models(connection, home)
    if touched:
        verify(database, home, touched)
    drift = survey(database, home, now)
    keep(database, drift, now)
    return drift.findings()


def survey(database: Database, home: Home, now: datetime) -> Drift:
    """The same without keeping anything: for whoever only wants to see.

    Args:
        database: Of the home.
        home: Whose stored files are looked at.
        now: The current time.
    """
    with database.read() as connection:
        names, known = names_served(connection), _known(connection)
        learnt = {key for key in known if key[1] == REQUESTS or key[1].startswith(PROBE)}
        drift = Drift(known=known, gone={key for key in learnt if not is_served(key[0], names)})
        _read_probes(connection, drift, names)
        for name in names:
            _read_requests(connection, drift, name, now)
        _read_replicas(connection, drift, names, now)
        _read_weights(connection, drift, home, now)
    return drift


def keep(database: Database, drift: Drift, now: datetime) -> bool:
    """Keeps all that changed, or nothing where another look was faster: it read the same, and the next goes on there.

    Args:
        database: Of the home.
        drift: As `survey` made it.
        now: The current time.

    Returns:
        Whether it is kept.

    Raises:
        UnavailableError: The database cannot be written.
    """
    changed = {key: kept for key, kept in drift.changed.items() if drift.known.get(key) != kept}
    if not changed and not drift.gone:
        return True
    with database.write() as connection:
        current = _known(connection)
        for key in {*changed, *drift.gone}:
            before, after = drift.known.get(key), current.get(key)
            if (before.position if before else None) != (after.position if after else None):
                return False
        for key in drift.gone:
            _drop(connection, key)
        for key, kept in changed.items():
            _write(connection, key, kept, now)
    return True


def forget(connection: Connection, subject: str, now: datetime) -> int:
    """Forgets what is usual of a subject, so that it is learnt anew from what comes; how many states it had.

    What was read stays read: it has been judged. Damaged files and leaks are not forgotten: they are not a matter of
    what is usual.

    Args:
        connection: To write, in the transaction of the journal entry.
        subject: A deployment.
        now: The current time.
    """
    known = {key: kept for key, kept in _known(connection).items() if key[0] == subject}
    empty: dict[_Key, dict[str, Any]] = {
        key: RequestState().to_plain() if key[1] == REQUESTS else ProbeState().to_plain()
        for key in known
        if key[1] == REQUESTS or key[1].startswith(PROBE)
    }
    for key, state in empty.items():
        _write(connection, key, Kept(known[key].position, state), now)
    return len(empty)


def _known(connection: Connection) -> dict[_Key, Kept]:
    rows = connection.execute(select(detector_states))
    return {(row.subject, row.source): Kept(row.position, row.state) for row in rows}


def _read_probes(connection: Connection, drift: Drift, names: list[str]) -> None:
    for (subject, source), one in drift.known.items():
        if source.startswith(PROBE) and is_served(subject, names):
            drift.probes[subject, source.removeprefix(PROBE)] = ProbeState.from_plain(one.state)
    cursor = drift.known.get(_OUTCOMES)
    last = int(cursor.position) if cursor is not None else 0
    for (subject, probe), rows in new_outcomes(connection, last).items():
        last = max(last, rows[-1]["id"])
        drift.changed[_OUTCOMES] = Kept(str(last), {})
        if is_served(subject, names):
            state = drift.probes.setdefault((subject, probe), ProbeState())
            state.take_all(rows)
            drift.changed[subject, PROBE + probe] = Kept(rows[-1]["at"], state.to_plain())


def _read_requests(connection: Connection, drift: Drift, name: str, now: datetime) -> None:
    kept = drift.known.get((name, REQUESTS))
    state = RequestState.from_plain(kept.state) if kept is not None else RequestState()
    drift.requests[name] = state
    position = ""
    for rows, end in spans_of(connection, name, from_iso(kept.position) if kept is not None else None, now):
        position = to_iso(end)
        state.take(rows, position)
    if position:
        drift.changed[name, REQUESTS] = Kept(position, state.to_plain())


def _read_replicas(connection: Connection, drift: Drift, names: list[str], now: datetime) -> None:
    """A replica that has leaked is held to leak until it is gone: what it took, it has."""
    sampled = samples_of(connection, now)
    for (deployment, replica), (samples, born_at) in sampled.items():
        key = (deployment, _REPLICA + replica)
        kept = drift.known.get(key)
        leaks = {Kind(kind): Leak(**leak) for kind, leak in (kept.state if kept is not None else {}).items()}
        fresh = {kind: leak for kind, leak in leaks_of(replica, samples, born_at).items() if kind not in leaks}
        leaks |= fresh
        if fresh:
            drift.changed[key] = Kept(to_iso(now), {kind.value: asdict(leak) for kind, leak in leaks.items()})
        if is_served(deployment, names):
            # Releases of a name run as NAME@3, and people know the name.
            subject = base_name(deployment)
            drift.samples[subject] = drift.samples.get(subject, 0) + len(samples)
            worst = drift.leaks.setdefault(subject, {})
            for kind, leak in leaks.items():
                if kind not in worst or leak.per_hour > worst[kind].per_hour:
                    worst[kind] = leak
    drift.gone |= {
        (subject, source)
        for subject, source in drift.known
        if source.startswith(_REPLICA) and (subject, source.removeprefix(_REPLICA)) not in sampled
    }


def _read_weights(connection: Connection, drift: Drift, home: Home, now: datetime) -> None:
    damaged, _ = damaged_models(connection, home)
    drift.files = stored_files(connection)
    for model, files in damaged.items():
        kept = drift.known.get((model, _WEIGHTS)) or Kept(to_iso(now), {})
        drift.damaged[model] = (kept.position, files, serving_of(connection, model))
        drift.changed[model, _WEIGHTS] = kept
    drift.gone |= {key for key in drift.known if key[1] == _WEIGHTS and key[0] not in damaged}


def _write(connection: Connection, key: _Key, kept: Kept, now: datetime) -> None:
    _drop(connection, key)
    connection.execute(
        insert(detector_states).values(
            subject=key[0], source=key[1], position=kept.position, state=kept.state, changed_at=to_iso(now)
        )
    )


def _drop(connection: Connection, key: _Key) -> None:
    connection.execute(
        delete(detector_states).where(detector_states.c.subject == key[0], detector_states.c.source == key[1])
    )
