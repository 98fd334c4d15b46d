"""What serves a name just now, in a word that changes when it does; and what its release asks of a question."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from sqlalchemy import Connection

from undercroft.core.errors import NotFoundError
from undercroft.registry import models
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ReleaseContent
from undercroft.registry.releases.references import ReleaseReference, parse_release
from undercroft.serving import deployments
from undercroft.serving.adapters import names_taken


def answer_limit(connection: Connection, name: str) -> int | None:
    """Most tokens of an answer by the release that serves a name; None where it sets none.

    Args:
        connection: To read.
        name: As `served_release` takes it.
    """
    content = _content(connection, name)
    return content.sampling.max_tokens if content is not None else None


def prompt_variables(connection: Connection, name: str) -> dict[str, str | None]:
    """Variables of the prompt that serves a name: each with its own value, None where a request has to give one.

    Args:
        connection: To read.
        name: As `served_release` takes it.
    """
    content = _content(connection, name)
    return dict(content.prompt.variables) if content is not None and content.prompt is not None else {}


def served_release(connection: Connection, name: str) -> str:
    """``ticket-pilot@7`` where a release is in production; else the deployment and a digest of its model and settings.

    Where there is no such deployment it is the name alone.

    Args:
        connection: To read.
        name: The deployment or adapter, or a release as requests name it: ``NAME@7``, ``NAME:canary``.

    Returns:
        The same as long as the same files are served with the same settings; the memory's priority and how many
        replicas there are do not count.
    """
    asked = parse_release(name)
    reference = _of_base(connection, asked)
    number = _number(connection, reference)
    if number is not None:
        return f"{asked.name}@{number}"
    try:
        deployment = deployments.get(connection, reference.name)
        model = models.get(connection, deployment.model) if deployment.model else None
    except NotFoundError:
        return name
    settings = deployment.settings.model_dump(
        mode="json", exclude={"priority", "is_pinned", "load", "idle_unload_seconds", "memory_limit_bytes"}
    )
    if not settings["adapters"]:
        del settings["adapters"]  # as it was before there were any
    plain = {"engine": deployment.engine, "model": model.digest if model else None, "settings": settings}
    digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
    return f"{name}@{digest[:8]}"


def _of_base(connection: Connection, reference: ReleaseReference) -> ReleaseReference:
    """What a name that is an adapter's asks of its base."""
    base = names_taken(connection).adapters.get(reference.name)
    return reference if base is None else replace(reference, name=base)


def _content(connection: Connection, name: str) -> ReleaseContent | None:
    reference = _of_base(connection, parse_release(name))
    number = _number(connection, reference)
    try:
        return store.get(connection, reference.name, number).content if number is not None else None
    except NotFoundError:
        return None


def _number(connection: Connection, reference: ReleaseReference) -> int | None:
    return reference.number or store.tags_of(connection, reference.name).get(reference.tag or "production")
