"""``/admin/releases``: what answers for a name, numbered; tags, promotions, rollbacks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from undercroft.gateway.admin.parts import Actor, Parts
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.differences import compare
from undercroft.registry.releases.references import ReleaseReference
from undercroft.registry.releases.store import Release
from undercroft.serving import promotions, releasing
from undercroft.serving.adapters import check_content as check_adapters_of
from undercroft.serving.promotions import Plan
from undercroft.serving.releasing import Wanted
from undercroft.watch.promotion.askable import check_askable
from undercroft.watch.promotion.judging import check_rules
from undercroft.watch.promotion.waiting import plain_promotion

router = APIRouter(prefix="/admin/releases", tags=["releases"])

Number = Annotated[int, Field(ge=1, le=999_999_999)]


class NewRelease(BaseModel):
    """A release to make."""

    model_config = ConfigDict(extra="forbid")

    name: str
    content: dict[str, Any]
    accept_licence: bool = False
    reason: str | None = None


class NewTag(BaseModel):
    """Where a tag of the user's own is to point."""

    model_config = ConfigDict(extra="forbid")

    tag: str
    number: Number
    reason: str | None = None


class NewPromotion(BaseModel):
    """What is wanted in production, and how it is tried before."""

    model_config = ConfigDict(extra="forbid")

    number: Number
    plan: Plan = Plan.model_construct()
    reason: str | None = None


class Rollback(BaseModel):
    """Where to go back to; the release before where nothing is said."""

    model_config = ConfigDict(extra="forbid")

    to: Number | None = None
    reason: str | None = None


@router.get("")
def list_all_releases(parts: Parts) -> list[dict[str, Any]]:
    """Every release with its tags, by name, the newest first."""
    with parts.database.read() as connection:
        tags = store.all_tags(connection)
        return [_plain(release, tags.get(release.name, {})) for release in store.list_releases(connection)]


@router.post("", status_code=201)
def create_release(new: NewRelease, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Makes the next release of a name."""
    gate = parts.licence_gate(actor, is_accepted=new.accept_licence, reason=new.reason)
    wanted = Wanted(new.name, check_content(new.content))
    check_adapters_of(parts.database, parts.home, wanted.content, gate)
    made = releasing.create(parts.database, wanted, gate=gate, actor=actor, reason=new.reason)
    parts.reconciler.wake()
    return made.to_dict()


@router.get("/{name}")
def list_releases(name: str, parts: Parts) -> list[dict[str, Any]]:
    """The releases of a name, the newest first."""
    with parts.database.read() as connection:
        found, tags = releasing.releases_of(connection, name), store.tags_of(connection, name)
    return [_plain(release, tags) for release in found]


@router.get("/{name}/tags")
def list_tags(name: str, parts: Parts) -> dict[str, int]:
    """Tag → number."""
    with parts.database.read() as connection:
        releasing.releases_of(connection, name)
        return store.tags_of(connection, name)


@router.post("/{name}/tags")
def tag_release(name: str, new: NewTag, parts: Parts, actor: Actor) -> dict[str, int]:
    """Points a tag of the user's own at a release."""
    with parts.database.write() as connection:
        release = store.get(connection, name, new.number)
        store.tag(connection, release, new.tag, actor=actor, reason=new.reason)
        tags = store.tags_of(connection, name)
    parts.reconciler.wake()
    return tags


@router.delete("/{name}/tags/{tag}")
def untag_release(name: str, tag: str, parts: Parts, actor: Actor) -> dict[str, int]:
    """Takes a tag of the user's own away."""
    with parts.database.write() as connection:
        store.untag(connection, name, tag, actor=actor, reason=None)
        tags = store.tags_of(connection, name)
    parts.reconciler.wake()
    return tags


@router.get("/{name}/promotions")
def list_promotions(name: str, parts: Parts, limit: Annotated[int, Query(ge=1, le=1000)] = 20) -> list[dict[str, Any]]:
    """The promotions of a name with their evidence, the newest first; the one that runs has no end."""
    with parts.database.read() as connection:
        releasing.releases_of(connection, name)
        return [plain_promotion(promotion) for promotion in promotions.list_of(connection, name, limit=limit)]


@router.post("/{name}/promote", status_code=202)
def promote_release(name: str, new: NewPromotion, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Begins to put a release into production; ``/promotions`` says how it goes."""
    check_rules(new.plan.rules)
    releasing.check_plan(new.plan)
    reference = ReleaseReference(name, new.number)
    with parts.database.read() as connection:
        check_askable(parts.home, connection, reference, new.plan)
    begun = releasing.promote(parts.database, reference, new.plan, has_server=True, actor=actor, reason=new.reason)
    parts.reconciler.wake()
    return begun.to_dict()


@router.post("/{name}/rollback")
def roll_back(name: str, wanted: Rollback, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Puts an earlier release back into production; while a promotion runs, ends that instead."""
    done = releasing.rollback(parts.database, name, wanted.to, actor=actor, reason=wanted.reason)
    parts.reconciler.refresh()
    return {"name": name, "left": done.left, "production": done.number, "has_cancelled": done.has_cancelled}


@router.get("/{name}/diff")
def compare_releases(name: str, a: Number, b: Number, parts: Parts) -> dict[str, Any]:
    """What two releases of a name differ in."""
    with parts.database.read() as connection:
        pair = [store.get(connection, name, number) for number in (a, b)]
        names = {each for release in pair for each in release.content.model_names}
        known = {each: models.get(connection, each) for each in names}
    return compare(pair[0], pair[1], known).to_dict()


@router.get("/{name}/{number}")
def show_release(name: str, number: Number, parts: Parts) -> dict[str, Any]:
    """One release."""
    with parts.database.read() as connection:
        release, tags = store.get(connection, name, number), store.tags_of(connection, name)
    return _plain(release, tags)


@router.delete("/{name}/{number}")
def remove_release(name: str, number: Number, parts: Parts, actor: Actor) -> dict[str, Any]:
    """Forgets a release that nothing needs."""
    releasing.remove(parts.database, ReleaseReference(name, number), actor=actor, reason=None)
    parts.reconciler.wake()
    return {"removed": f"{name}@{number}"}


def _plain(release: Release, tags: dict[str, int]) -> dict[str, Any]:
    return {**release.to_dict(), "tags": [tag for tag, number in tags.items() if number == release.number]}
