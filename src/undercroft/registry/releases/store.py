"""The rows of releases and tags. A release is written once; what moves are the tags, and each move is journalled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from undercroft.catalog.engines import check_runs
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import ConflictError, NotFoundError
from undercroft.core.ids import check_name
from undercroft.registry import adapters, entries
from undercroft.registry.releases.content import ReleaseAdapter, ReleaseContent, content_digest
from undercroft.registry.releases.references import ReleaseReference, check_tag
from undercroft.storage import journal
from undercroft.storage.tables import journal as journal_rows
from undercroft.storage.tables import release_tags, releases

# Moved by promotions and rollbacks only.
KEPT_TAGS = ("production", "previous", "canary")


@dataclass(frozen=True, slots=True)
class Release:
    """One release.

    Args:
        name: What it serves.
        number: 1, 2, 3 … within the name.
        content: Everything that makes an answer what it is.
        digest: Of the content and of the model's files.
        model_digest: Of the model's files when it was made; None for an external engine.
        created_at: ISO 8601, UTC.
        actor: Who made it.
        reason: Why, in the actor's words.
    """

    name: str
    number: int
    content: ReleaseContent
    digest: str
    model_digest: str | None
    created_at: str
    actor: str
    reason: str | None

    def __str__(self) -> str:
        return f"{self.name}@{self.number}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "name": self.name,
            "number": self.number,
            "digest": self.digest,
            "model_digest": self.model_digest,
            "content": self.content.to_dict(),
            "created_at": self.created_at,
            "actor": self.actor,
            "reason": self.reason,
        }


def create(connection: Connection, name: str, content: ReleaseContent, *, actor: str, reason: str | None) -> Release:
    """Adds the next release of a name.

    Raises:
        InvalidError: The name is not usable, or the engine does not run the model's format.
        NotFoundError: There is no such model.
    """
    check_name(name, what="release")
    content = with_digests(connection, content)
    model_digest = _model_digest(connection, content)
    release = Release(
        name,
        _last_number(connection, name) + 1,
        content,
        content_digest(content, model_digest),
        model_digest,
        to_iso(utc_now()),
        actor,
        reason,
    )
    connection.execute(
        insert(releases).values(
            name=name,
            number=release.number,
            content=content.to_dict(),
            digest=release.digest,
            model=content.model,
            model_digest=model_digest,
            created_at=release.created_at,
            actor=actor,
            reason=reason,
        )
    )
    journal.record(
        connection,
        actor=actor,
        action="release.create",
        subject=str(release),
        after={"digest": release.digest, "model_digest": model_digest, "content": content.to_dict()},
        reason=reason,
    )
    return release


def apply(
    connection: Connection, name: str, content: ReleaseContent, *, actor: str, reason: str | None
) -> tuple[Release, bool]:
    """Makes the newest release of a name have this content.

    Returns:
        The newest release, and whether it had to be made.

    Raises:
        InvalidError: The name is not usable.
        NotFoundError: There is no such model.
    """
    newest = latest(connection, name)
    if newest is not None and not differs(connection, newest, content):
        return newest, False
    return create(connection, name, content, actor=actor, reason=reason), True


def differs(connection: Connection, release: Release, content: ReleaseContent) -> bool:
    """Whether a release is made of something else, the content of its model counted.

    Raises:
        NotFoundError: There is no such model.
        ConflictError: An adapter is another than its digest says.
    """
    pinned = with_digests(connection, content)
    return release.digest != content_digest(pinned, _model_digest(connection, pinned))


def with_digests(connection: Connection, content: ReleaseContent) -> ReleaseContent:
    """What a release is made of, with the digest of each adapter.

    Raises:
        NotFoundError: There is no such adapter.
        InvalidError: It is a whole model.
        ConflictError: ``adapter-changed``: it is another than its digest says.
    """
    found = {}
    for name, adapter in sorted(content.adapters.items()):
        model = adapters.find_adapter(connection, adapter.model)
        if adapter.digest not in (None, model.digest):
            raise ConflictError(
                "adapter-changed",
                f"adapter {name!r}: expected {model.name!r} as {adapter.digest}, it is {model.digest}",
                hint="leave the digest out to take what has the name now",
            )
        found[name] = ReleaseAdapter(model=model.name, digest=model.digest)
    return content.model_copy(update={"adapters": found}) if found else content


def latest(connection: Connection, name: str) -> Release | None:
    """The release of a name with the highest number; None where it has none."""
    row = connection.execute(
        select(releases).where(releases.c.name == name).order_by(releases.c.number.desc()).limit(1)
    ).first()
    return _read(row) if row is not None else None


def list_releases(connection: Connection, name: str | None = None) -> list[Release]:
    """Releases by name, the newest of each first."""
    query = select(releases).order_by(releases.c.name, releases.c.number.desc())
    if name is not None:
        query = query.where(releases.c.name == name)
    return [_read(row) for row in connection.execute(query)]


def resolve(connection: Connection, reference: ReleaseReference) -> Release:
    """The release that a person means; a name alone is its ``production``, or the newest where nothing is.

    Raises:
        NotFoundError: There is none, or no such tag.
    """
    number = reference.number
    if number is None:
        found = tags_of(connection, reference.name)
        if reference.tag is not None and reference.tag not in found:
            raise NotFoundError(
                "no-such-tag",
                f"no tag {reference.tag!r} points at a release of {reference.name!r}"
                + (f"; there are {', '.join(sorted(found))}" if found else ""),
                hint=f"undercroft release list {reference.name}",
            )
        number = found.get(reference.tag or "production")
    if number is None:
        newest = latest(connection, reference.name)
        if newest is None:
            raise NotFoundError(
                "no-such-release",
                f"there is no release of {reference.name!r}",
                hint=f"undercroft release create {reference.name} --model MODEL",
            )
        return newest
    return get(connection, reference.name, number)


def get(connection: Connection, name: str, number: int) -> Release:
    """One release.

    Raises:
        NotFoundError: There is none, or it was pruned.
    """
    row = connection.execute(select(releases).where(releases.c.name == name, releases.c.number == number)).first()
    if row is None:
        raise NotFoundError(
            "no-such-release", f"there is no release {name}@{number}", hint=f"undercroft release list {name}"
        )
    return _read(row)


def tags_of(connection: Connection, name: str) -> dict[str, int]:
    """Tag → number, for one name."""
    return all_tags(connection, name).get(name, {})


def all_tags(connection: Connection, name: str | None = None) -> dict[str, dict[str, int]]:
    """Name → tag → number."""
    query = select(release_tags).order_by(release_tags.c.name, release_tags.c.tag)
    if name is not None:
        query = query.where(release_tags.c.name == name)
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.name, {})[row.tag] = row.number
    return found


def move_tags(connection: Connection, name: str, wanted: Mapping[str, int | None]) -> dict[str, int]:
    """Points tags at releases, or takes them away where the number is None; the caller journals it.

    Returns:
        The tags as they were.

    Raises:
        NotFoundError: There is no such release.
    """
    before = tags_of(connection, name)
    for tag, number in wanted.items():
        place = (release_tags.c.name == name, release_tags.c.tag == tag)
        if number is None:
            connection.execute(delete(release_tags).where(*place))
            continue
        get(connection, name, number)
        values = {"number": number, "moved_at": to_iso(utc_now())}
        if tag not in before:
            connection.execute(insert(release_tags).values(name=name, tag=tag, **values))
        elif before[tag] != number:
            connection.execute(update(release_tags).where(*place).values(**values))
    return before


def tag(connection: Connection, release: Release, tag: str, *, actor: str, reason: str | None) -> None:
    """Points one of the user's own tags at a release.

    Raises:
        InvalidError: It cannot be a tag.
        ConflictError: It is one that promotions move.
    """
    _check_own(tag)
    before = move_tags(connection, release.name, {tag: release.number}).get(tag)
    if before == release.number:
        return
    journal.record(
        connection,
        actor=actor,
        action="release.tag",
        subject=f"{release.name}:{tag}",
        before=None if before is None else {"number": before},
        after={"number": release.number},
        reason=reason,
    )


def untag(connection: Connection, name: str, tag: str, *, actor: str, reason: str | None) -> None:
    """Takes one of the user's own tags away.

    Raises:
        ConflictError: It is one that promotions move.
        NotFoundError: There is no such tag.
    """
    _check_own(tag)
    before = tags_of(connection, name).get(tag)
    if before is None:
        raise NotFoundError("no-such-tag", f"there is no tag {name}:{tag}", hint=f"undercroft release list {name}")
    move_tags(connection, name, {tag: None})
    journal.record(
        connection,
        actor=actor,
        action="release.untag",
        subject=f"{name}:{tag}",
        before={"number": before},
        reason=reason,
    )


def forget(connection: Connection, release: Release, *, actor: str, reason: str | None) -> None:
    """Removes a release that nothing needs; its number is not given again.

    Raises:
        ConflictError: A tag points at it.
    """
    pointing = [tag for tag, number in tags_of(connection, release.name).items() if number == release.number]
    if pointing:
        raise ConflictError(
            "release-in-use",
            f"cannot remove {release}: the tag {', '.join(pointing)} points at it",
            hint=f"undercroft release list {release.name}",
        )
    connection.execute(delete(releases).where(releases.c.name == release.name, releases.c.number == release.number))
    journal.record(
        connection,
        actor=actor,
        action="release.remove",
        subject=str(release),
        before={"digest": release.digest, "model": release.content.model, "model_digest": release.model_digest},
        reason=reason,
    )


def using_model(connection: Connection, model: str) -> list[str]:
    """The releases that a model belongs to: ``support@3``; by name and number."""
    query = select(releases.c.name, releases.c.number, releases.c.content).order_by(releases.c.name, releases.c.number)
    return [
        f"{row.name}@{row.number}"
        for row in connection.execute(query)
        if model in ReleaseContent.model_validate(row.content).model_names
    ]


def _check_own(tag: str) -> None:
    check_tag(tag)
    if tag in KEPT_TAGS:
        raise ConflictError(
            "tag-is-kept",
            f"the tag {tag!r} is moved by promotions and rollbacks only",
            hint="undercroft release promote NAME@N, or undercroft release rollback NAME",
        )


def _model_digest(connection: Connection, content: ReleaseContent) -> str | None:
    if content.model is None:
        return None
    model = entries.find(connection, content.model)
    if model is None:
        raise NotFoundError("no-such-model", f"there is no model {content.model!r}", hint="undercroft model list")
    adapters.refuse_alone(model, what="served")
    check_runs(content.engine, model.name, model.format)
    return model.digest


def _last_number(connection: Connection, name: str) -> int:
    """The highest number that was ever given; the journal knows those of releases that are gone."""
    subjects = connection.execute(
        select(journal_rows.c.subject).where(
            journal_rows.c.action == "release.create", journal_rows.c.subject.startswith(f"{name}@", autoescape=True)
        )
    ).scalars()
    return max((int(subject.rpartition("@")[2]) for subject in subjects), default=0)


def _read(row: Row[Any]) -> Release:
    return Release(
        name=row.name,
        number=row.number,
        content=ReleaseContent.model_validate(row.content),
        digest=row.digest,
        model_digest=row.model_digest,
        created_at=row.created_at,
        actor=row.actor,
        reason=row.reason,
    )
