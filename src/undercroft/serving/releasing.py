"""What people do with releases: make, remove, promote, roll back. Used by the command line and by the admin routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from undercroft.catalog.engines import ATTACHED
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError
from undercroft.engines.external import check_authorities, check_url
from undercroft.registry.licences import LicenceGate
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ReleaseContent
from undercroft.registry.releases.references import ReleaseReference
from undercroft.registry.releases.retention import keep
from undercroft.registry.releases.store import Release
from undercroft.serving import promotions
from undercroft.serving.adapters import check_names
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.serving.served import group_releases
from undercroft.storage.database import Database


@dataclass(frozen=True, slots=True)
class Wanted:
    """A name and what its newest release should be made of.

    Args:
        name: What it serves.
        content: What it is made of.
    """

    name: str
    content: ReleaseContent


@dataclass(frozen=True, slots=True)
class Pruning:
    """What a retention rule does to the releases of a name.

    Args:
        removed: Those that go, by number.
        kept: Number → why it stays.
    """

    removed: tuple[Release, ...]
    kept: dict[int, str]


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did.

    Args:
        name: What clients ask for.
        left: Number of the release that was left; None where there was none.
        number: Of the release that is in production now; None where none is.
        has_cancelled: Whether it ended a promotion, and what is in production stays.
    """

    name: str
    left: int | None
    number: int | None
    has_cancelled: bool


def check_servable(name: str, content: ReleaseContent) -> None:
    """Refuses what no engine could run here.

    Raises:
        InvalidError: The URL of an external engine cannot be one, there is no such key file, or an adapter is called
            as its base.
    """
    if name in content.adapters:
        raise InvalidError(
            "name-taken", f"release of {name!r}: an adapter needs another name than its base, got {name!r}"
        )
    if content.engine not in ATTACHED:
        return
    check_url(content.settings.url, deployment=name, engine=content.engine)
    file = content.settings.key_file
    if file is not None and not file.is_file():
        raise InvalidError("no-key-file", f"release of {name!r}: there is no file {file}")
    check_authorities(content.settings.ca_file, content.settings.url or "", deployment=name)


def create(database: Database, wanted: Wanted, *, gate: LicenceGate, actor: str, reason: str | None) -> Release:
    """Adds the next release of a name.

    Raises:
        InvalidError: The name, or what the engine needs.
        NotFoundError: There is no such model.
        RefusedError: The model's licence does not cover what models here are used for.
    """
    _admit(wanted, gate)
    with database.write() as connection:
        return store.create(connection, wanted.name, wanted.content, actor=actor, reason=reason)


def apply(
    database: Database, wanted: Sequence[Wanted], *, gate: LicenceGate, actor: str, reason: str | None
) -> list[tuple[Release, bool]]:
    """Makes the newest releases of names have these contents, all in one transaction.

    Returns:
        For each the newest release, and whether it had to be made.

    Raises:
        InvalidError: A name, or what an engine needs.
        NotFoundError: There is no such model.
        RefusedError: A model's licence does not cover what models here are used for.
    """
    for one in wanted:
        _admit(one, gate)
    with database.write() as connection:
        return [store.apply(connection, one.name, one.content, actor=actor, reason=reason) for one in wanted]


def _admit(wanted: Wanted, gate: LicenceGate) -> None:
    check_servable(wanted.name, wanted.content)
    for name in wanted.content.model_names:
        gate.check_registered(name)


def releases_of(connection: Connection, name: str) -> list[Release]:
    """The releases of a name, the newest first; never none.

    Raises:
        NotFoundError: There is none.
    """
    found = store.list_releases(connection, name)
    if not found:
        raise NotFoundError(
            "no-such-release",
            f"there is no release of {name[:80]!r}",
            hint=f"undercroft release create {name[:80]} --model MODEL",
        )
    return found


def check_plan(plan: Plan) -> None:
    """Refuses a plan whose parts contradict each other.

    Raises:
        InvalidError: ``hold-without-trial`` or ``share-of-a-shadow``.
    """
    if plan.is_shadow and plan.canary_ratio:
        raise InvalidError(
            "share-of-a-shadow",
            "a candidate that gets copies of requests answers no share of the users",
            hint="give --canary or --shadow; first the one, then the other",
        )
    if plan.hold_seconds and not plan.is_tried:
        raise InvalidError(
            "hold-without-trial",
            "a release is only held while users' requests are part of its trial, and none are",
            hint="give the share of the users that it answers (--canary 10%), or --shadow",
        )


def plan_pruning(connection: Connection, name: str, newest: int) -> Pruning:
    """What goes and what stays of a name.

    Args:
        newest: How many of the newest stay, whatever points at them.

    Raises:
        NotFoundError: There is no release of that name.
    """
    found = releases_of(connection, name)
    running = promotions.find_running(connection, name)
    promoted = [running.to_number, running.from_number] if running is not None else []
    kept = keep(
        [release.number for release in found],
        tags=store.tags_of(connection, name),
        promoted=[number for number in promoted if number is not None],
        groups=group_releases(found),
        newest=newest,
    )
    return Pruning(tuple(release for release in found[::-1] if release.number not in kept), kept)


def prune(
    database: Database, names: Sequence[str], newest: int, *, is_dry_run: bool, actor: str, reason: str | None
) -> dict[str, Pruning]:
    """Forgets old releases that nothing needs.

    Args:
        names: Whose.
        newest: How many of the newest stay.
        is_dry_run: Only say what would go.

    Raises:
        NotFoundError: There is no release of a name.
    """
    with database.write() as connection:
        found = {name: plan_pruning(connection, name, newest) for name in names}
        for pruning in found.values():
            for release in () if is_dry_run else pruning.removed:
                store.forget(connection, release, actor=actor, reason=reason or f"the newest {newest} are kept")
    return found


def remove(database: Database, reference: ReleaseReference, *, actor: str, reason: str | None) -> list[Release]:
    """Forgets one release, or with a name alone all of them.

    Raises:
        NotFoundError: There is none.
        ConflictError: Something needs it.
    """
    with database.write() as connection:
        if reference.number is None and reference.tag is None:
            gone = releases_of(connection, reference.name)
            running = promotions.find_running(connection, reference.name)
            kept = {} if running is None else {running.to_number: "a promotion that runs needs it"}
        else:
            gone = [store.resolve(connection, reference)]
            kept = plan_pruning(connection, reference.name, 0).kept
        for release in gone:
            if release.number in kept:
                raise ConflictError(
                    "release-in-use",
                    f"cannot remove {release}: {kept[release.number]}",
                    hint=f"undercroft release list {release.name}",
                )
            store.forget(connection, release, actor=actor, reason=reason)
    return gone


def to_promote(connection: Connection, reference: ReleaseReference) -> Release:
    """The release that a person wants in production; a name alone is its newest.

    Raises:
        NotFoundError: There is none.
    """
    if reference.number is None and reference.tag is None:
        return releases_of(connection, reference.name)[0]
    return store.resolve(connection, reference)


def promote(
    database: Database,
    reference: ReleaseReference,
    plan: Plan,
    *,
    has_server: bool,
    actor: str,
    reason: str | None,
) -> Promotion:
    """Wants a release in production. Without a server it is there at once, in the same transaction.

    Raises:
        NotFoundError: There is no such release.
        ConflictError: It is in production already.
    """
    with database.write() as connection:
        candidate = to_promote(connection, reference)
        check_names(connection, candidate.name, candidate.content.adapters)
        begun = promotions.begin(connection, candidate, plan, actor=actor, reason=reason)
        if not has_server:
            note = "nothing was tried, because no server runs"
            promotions.end(connection, begun, State.DONE, note, actor=actor)
        return promotions.get(connection, begun.id)


def rollback(database: Database, name: str, number: int | None, *, actor: str, reason: str | None) -> RolledBack:
    """Puts an earlier release back into production; while a promotion runs, that is ended instead.

    Args:
        number: Which one; None is what was there before, or what is there now while a promotion runs.

    Raises:
        NotFoundError: There is no such release, or nothing to go back to.
        ConflictError: It is in production already.
    """
    with database.write() as connection:
        releases_of(connection, name)
        is_running = promotions.find_running(connection, name) is not None
        if is_running and number == store.tags_of(connection, name).get("production"):
            number = None
        left, now = promotions.rollback(connection, name, number, actor=actor, reason=reason)
    return RolledBack(name, left, now, has_cancelled=is_running and number is None)
