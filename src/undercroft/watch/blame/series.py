"""What was measured of each name since a moment: the series in which `blame` looks for changes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from sqlalchemy import Connection, select

from undercroft.core.clock import from_iso, to_iso
from undercroft.core.errors import UndercroftError
from undercroft.registry.releases import store
from undercroft.registry.releases.differences import compare_prompts, compare_settings
from undercroft.storage.journal import Entry, Search, find
from undercroft.storage.settings_diary import SETTINGS_CHANGE
from undercroft.storage.tables import usage
from undercroft.watch.blame.abilities import Measure, changed_names
from undercroft.watch.blame.answers import Asked
from undercroft.watch.blame.causes import Around
from undercroft.watch.blame.change_points import Change, Point
from undercroft.watch.blame.growth import Life
from undercroft.watch.blame.paces import paces, typical

# Standard questions, and what a candidate answered that no user saw.
_OWN_KEYS = ("key_probe", "key_shadow")
_CLIENT_GONE = 499
_ROWS = 200_000
_DIARY_BEFORE_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Series:
    """One measure of one name.

    Args:
        name: Of whom.
        what: In words: ``time to the first token``.
        points: In the order of time.
        is_share: The values are 0 and 1, or scores.
        is_worse_below: A fall is what is blamed.
        unit: ``s``, ``tokens``, ``B``, or empty for a share.
        lives: The same points, a replica each; empty where they are not a replica's.
        answers: To the standard questions of which the points are the scores, those from before them as well.
    """

    name: str
    what: str
    points: tuple[Point, ...]
    is_share: bool = False
    is_worse_below: bool = False
    unit: str = ""
    lives: tuple[Life, ...] = ()
    answers: tuple[Asked, ...] = ()

    def is_worse(self, change: Change) -> bool:
        """Whether a change is for the worse, and by so much that somebody notices."""
        before, after = (change.after, change.before) if self.is_worse_below else (change.before, change.after)
        return after - before >= 0.02 if self.is_share else before > 0 and after / before >= 1.15


def read_usage(connection: Connection, since: str) -> dict[str, list[dict[str, Any]]]:
    """Requests by name, in the order in which they ended; standard questions and copies of requests are not among them.

    Args:
        since: ISO 8601, UTC.
    """
    query = (
        select(usage)
        .where(usage.c.at >= since, usage.c.key_id.not_in(_OWN_KEYS), usage.c.status != _CLIENT_GONE)
        .order_by(usage.c.id.desc())
        .limit(_ROWS)
    )
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in reversed(connection.execute(query).all()):
        plain = dict(row._mapping)
        plain["unix"] = from_iso(row.at).timestamp()
        found[row.deployment].append(plain)
    # Several doors write what they saw in batches.
    return {name: sorted(rows, key=lambda one: one["unix"]) for name, rows in found.items()}


def usage_series(measure: Measure, rows: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Series]:
    """Series of latency, errors or cost.

    Args:
        measure: One of the three.
        rows: As `read_usage` gives them.
    """
    found = []
    for name, some in sorted(rows.items()):
        if measure is Measure.ERRORS:
            points = tuple(Point(row["unix"], float(row["status"] >= 500)) for row in some)
            found.append(Series(name, "the share of errors", points, is_share=True))
            refused = tuple(Point(row["unix"], float(400 <= row["status"] < 500)) for row in some)
            found.append(Series(name, "the share of requests that the engine refused", refused, is_share=True))
        elif measure is Measure.COST:
            good = [row for row in some if row["status"] < 400 and row["prompt_tokens"] and row["completion_tokens"]]
            points = tuple(Point(row["unix"], row["prompt_tokens"] + row["completion_tokens"]) for row in good)
            found.append(Series(name, "tokens a request", points, unit="tokens"))
            busy = tuple(Point(row["unix"], row["total_seconds"] - row["queue_seconds"]) for row in good)
            found.append(Series(name, "machine time a request", busy, unit="s"))
        elif measure is Measure.LATENCY:
            good = [row for row in some if row["status"] < 400]
            first = [row for row in good if row["first_token_seconds"] is not None]
            points = tuple(Point(row["unix"], row["first_token_seconds"]) for row in first)
            found.append(Series(name, "the time to the first token", points, unit="s"))
            whole = [row for row in good if row["completion_tokens"]]
            paces = tuple(
                Point(row["unix"], (row["total_seconds"] - row["queue_seconds"]) / row["completion_tokens"])
                for row in whole
            )
            found.append(Series(name, "the time a token", paces, unit="s"))
    return found


def around(
    measure: Measure,
    name: str,
    change: Change,
    rows: Mapping[str, Sequence[Mapping[str, Any]]],
    begin: float,
    end: float,
) -> Around:
    """What else was measured before and after a change.

    Args:
        measure: What became worse.
        name: Of whom.
        change: When.
        rows: As `read_usage` gives them.
        begin: Unix seconds, from when before counts.
        end: Unix seconds, until when after counts.
    """
    own = rows.get(name, ())
    others = [row for other, some in rows.items() if other != name for row in some]
    halves = _halves(own, change.at, begin, end)
    return Around(
        requests_per_minute=_paces(halves, change.at, begin, end),
        others_per_minute=_paces(_halves(others, change.at, begin, end), change.at, begin, end),
        prompt_tokens=_tokens(halves, "prompt_tokens"),
        answer_tokens=_tokens(halves, "completion_tokens"),
        releases=_pair(_main_release(name, part) for part in halves),
        release_levels=_levels(measure, name, halves[1]),
    )


def diary(connection: Connection, change: Change) -> list[Entry]:
    """The entries of the week before a change, and up to it."""
    first = min(change.earliest, change.at) - _DIARY_BEFORE_SECONDS
    wanted = Search(since=_iso(first), until=_iso(change.latest + 120))
    return [entry for entry, _ in find(connection, wanted)]


def notes_of(connection: Connection, entries: Sequence[Entry]) -> dict[int, list[str]]:
    """What exactly each entry changed, a line each: settings, model, prompt."""
    found = {}
    for entry in entries:
        if entry.action in {"release.promoted", "release.rollback"}:
            found[entry.seq] = _release_notes(connection, entry)
        elif entry.action == "deployment.change":
            found[entry.seq] = _setting_notes(entry.before or {}, entry.after or {})
        elif entry.action == SETTINGS_CHANGE:
            found[entry.seq] = [
                f"{name}: {_said(entry.before, name)} -> {_said(entry.after, name)}" for name in changed_names(entry)
            ]
    return found


def _said(values: Mapping[str, Any] | None, name: str) -> str:
    value = (values or {}).get(name)
    return "not set" if value is None else str(value)


def _release_notes(connection: Connection, entry: Entry) -> list[str]:
    name, _, text = entry.subject.partition("@")
    number = ((entry.before or {}).get("tags") or {}).get("production")
    try:
        new = store.get(connection, name, int(text))
        old = store.get(connection, name, number) if number is not None else None
    except (UndercroftError, ValueError):
        return []
    told = [
        f"{row.name}: {row.a} -> {row.b}"
        for row in compare_settings(old.content if old else None, new.content)
        if row.is_different and old is not None
    ]
    lines = compare_prompts(old.content.prompt if old else None, new.content.prompt, "old", "new")
    if lines:
        sizes = [_prompt_characters(release.content.prompt) if release else 0 for release in (old, new)]
        told.append(f"prompt: {sizes[0]:,} -> {sizes[1]:,} characters")
    return told


def _prompt_characters(prompt: Any) -> int:
    if prompt is None:
        return 0
    return len(prompt.system or "") + sum(len(turn.user) + len(turn.assistant) for turn in prompt.examples)


def _setting_notes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = ({**plain, **(plain.get("settings") or {})} for plain in (before, after))
    names = [name for name in sorted({*old, *new}) if name != "settings" and old.get(name) != new.get(name)]
    return [f"{name}: {old.get(name, 'as usual')} -> {new.get(name, 'as usual')}" for name in names]


def _main_release(name: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """The release that answered most of some requests; empty where the name has none."""
    counts = Counter(row["release"] for row in rows if row["release"] is not None)
    return f"{name}@{counts.most_common(1)[0][0]}" if counts else ""


def _levels(measure: Measure, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Release → level of the measure; only where more than one answered."""
    values: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        value = _value(measure, row)
        if row["release"] is not None and value is not None:
            values[f"{name}@{row['release']}"].append(value)
    if len(values) < 2:
        return {}
    return {release: (fmean if measure is Measure.ERRORS else median)(some) for release, some in values.items()}


def _value(measure: Measure, row: Mapping[str, Any]) -> float | None:
    if measure is Measure.ERRORS:
        return float(row["status"] >= 400)
    if row["status"] >= 400:
        return None
    if measure is Measure.LATENCY:
        found = row["first_token_seconds"]
        return float(found) if found is not None else None
    if measure is Measure.COST and row["prompt_tokens"] is not None and row["completion_tokens"] is not None:
        return float(row["prompt_tokens"] + row["completion_tokens"])
    return None


def _halves(
    rows: Sequence[Mapping[str, Any]], at: float, begin: float, end: float
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    return [row for row in rows if begin <= row["unix"] < at], [row for row in rows if at <= row["unix"] <= end]


def _paces(halves: Sequence[Sequence[Mapping[str, Any]]], at: float, begin: float, end: float) -> tuple[float, float]:
    before, after = ([row["unix"] for row in part] for part in halves)
    return paces(before, after, begin=begin, at=at, end=end)


def _tokens(halves: Sequence[Sequence[Mapping[str, Any]]], column: str) -> tuple[float, float]:
    before, after = ([float(row[column]) for row in part if row[column] is not None] for part in halves)
    return typical(before, after)


def _pair(values: Any) -> tuple[Any, Any]:
    first, second = values
    return first, second


def _iso(unix: float) -> str:
    from_unix = from_iso("1970-01-01T00:00:00.000Z")
    return to_iso(from_unix.fromtimestamp(unix, from_unix.tzinfo))
