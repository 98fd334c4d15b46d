"""What the usage says of two releases since a moment: the arms of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Row, String, case, func, select, type_coerce

from undercroft.serving.feedback import Rating
from undercroft.storage.tables import usage
from undercroft.watch.promotion.judging import Arm, Share, Times

# Standard questions are judged by their checks; here count the users.
_PROBE_KEY = "key_probe"
SHADOW_KEY = "key_shadow"
# The newest requests of each release; those before them have been judged already.
_ROWS = 20_000
_CLIENT_GONE = 499
_BAD_SIGNS = ("is_empty", "is_invalid")
# The signs as they are kept, for most rows have the same.
_COLUMNS = (
    usage.c.status,
    usage.c.completion_tokens,
    usage.c.first_token_seconds,
    usage.c.queue_seconds,
    usage.c.total_seconds,
    usage.c.key_id,
    type_coerce(usage.c.signs, String).label("signs"),
)
_NAMES = tuple(column.name for column in _COLUMNS)
_UNRATED = Share()
_SIGNS = {"empty": "is_empty", "refusals": "is_refusal", "invalid": "is_invalid", "cut": "is_cut"}


def read_arm(connection: Connection, name: str, number: int, since: str) -> Arm:
    """What was seen of a release: how many requests, of the newest of them how they went, of all how they were rated.

    Args:
        name: Of the release.
        number: Of the release.
        since: ISO 8601, UTC.
    """
    users = (
        usage.c.deployment == name,
        usage.c.release == number,
        usage.c.at >= since,
        usage.c.key_id != _PROBE_KEY,
    )
    place = (*users, usage.c.status != _CLIENT_GONE)
    query = select(*_COLUMNS).where(*place).order_by(usage.c.id.desc()).limit(_ROWS)
    known: dict[str | None, Any] = {None: None}
    rows = [_plain(row, known) for row in reversed(connection.execute(query).all())]
    arm = make_arm(rows, _disliked(connection, users))
    if arm.requests < _ROWS:
        return arm
    return replace(arm, requests=connection.execute(select(func.count()).where(*place)).scalar_one())


def make_arm(rows: Sequence[Mapping[str, Any]], disliked: Share = _UNRATED) -> Arm:
    """The arm of some requests.

    Args:
        rows: In the order in which they ended: ``status``, ``completion_tokens``, ``first_token_seconds``,
            ``queue_seconds``, ``total_seconds``, ``signs``, ``key_id``. Copies (``key_shadow``) have no times: they
            wait behind everybody else and do not come as a stream.
        disliked: Of the ratings by users, those that are bad.
    """
    timed = [row for row in rows if row["key_id"] != SHADOW_KEY]
    answered = [row for row in rows if row["status"] < 400 and row["signs"] is not None]
    shares = {
        "errors": Share(sum(row["status"] >= 500 for row in rows), len(rows)),
        # By the engine: a longer prompt leaves less room, for one.
        "refused": Share(sum(400 <= row["status"] < 500 for row in rows), len(rows)),
        "disliked": disliked,
    }
    for measure, sign in _SIGNS.items():
        told = [row["signs"][sign] for row in answered if row["signs"].get(sign) is not None]
        shares[measure] = Share(sum(told), len(told))
    alike = [row["signs"]["likeness"] for row in answered if row["signs"].get("likeness") is not None]
    in_a_row = 0
    for row in reversed(rows):
        if row["status"] < 400 and not any((row["signs"] or {}).get(sign) for sign in _BAD_SIGNS):
            break
        in_a_row += 1
    return Arm(
        requests=len(rows),
        shares=shares,
        times={
            "first_token": _times([_first_token(row) for row in timed]),
            "token_seconds": _times([_token_seconds(row) for row in timed]),
        },
        failures_in_a_row=in_a_row,
        likeness=fmean(alike) if alike else None,
    )


def _disliked(connection: Connection, users: Sequence[ColumnElement[bool]]) -> Share:
    """Of all ratings, for few users rate, and late; also of answers that somebody had read enough of to leave them."""
    bad = func.sum(case((usage.c.rating == Rating.BAD.value, 1), else_=0))
    hits, rated = connection.execute(select(bad, func.count()).where(*users, usage.c.rating.is_not(None))).one()
    return Share(hits or 0, rated)


def _first_token(row: Mapping[str, Any]) -> float | None:
    """Seconds from the engine's beginning with it; waiting for a place is not the release's fault."""
    first = row["first_token_seconds"]
    return first - row["queue_seconds"] if row["status"] < 400 and first is not None else None


def _token_seconds(row: Mapping[str, Any]) -> float | None:
    """Seconds a token: after the first where it was told when that came, else over the whole answer."""
    tokens, first = row["completion_tokens"], row["first_token_seconds"]
    if row["status"] >= 400 or not tokens or tokens < 2:
        return None
    if first is not None:
        return float((row["total_seconds"] - first) / (tokens - 1))
    return float((row["total_seconds"] - row["queue_seconds"]) / tokens)


def _times(values: Sequence[float | None]) -> Times:
    found = [math.log(value) for value in values if value is not None and value > 0]
    if not found:
        return Times()
    mean = fmean(found)
    return Times(len(found), mean, fmean((value - mean) ** 2 for value in found))


def _plain(row: Row[Any], known: dict[str | None, Any]) -> dict[str, Any]:
    """A row with its signs; those that are alike are read once."""
    plain = dict(zip(_NAMES, row, strict=True))
    text = plain["signs"]
    if text not in known:
        known[text] = orjson.loads(text)
    plain["signs"] = known[text]
    return plain
