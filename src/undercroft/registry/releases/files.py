"""Releases as files that people keep in git: YAML with a name and what the release is made of, prompts beside it."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError, UndercroftError
from undercroft.core.ids import check_name
from undercroft.core.yaml_places import Places, read_all_with_places, read_with_places
from undercroft.registry.releases.content import FIELD_NAMES, ReleaseContent
from undercroft.registry.releases.problems import Step, field_problems
from undercroft.registry.releases.prompts import Prompt

_LIMIT_BYTES = 4 * 1024 * 1024
_TEXT_ENDINGS, _YAML_ENDINGS = (".txt", ".md"), (".yaml", ".yml")
_HINT = "correct the file; its form is in docs/guide/releases.md"


@dataclass(frozen=True, slots=True)
class WrittenRelease:
    """A release as a file describes it.

    Args:
        name: What it serves.
        content: What it is made of.
        line: Where it begins in its file.
    """

    name: str
    content: ReleaseContent
    line: int


def read_releases(path: Path) -> list[WrittenRelease]:
    """What a file describes: one release, several documents, or a list below ``releases``.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-release-file``: every problem with its line.
    """
    try:
        documents = read_all_with_places(read_file(path))
    except ValueError as error:
        raise _bad(path, [str(error)]) from error
    written: list[WrittenRelease] = []
    problems: list[str] = []
    for document, places in documents:
        for place, values in _parts(document):
            line = places.line_of(place)
            found = _read_one(path, values, places, place, problems)
            if found is not None and found[0] in {one.name for one in written}:
                problems.append(f"line {line}: name: {found[0]!r} stands twice")
            elif found is not None:
                written.append(WrittenRelease(*found, line))
    if not written and not problems:
        problems.append("line 1: expected a release with its name, found nothing")
    if problems:
        raise _bad(path, problems)
    return written


def _parts(document: Any) -> list[tuple[tuple[Step, ...], Any]]:
    """The releases of a document, each with its place."""
    if document is None:
        return []
    if isinstance(document, dict) and set(document) == {"releases"} and isinstance(document["releases"], list):
        return [(("releases", index), values) for index, values in enumerate(document["releases"])]
    return [((), document)]


def _read_one(
    path: Path, values: Any, places: Places, place: tuple[Step, ...], problems: list[str]
) -> tuple[str, ReleaseContent] | None:
    def said(problem: str, *steps: Step) -> None:
        problems.append(f"line {places.line_of([*place, *steps])}: {problem}")

    if not isinstance(values, dict):
        said(f"expected a mapping with a name, got {str(values)[:60]!r}")
        return None
    content = {key: value for key, value in values.items() if key != "name"}
    before = len(problems)
    try:
        check_name(name := values.get("name", ""), what="release")
    except InvalidError as error:
        said(f"name: {error.message}" if name else "name: is missing", "name")
    except TypeError:
        said(f"name: expected a text, got {values['name']!r}", "name")
    try:
        if "prompt" in content:
            content["prompt"] = _with_file(path.parent, content["prompt"])
    except (ValueError, UndercroftError) as error:
        said(f"prompt.file: {error.message if isinstance(error, UndercroftError) else error}", "prompt", "file")
        del content["prompt"]
    try:
        checked = ReleaseContent.model_validate(content)
    except ValidationError as error:
        problems += field_problems(error, [*FIELD_NAMES, "name", "file"], line_of=places.line_of, within=place)
        return None
    return (name, checked) if len(problems) == before else None


def _with_file(folder: Path, prompt: Any) -> Any:
    """A prompt with the text of the file that it names.

    Raises:
        ValueError: The file lies outside of the folder, is none of ours, or stands beside what it would say itself.
    """
    if not isinstance(prompt, dict) or "file" not in prompt:
        return prompt
    rest = {key: value for key, value in prompt.items() if key != "file"}
    if not isinstance(prompt["file"], str) or not prompt["file"]:
        raise ValueError(f"expected the name of a file, got {prompt['file']!r}")
    file = folder / prompt["file"]
    try:
        is_inside = file.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # links that lead to each other
        is_inside = False
    if not is_inside:
        raise ValueError(f"{prompt['file'][:120]!r} lies outside of the folder of the release's file")
    read = read_prompt(file)
    own = rest if file.suffix.lower() in _YAML_ENDINGS else set(rest) & set(read)
    if own:
        raise ValueError(f"{', '.join(sorted(map(str, own)))} cannot stand beside it: {file.name} says that itself")
    return {**rest, **read}


def read_prompt(path: Path) -> dict[str, Any]:
    """What a prompt's file says.

    Args:
        path: ``.txt`` and ``.md`` are the system prompt as it stands, without the line break at the end; ``.yaml`` and
            ``.yml`` are a `Prompt`.

    Raises:
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
        InvalidError: ``bad-prompt-file``.
    """
    ending = path.suffix.lower()
    if ending not in (*_TEXT_ENDINGS, *_YAML_ENDINGS):
        raise InvalidError(
            "bad-prompt-file",
            f"expected a prompt in a .txt, .md, .yaml or .yml file, got {str(path)[-120:]!r}",
            hint="a .txt or .md file is the system prompt as it stands",
        )
    raw = read_file(path)
    if ending in _TEXT_ENDINGS:
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise InvalidError("bad-prompt-file", f"{path} is no text in UTF-8: {error.reason}", hint=_HINT) from error
        if not text.strip():
            raise InvalidError("bad-prompt-file", f"{path} holds no text", hint=_HINT)
        return {"system": text.removesuffix("\n").removesuffix("\r")}
    try:
        document, places = read_with_places(raw)
    except ValueError as error:
        raise _bad(path, [str(error)], "bad-prompt-file") from error
    try:
        return Prompt.model_validate(document).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        found = field_problems(error, FIELD_NAMES, line_of=places.line_of)
        raise _bad(path, found, "bad-prompt-file") from error


def release_yaml(name: str, content: ReleaseContent) -> str:
    """What `read_releases` would read as this release."""
    return yaml.dump(
        {"name": name, **content.to_dict()}, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )


class _Dumper(yaml.SafeDumper):
    """Texts of several lines stand as they are."""


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # White space at either end is only plain to the eye between quotation marks.
    is_plain = "\n" in text and not text[0].isspace() and not text.removesuffix("\n")[-1:].isspace()
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if is_plain else None)


_Dumper.add_representer(str, _text)


def read_file(path: Path) -> bytes:
    """The content of a file that a person wrote.

    Raises:
        NotFoundError: There is none.
        UnavailableError: It cannot be read.
        InvalidError: It is no file, or larger than 4 MiB.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InvalidError("no-plain-file", f"expected a file, and {path} is a folder or a device")
        with path.open("rb") as file:
            raw = file.read(_LIMIT_BYTES + 1)
    except FileNotFoundError as error:
        raise NotFoundError("no-such-file", f"there is no file {path}") from error
    except OSError as error:
        raise UnavailableError("file-unreadable", f"cannot read {path}: {error.strerror}") from error
    if len(raw) > _LIMIT_BYTES:
        raise InvalidError("file-too-large", f"{path} is larger than the {_LIMIT_BYTES:,} bytes that it may have")
    return raw


def _bad(path: Path, problems: Sequence[str], code: str = "bad-release-file") -> InvalidError:
    listed = "\n".join(f"  - {problem}" for problem in problems[:50])
    return InvalidError(code, f"{path} has problems:\n{listed}", hint=_HINT)
