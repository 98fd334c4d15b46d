"""What should be served: deployments as they stand, and the releases of a name as the deployments that run them.

Releases of a name that differ in prompt or sampling only share their replicas: an edited prompt is promoted and rolled
back without a load. Such a group is a deployment called after its first release, ``NAME@3``; a name without a release
in production is a deployment as it always was.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from undercroft.core.clock import from_iso
from undercroft.registry.releases import store
from undercroft.registry.releases.references import base_name
from undercroft.registry.releases.store import Release
from undercroft.serving import deployments, promotions
from undercroft.serving.deployments import Deployment, DeploymentSettings
from undercroft.serving.promotions import Promotion, State
from undercroft.serving.snapshot import DeploymentEntry, NameEntry, ReleaseEntry

# Of what `readiness` says: there is somebody to answer.
_ANSWERING = ("ready", "partial")
# Releases without a tag that can still be asked for by number, a name; the newest.
_OFFERED = 50


@dataclass(frozen=True, slots=True)
class ServedName:
    """A name whose releases are served.

    Args:
        name: As in a request's ``model``.
        tags: Tag → number.
        groups: Number → the deployment that runs it.
        releases: Number → release.
        plain: Whether a deployment without releases still answers for the name.
        promotion: The one that runs; None where none does.
        replicas: How many each deployment has while it is loaded.
    """

    name: str
    tags: Mapping[str, int]
    groups: Mapping[int, str]
    releases: Mapping[int, Release]
    plain: bool
    promotion: Promotion | None
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Served:
    """All of it.

    Args:
        deployments: Everything that may have replicas.
        names: Names that have releases.
    """

    deployments: list[Deployment] = field(default_factory=list)
    names: dict[str, ServedName] = field(default_factory=dict)

    @property
    def taking_over(self) -> set[str]:
        """Deployments of candidates for which what was in production is unloaded."""
        found = ((named, named.promotion) for named in self.names.values())
        return {named.groups[one.to_number] for named, one in found if one is not None and one.is_alone}


def name_served(deployment: str) -> str | None:
    """The name whose releases a deployment runs; None where it is asked for by its own."""
    name, is_group, _ = deployment.partition("@")
    return name if is_group else None


def find_served(connection: Connection, *, keep_warm_seconds: float) -> Served:
    """What is wanted, from the database.

    Args:
        keep_warm_seconds: How long a release that is no longer in production stays loaded while nobody asks for it.
    """
    served = Served()
    rows = {deployment.name: deployment for deployment in deployments.list_all(connection)}
    running = {promotion.name: promotion for promotion in promotions.list_running(connection)}
    tags = store.all_tags(connection)
    for name in sorted({*rows, *running}):
        promotion, own = running.get(name), rows.get(name)
        production = tags.get(name, {}).get("production")
        if production is None and promotion is None:
            assert own is not None
            served.deployments.append(own)
            continue
        if production is None and own is not None:
            assert promotion is not None
            served.deployments.append(_until_the_first(own, promotion))
        found = store.list_releases(connection, name)
        served.names[name] = _named(served.deployments, own, found, tags.get(name, {}), promotion, keep_warm_seconds)
    return served


def _until_the_first(own: Deployment, promotion: Promotion) -> Deployment:
    """A deployment without releases, which answers until its first release does."""
    return replace(own, settings=_kept(own.settings), is_running=own.is_running and not promotion.is_alone)


def _kept(settings: DeploymentSettings) -> DeploymentSettings:
    """The settings of what answers the users while a candidate is tried: it is not unloaded for that one."""
    return settings.model_copy(update={"priority": settings.priority + 1})


def _named(
    into: list[Deployment],
    own: Deployment | None,
    found: Sequence[Release],
    tags: Mapping[str, int],
    promotion: Promotion | None,
    keep_warm_seconds: float,
) -> ServedName:
    production = tags.get("production")
    groups = group_releases(found)
    needed = {*tags.values(), *(release.number for release in found[:_OFFERED])}
    offered = {release.number: release for release in found if release.number in needed}
    candidate = promotion.to_number if promotion else None
    is_replaced = promotion is not None and promotion.is_alone
    local = own.settings if own else DeploymentSettings.model_validate({})
    for group in dict.fromkeys(groups[number] for number in sorted(offered)):
        members = [number for number in groups if groups[number] == group]
        release = next(release for release in found if f"{release.name}@{release.number}" == group)
        settings = deployments.with_release(local, release.content)
        if candidate in members and production not in members:
            settings = settings.model_copy(update={"load": "always", "is_pinned": True, "idle_unload_seconds": 0.0})
        elif production not in members:
            settings = settings.model_copy(
                update={
                    "load": "on-demand",
                    "is_pinned": False,
                    "idle_unload_seconds": keep_warm_seconds,
                    "priority": max(-100, local.priority - 1),
                }
            )
        elif promotion is not None and candidate not in members:
            settings = _kept(settings)
        is_away = is_replaced and production in members and candidate not in members
        into.append(
            Deployment(
                name=group,
                engine=release.content.engine,
                model=release.content.model,
                settings=settings,
                replicas=own.replicas if own else 1,
                is_running=(own.is_running if own else True) and not is_away,
                created_at=release.created_at,
            )
        )
    name = found[0].name
    is_plain = production is None and own is not None
    return ServedName(name, tags, groups, offered, is_plain, promotion, own.replicas if own else 1)


def group_releases(found: Sequence[Release]) -> dict[int, str]:
    """Number → name of the deployment that runs it, the same for releases that one engine process can answer for."""
    founders: dict[str, str] = {}
    groups = {}
    for release in sorted(found, key=lambda one: one.number):
        groups[release.number] = founders.setdefault(_engine_key(release), str(release))
    return groups


def _engine_key(release: Release) -> str:
    content = release.content
    plain: list[object] = [content.engine, release.model_digest, content.settings.model_dump(mode="json")]
    if content.adapters:
        plain.append({name: adapter.digest for name, adapter in content.adapters.items()})
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def readiness(entry: DeploymentEntry, replicas: int, *, is_growing: bool) -> str:
    """The state of a deployment as the doors know it, or ``partial`` where it answers and has not all its replicas yet.

    Args:
        entry: What the doors are told.
        replicas: How many it is to have.
        is_growing: Nothing keeps the others from coming, such as want of memory.
    """
    return "partial" if entry.state == "ready" and is_growing and len(entry.replicas) < replicas else entry.state


def live_number(named: ServedName, states: Mapping[str, str], last: int | None) -> int | None:
    """Which release answers for a name now; None is the deployment without releases.

    What is in production, as soon as it is ready with all its replicas. Until then whoever answered last goes on, if it
    still can.

    Args:
        named: The name.
        states: Deployment → its `readiness`.
        last: Who answered last; None is not known.
    """
    production = named.tags.get("production")
    promotion = named.promotion
    if promotion is not None and promotion.is_alone:
        return promotion.to_number
    if production is None:
        return None if named.plain else (promotion.to_number if promotion else None)
    if states.get(named.groups[production]) == "ready" or last is None or last not in named.releases:
        return production
    return last if states.get(named.groups[last]) in _ANSWERING else production


def awaited_group(named: ServedName, live: int | None) -> list[str]:
    """The deployment that is to answer for a name and cannot yet, while another does; at most one.

    Nobody's request waits for it, and it needs its memory all the same.
    """
    production, promotion = named.tags.get("production"), named.promotion
    if live is None or production is None or live == production:
        return []
    return [] if promotion is not None and promotion.is_alone else [named.groups[production]]


def tell_names(
    served: Served, states: Mapping[str, str], last: Mapping[str, int]
) -> tuple[dict[str, NameEntry], dict[str, int], list[str]]:
    """Which release answers for each name.

    Args:
        served: What is wanted.
        states: Deployment → its `readiness`.
        last: Name → who answered until now.

    Returns:
        What the doors are told of each name; name → who answers now, or answered last where nobody can; deployments
        that are awaited.
    """
    told: dict[str, NameEntry] = {}
    live: dict[str, int] = {}
    awaited: list[str] = []
    for name, named in served.names.items():
        number = live_number(named, states, last.get(name))
        can_answer = number is not None and states.get(named.groups[number]) in _ANSWERING
        answering = number if can_answer else last.get(name)
        if answering is not None and answering in named.releases:
            live[name] = answering
        told[name] = name_entry(named, number)
        awaited += awaited_group(named, number)
    return told, live, awaited


def replacing_groups(
    names: Mapping[str, NameEntry],
    last: Mapping[str, int],
    states: Mapping[str, str],
    taking_over: Collection[str],
    before: Collection[str],
) -> frozenset[str]:
    """Deployments that are loaded in the place of one that answered until now and has left, for want of memory.

    A candidate for which production was unloaded, and what a rollback or a failed candidate brings back: a change that
    somebody asked for costs no request, as long as it may take.

    Args:
        names: What the doors are told of each name.
        last: Name → who answered last.
        states: Deployment → as the doors know it.
        taking_over: Candidates for which production was unloaded.
        before: What this said the last time.
    """
    changed = {base_name(group) for group in (*taking_over, *before)}
    for name, named in names.items():
        number = last.get(name)
        if named.live is not None and number is not None:
            before_it, after = (named.releases[one].deployment for one in (number, named.live))
            if before_it != after:
                changed.add(name)
    answering = {name: _answering_deployment(names.get(name), name) for name in changed}
    return frozenset(group for group in answering.values() if states.get(group, "ready") != "ready")


def _answering_deployment(named: NameEntry | None, name: str) -> str:
    """What answers for a name: its live release's, or the deployment of that name."""
    return named.releases[named.live].deployment if named is not None and named.live is not None else name


def name_entry(named: ServedName, live: int | None) -> NameEntry:
    """What the doors are told of a name."""
    promotion = named.promotion
    is_tried = promotion is not None and promotion.state is State.CANARY
    canary = promotion.to_number if promotion is not None and is_tried else None
    return NameEntry(
        name=named.name,
        live=live,
        tags=dict(named.tags),
        releases={
            number: ReleaseEntry(
                number=number,
                deployment=named.groups[number],
                prompt=release.content.prompt.model_dump(mode="json") if release.content.prompt else None,
                sampling=release.content.sampling.model_dump(mode="json", exclude_none=True),
                created=int(from_iso(release.created_at).timestamp()),
            )
            for number, release in named.releases.items()
        },
        canary=canary,
        canary_ratio=promotion.plan.canary_ratio if promotion is not None and canary is not None else 0.0,
        is_shadow=promotion.plan.is_shadow if promotion is not None and canary is not None else False,
        salt=str(promotion.id) if promotion is not None else "",
    )
