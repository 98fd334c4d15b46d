"""``/admin/incidents``: what is wrong, since when, what was done about it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict

from undercroft.core.clock import parse_moment, utc_now
from undercroft.core.errors import InvalidError
from undercroft.gateway.admin.parts import Actor, Parts
from undercroft.watch.incidents import inquiry
from undercroft.watch.incidents.actions import plain_rule, read_rules

router = APIRouter(prefix="/admin/incidents", tags=["incidents"])

Number = Annotated[int, Path(ge=1, le=2**31 - 1)]


class Resolution(BaseModel):
    """Why an incident is over."""

    model_config = ConfigDict(extra="forbid")

    reason: str | None = None


@router.get("")
def list_incidents(
    parts: Parts,
    include_resolved: Annotated[bool, Query(alias="all", description="Those that are resolved, too.")] = False,
    since: Annotated[
        str | None, Query(description="Open then or later: 7d, 12h, 2026-11-20 or an ISO 8601 time.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many of the newest.")] = 50,
) -> list[dict[str, Any]]:
    """Incidents, the newest first; without ``all`` and ``since`` the open ones."""
    begin = parse_moment(since, utc_now()) if since is not None else None
    if since is not None and begin is None:
        raise InvalidError(
            "bad-time", f"since: expected a period such as 7d, a day, or an ISO 8601 time, got {since[:40]!r}"
        )
    with parts.database.read() as connection:
        found = inquiry.list_incidents(connection, include_resolved=include_resolved, since=begin, limit=limit)
    return [incident.to_dict() for incident in found]


@router.get("/rules")
def list_rules(parts: Parts) -> list[dict[str, Any]]:
    """The rules of what is done about incidents."""
    return [plain_rule(rule) for rule in read_rules(parts.home.actions_file).rules]


@router.get("/{number}")
def show_incident(number: Number, parts: Parts) -> dict[str, Any]:
    """One incident: what, since when, likely cause, what was done, what helps."""
    with parts.database.read() as connection:
        return inquiry.inquire(connection, number).to_dict()


@router.post("/{number}/resolve")
def resolve_incident(
    number: Number, parts: Parts, actor: Actor, resolution: Resolution | None = None
) -> dict[str, Any]:
    """Says that an incident is over. The same one opens again only after all was well once."""
    reason = resolution.reason if resolution is not None else None
    alerts = parts.settings.alerts
    return inquiry.resolve(parts.database, alerts, number, actor=actor, reason=reason, now=utc_now()).to_dict()
