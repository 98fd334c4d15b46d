"""How releases and promotions are shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from undercroft.cli.release_text import (
    is_worth_telling,
    log_line,
    plan_sentence,
    print_promotion,
    progress_line,
    release_page,
)
from undercroft.registry.releases.content import check_content
from undercroft.registry.releases.files import read_releases
from undercroft.registry.releases.store import Release
from undercroft.serving.promotions import Plan, Promotion, State
from undercroft.storage.journal import FIRST, Entry

_AT = "2026-11-21T07:00:04.125Z"


def promotion(state: State, plan: Plan, **values: object) -> Promotion:
    given: dict[str, object] = {
        "id": 1,
        "name": "bot",
        "from_number": 7,
        "to_number": 8,
        "state": state,
        "plan": plan,
        "evidence": {},
        "note": "",
        "started_at": _AT,
        "changed_at": _AT,
        "ended_at": None,
        "actor": "cli:anna",
        "reason": None,
    }
    return Promotion(**{**given, **values})  # type: ignore[arg-type]


def entry(action: str, subject: str, **values: object) -> Entry:
    given: dict[str, object] = {"before": None, "after": None, "reason": None}
    return Entry(1, _AT, "cli:anna", action, subject, previous=FIRST, **{**given, **values})  # type: ignore[arg-type]


def test_a_page_is_yaml_that_makes_the_same_release(tmp_path: Path) -> None:
    """Whatever stands in a reason stays a comment; what would move a cursor is shown and not obeyed."""
    content = check_content({"model": "tiny", "prompt": {"system": "a\nb"}})
    reason = "quick\nname: evil\x1b[2J"
    page = release_page(Release("bot", 7, content, "sha256:1", None, _AT, "cli:anna", reason), ["production"])
    (tmp_path / "bot.yaml").write_text(page, encoding="utf-8")
    (found,) = read_releases(tmp_path / "bot.yaml")
    assert (found.name, found.content) == ("bot", content)
    assert page.startswith("# bot@7: production\n# made 2026-11-21 07:00 UTC by cli:anna\n")
    assert "\x1b" not in page


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        (promotion(State.LOADING, Plan()), "bot@8 is being loaded beside what is in production"),
        (promotion(State.LOADING, Plan(), from_number=None), "bot@8 is being loaded"),
        (promotion(State.CANARY, Plan(canary_ratio=0.1)), "bot@8 is tried by 10 % of the users"),
        (
            promotion(State.CANARY, Plan(is_shadow=True), note="5 so far"),
            "bot@8 is tried on copies of requests: 5 so far",
        ),
        (promotion(State.CHECKING, Plan(has_probes=False)), "bot@8 is ready"),
        (
            promotion(State.CHECKING, Plan()),
            "bot@8 is ready and gets its standard questions, where there are any",
        ),
        (promotion(State.REVERTED, Plan(), note="worse"), "bot@8 was sent back: worse"),
        (promotion(State.DONE, Plan()), "bot@8 came into production"),
    ],
)
def test_each_state_has_its_line(shown: Promotion, words: str) -> None:
    """As it is followed."""
    assert progress_line(shown) == words


def test_who_follows_is_not_flooded() -> None:
    """Each state has a line, and each reason to wait; how a trial goes has one a minute."""
    loading, tried = promotion(State.LOADING, Plan()), promotion(State.CANARY, Plan(canary_ratio=0.1))
    assert is_worth_telling(loading, None, 0)
    assert not is_worth_telling(loading, loading, 1000)
    assert is_worth_telling(replace(loading, note="waits for memory"), loading, 1)
    assert is_worth_telling(tried, loading, 0)
    assert not is_worth_telling(replace(tried, note="5 requests so far"), tried, 59)
    assert is_worth_telling(replace(tried, note="5 requests so far"), tried, 60)
    assert is_worth_telling(replace(tried, state=State.DONE), tried, 0)


def test_a_plan_is_a_sentence() -> None:
    """What was asked for, and nothing else."""
    assert plan_sentence(Plan()) == "standard questions, where the name has any"
    plan = Plan(canary_ratio=0.1, hold_seconds=7200, has_probes=False, rules={"min_requests": 5})
    assert plan_sentence(plan) == "no standard questions; 10 % of the users for at least 2 h; rules: min_requests 5"


def test_a_trial_says_what_it_waits_for(capsys: pytest.CaptureFixture[str]) -> None:
    """How many requests of how many, until when, and what then; one that has ended waits for nothing."""
    evidence = {"requests": {"candidate": 12, "production": 90}}
    print_promotion(promotion(State.CANARY, Plan(canary_ratio=0.1), evidence=evidence))
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "waits: 12 requests were judged, 20 are needed; without enough by 2026-11-22 07:00 UTC it is sent back" in shown
    )
    print_promotion(promotion(State.REVERTED, Plan(canary_ratio=0.1), evidence=evidence, ended_at=_AT))
    assert "waits" not in capsys.readouterr().out


def test_evidence_is_shown_as_it_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    """Scores, requests and every measure that was seen, with what the rule allows in its own unit."""
    found = {"measure": "errors", "candidate": 0.25, "production": 0.0, "limit": 0.02, "opinion": "worse"}
    slow = {"measure": "first_token", "candidate": 0.4, "production": 0.2, "limit": 0.405465, "opinion": "open"}
    unseen = {"measure": "cut", "candidate": None, "production": None, "limit": 0.1, "opinion": "open"}
    evidence = {
        "probes": {"candidate": 0.5, "production": 1.0, "failed": ["refund-thai"], "problem": ""},
        "requests": {"candidate": 12, "production": 90},
        "ratings": {"candidate": 3, "production": 41},
        "findings": [found, slow, unseen],
    }
    print_promotion(promotion(State.REVERTED, Plan(canary_ratio=0.1), evidence=evidence, ended_at=_AT))
    shown = capsys.readouterr().out
    assert "candidate 0.50, production 1.00; newly failed: refund-thai" in shown
    assert "requests: candidate 12, production 90\n  ratings: candidate 3, production 41\n" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith(("errors", "first token"))] == [
        ["errors", "0.25", "0", "0.02", "worse"],
        ["first", "token", "0.4", "0.2", "1.5", "times", "open"],
    ]
    assert "cut" not in shown


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (entry("release.create", "bot@7", reason="first\x1b"), "bot@7 was made, by cli:anna: first\\x1b"),
        (entry("release.tag", "bot:stable", after={"number": 7}), "bot@7 got the tag stable, by cli:anna"),
        (entry("release.untag", "bot:stable", before={"number": 7}), "bot@7 lost the tag stable, by cli:anna"),
        (
            entry("release.promoted", "bot@8", before={"tags": {"production": 7}}),
            "bot@8 came into production after @7, by cli:anna",
        ),
        (
            entry("release.rollback", "bot@7", before={"tags": {"production": 8}}),
            "bot@7 came back into production after @8, by cli:anna",
        ),
        (entry("release.promoted", "bot@1", before={"tags": {}}), "bot@1 came into production, by cli:anna"),
        (entry("release.new", "bot@1"), "bot@1 release.new, by cli:anna"),
    ],
)
def test_the_log_says_what_happened(given: Entry, words: str) -> None:
    """In words, with what was there before; what would move a cursor is shown and not obeyed."""
    assert log_line(given) == f"2026-11-21 07:00:04  {words}"


def test_the_log_has_words_for_all_that_happens() -> None:
    """Every end of a promotion and every entry of the releases' own."""
    for action in (
        "create",
        "tag",
        "untag",
        "remove",
        "promote",
        "promoted",
        "reverted",
        "failed",
        "cancelled",
        "rollback",
    ):
        assert f"release.{action}" not in log_line(entry(f"release.{action}", "bot@1"))
