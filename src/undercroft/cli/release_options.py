"""What people type for releases and promotions, and what it means. No printing."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from undercroft.catalog.engines import ATTACHED
from undercroft.cli.adapter_options import changed_adapters
from undercroft.cli.encoding import typed
from undercroft.core.clock import parse_period
from undercroft.core.errors import InvalidError
from undercroft.core.yaml_places import read_with_places
from undercroft.registry.releases.content import ReleaseContent, check_content
from undercroft.registry.releases.files import read_file, read_prompt
from undercroft.registry.releases.problems import field_problems
from undercroft.registry.releases.references import ReleaseReference, parse_release
from undercroft.serving.promotions import Plan
from undercroft.serving.releasing import check_plan
from undercroft.watch.promotion.judging import Rules

_SAMPLING_NAME = re.compile(r"\s*([A-Za-z_]+)\s*=\s*")
_SAMPLING_PLAIN = re.compile(r"[^,]*")
_SAMPLING_END = re.compile(r"\s*(,|$)")
# Without the sign only what cannot be meant as a number of percent.
_SHARE = re.compile(r"(?P<percent>[0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%|(?P<ratio>0\.[0-9]{1,8})")
_NONE = ("", "none", "null")
# What belongs to one engine and makes no sense on another.
_OF_EXTERNAL = ("url", "upstream_model", "key_file", "ca_file")

Reference = Annotated[str, typer.Argument(metavar="NAME@N", help="A release: NAME@7, NAME:tag, or NAME.")]
Model = Annotated[str | None, typer.Option("--model", help="A registered model; not for --engine external.")]
PromptFile = Annotated[
    Path | None,
    typer.Option(
        "--prompt", metavar="FILE", help="System prompt as .txt or .md; .yaml has examples and variables, too."
    ),
]
System = Annotated[
    str | None, typer.Option("--system", metavar="TEXT", callback=typed, help="The system prompt; empty: none.")
]
Engine = Annotated[
    str | None,
    typer.Option("--engine", help="As in `engine list`; default: by the model's format."),
]
Url = Annotated[str | None, typer.Option("--url", help="Base URL of an external engine, without /v1.")]
UpstreamModel = Annotated[
    str | None, typer.Option("--upstream-model", help="What the external engine calls the model.")
]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="File with the external engine's key.")]
CaFile = Annotated[
    Path | None, typer.Option("--ca-file", help="Certificates that the external engine is trusted by, PEM.")
]
SamplingText = Annotated[
    list[str] | None,
    typer.Option(
        "--sampling",
        metavar="NAME=VALUE,…",
        callback=lambda given: [typed(one) for one in given or ()],
        help='temperature=0,max_tokens=200,stop="\\n": for what a request leaves open; none takes one away.',
    ),
]
Context = Annotated[
    int | None, typer.Option("--context", min=0, help="Tokens of one request; 0: as the deployment says.")
]
Slots = Annotated[
    int | None, typer.Option("--slots", min=0, help="Requests that a replica computes at once; 0: the same.")
]
CacheType = Annotated[str | None, typer.Option("--cache-type", help="Keys and values as f16, q8_0 or q4_0.")]
Dtype = Annotated[str | None, typer.Option("--dtype", help="vllm: auto, float16, bfloat16 or float32.")]
Task = Annotated[str | None, typer.Option("--task", help="generate, embed, rerank, classify; default: the model's.")]
MayShrink = Annotated[
    bool | None,
    typer.Option("--may-shrink/--no-may-shrink", help="Out of memory all the same: halve the context once."),
]
From = Annotated[str | None, typer.Option("--from", metavar="NAME@N", help="Begin with what that release is made of.")]
Canary = Annotated[
    str | None, typer.Option("--canary", metavar="10%", help="Share of the users that it answers while it is tried.")
]
Shadow = Annotated[
    bool, typer.Option("--shadow", help="It gets copies of requests while it is tried; nobody sees its answers.")
]
Hold = Annotated[str | None, typer.Option("--hold", metavar="2h", help="Least time that it is tried: 30m, 2h, 1d.")]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="YAML: how much worse it may be; see the guide.")
]
NoProbes = Annotated[bool, typer.Option("--no-probes", help="Do not ask the standard questions first.")]
MayReplace = Annotated[
    bool,
    typer.Option("--replace/--no-replace", help="Where there is no memory for both, stop what is in production first."),
]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Follow it until it has ended.")]


@dataclass(frozen=True, slots=True)
class Given:
    """What was given of a release; what is None was not.

    Args:
        model: A registered model.
        engine: Its name.
        settings: Setting → value; 0 takes a number away.
        prompt: What its file says, or the system prompt alone.
        is_whole_prompt: Whether examples and variables are given with it.
        sampling: Name → value; None takes it away.
        adapters: What each is called → the registered adapter.
        removed_adapters: Names of those that go.
    """

    model: str | None
    engine: str | None
    settings: Mapping[str, Any]
    prompt: Mapping[str, Any] | None
    is_whole_prompt: bool
    sampling: Mapping[str, Any]
    adapters: Mapping[str, str] = field(default_factory=dict)
    removed_adapters: Sequence[str] = ()


def given_prompt(file: Path | None, system: str | None) -> tuple[Mapping[str, Any] | None, bool]:
    """The prompt that was given, and whether it is all of one.

    Raises:
        InvalidError: Both were given, or the file is wrong.
    """
    if file is not None and system is not None:
        raise InvalidError("two-prompts", "expected --prompt or --system, got both", hint="give one of them")
    if file is not None:
        return read_prompt(file), file.suffix.lower() in (".yaml", ".yml")
    return ({"system": system} if system is not None else None), False


def content_from(base: ReleaseContent | None, given: Given) -> ReleaseContent:
    """What a release is made of: what it begins with, and the changes.

    Args:
        base: What it begins with; None with nothing.
        given: What was given.

    Raises:
        InvalidError: ``bad-release``.
        NotFoundError: An adapter that is to go is not there.
    """
    plain = base.to_dict() if base is not None else {}
    engine = given.engine or plain.get("engine", "llama.cpp")
    settings = {**plain.get("settings", {}), **given.settings}
    model = given.model if given.model is not None else plain.get("model")
    if engine in ATTACHED:
        model = given.model
    elif base is not None and base.engine in ATTACHED:
        settings = {
            name: value for name, value in settings.items() if name not in _OF_EXTERNAL or name in given.settings
        }
    before = {name: adapter["model"] for name, adapter in plain.get("adapters", {}).items()}
    values = {
        "engine": engine,
        "model": model,
        "adapters": changed_adapters(before, given.adapters, given.removed_adapters, of="the release"),
        "settings": {name: value for name, value in settings.items() if value != 0 or isinstance(value, bool)},
        "prompt": _prompt_from(plain.get("prompt"), given),
        "sampling": {**plain.get("sampling", {}), **given.sampling},
    }
    return check_content({name: value for name, value in values.items() if value is not None})


def _prompt_from(base: Mapping[str, Any] | None, given: Given) -> Mapping[str, Any] | None:
    if given.prompt is None or given.is_whole_prompt:
        return given.prompt or base
    changed = {**(base or {}), **given.prompt}
    if not changed["system"]:
        del changed["system"]
    return changed if changed.get("system") or changed.get("examples") else None


def parse_sampling(texts: Sequence[str]) -> dict[str, Any]:
    """Reads ``temperature=0,stop="\\n"``.

    A value is a number, a text, or JSON where it begins with ``"`` or ``[``; ``none`` is None. ``stop`` may come
    several times.

    Raises:
        InvalidError: ``bad-sampling``.
    """
    found: dict[str, Any] = {}
    for text in texts:
        place = 0
        while place < len(text):
            name = _SAMPLING_NAME.match(text, place)
            if name is None:
                raise _bad_sampling(text[place:])
            value, place = _value(text, name.end())
            if name[1] == "stop" and value is not None:
                value = [*(found.get("stop") or ()), *(value if isinstance(value, list) else [value])]
            elif name[1] in found:
                raise InvalidError("bad-sampling", f"--sampling: {name[1]} stands twice")
            found[name[1]] = value
    return found


def _value(text: str, place: int) -> tuple[Any, int]:
    """A value, and where the next name begins."""
    if text[place : place + 1] in ('"', "["):
        try:
            value, end = json.JSONDecoder().raw_decode(text, place)
        except ValueError as error:
            raise _bad_sampling(text[place:]) from error
        rest = _SAMPLING_END.match(text, end)
        if rest is None:
            raise _bad_sampling(text[end:])
        return value, rest.end()
    plain = _SAMPLING_PLAIN.match(text, place)
    assert plain is not None  # it matches nothing, too
    word = plain[0].strip()
    return (None if word.lower() in _NONE else _number(word)), plain.end() + 1


def _number(word: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _bad_sampling(text: str) -> InvalidError:
    return InvalidError(
        "bad-sampling",
        f"--sampling: expected NAME=VALUE, got {text[:60]!r}",
        hint="--sampling 'temperature=0,max_tokens=200,stop=\"\\n\"'",
    )


def plan_from(
    *, canary: str | None, shadow: bool, hold: str | None, rules: Path | None, no_probes: bool, may_replace: bool
) -> Plan:
    """How a candidate is to be tried.

    Raises:
        InvalidError: An option cannot be read, or makes no sense without another.
        NotFoundError: There is no such file of rules.
        UnavailableError: It cannot be read.
    """
    ratio = parse_share(canary) if canary is not None else 0.0
    hold_seconds = parse_hold(hold) if hold is not None else 0.0
    plan = Plan(
        canary_ratio=ratio,
        is_shadow=shadow,
        hold_seconds=hold_seconds,
        has_probes=not no_probes,
        may_replace=may_replace,
        rules=read_rules(rules) if rules is not None else {},
    )
    check_plan(plan)
    return plan


def parse_share(text: str) -> float:
    """``10%`` or ``0.1`` as a ratio above 0, at most 1.

    Raises:
        InvalidError: ``bad-share``.
    """
    match = _SHARE.fullmatch(text.strip())
    share = 0.0
    if match is not None:
        share = float(match["percent"]) / 100 if match["percent"] else float(match["ratio"])
    if not 0 < share <= 1:
        raise InvalidError("bad-share", f"--canary: expected a share such as 10% or 0.1, got {text[:40]!r}")
    return share


def parse_hold(text: str) -> float:
    """``30m``, ``2h``, ``1d`` in seconds, up to a year.

    Raises:
        InvalidError: ``bad-period``.
    """
    period = parse_period(text)
    if period is None or not 0 < period.total_seconds() <= 31_536_000:
        raise InvalidError("bad-period", f"--hold: expected a time such as 30m, 2h or 1d, got {text[:40]!r}")
    return period.total_seconds()


def read_rules(path: Path) -> dict[str, Any]:
    """The rules of a file, as they stand there.

    Raises:
        InvalidError: ``bad-rules``: every problem with its line.
        NotFoundError: There is no such file.
        UnavailableError: It cannot be read.
    """
    raw = read_file(path)
    try:
        document, places = read_with_places(raw)
        return Rules.model_validate(document or {}).model_dump(mode="json", exclude_defaults=True)
    except ValidationError as error:
        problems = field_problems(error, sorted(Rules.model_fields), line_of=places.line_of)
    except ValueError as error:
        problems = [str(error)]
    listed = "\n".join(f"  - {problem}" for problem in problems)
    raise InvalidError("bad-rules", f"{path} has problems:\n{listed}", hint="its form is in docs/guide/releases.md")


def wanted_release(text: str) -> ReleaseReference:
    """A release as it was typed."""
    return parse_release(typed(text) or "")
