"""Adapters of deployments: which there are, what they may be called at the door, and that each fits its base.

An adapter is a model name of its own: clients ask for it like for a deployment. So a name means one thing only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, select

from undercroft.core.errors import ConflictError, InvalidError
from undercroft.core.home import Home
from undercroft.core.ids import check_name
from undercroft.engines.contract import Adapter
from undercroft.registry import adapters as registry
from undercroft.registry import entries
from undercroft.registry.entries import Model
from undercroft.registry.licences import LicenceGate
from undercroft.registry.model_paths import adapter_path
from undercroft.registry.releases import store
from undercroft.registry.releases.content import ADAPTER_ENGINES, ReleaseContent
from undercroft.storage.database import Database
from undercroft.storage.tables import deployments, releases


@dataclass(frozen=True, slots=True)
class NamesTaken:
    """What clients may ask for already.

    Args:
        bases: Deployments, and names that have releases.
        adapters: Name of an adapter → the base that serves it.
    """

    bases: frozenset[str]
    adapters: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class LoadedAdapter:
    """An adapter as an engine loads it, and its entry in the registry."""

    loaded: Adapter
    model: Model


def names_taken(connection: Connection) -> NamesTaken:
    """Names of deployments and of their adapters, as wanted now: of what is in production, or without releases."""
    rows = connection.execute(select(deployments.c.name, deployments.c.settings)).all()
    tags = store.all_tags(connection)
    with_releases = set(connection.execute(select(releases.c.name).distinct()).scalars())
    served: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: str(row.name)):
        number = tags.get(row.name, {}).get("production")
        own = (
            row.settings.get("adapters", {})
            if number is None
            else store.get(connection, row.name, number).content.adapters
        )
        for adapter in own:
            served.setdefault(adapter, row.name)
    return NamesTaken(frozenset({*(row.name for row in rows), *with_releases}), served)


def check_names(connection: Connection, base: str, wanted: Iterable[str]) -> None:
    """Refuses names of adapters that clients could not tell from others.

    Args:
        base: The deployment that is to serve them.
        wanted: What they are to be called.

    Raises:
        InvalidError: One is no name.
        ConflictError: ``name-taken``.
    """
    taken = names_taken(connection)
    for name in wanted:
        check_name(name, what="adapter")
        owner = taken.adapters.get(name, base)
        if name == base or name in taken.bases:
            what = f"there is a deployment or release {name!r}"
        elif owner != base:
            what = f"the deployment {owner!r} has an adapter {name!r}"
        else:
            continue
        raise ConflictError(
            "name-taken",
            f"{base!r} cannot serve an adapter as {name!r}: {what}, and clients ask for both by that name",
            hint="give it another name: --adapter NAME=MODEL",
        )


def check_own_name(connection: Connection, name: str, model: str | None) -> None:
    """Refuses a deployment that is called as an adapter of another, or that would serve an adapter alone.

    Args:
        name: Of the deployment.
        model: That it is to serve; None for an external engine.

    Raises:
        ConflictError: ``name-taken``.
        InvalidError: ``adapter-alone``.
    """
    found = entries.find(connection, model) if model is not None else None
    if found is not None:
        registry.refuse_alone(found, what="served")
    owner = names_taken(connection).adapters.get(name)
    if owner is not None:
        raise ConflictError(
            "name-taken",
            f"the deployment {owner!r} has an adapter {name!r}, and clients ask for both by that name",
            hint="give another --name",
        )


def check_content(database: Database, home: Home, content: ReleaseContent, gate: LicenceGate) -> None:
    """`check_adapters` for what a release is made of."""
    wanted = {name: adapter.model for name, adapter in content.adapters.items()}
    check_adapters(database, home, base=content.model, engine=content.engine, wanted=wanted, gate=gate)


def check_adapters(
    database: Database,
    home: Home,
    *,
    base: str | None,
    engine: str | None,
    wanted: Mapping[str, str],
    gate: LicenceGate,
) -> None:
    """Refuses adapters that their base cannot load, or whose licence does not cover the use.

    Args:
        base: The registered model; None where there is none.
        engine: That runs it; None is the one of its format.
        wanted: What each is called → the registered adapter.
        gate: Asked for the licence of each.

    Raises:
        NotFoundError: One is not there.
        InvalidError: ``adapter-does-not-fit``, ``not-an-adapter``, or the base or its engine takes none.
        RefusedError: A licence.
    """
    if not wanted:
        return
    for name in wanted.values():
        gate.check_registered(name)
    with database.read() as connection:
        model = entries.find(connection, base) if base is not None else None
        if model is None or engine not in (None, *ADAPTER_ENGINES):
            raise InvalidError(
                "no-adapters-here",
                f"adapters need a registered model on {' or '.join(ADAPTER_ENGINES)} as their base, got "
                + (f"no model {base!r}" if model is None else f"the engine {engine!r}"),
                hint="undercroft deployment create MODEL --adapter NAME",
            )
        if model.facts.task != "generate":
            raise InvalidError(
                "no-adapters-here",
                f"model {model.name!r} is for the task {model.facts.task!r}, expected one that generates text: "
                "embeddings and ranking take no adapter by request",
                hint="merge the adapter into its base",
            )
        found = [registry.find_adapter(connection, name) for name in wanted.values()]
    for adapter in found:
        registry.check_fits(home, adapter, model)


def load_adapters(home: Home, connection: Connection, wanted: Mapping[str, str]) -> list[LoadedAdapter]:
    """What an engine is to load beside its model, in the order of names.

    Args:
        wanted: What each is called → the registered adapter.

    Raises:
        NotFoundError: One is not there any more.
        UnavailableError: A stored file is gone or was touched since it was hashed.
    """
    found = [(name, registry.find_adapter(connection, model)) for name, model in sorted(wanted.items())]
    return [LoadedAdapter(Adapter(name, adapter_path(home, connection, model)), model) for name, model in found]
