"""What people type for adapters of a deployment or release, and which registered adapters that means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from undercroft.cli.actor import current_actor
from undercroft.cli.opening import settings_of
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.core.ids import check_name, name_from
from undercroft.registry.adapters import find_adapter
from undercroft.storage.database import Database

Adapters = Annotated[
    list[str] | None,
    typer.Option(
        "--adapter",
        metavar="NAME[=MODEL]",
        help="A LoRA to serve beside the model, asked for as NAME. MODEL: its registered name, digest or file. Repeat.",
    ),
]
RemovedAdapters = Annotated[
    list[str] | None, typer.Option("--remove-adapter", metavar="NAME", help="Serve it no longer. Repeat.")
]


def given_adapters(
    home: Home, database: Database, texts: Sequence[str], *, base: str | None, accepts_licence: bool, reason: str | None
) -> dict[str, str]:
    """What each adapter is called, and the registered adapter that it is. A file is registered by this.

    Args:
        texts: As typed: ``NAME``, ``NAME=MODEL``, ``NAME=sha256:…``, ``NAME=FILE`` or ``FILE``.
        base: The registered model beside which they are to be served.
        accepts_licence: Whether what a licence asks is accepted.
        reason: Why, for the journal.

    Raises:
        InvalidError: A text cannot be read, a name stands twice, or something is no adapter, or none of that base.
        NotFoundError: There is no such adapter or file.
        RefusedError: The licence of a file does not cover the use.
        ConflictError: A file's name belongs to another model.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, sign, wanted = text.partition("=")
        if not sign:
            name, wanted = (name_from(Path(text).stem), text) if _is_path(text) else (text, text)
        check_name(name, what="adapter")
        if name in found:
            raise InvalidError("adapter-twice", f"--adapter {name} stands twice", hint="give each a name of its own")
        if _is_path(wanted):
            found[name] = _register(home, database, Path(wanted), name, base, accepts_licence, reason)
        else:
            with database.read() as connection:
                found[name] = find_adapter(connection, wanted).name
    return found


def changed_adapters(
    before: Mapping[str, str], added: Mapping[str, str], removed: Sequence[str], *, of: str
) -> dict[str, str]:
    """The adapters of a deployment or release after a change.

    Args:
        before: Those that it has.
        added: What comes, or takes the place of what has its name.
        removed: Names that go.
        of: What to call the deployment or release in errors.

    Raises:
        NotFoundError: One that is to go is not there.
    """
    unknown = [name for name in removed if name not in before]
    if unknown:
        known = ", ".join(sorted(before)) or "none"
        raise NotFoundError("no-such-adapter", f"{of} has no adapter {unknown[0]!r}; it has {known}")
    return {**{name: model for name, model in before.items() if name not in removed}, **added}


def _is_path(text: str) -> bool:
    return "/" in text or text.lower().endswith(".gguf")


def _register(
    home: Home, database: Database, file: Path, name: str, base: str | None, accepts_licence: bool, reason: str | None
) -> str:
    from undercroft.registry.pulling import pull  # noqa: PLC0415  (the hub's client costs 150 ms)

    arrival = pull(
        database,
        home,
        str(file.absolute()),
        settings=settings_of(home).registry,
        name=name,
        actor=current_actor(),
        reason=reason,
        accepts_licence=accepts_licence,
        base=base,
    )
    with database.read() as connection:
        return find_adapter(connection, arrival.model.name).name
