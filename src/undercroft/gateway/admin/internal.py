"""``/internal``: between our own processes, over control's Unix socket only."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict

from undercroft.core.errors import UndercroftError
from undercroft.gateway import metrics
from undercroft.gateway.admin.control_metrics import control_families, incident_families
from undercroft.gateway.admin.parts import ControlParts, Parts
from undercroft.serving.feedback import Feedback, Rating
from undercroft.watch.incidents import incident_store

router = APIRouter(prefix="/internal", include_in_schema=False)

_ACK_SECONDS = 5.0
# A rating may be here before the row of its request, which comes with the next batch of its door.
_ROW_SECONDS = 2.0


class GivenFeedback(BaseModel):
    """What a door passes on; the key is the one that it checked."""

    model_config = ConfigDict(extra="forbid")

    request_id: str
    key_id: str
    rating: Rating


@router.get("/status")
def show_status(parts: Parts) -> dict[str, Any]:
    """For ``undercroft status`` and ``undercroft up``."""
    return parts.status()


@router.post("/refresh")
async def refresh(parts: Parts) -> dict[str, Any]:
    """The database changed: answers when every door knows."""
    version = await asyncio.to_thread(parts.reconciler.refresh)
    return {"version": version, "is_acked": await parts.doors.wait_for(version, timeout_seconds=_ACK_SECONDS)}


@router.post("/local-key")
async def issue_local_key(parts: Parts) -> dict[str, Any]:
    """A short-lived key for the command line of the owner of this home."""
    return await _issued(parts, is_for_probes=False)


@router.post("/probe-key")
async def issue_probe_key(parts: Parts) -> dict[str, Any]:
    """A short-lived key for standard questions, which wait behind everybody else's."""
    return await _issued(parts, is_for_probes=True)


async def _issued(parts: Parts, *, is_for_probes: bool) -> dict[str, Any]:
    secret = parts.local_keys.issue(is_for_probes=is_for_probes)
    version = await asyncio.to_thread(parts.reconciler.refresh)
    await parts.doors.wait_for(version, timeout_seconds=_ACK_SECONDS)
    return {"key": secret}


@router.post("/feedback")
async def take_feedback(given: GivenFeedback, parts: Parts) -> dict[str, Any]:
    """Keeps what a user says of an answer; says whose it was, or null where the key has no such request."""
    feedback = Feedback(given.request_id, given.key_id, given.rating)
    deadline = time.monotonic() + _ROW_SECONDS
    while True:
        rated = await asyncio.wrap_future(parts.usage.rate(feedback))
        if rated is not None or time.monotonic() > deadline:
            return {"rated": rated.to_dict() if rated is not None else None}


@router.post("/metrics")
async def gather_metrics(request: Request, parts: Parts) -> Response:
    """One door sends its counters and gets everybody's, as Prometheus reads them."""
    own = await request.json()
    others = parts.doors.families(except_door=str(own.get("door", "")))
    _, replicas, courses, _ = parts.reconciler.look()
    control = control_families([replica.view for replica in replicas], courses)
    incidents = await asyncio.to_thread(_incidents, parts)
    merged = metrics.merge([own.get("families", {}), *others, control, incidents])
    return Response(metrics.render(merged), media_type="text/plain; version=0.0.4; charset=utf-8")


def _incidents(parts: ControlParts) -> metrics.Families:
    try:
        with parts.database.read() as connection:
            return incident_families(incident_store.count_open(connection))
    except UndercroftError:
        return {}  # without the database the rest is told all the same
