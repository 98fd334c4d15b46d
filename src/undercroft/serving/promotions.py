"""Promotions: a candidate on its way into production. The rows, and what each state means.

    state      what is true                                             goes on to
    ─────────  ───────────────────────────────────────────────────────  ─────────────────────────────────────
    loading    the candidate is loaded beside what is in production,    replacing, checking, failed, cancelled
               which answers alone
    replacing  there is no memory for both: production was unloaded,    checking, failed, cancelled
               requests wait for the candidate
    checking   the candidate is ready and answers its standard          canary, done, reverted, cancelled
               questions; production answers the users, or the
               candidate where production was unloaded for it
    canary     a share of the users is answered by the candidate, or    done, reverted, cancelled
               copies of their requests are (shadow); all of them
               where production was unloaded for it
    done       it is in production; what was is ``previous``            -
    reverted   it was judged worse; nothing has changed for the users   -
    failed     it could not be loaded                                   -
    cancelled  a person stopped it, or another promotion took its place -

The row says what is wanted; the reconciler and the promoter make it so, and can be killed at any moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Row, insert, select, update

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.registry.releases import store
from undercroft.registry.releases.store import Release
from undercroft.serving import deployments
from undercroft.storage import journal
from undercroft.storage.tables import promotions


class State(StrEnum):
    """See the table above."""

    LOADING = "loading"
    REPLACING = "replacing"
    CHECKING = "checking"
    CANARY = "canary"
    DONE = "done"
    REVERTED = "reverted"
    FAILED = "failed"
    CANCELLED = "cancelled"


# Noted in the evidence: production has been unloaded to make room.
_REPLACED = "has_replaced"

ENDED = frozenset({State.DONE, State.REVERTED, State.FAILED, State.CANCELLED})


class Plan(BaseModel):
    """How a candidate is tried before it is in production."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    canary_ratio: float = Field(0.0, ge=0, le=1, allow_inf_nan=False, description="Share of the users that it answers.")
    is_shadow: bool = Field(False, description="It gets copies of requests; nobody sees its answers.")
    hold_seconds: float = Field(0.0, ge=0, le=31_536_000, allow_inf_nan=False, description="Least time as a canary.")
    has_probes: bool = Field(True, description="Ask the standard questions of the name first, where it has any.")
    may_replace: bool = Field(True, description="Where there is no memory for both, stop what is in production first.")
    rules: dict[str, Any] = Field(default_factory=dict, description="What it is judged by; see the guide.")

    @property
    def is_tried(self) -> bool:
        """Whether users' requests are part of it."""
        return self.canary_ratio > 0 or self.is_shadow


@dataclass(frozen=True, slots=True)
class Promotion:
    """One promotion.

    Args:
        id: Its row.
        name: What it serves.
        from_number: What was in production when it began; None where nothing was.
        to_number: The candidate.
        state: See the table above.
        plan: How it is tried.
        evidence: What was measured and judged so far.
        note: In plain words how it goes, or why it ended.
        started_at: ISO 8601, UTC.
        changed_at: When it came into its state.
        ended_at: None while it runs.
        actor: Who wanted it.
        reason: Why, in the actor's words.
    """

    id: int
    name: str
    from_number: int | None
    to_number: int
    state: State
    plan: Plan
    evidence: dict[str, Any]
    note: str
    started_at: str
    changed_at: str
    ended_at: str | None
    actor: str
    reason: str | None

    @property
    def is_alone(self) -> bool:
        """Whether what was in production was unloaded for the candidate, which answers alone until it has ended."""
        return self.state is State.REPLACING or (self.state not in ENDED and bool(self.evidence.get(_REPLACED)))

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "id": self.id,
            "name": self.name,
            "from": self.from_number,
            "to": self.to_number,
            "state": self.state.value,
            "plan": self.plan.model_dump(mode="json"),
            "evidence": self.evidence,
            "note": self.note,
            "started_at": self.started_at,
            "changed_at": self.changed_at,
            "ended_at": self.ended_at,
            "actor": self.actor,
            "reason": self.reason,
        }


def begin(connection: Connection, release: Release, plan: Plan, *, actor: str, reason: str | None) -> Promotion:
    """Wants a release in production; one of the same name that still runs is cancelled.

    Raises:
        ConflictError: It is in production already.
    """
    production = store.tags_of(connection, release.name).get("production")
    if production == release.number and deployments.find(connection, release.name) is not None:
        raise ConflictError("already-in-production", f"{release} is in production already")
    running = find_running(connection, release.name)
    if running is not None:
        end(connection, running, State.CANCELLED, f"the promotion of {release} took its place", actor=actor)
    now = to_iso(utc_now())
    made = connection.execute(
        insert(promotions).values(
            name=release.name,
            from_number=production,
            to_number=release.number,
            state=State.LOADING.value,
            plan=plan.model_dump(mode="json"),
            evidence={},
            note="",
            started_at=now,
            changed_at=now,
            actor=actor,
            reason=reason,
        )
    )
    store.move_tags(connection, release.name, {"canary": release.number})
    journal.record(
        connection,
        actor=actor,
        action="release.promote",
        subject=str(release),
        before={"production": production},
        after={"candidate": release.number, "plan": plan.model_dump(mode="json", exclude_defaults=True)},
        reason=reason,
    )
    key = made.inserted_primary_key
    assert key is not None
    return get(connection, int(key[0]))


def change(
    connection: Connection,
    promotion: Promotion,
    state: State,
    *,
    note: str = "",
    evidence: dict[str, Any] | None = None,
) -> None:
    """Goes on to another state that is no end, or keeps the state and notes how it goes."""
    values: dict[str, Any] = {"state": state.value, "note": note}
    if state is State.REPLACING:
        evidence = {**(promotion.evidence if evidence is None else evidence), _REPLACED: True}
    if evidence is not None:
        values["evidence"] = evidence
    if state is not promotion.state:
        values["changed_at"] = to_iso(utc_now())
    connection.execute(update(promotions).where(promotions.c.id == promotion.id).values(**values))


def end(
    connection: Connection,
    promotion: Promotion,
    state: State,
    note: str,
    *,
    evidence: dict[str, Any] | None = None,
    actor: str = "system",
) -> None:
    """Ends a promotion; the tags and the deployment follow in the same transaction.

    Args:
        state: One of `ENDED`.
        note: Why, in plain words.
        evidence: What it was judged by; None keeps what was noted.
        actor: Who or what ended it.
    """
    now = to_iso(utc_now())
    evidence = promotion.evidence if evidence is None else evidence
    connection.execute(
        update(promotions)
        .where(promotions.c.id == promotion.id)
        .values(state=state.value, note=note, evidence=evidence, changed_at=now, ended_at=now)
    )
    wanted: dict[str, int | None] = {"canary": None}
    if state is State.DONE:
        wanted |= {"production": promotion.to_number, "previous": promotion.from_number}
    before = store.move_tags(connection, promotion.name, wanted)
    if state is State.DONE:
        release = store.get(connection, promotion.name, promotion.to_number)
        deployments.serve_release(connection, release)
    journal.record(
        connection,
        actor=actor,
        action=f"release.{'promoted' if state is State.DONE else state.value}",
        subject=f"{promotion.name}@{promotion.to_number}",
        before={"tags": before},
        after={"tags": store.tags_of(connection, promotion.name), "evidence": evidence},
        reason=(promotion.reason if state is State.DONE else None) or note or None,
    )


def rollback(
    connection: Connection, name: str, number: int | None, *, actor: str, reason: str | None
) -> tuple[int | None, int | None]:
    """Puts an earlier release back into production, at once; while a promotion runs, that is ended instead.

    Args:
        number: Which one; None is ``previous``, or what is in production while a promotion runs.

    Returns:
        The release that was left, and the one that is in production now; None where there is none.

    Raises:
        NotFoundError: There is no such release, or nothing to go back to.
        ConflictError: It is in production already.
    """
    tags = store.tags_of(connection, name)
    running = find_running(connection, name)
    if running is not None and number is None:
        # The candidate is what one wants to be rid of; production has not changed yet.
        end(connection, running, State.CANCELLED, reason or "rolled back", actor=actor)
        return running.to_number, tags.get("production")
    if number is None:
        number = tags.get("previous")
        if number is None:
            raise NotFoundError(
                "nothing-to-roll-back-to",
                f"nothing was in production of {name!r} before what is there now",
                hint=f"undercroft release rollback {name} --to N; undercroft release list {name}",
            )
    release = store.get(connection, name, number)
    if tags.get("production") == number:
        raise ConflictError("already-in-production", f"{release} is in production already")
    if running is not None:
        end(connection, running, State.CANCELLED, f"{name} was rolled back to {release}", actor=actor)
    before = store.move_tags(connection, name, {"production": number, "previous": tags.get("production")})
    deployments.serve_release(connection, release)
    journal.record(
        connection,
        actor=actor,
        action="release.rollback",
        subject=str(release),
        before={"tags": before},
        after={"tags": store.tags_of(connection, name)},
        reason=reason,
    )
    return tags.get("production"), number


def get(connection: Connection, promotion_id: int) -> Promotion:
    """One promotion, by its row."""
    return _read(connection.execute(select(promotions).where(promotions.c.id == promotion_id)).one())


def find_running(connection: Connection, name: str) -> Promotion | None:
    """The promotion of a name that has not ended; None where there is none."""
    row = connection.execute(
        select(promotions).where(promotions.c.name == name, promotions.c.ended_at.is_(None))
    ).first()
    return _read(row) if row is not None else None


def list_running(connection: Connection) -> list[Promotion]:
    """All that have not ended, in the order in which they began."""
    query = select(promotions).where(promotions.c.ended_at.is_(None)).order_by(promotions.c.id)
    return [_read(row) for row in connection.execute(query)]


def list_of(connection: Connection, name: str, *, limit: int = 20) -> list[Promotion]:
    """The promotions of a name, the newest first."""
    query = select(promotions).where(promotions.c.name == name).order_by(promotions.c.id.desc()).limit(limit)
    return [_read(row) for row in connection.execute(query)]


def _read(row: Row[Any]) -> Promotion:
    return Promotion(
        id=row.id,
        name=row.name,
        from_number=row.from_number,
        to_number=row.to_number,
        state=State(row.state),
        plan=Plan.model_validate(row.plan),
        evidence=row.evidence,
        note=row.note,
        started_at=row.started_at,
        changed_at=row.changed_at,
        ended_at=row.ended_at,
        actor=row.actor,
        reason=row.reason,
    )
