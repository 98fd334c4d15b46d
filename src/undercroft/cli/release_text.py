"""How releases and promotions are shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from undercroft.cli.output import harmless, print_table, print_wrapped
from undercroft.core.clock import utc_now
from undercroft.core.units import format_duration
from undercroft.registry.releases.differences import Difference, SideBySide
from undercroft.registry.releases.files import release_yaml
from undercroft.registry.releases.store import Release
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.storage.journal import Entry
from undercroft.watch.promotion.waiting import waiting_of

# Measures whose limit is the logarithm of a ratio; see `undercroft.watch.promotion.judging`.
_TIMES = ("first_token", "token_seconds")

_DIGEST_SHOWN = 19
_TRIAL_TOLD_SECONDS = 60.0
# What the journal calls it → what happened, for people; a time and a release stand before.
_WORDS = {
    "release.create": "was made",
    "release.tag": "got the tag",
    "release.untag": "lost the tag",
    "release.remove": "was removed",
    "release.promote": "began to be promoted",
    "release.promoted": "came into production",
    "release.reverted": "was sent back",
    "release.failed": "could not be loaded",
    "release.cancelled": "was cancelled",
    "release.rollback": "came back into production",
    "deployment.create": "was deployed",
    "deployment.change": "its deployment was changed",
    "deployment.start": "its deployment was started",
    "deployment.stop": "its deployment was stopped",
    "deployment.remove": "its deployment was removed; nothing is in production",
}
_STATES = {
    State.LOADING: "is being loaded beside what is in production",
    State.REPLACING: "is being loaded in place of what was in production",
    State.CHECKING: "is ready",
    State.CANARY: "is tried",
    State.DONE: "came into production",
    State.REVERTED: "was sent back",
    State.FAILED: "could not be loaded",
    State.CANCELLED: "was cancelled",
}


def minute(moment: str) -> str:
    """``2026-11-21 07:00`` of a time as it is stored."""
    return moment[:16].replace("T", " ")


def print_releases(found: Sequence[Release], tags: Mapping[str, Mapping[str, int]]) -> None:
    """A table of releases, the newest of each name first."""
    print_table(
        ["=release", "tags", "model", "=made (UTC)", "by", "why"],
        [
            [
                str(release),
                " ".join(tag for tag, number in tags.get(release.name, {}).items() if number == release.number),
                release.content.model or release.content.settings.url or "",
                minute(release.created_at),
                release.actor,
                harmless(release.reason or ""),
            ]
            for release in found
        ],
        empty="There is no release. Try: undercroft release create NAME --model MODEL",
    )


def release_page(release: Release, tags: Sequence[str]) -> str:
    """A release as ``release apply`` takes it, with all else that is known of it in comments."""
    lines = [
        f"# {release}: {', '.join(tags) or 'no tag'}",
        f"# made {minute(release.created_at)} UTC by {harmless(release.actor)}",
        *([f"# because: {harmless(release.reason)}"] if release.reason else []),
        f"# {release.digest}",
        *([f"# model {release.model_digest}"] if release.model_digest else []),
    ]
    return "\n".join(lines) + "\n" + release_yaml(release.name, release.content)


def print_difference(difference: Difference) -> None:
    """Settings and models side by side, the prompt as a text diff."""
    a, b = difference.a, difference.b
    if difference.is_empty:
        typer.echo(f"{a} and {b} answer alike: settings, prompt and model are the same.")
    typer.echo("settings")
    _print_side_by_side(a, b, difference.settings)
    typer.echo()
    if difference.prompt:
        typer.echo("prompt")
        print_prompt_lines(difference.prompt)
    else:
        typer.echo("prompt: the same")
    typer.echo()
    if any(row.is_different for row in difference.models):
        typer.echo("model")
        _print_side_by_side(a, b, difference.models)
        typer.echo()
    else:
        typer.echo(f"model: {'the same' if difference.models else 'neither has one of this registry'}")
    print_wrapped("quality cards: neither model has one; this version makes none.")


def print_prompt_lines(lines: Sequence[str]) -> None:
    """Lines of a text diff, indented."""
    for line in lines:
        typer.echo(f"  {harmless(line)}")


def print_settings(name: str, rows: Sequence[SideBySide]) -> None:
    """What a new release would change, beside what is there."""
    _print_side_by_side(name, "new", [row for row in rows if row.is_different], empty="  settings: the same")


def _print_side_by_side(a: str, b: str, rows: Sequence[SideBySide], *, empty: str = "  none") -> None:
    print_table(
        ["=what", a, b, "differs"],
        [[row.name, _shown(row.a), _shown(row.b), "yes" if row.is_different else ""] for row in rows],
        empty=empty,
    )


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return harmless(f"{text[:_DIGEST_SHOWN]}…" if text.startswith("sha256:") else text)


def log_line(entry: Entry) -> str:
    """When, which, what, by whom and why: one entry of the journal about a name."""
    before, after = entry.before or {}, entry.after or {}
    which, what = entry.subject, _WORDS.get(entry.action, entry.action)
    if entry.action in ("release.promoted", "release.rollback"):
        left = (before.get("tags") or {}).get("production")
        what += f" after @{left}" if left is not None else ""
    elif entry.action in ("release.tag", "release.untag"):
        name, _, tag = entry.subject.partition(":")
        which, what = f"{name}@{(after or before).get('number')}", f"{what} {tag}"
    why = f": {harmless(entry.reason)}" if entry.reason else ""
    return f"{entry.at[:19].replace('T', ' ')}  {which} {what}, by {harmless(entry.actor)}{why}"


def print_promotion(promotion: Promotion) -> None:
    """How a promotion goes or went, with its evidence."""
    candidate = f"{promotion.name}@{promotion.to_number}"
    print_wrapped(f"{candidate} {state_sentence(promotion)}", indent="  ")
    left = f"@{promotion.from_number}" if promotion.from_number is not None else "nothing"
    ended = f", ended {minute(promotion.ended_at)}" if promotion.ended_at else ""
    print_wrapped(f"  from {left}; began {minute(promotion.started_at)}{ended} UTC by {promotion.actor}", indent="    ")
    if promotion.reason:
        print_wrapped(f"  because: {harmless(promotion.reason)}", indent="    ")
    print_wrapped(f"  plan: {plan_sentence(promotion.plan)}", indent="    ")
    if waiting := waiting_of(promotion):
        print_wrapped(f"  waits: {waiting.sentence(utc_now())}", indent="    ")
    _print_evidence(promotion.evidence, promotion.plan)


def state_sentence(promotion: Promotion) -> str:
    """What is true of the candidate now: ``is tried: 12 requests so far``."""
    note = f": {harmless(promotion.note)}" if promotion.note else ""
    if promotion.state is State.CANARY:
        return f"is tried{_trial(promotion.plan)}{note}"
    if promotion.state is State.CHECKING and promotion.plan.has_probes:
        return "is ready and gets its standard questions, where there are any" + note
    if promotion.state is State.LOADING and promotion.from_number is None:
        return "is being loaded" + note
    return _STATES[promotion.state] + note


def _trial(plan: Plan) -> str:
    if plan.is_shadow:
        return " on copies of requests"
    return f" by {100 * plan.canary_ratio:g} % of the users"


def plan_sentence(plan: Plan) -> str:
    """What was asked for: ``standard questions, 10 % of the users for at least 2 h``."""
    steps = ["standard questions, where the name has any" if plan.has_probes else "no standard questions"]
    if plan.is_shadow:
        steps.append("copies of requests")
    if plan.canary_ratio and not plan.is_shadow:
        steps.append(f"{100 * plan.canary_ratio:g} % of the users")
    if plan.hold_seconds:
        steps[-1] += f" for at least {format_duration(plan.hold_seconds)}"
    if plan.rules:
        steps.append("rules: " + ", ".join(f"{name} {value}" for name, value in plan.rules.items()))
    return "; ".join(steps)


def _print_evidence(evidence: Mapping[str, Any], plan: Plan) -> None:
    probes, findings = evidence.get("probes"), evidence.get("findings")
    if probes and plan.has_probes:
        told = [f"{who} {probes[who]:.2f}" for who in ("candidate", "production") if probes.get(who) is not None]
        told = [", ".join(told) or "none were asked"]
        told += [f"newly failed: {', '.join(probes['failed'])}"] if probes.get("failed") else []
        told += [harmless(probes["problem"])] if probes.get("problem") else []
        print_wrapped(f"  standard questions: {'; '.join(told)}", indent="    ")
    if requests := evidence.get("requests"):
        print_wrapped(
            f"  requests: candidate {requests['candidate']}, production {requests['production']}", indent="    "
        )
    ratings = evidence.get("ratings") or {}
    if any(ratings.values()):
        print_wrapped(f"  ratings: candidate {ratings['candidate']}, production {ratings['production']}", indent="    ")
    if evidence.get("likeness") is not None:
        print_wrapped(f"  answers like production's: {evidence['likeness']:.2f} of 1", indent="    ")
    seen = [one for one in findings or () if one["candidate"] is not None or one["production"] is not None]
    if seen:
        print_table(
            ["measure", ">candidate", ">production", "worse by", "verdict"],
            [
                [
                    finding["measure"].replace("_", " "),
                    _figure(finding["candidate"]),
                    _figure(finding["production"]),
                    _limit(finding),
                    finding["opinion"],
                ]
                for finding in seen
            ],
            empty="",
        )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _limit(finding: Mapping[str, Any]) -> str:
    """How much worse is allowed: a share more, or so many times as long."""
    return f"{math.exp(finding['limit']):.3g} times" if finding["measure"] in _TIMES else f"{finding['limit']:.3g}"


def progress_line(promotion: Promotion) -> str:
    """A line for each state that is followed: ``support@8 is tried by 10 % of the users``."""
    return f"{promotion.name}@{promotion.to_number} {state_sentence(promotion)}"


def is_worth_telling(now: Promotion, told: Promotion | None, since_seconds: float) -> bool:
    """Whether somebody who follows a promotion is shown a line.

    Args:
        now: How it is.
        told: How it was when the last line was shown; None before the first.
        since_seconds: How long that is ago.
    """
    if told is None or now.state is not told.state:
        return True
    return now.note != told.note and (now.state is not State.CANARY or since_seconds >= _TRIAL_TOLD_SECONDS)
