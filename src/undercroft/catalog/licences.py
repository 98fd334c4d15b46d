"""What a licence permits, in facts with their section, and whether it covers a declared use. Not legal advice.

The facts are in ``licences.yaml`` beside this module; ``licences.yaml`` of a user's catalogue folder adds to them.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from undercroft.catalog.uses import PURPOSES, Purpose
from undercroft.catalog.yaml_files import bad_catalogue, problems_of, read_mapping
from undercroft.core.errors import NotFoundError
from undercroft.core.forms import of_form

Grant = Literal["allowed", "conditional", "refused"]
DutyKind = Literal["naming", "derivative-naming", "attribution", "pass-on", "copyleft"]

_FILE = Path(__file__).parent / "licences.yaml"
_LOOKED_AT_CHARACTERS = 20_000
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
UNKNOWN = "unknown"
# What cards write where they name no licence.
_SAYS_NOTHING = {"", UNKNOWN, "other", "none", "custom", "unlicensed", "unknown-license"}
# Written between licences that all hold, as in an SPDX expression.
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)


class _Facts(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Limit(_Facts):
    """What one may not do, or not yet.

    Args:
        what: In a sentence.
        section: Where it stands in the licence.
    """

    what: Annotated[str, Field(min_length=1)]
    section: Annotated[str, Field(min_length=1)]

    def __str__(self) -> str:
        return f"{self.what.removesuffix('.')} ({self.section})."


class Duty(Limit):
    """What one has to do.

    Args:
        kind: What it is about.
    """

    kind: DutyKind


class Licence(_Facts):
    """One licence.

    Args:
        id: ``apache-2.0``, ``llama3.2``; as hubs and model cards write it.
        name: In full.
        version: Its version or date.
        url: Where its text stands.
        grants: What it says to each purpose.
        needs_acceptance: Who uses the model agrees to a contract by it.
        users_cap: Monthly active users of all products up to which it holds; None for any number.
        users_cap_section: Where that stands.
        limits: What is not permitted.
        duties: What has to be done.
        texts: Phrases by which its full text is known.
        aliases: Further ids for it.
    """

    id: str
    name: Annotated[str, Field(min_length=1)]
    version: str
    url: Annotated[str, of_form(r"https?://\S+", "an address such as https://example.org/licence")]
    grants: dict[Purpose, Grant]
    needs_acceptance: bool = False
    users_cap: Annotated[int, Field(ge=1)] | None = None
    users_cap_section: str = ""
    limits: tuple[Limit, ...] = ()
    duties: tuple[Duty, ...] = ()
    texts: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON: the facts, without what only serves to recognise it."""
        return self.model_dump(exclude={"texts", "aliases"})


class Licences:
    """All licences that are known.

    Args:
        licences: By id.
    """

    def __init__(self, licences: Mapping[str, Licence]) -> None:
        self._by_id = dict(licences)
        self._ids = {alias: licence.id for licence in licences.values() for alias in licence.aliases}
        self._phrases = [(_flat(text), licence.id) for licence in licences.values() for text in licence.texts]

    def all(self) -> list[Licence]:
        """Every licence by id."""
        return [self._by_id[licence_id] for licence_id in sorted(self._by_id)]

    def get(self, written: str) -> Licence | None:
        """The licence that a card, a file or a person names; None where it is not known."""
        key = licence_key(written)
        return self._by_id.get(self._ids.get(key, key))

    def find(self, written: str) -> Licence:
        """`get`, for a name that has to be known.

        Raises:
            NotFoundError: ``no-such-licence``.
        """
        found = self.get(written)
        if found is None:
            raise NotFoundError(
                "no-such-licence", f"there are no facts of a licence {written[:80]!r}", hint="undercroft licence list"
            )
        return found

    def of_text(self, text: str) -> str | None:
        """The id of a licence's full text; None where it is not one of the well-known. Nothing is guessed."""
        flat = _flat(text[:_LOOKED_AT_CHARACTERS])
        return next((licence_id for phrase, licence_id in self._phrases if phrase in flat), None)


def licence_key(written: str) -> str:
    """What of a written licence counts: ``Apache License 2.0`` and ``apache-license-2.0`` are one; empty for none."""
    key = re.sub(r"[\s_-]+", "-", written.strip().lower().replace(",", " ")).strip("-")
    key = key.removeprefix("the-").removesuffix("-agreement")
    return "" if key in _SAYS_NOTHING else key


def licences_in(written: str) -> list[str]:
    """The licences that a text names: ``apache-2.0 AND cc-by-nc-4.0`` names two; empty where it names none."""
    return [part.strip() for part in _AND.split(written) if licence_key(part)]


def together(written: Iterable[str | None]) -> str | None:
    """What several sources say of one model's licence, as one text: each licence once, joined by ``AND``.

    Sources that contradict each other are not weighed: every licence that one of them names has to cover the use, so
    the strictest decides.

    Args:
        written: As each source names it; None and ``unknown`` where one names none.

    Returns:
        None where none of them names a licence.
    """
    known = load_licences()
    named: dict[str, str] = {}
    for text in (part for given in written if given for part in licences_in(given)):
        found = known.get(text)
        named.setdefault(found.id if found is not None else licence_key(text), text)
    return " AND ".join(named.values()) or None


def load_licences(folder: Path | None = None) -> Licences:
    """The licences that come with Undercroft, and a user's own.

    Args:
        folder: Where the user's ``licences.yaml`` lies; an entry there goes before ours of the same id. None for none.

    Raises:
        InvalidError: ``bad-catalogue``.
    """
    known = _built_in()
    own = folder / "licences.yaml" if folder is not None else None
    if own is None or not own.is_file():
        return Licences(known)
    return Licences({**read_licences(own), **{k: v for k, v in known.items() if k not in read_mapping(own)}})


@functools.cache
def _built_in() -> dict[str, Licence]:
    return read_licences(_FILE)


def read_licences(path: Path) -> dict[str, Licence]:
    """The licences of one file, in its order.

    Raises:
        InvalidError: ``bad-catalogue``.
    """
    found: dict[str, Licence] = {}
    problems: list[str] = []
    for key, values in read_mapping(path).items():
        if not _ID.fullmatch(key):
            problems.append(f"{key[:80]}: expected an id of lower-case letters, digits, '.' and '-'")
        elif not isinstance(values, dict):
            problems.append(f"{key}: expected a mapping")
        else:
            try:
                found[key] = Licence.model_validate({**values, "id": key, "version": str(values.get("version", ""))})
            except ValidationError as error:
                problems += problems_of(error, key)
                continue
            missing = [purpose for purpose in PURPOSES if purpose not in found[key].grants]
            problems += [f"{key}: grants.{purpose}: is missing" for purpose in missing]
    if problems:
        raise bad_catalogue(path, problems)
    return found


def licence_of_text(text: str) -> str | None:
    """The id of a licence's full text, in lower case; None where it is not one of the well-known."""
    return load_licences().of_text(text)


def _flat(text: str) -> str:
    return re.sub(r"[\s,*#_]+", " ", text).lower()
