"""Which release a request means, and what it puts before and around the request: prompt and sampling."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from undercroft.gateway.door.dispatch import Dispatcher
from undercroft.gateway.errors import DoorError, invalid
from undercroft.registry.releases.prompts import leading_messages
from undercroft.registry.releases.references import base_name
from undercroft.serving.snapshot import NameEntry, ReleaseEntry

_SYSTEM_ROLES = ("system", "developer")
_LISTED_RELEASES = 5


def find_release(
    dispatcher: Dispatcher, data: Mapping[str, Any], key_id: str, *, is_spared: bool = False
) -> tuple[str, ReleaseEntry | None]:
    """The name that a request asks for, and the release that answers it; None where the name has no releases.

    Args:
        data: The request: ``model``, and what says whose it is.
        key_id: Of its key.
        is_spared: The candidate that is being tried has failed this request, which is not sent to it again.

    Raises:
        DoorError: 404; the name has no such release or tag.
    """
    model: str = data["model"]
    name = base_name(model)
    named = dispatcher.names.get(name)
    if named is None:
        return model, None
    if model == name:
        number = named.live
        is_asked = not is_spared and not named.is_shadow and _can_answer(dispatcher, named)
        if is_asked and _share_of(data, key_id, named) < named.canary_ratio:
            number = named.canary
        return name, named.releases[number] if number is not None else None
    wanted = model[len(name) + 1 :]
    if model[len(name)] == ":":
        number = named.tags.get(wanted)
    else:
        number = int(wanted) if wanted.isascii() and wanted.isdigit() and len(wanted) < 10 else None
    if number is None or number not in named.releases:
        raise DoorError(
            404,
            "model_not_found",
            f"there is no release '{model[:80]}'. There are {_listed(named)}; undercroft release list {name} shows all",
            param="model",
        )
    return name, named.releases[number]


def _listed(named: NameEntry) -> str:
    """The newest numbers of a name, and its tags."""
    numbers = sorted(named.releases, reverse=True)[:_LISTED_RELEASES]
    answering = [f"'{named.name}@{number}'" for number in numbers]
    return ", ".join([*answering, *(f"'{named.name}:{tag}'" for tag in sorted(named.tags))])


def _can_answer(dispatcher: Dispatcher, named: NameEntry) -> bool:
    """Whether there is a candidate that users may be sent to; nobody waits for one whose engine is starting again."""
    if named.canary is None:
        return False
    deployment = dispatcher.deployments.get(named.releases[named.canary].deployment)
    return deployment is None or deployment.entry.state == "ready"


def _share_of(data: Mapping[str, Any], key_id: str, named: NameEntry) -> float:
    """Where between 0 and 1 a user stands, the same for every request of theirs during one promotion.

    A request that names no user is taken for one of its conversation's, so that a conversation stays with one release.
    """
    whose = data.get("user") or data.get("safety_identifier") or _opening(data)
    digest = hashlib.blake2b(f"{named.salt}\0{key_id}\0{whose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _opening(data: Mapping[str, Any]) -> str:
    """The first thing that a user said; the same in every turn of a conversation."""
    said = data.get("input") or data.get("prompt") or ""
    for message in data.get("messages") or (said if type(said) is list else ()):
        if type(message) is dict and message.get("role") == "user":
            return str(message.get("content"))
    return str(said)


def with_release(data: dict[str, Any], release: ReleaseEntry | None) -> dict[str, Any]:
    """A checked chat or completion request as the engine gets it; ``data`` itself where a release adds nothing.

    Raises:
        DoorError: 400; the prompt refuses what the request brings, or lacks a value.
    """
    given = data.get("prompt_variables")
    changed = {name: value for name, value in data.items() if name != "prompt_variables"} if given is not None else data
    if given and (release is None or release.prompt is None):
        raise invalid("prompt_variables: the model has no prompt with variables", "prompt_variables")
    if release is None:
        return changed
    if release.prompt is not None and "messages" in data:
        changed = {**changed, "messages": _with_prompt(release.prompt, data["messages"], given or {})}
    elif given:
        raise invalid("prompt_variables: only a chat has a prompt", "prompt_variables")
    limit = release.sampling.get("max_tokens")
    is_limited = data.get("max_tokens") is not None or data.get("max_completion_tokens") is not None
    added = {
        name: value
        for name, value in release.sampling.items()
        if data.get(name) is None and not (name == "max_tokens" and (is_limited or limit is None))
    }
    return {**changed, **added} if added else changed


def _with_prompt(
    prompt: Mapping[str, Any], messages: list[dict[str, Any]], given: Mapping[str, str]
) -> list[dict[str, Any]]:
    try:
        leading: list[dict[str, Any]] = list(leading_messages(prompt, given))
    except ValueError as error:
        raise invalid(f"prompt_variables: {error}", "prompt_variables") from error
    if not prompt.get("system"):
        return _behind_system(leading, messages)
    own = [message for message in messages if message["role"] in _SYSTEM_ROLES]
    rest = [message for message in messages if message["role"] not in _SYSTEM_ROLES]
    if own and prompt["client_system"] == "refuse":
        raise invalid("messages: this model brings its own system prompt and takes no other", "messages")
    if own and prompt["client_system"] == "append":
        texts = [leading[0]["content"], *(_text(message["content"]) for message in own)]
        leading[0] = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [*leading, *rest]


def _behind_system(leading: list[dict[str, Any]], messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Example turns stand after the request's own system prompt."""
    count = next((i for i, message in enumerate(messages) if message["role"] not in _SYSTEM_ROLES), len(messages))
    return [*messages[:count], *leading, *messages[count:]]


def _text(content: str | list[dict[str, Any]]) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
