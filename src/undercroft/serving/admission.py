"""Which loads may begin, what is unloaded for them, who waits, who is refused. Pure.

ask                                                    answer
─────────────────────────────────────────────────────  ──────────────────────────────────────────────────────────────
fits into what is free                                 start; what it needs is taken before the next ask is looked at
fits when memory that is being freed is free           wait; that memory is kept for it
fits when idle replicas are unloaded, and somebody     unload the cheapest of them; wait until they are gone
waits for it
fits when busy ones are unloaded too, and it has       drain and unload those; wait
waited for longer than the patience
fits only in place of its own replica that it is to    stop that one first: a moment without an answer
replace
nobody waits for it                                    stay unloaded; the first request asks again
does not fit even so                                   refuse, and say what would help; looked at again at every pass

Asks are answered in the order of priority, then of age; nobody takes memory that is kept for somebody before it. Pinned
replicas, and those of a higher priority, are never unloaded. Two asks in one pass cannot both get the last gigabyte.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from undercroft.core.units import format_bytes

Needs = Mapping[str, int]


class Phase(StrEnum):
    """Where an occupant is in its life."""

    LOADING = "loading"  # its memory is claimed and it cannot be unloaded
    READY = "ready"
    STOPPING = "stopping"  # its memory comes back soon


@dataclass(frozen=True, slots=True)
class Occupant:
    """A replica that holds memory.

    Args:
        replica_id: Its id.
        deployment: What it serves.
        claims: Pool → bytes that it holds or is going to.
        phase: See there.
        priority: Of its deployment; larger is more important.
        is_pinned: Never unloaded.
        idle_seconds: Since its last request; 0 while it has any.
        ready_seconds: Since it became ready.
        reload_seconds: What loading it again will cost.
    """

    replica_id: str
    deployment: str
    claims: Needs
    phase: Phase
    priority: int = 0
    is_pinned: bool = False
    idle_seconds: float = 0.0
    ready_seconds: float = 0.0
    reload_seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class Ask:
    """A replica that is wanted.

    Args:
        deployment: Whose.
        needs: Pool → bytes.
        priority: Of its deployment.
        since: When it was first asked, monotonic seconds.
        has_demand: Somebody waits for it, or it is pinned; only then is anything unloaded for it.
        replaces: Ids of its own replicas that it is to replace.
    """

    deployment: str
    needs: Needs
    priority: int = 0
    since: float = 0.0
    has_demand: bool = True
    replaces: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Room:
    """A memory.

    Args:
        free_bytes: For new replicas, after every claim.
        total_bytes: For all replicas together, when no other program took any.
        name: As people call it.
    """

    free_bytes: int
    total_bytes: int
    name: str = "memory"


@dataclass(slots=True)
class Admission:
    """What to do now.

    Args:
        start: Deployments, once for each replica that may start.
        unload: Deployments of which everything is to be unloaded, and for whom.
        stop: Ids of single replicas to stop for their own successor.
        waiting: Deployment → what it waits for.
        refused: Deployment → why, and what helps.
        unwanted: Deployments that stay unloaded because nobody waits for them.
    """

    start: list[str] = field(default_factory=list)
    unload: dict[str, str] = field(default_factory=dict)
    stop: list[str] = field(default_factory=list)
    waiting: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    unwanted: list[str] = field(default_factory=list)


def admit(
    asks: Iterable[Ask],
    occupants: Sequence[Occupant],
    rooms: Mapping[str, Room],
    *,
    now: float,
    idle_seconds: float,
    patience_seconds: float,
) -> Admission:
    """Answers all asks of one pass.

    Args:
        asks: Replicas that are wanted and do not exist yet.
        occupants: Replicas that hold memory.
        rooms: Pool id → its memory.
        now: On the clock of ``since``.
        idle_seconds: A replica without a request for this long is idle.
        patience_seconds: How long an ask waits before busy replicas are drained for it, and how long a replica that
            was loaded is left to work before that.
    """
    desk = _Desk(list(occupants), rooms, idle_seconds, patience_seconds, now)
    for ask in sorted(asks, key=lambda a: (-a.priority, a.since, a.deployment)):
        desk.answer(ask)
    return desk.admission


def never_fits(ask: Ask, occupants: Sequence[Occupant], rooms: Mapping[str, Room]) -> bool:
    """Whether it would not fit even if everything that may go were gone.

    Args:
        ask: The replica that is wanted.
        occupants: Replicas that hold memory.
        rooms: Pool id → its memory.
    """
    return any(
        rooms[pool].total_bytes - _kept(ask, occupants, pool) < need if pool in rooms else need > 0
        for pool, need in ask.needs.items()
    )


def _kept(ask: Ask, occupants: Sequence[Occupant], pool: str) -> int:
    """Bytes of a pool that stay taken whatever is unloaded for this ask."""
    return sum(
        o.claims.get(pool, 0)
        for o in occupants
        if (o.is_pinned or o.priority > ask.priority)
        and o.phase is not Phase.STOPPING
        and o.replica_id not in ask.replaces
    )


class _Desk:
    """Keeps count while asks are answered one after the other."""

    def __init__(
        self,
        occupants: list[Occupant],
        rooms: Mapping[str, Room],
        idle_seconds: float,
        patience_seconds: float,
        now: float,
    ) -> None:
        self.admission = Admission()
        self._occupants = occupants
        self._rooms = rooms
        self._idle_seconds = idle_seconds
        self._patience_seconds = patience_seconds
        self._now = now
        self._free = {pool: room.free_bytes for pool, room in rooms.items()}
        self._coming = dict.fromkeys(rooms, 0)
        for occupant in occupants:
            if occupant.phase is Phase.STOPPING:
                self._give(occupant)

    def answer(self, ask: Ask) -> None:
        """Decides about one."""
        if not self._lacks(ask, self._free):
            self._take(ask, from_coming=False)
            self.admission.start.append(ask.deployment)
            return
        if not self._lacks(ask, self._both()):
            self._wait(ask, "memory is being freed")
            return
        if never_fits(ask, self._occupants, self._rooms):
            self.admission.refused[ask.deployment] = self._refusal(ask)
            return
        if not ask.has_demand:
            self.admission.unwanted.append(ask.deployment)
            return
        if self._unload_for(ask, self._losable(ask, with_busy=False)):
            return
        busy = self._losable(ask, with_busy=True)
        is_patient = self._now - ask.since < self._patience_seconds
        settled = [o for o in busy if o.ready_seconds >= self._patience_seconds or self._is_idle(o)]
        if not is_patient and self._unload_for(ask, settled):
            return
        if self._lacks(ask, self._with(self._both(), busy)) and self._replace_own(ask):
            return
        if self._lacks(ask, self._with(self._both(), busy)) and not self._loading():
            self.admission.refused[ask.deployment] = self._refusal(ask)
            return
        self._wait(ask, "others are busy or being loaded")

    def _loading(self) -> bool:
        return any(o.phase is Phase.LOADING for o in self._occupants)

    def _losable(self, ask: Ask, *, with_busy: bool) -> list[Occupant]:
        """What may be unloaded for an ask, the smallest loss first."""
        found = [
            o
            for o in self._occupants
            if o.phase is Phase.READY
            and not o.is_pinned
            and o.deployment != ask.deployment
            and o.priority <= ask.priority
            and o.deployment not in self.admission.unload
            and (with_busy or self._is_idle(o))
        ]
        pinned_down = {
            o.deployment for o in self._occupants if o.phase is Phase.READY and not self._is_idle(o) and not with_busy
        }
        return sorted((o for o in found if o.deployment not in pinned_down), key=_loss)

    def _is_idle(self, occupant: Occupant) -> bool:
        return occupant.idle_seconds >= self._idle_seconds

    def _unload_for(self, ask: Ask, losable: list[Occupant]) -> bool:
        """Unloads as little as helps; False, and nothing done, where all of it would not help."""
        chosen: list[Occupant] = []
        for occupant in losable:
            if not self._lacks(ask, self._with(self._both(), chosen)):
                break
            if self._lacks(ask, self._with(self._both(), chosen)) & set(occupant.claims):
                chosen.append(occupant)
        if self._lacks(ask, self._with(self._both(), chosen)):
            return False
        for occupant in list(chosen):  # one that was taken early may not be needed after a larger one was
            rest = [o for o in chosen if o is not occupant]
            if not self._lacks(ask, self._with(self._both(), rest)):
                chosen = rest
        names = {o.deployment for o in chosen}
        for occupant in self._occupants:
            if occupant.deployment in names and occupant.phase is Phase.READY:
                self._give(occupant)
        for name in sorted(names):
            self.admission.unload[name] = ask.deployment
        self._wait(ask, f"{', '.join(sorted(names))} is being unloaded for it")
        return True

    def _replace_own(self, ask: Ask) -> bool:
        own = [o for o in self._occupants if o.replica_id in ask.replaces and o.phase is Phase.READY]
        if not own or self._lacks(ask, self._with(self._both(), own)):
            return False
        for occupant in own:
            self._give(occupant)
            self.admission.stop.append(occupant.replica_id)
        self._wait(ask, "there is no room beside its old replica, which is stopped first: a moment without an answer")
        return True

    def _refusal(self, ask: Ask) -> str:
        for pool, need in ask.needs.items():
            room = self._rooms.get(pool)
            if room is None:
                return f"it needs {format_bytes(need)} of {pool}, which this machine does not have"
            kept = _kept(ask, self._occupants, pool)
            if room.total_bytes - kept < need:
                held = f", of which {format_bytes(kept)} belong to pinned or more important models" if kept else ""
                return (
                    f"it needs {format_bytes(need)} of {room.name}, and all models together may take "
                    f"{format_bytes(room.total_bytes)}{held}"
                )
        lacking = self._lacks(ask, self._with(self._both(), self._losable(ask, with_busy=True)))
        pool = min(lacking, default=next(iter(ask.needs)))
        room = self._rooms[pool]
        others = room.total_bytes - room.free_bytes - sum(o.claims.get(pool, 0) for o in self._occupants)
        held = f"; other programs hold {format_bytes(others)}" if others > 0 else ""
        return (
            f"it needs {format_bytes(ask.needs[pool])} of {room.name}, and {format_bytes(max(0, self._free[pool]))} "
            f"are free{held}"
        )

    def _lacks(self, ask: Ask, free: Mapping[str, int]) -> set[str]:
        return {pool for pool, need in ask.needs.items() if need > free.get(pool, 0)}

    def _both(self) -> dict[str, int]:
        return {pool: free + self._coming[pool] for pool, free in self._free.items()}

    @staticmethod
    def _with(free: dict[str, int], occupants: Collection[Occupant]) -> dict[str, int]:
        return {pool: bytes_ + sum(o.claims.get(pool, 0) for o in occupants) for pool, bytes_ in free.items()}

    def _give(self, occupant: Occupant) -> None:
        for pool, claim in occupant.claims.items():
            if pool in self._coming:
                self._coming[pool] += claim

    def _take(self, ask: Ask, *, from_coming: bool) -> None:
        for pool, need in ask.needs.items():
            if pool not in self._free:
                continue
            later = min(need, max(0, self._coming[pool])) if from_coming else 0
            self._coming[pool] -= later
            self._free[pool] -= need - later

    def _wait(self, ask: Ask, why: str) -> None:
        self._take(ask, from_coming=True)
        needs = " and ".join(f"{format_bytes(need)} of {self._name(pool)}" for pool, need in ask.needs.items())
        self.admission.waiting[ask.deployment] = f"it waits for {needs}: {why}"

    def _name(self, pool: str) -> str:
        return self._rooms[pool].name if pool in self._rooms else pool


def _loss(occupant: Occupant) -> tuple[int, float, int]:
    """What unloading costs: less important first, then little to reload and long idle, then the larger one.

    Reload time over idle time is the rate at which the loss is expected to be felt, as in GreedyDual (Young, 1994).
    """
    rate = occupant.reload_seconds / (occupant.idle_seconds + 1.0)
    return (occupant.priority, rate, -sum(occupant.claims.values()))
