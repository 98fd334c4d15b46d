"""What made it worse: a change of a measured series, lined up with the diary and with what else changed then. Pure.

A cause scores high where it is near in time, is of a kind that can do this to this measure, concerns the very name, and
where what was measured agrees: prompts that grew, releases that answer at different speeds at the same time.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from undercroft.core.clock import from_iso
from undercroft.core.units import format_duration
from undercroft.registry.releases.references import base_name
from undercroft.storage.journal import Entry
from undercroft.storage.settings_diary import SETTINGS_CHANGE
from undercroft.watch.blame.abilities import Measure, ability, changed_names
from undercroft.watch.blame.change_points import Change

_CLOCK_SLACK_SECONDS = 90.0
# What was still well for so many measurements after an entry was hardly made worse by it.
_GOOD_MEASUREMENTS = 6.0
# A release that answers since the change, and did not before, was there at the change, however late that was seen.
_TAKES_OVER, _TOOK_OVER = ("release.promoted", "release.rollback"), 0.75
# Beside the likeliest, a cause of less than this share of its score is not worth a line.
_BESIDE = 0.4
# Settings that a sentence names.
_NAMED = 3
# Of 1: below, a cause is not worth a line.
_LEAST = 0.12
_OWN, _OTHERS = 1.0, 0.3
# What concerns every name alike.
_OF_ALL = ("key.", "backup.", "model.", SETTINGS_CHANGE)
_ELSEWHERE = (Measure.LATENCY, Measure.MEMORY, Measure.ERRORS)


@dataclass(frozen=True, slots=True)
class Around:
    """What else was measured before and after a change.

    Args:
        requests_per_minute: Of the name: as was to be expected from before, and as they came.
        others_per_minute: Of all other names together.
        prompt_tokens: A request's, typically.
        answer_tokens: A request's, typically.
        releases: That answered most; ``NAME@7``, or empty where the name has none.
        release_levels: Release → level of the measure, where several answered after the change.
    """

    requests_per_minute: tuple[float, float] = (0.0, 0.0)
    others_per_minute: tuple[float, float] = (0.0, 0.0)
    prompt_tokens: tuple[float, float] = (0.0, 0.0)
    answer_tokens: tuple[float, float] = (0.0, 0.0)
    releases: tuple[str, str] = ("", "")
    release_levels: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cause:
    """Something that may have done it.

    Args:
        score: 0.0 to 1.0; the larger, the likelier.
        sentence: What happened, for people.
        evidence: What speaks for it, a line each.
        remedy: A command that undoes it or looks closer; empty where there is none.
        entry: Number of the journal's entry; None where it is not in the diary.
    """

    score: float
    sentence: str
    evidence: tuple[str, ...] = ()
    remedy: str = ""
    entry: int | None = None


def rank_causes(
    measure: Measure,
    name: str,
    change: Change,
    entries: Sequence[Entry],
    around: Around,
    *,
    notes: Mapping[int, Sequence[str]],
    measured_at: Sequence[float],
) -> list[Cause]:
    """Causes worth a line, the likeliest first; empty where nothing explains the change.

    Args:
        measure: What became worse.
        name: Of whom.
        change: When, and by how much.
        entries: Of the journal.
        around: What else was measured.
        notes: Number of an entry → what exactly it changed, a line each.
        measured_at: Times of all measurements of the series, in order; unix seconds.
    """
    promoted = {entry.subject for entry in entries if entry.action == "release.promoted"}
    found = [
        _of_entry(
            measure, name, change, entry, around, notes.get(entry.seq, ()), _closeness(entry, change, measured_at)
        )
        for entry in entries
        if not (entry.action == "release.promote" and entry.subject in promoted)
    ]
    own = max((cause.score for cause in found), default=0.0)
    found += _of_use(measure, around, own)
    least = max(_LEAST, _BESIDE * max((cause.score for cause in found), default=0.0))
    return sorted((cause for cause in found if cause.score >= least), key=lambda cause: -cause.score)


def _of_entry(
    measure: Measure,
    name: str,
    change: Change,
    entry: Entry,
    around: Around,
    notes: Sequence[str],
    closeness: float,
) -> Cause:
    at = from_iso(entry.at).timestamp()
    is_own = base_name(entry.subject) == name
    score = ability(entry, measure)
    if not entry.action.startswith(_OF_ALL):
        score *= _OWN if is_own else _OTHERS if measure in _ELSEWHERE else 0.05
    if entry.action in _TAKES_OVER and around.releases[1] == entry.subject != around.releases[0] and closeness > 0:
        closeness = max(closeness, _TOOK_OVER)
    score *= closeness
    evidence = list(notes)
    if is_own and entry.action in {"release.promoted", "release.rollback", "release.promote", "deployment.change"}:
        score, told = _agreed(measure, score, entry, around)
        evidence = [*told, *evidence]
    if entry.action == SETTINGS_CHANGE and entry.reason:
        evidence.append(entry.reason)  # no person's words: where the settings came from
    return Cause(
        score=min(1.0, score * 0.85),
        sentence=f"{_when(at, change)} {_told(entry, measure)}",
        evidence=tuple(evidence),
        remedy=_remedy(entry, name),
        entry=entry.seq,
    )


def _agreed(measure: Measure, score: float, entry: Entry, around: Around) -> tuple[float, list[str]]:
    """The score when what was measured is taken into account, and what that was."""
    told = []
    before, after = around.prompt_tokens
    if measure in {Measure.LATENCY, Measure.COST, Measure.MEMORY} and before and after / before > 1.2:
        score *= 1.15
        told.append(f"prompts went from {before:,.0f} to {after:,.0f} tokens")
    subject = entry.subject
    if subject in around.release_levels and len(around.release_levels) > 1:
        own = around.release_levels[subject]
        others = min(level for release, level in around.release_levels.items() if release != subject)
        if own > others:
            told.append(f"since then {_level(measure, own)}, others {_level(measure, others)}")
    return score, told


def _level(measure: Measure, value: float) -> str:
    if measure is Measure.LATENCY:
        return f"{1000 * value:,.3g} ms"
    return f"{value:.0%}" if measure is Measure.ERRORS else f"{value:,.0f} tokens"


def _closeness(entry: Entry, change: Change, measured_at: Sequence[float]) -> float:
    """1.0 at the change, less with every measurement between that was still well; 0.0 after it."""
    at = from_iso(entry.at).timestamp()
    if at > change.latest + _CLOCK_SLACK_SECONDS:
        return 0.0
    between = bisect.bisect_left(measured_at, change.earliest) - bisect.bisect_right(measured_at, at)
    return math.exp(-max(0, between) / _GOOD_MEASUREMENTS)


def _of_use(measure: Measure, around: Around, own: float) -> list[Cause]:
    """Causes that stand in no diary: more requests, longer prompts, busy neighbours."""
    found = []
    if measure in {Measure.LATENCY, Measure.ERRORS}:
        for (before, after), what in (
            (around.requests_per_minute, "Requests"),
            (around.others_per_minute, "Requests to other models"),
        ):
            ratio = after / before if before else (math.inf if after else 1.0)
            if ratio > 1.4:
                share = 0.65 * min(1.0, math.log(min(ratio, 10)) / math.log(3))
                found.append(Cause(share, f"{what} went {_pace(before, after)}", remedy="undercroft status"))
    for tokens, whose, measures in (
        (around.prompt_tokens, "Prompts", (Measure.LATENCY, Measure.COST, Measure.MEMORY)),
        (around.answer_tokens, "Answers", (Measure.COST,)),
    ):
        before, after = tokens
        is_same = around.releases[0] == around.releases[1]
        if measure in measures and before and after / before > 1.25 and own < 0.5 and is_same:
            sentence = f"{whose} went from {before:,.0f} to {after:,.0f} tokens, and no release changed them"
            found.append(Cause(0.6, sentence, remedy="undercroft drift show"))
    return found


def _pace(before: float, after: float) -> str:
    if after < 1:
        return f"from {60 * before:.1f} to {60 * after:.1f} an hour"
    return f"from {before:.1f} to {after:.1f} a minute"


def _when(at: float, change: Change) -> str:
    gap = change.at - at
    if gap < 0:
        return "At that time"
    return (
        f"{format_duration(gap)} before" if gap < 7200 or change.earliest - at > 0 else "Between the two measurements"
    )


def _who(actor: str) -> str:
    kind, _, who = actor.partition(":")
    return {"cli": who, "key": f"key {who}", "system": "the server"}.get(kind, actor) or actor


def _told(entry: Entry, measure: Measure) -> str:
    if entry.action == SETTINGS_CHANGE:
        names = changed_names(entry, measure)
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"the server read other settings: {', '.join(names[:_NAMED])}{more}"
    said = f' ("{entry.reason}")' if entry.reason else ""
    return f"{_who(entry.actor)} {_did(entry)}{said}"


def _did(entry: Entry) -> str:
    known = {
        "release.promoted": f"put {entry.subject} into production",
        "release.promote": f"began to promote {entry.subject}",
        "release.rollback": f"rolled back to {entry.subject}",
        "deployment.change": f"changed the settings of {entry.subject}",
        "deployment.create": f"began to serve {entry.subject}",
        "deployment.start": f"started {entry.subject}",
        "deployment.stop": f"stopped {entry.subject}",
        "deployment.shrink": f"halved the context of {entry.subject}, because memory ran out",
        "key.create": f"made the key {entry.subject}",
    }
    return known.get(entry.action, f"did {entry.action} on {entry.subject}")


def _remedy(entry: Entry, name: str) -> str:
    if base_name(entry.subject) == name and entry.action in {"release.promoted", "release.rollback"}:
        tags = (entry.before or {}).get("tags") or {}
        number = tags.get("production")
        return f"undercroft release rollback {name}" + (f" --to {number}" if number else "")
    return f"undercroft journal show {entry.seq}"
