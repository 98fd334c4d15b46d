"""Whether a candidate is worse, from what was seen of it and of production."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert

from undercroft.core.errors import InvalidError
from undercroft.storage.database import Database
from undercroft.storage.tables import usage
from undercroft.watch.promotion.evidence import make_arm, read_arm
from undercroft.watch.promotion.judging import Arm, Opinion, Rules, Share, check_rules, failures_sentence, judge


def row(**others: Any) -> dict[str, Any]:
    """A usage row of a good answer."""
    good: dict[str, Any] = {
        "status": 200,
        "completion_tokens": 21,
        "first_token_seconds": 0.2,
        "queue_seconds": 0.1,
        "total_seconds": 1.2,
        "key_id": "key_1",
        "signs": {"is_empty": False, "is_refusal": False, "is_invalid": None, "is_cut": False},
    }
    return {**good, **others}


def signs(**others: bool) -> dict[str, Any]:
    """The signs of a good answer with some that are not."""
    return {"is_empty": False, "is_refusal": False, "is_invalid": None, "is_cut": False, **others}


def opinions(rules: Rules, candidate: Arm, production: Arm) -> dict[str, Opinion]:
    """By measure."""
    return {finding.measure: finding.opinion for finding in judge(rules, candidate, production)}


def test_an_arm_counts_what_it_can_tell() -> None:
    """Times leave out the queue and copies, shares the answers of which nothing is known."""
    arm = make_arm([row(), row(status=500, signs=None), row(key_id="key_shadow"), row(status=400, signs=None)])
    assert arm.requests == 4
    assert (arm.shares["errors"].hits, arm.shares["errors"].trials) == (1, 4)
    assert (arm.shares["refused"].hits, arm.shares["refused"].trials) == (1, 4)
    assert arm.shares["invalid"].trials == 0
    assert arm.shares["empty"].trials == 2
    assert arm.times["first_token"].count == 1
    assert arm.times["first_token"].mean == pytest.approx(-2.302585)
    assert arm.times["token_seconds"].mean == pytest.approx(-2.995732)
    assert arm.failures_in_a_row == 1


@pytest.mark.parametrize(
    ("measure", "bad"),
    [
        ("errors", row(status=500, signs=None)),
        ("refused", row(status=400, signs=None)),
        ("empty", row(signs=signs(is_empty=True))),
        ("refusals", row(signs=signs(is_refusal=True))),
        ("invalid", row(signs=signs(is_invalid=True))),
        ("cut", row(signs=signs(is_cut=True))),
        ("first_token", row(first_token_seconds=0.6)),
        ("token_seconds", row(total_seconds=4.2)),
    ],
)
def test_each_measure_finds_what_it_is_for(measure: str, bad: dict[str, Any]) -> None:
    """A candidate that is bad in one way in every answer is found by that measure, and by no other."""
    good = row(signs=signs(is_invalid=False)) if measure == "invalid" else row()
    found = opinions(Rules.model_validate({}), make_arm([bad] * 60), make_arm([good] * 60))
    assert found[measure] is Opinion.WORSE
    others = {name for name, opinion in found.items() if opinion is Opinion.WORSE} - {measure}
    assert not others


def test_answers_that_users_dislike_are_found_by_their_ratings() -> None:
    """However good they look; not where production is disliked as much, and not of a few ratings."""
    rules, looks_good = Rules.model_validate({}), [row()] * 60
    for mine, other, opinion in (
        # As the guide says: with a tenth of the users, and a tenth of the ratings of production bad.
        (Share(11, 12), Share(11, 108), Opinion.WORSE),
        (Share(22, 36), Share(32, 324), Opinion.WORSE),
        (Share(56, 139), Share(125, 1251), Opinion.WORSE),
        (Share(55, 138), Share(124, 1242), Opinion.OPEN),
        (Share(18, 20), Share(18, 20), Opinion.OPEN),
        (Share(3, 3), Share(0, 3), Opinion.OPEN),
        (Share(), Share(2, 20), Opinion.OPEN),
    ):
        found = judge(rules, make_arm(looks_good, mine), make_arm(looks_good, other))
        assert [one.opinion for one in found if one.measure == "disliked"] == [opinion]
        assert Opinion.WORSE not in [one.opinion for one in found if one.measure != "disliked"]


def test_a_candidate_that_nobody_sees_is_not_judged_by_ratings() -> None:
    """Users of a shadow rate answers of production only: there is nothing to compare, and alpha is for the others."""
    arms = make_arm([row()]), make_arm([row()], Share(5, 5))
    shown, shadow = (judge(Rules.model_validate({}), *arms, is_shown=is_shown) for is_shown in (True, False))
    assert "disliked" in [one.measure for one in shown]
    assert "disliked" not in [one.measure for one in shadow]
    assert len(shadow) == len(shown) - 1


def test_equal_releases_are_hardly_ever_told_apart() -> None:
    """Of many pairs that are the same, looked at after every tenth request, at most alpha are called worse."""
    rng = random.Random(11)
    rules = Rules.model_validate({})
    wrong = 0
    for _ in range(60):
        rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for _ in range(20):
            for side in rows:
                for _ in range(10):
                    slow = rng.lognormvariate(0, 0.5)
                    refused = signs(is_refusal=rng.random() < 0.1)
                    side.append(row(first_token_seconds=0.1 + 0.1 * slow, total_seconds=1.2 + slow, signs=refused))
            if Opinion.WORSE in opinions(rules, make_arm(rows[0]), make_arm(rows[1])).values():
                wrong += 1
                break
    assert wrong <= 3


def test_enough_good_answers_prove_that_nothing_is_worse() -> None:
    """With many requests every rule says fine, so that a hold need not rest on doubt."""
    many = make_arm([row(signs=signs(is_invalid=False))] * 3000, Share(300, 3000))
    assert set(opinions(Rules.model_validate({}), many, many).values()) == {Opinion.FINE}


def test_bad_answers_in_a_row_are_the_candidates_fault_only_where_production_does_better() -> None:
    """Three in a row send it back, unless production has three in a row as well."""
    rules = Rules.model_validate({})
    bad, good = make_arm([row(), *[row(status=500, signs=None)] * 3]), make_arm([row()])
    assert "last 3 answers" in failures_sentence(rules, bad, good)
    assert failures_sentence(rules, bad, bad) == ""
    assert failures_sentence(rules, good, good) == ""


def test_rules_that_are_off_say_nothing() -> None:
    """A rule that is None is not among the findings, and leaves the others more of alpha."""
    none = dict.fromkeys(name for name in Rules.model_fields if name.endswith(("_by", "_ratio")))
    rules = check_rules({**none, "errors_worse_by": 0.01})
    assert [finding.measure for finding in judge(rules, make_arm([row()]), make_arm([row()]))] == ["errors"]


def test_all_requests_count_and_the_newest_are_judged(tmp_path: Path) -> None:
    """More than are looked at are still requests that it answered; signs are read as they were kept."""
    database = Database(tmp_path / "undercroft.sqlite")
    plain = {"at": "2026-01-02T00:00:00.000Z", "request_id": "r", "deployment": "bot", "release": 2, "route": "/"}
    asked = [{**plain, **row(status=500, signs=None)}] * 7 + [{**plain, **row(signs=signs(is_cut=True))}] * 20_000
    with database.write() as connection:
        connection.execute(insert(usage), asked)
    with database.read() as connection:
        arm = read_arm(connection, "bot", 2, "2026-01-01T00:00:00.000Z")
    assert arm.requests == 20_007
    assert (arm.shares["errors"].hits, arm.shares["cut"].hits) == (0, 20_000)


def test_ratings_are_those_of_users_of_the_release_in_that_time(tmp_path: Path) -> None:
    """Also of an answer that somebody left in the middle; not of standard questions, earlier ones, other releases."""
    database = Database(tmp_path / "undercroft.sqlite")
    plain = {"at": "2026-01-02T00:00:00.000Z", "request_id": "r", "deployment": "bot", "release": 2, "route": "/"}
    rated = [
        {"rating": "bad"},
        {"rating": "good"},
        {"rating": None},
        {"rating": "bad", "status": 499},
        {"rating": "bad", "key_id": "key_probe"},
        {"rating": "bad", "at": "2025-12-31T23:59:59.999Z"},
        {"rating": "bad", "release": 1},
    ]
    with database.write() as connection:
        connection.execute(insert(usage), [{**plain, **row(), **one} for one in rated])
    with database.read() as connection:
        arm = read_arm(connection, "bot", 2, "2026-01-01T00:00:00.000Z")
        empty = read_arm(connection, "bot", 3, "2026-01-01T00:00:00.000Z")
    database.close()
    assert arm.shares["disliked"] == Share(2, 3)
    assert empty.shares["disliked"] == Share(0, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"alfa": 0.1}, {"alpha": 0.9}, {"alpha": 5e-324}, {"undecided": "maybe"}, {"min_requests": -1}, []],
)
def test_wrong_rules_are_named(wrong: Any) -> None:
    """Each is refused with a sentence about it."""
    with pytest.raises(InvalidError, match="the rules have problems"):
        check_rules(wrong)


def test_copies_tell_how_like_the_answers_are() -> None:
    """The mean over those that were compared; nothing where none was."""
    alike = [row(key_id="key_shadow", signs={**signs(), "likeness": value}) for value in (0.5, 1.0)]
    assert make_arm([*alike, row()]).likeness == 0.75
    assert make_arm([row()]).likeness is None
