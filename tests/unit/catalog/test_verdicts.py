"""Whether a licence covers a use: golden cases, and what must hold for all licences and uses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.catalog.licences import load_licences
from undercroft.catalog.uses import PURPOSES, Purpose, Use, parse_use
from undercroft.catalog.verdicts import judge, judge_written
from undercroft.core.errors import InvalidError

LICENCES = load_licences()
SEVERITY = {"allowed": 0, "needs-acceptance": 1, "refused-use": 2}
# Purpose → those that ask no more of a licence.
MILDER: dict[Purpose, tuple[Purpose, ...]] = {
    "commercial": ("internal", "research", "personal"),
    "internal": ("research", "personal"),
    "research": (),
    "personal": (),
}
USERS = st.none() | st.integers(0, 10**9)


@pytest.mark.parametrize(
    ("licence", "use", "outcome"),
    [
        ("apache-2.0", "commercial", "allowed"),
        ("apache-2.0", "users=2000000000", "allowed"),
        ("mit", "commercial", "allowed"),
        ("llama3.1", "research", "needs-acceptance"),
        ("llama3.2", "commercial", "needs-acceptance"),
        ("llama3.2", "commercial,users=700000000", "needs-acceptance"),
        ("llama3.2", "commercial,users=700000001", "refused-use"),
        ("gemma", "internal", "needs-acceptance"),
        ("qwen", "users=100000001", "refused-use"),
        ("qwen-research", "commercial", "refused-use"),
        ("qwen-research", "research", "needs-acceptance"),
        ("mrl", "internal", "refused-use"),
        ("cc-by-nc-4.0", "commercial", "refused-use"),
        ("cc-by-nc-4.0", "internal", "needs-acceptance"),
        ("cc-by-nc-4.0", "personal", "allowed"),
    ],
)
def test_golden_verdicts(licence: str, use: str, outcome: str) -> None:
    """What the texts of the licences say, for the uses that people have."""
    assert judge(LICENCES.find(licence), parse_use(use)).outcome == outcome


def test_the_sentences_say_what_where_and_why() -> None:
    """A refusal names licence, use and section; conditions are whole sentences with their section."""
    verdict = judge(LICENCES.find("qwen-research"), Use("commercial"))
    assert verdict.summary == "The Qwen Research License Agreement does not cover commercial use."
    assert verdict.conditions[0].endswith("needs a licence from Alibaba Cloud (sections 1.i and 2).")
    assert verdict.url.startswith("https://huggingface.co/Qwen/")
    capped = judge(LICENCES.find("llama3"), Use("commercial", 800_000_000)).summary
    assert "ends at 700,000,000 monthly users (section 2, of all products of licensee and affiliates" in capped
    assert "; 800,000,000 are declared" in capped


def test_an_unknown_licence_is_said_to_be_unknown() -> None:
    """Commercial use has to be accepted by somebody who read it; other uses are told the same and not stopped."""
    named = judge(None, Use("commercial"), written="strange-1.0")
    assert (named.outcome, named.is_known) == ("needs-acceptance", False)
    assert "names the licence 'strange-1.0', of which there are no facts here" in named.summary
    nothing = judge(None, Use("internal"))
    assert nothing.outcome == "allowed"
    assert "Its licence is not known: read what its source says of it" in nothing.summary
    assert judge(None, Use("commercial"), written="x" * 1_000_000).summary.count("x") == 80


@pytest.mark.parametrize(
    ("written", "use", "outcome", "licences"),
    [
        ("apache-2.0", "commercial", "allowed", "apache-2.0"),
        ("apache-2.0 AND mit", "commercial", "allowed", "apache-2.0 AND mit"),
        ("apache-2.0 AND cc-by-nc-4.0", "commercial", "refused-use", "cc-by-nc-4.0 AND apache-2.0"),
        ("mit and gemma AND mrl", "internal", "refused-use", "mrl AND gemma AND mit"),
        ("apache-2.0 AND their-own", "commercial", "needs-acceptance", "their-own AND apache-2.0"),
        ("mit OR apache-2.0", "commercial", "needs-acceptance", "mit-or-apache-2.0"),
        ("unknown", "commercial", "needs-acceptance", "unknown"),
        ("", "research", "allowed", "unknown"),
    ],
)
def test_of_several_licences_the_strictest_decides(written: str, use: str, outcome: str, licences: str) -> None:
    """Each has to cover the use; a choice between two is not taken apart and said to be unknown."""
    verdict = judge_written(LICENCES, written, parse_use(use))
    assert (verdict.outcome, verdict.licence) == (outcome, licences)


def test_several_licences_are_said_with_what_each_asks() -> None:
    """Whoever looks sees that there are several, a sentence on each, and every condition once."""
    verdict = judge_written(LICENCES, "apache-2.0 AND cc-by-nc-4.0 AND cc-by-4.0", Use("commercial"))
    assert verdict.summary.startswith(
        "Its sources name several licences, each of which has to cover the use. The Creative"
    )
    assert "The Apache License 2.0 covers commercial use." in verdict.summary
    assert len(verdict.conditions) == len(set(verdict.conditions)) == 3
    assert verdict.url.endswith("by-nc/4.0/legalcode")


@given(st.sampled_from([*LICENCES.all(), None]), st.sampled_from(PURPOSES), USERS)
def test_a_stricter_use_is_never_judged_more_mildly(licence: object, purpose: Purpose, users: int | None) -> None:
    """Whatever commercial use gets, internal use, research and personal use get no worse; and so on down."""
    found = licence if licence is None else LICENCES.find(licence.id)  # type: ignore[attr-defined]
    strict = SEVERITY[judge(found, Use(purpose, users)).outcome]
    assert all(SEVERITY[judge(found, Use(milder, users)).outcome] <= strict for milder in MILDER[purpose])


@given(st.sampled_from(LICENCES.all()), st.sampled_from(PURPOSES), st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_users_are_never_judged_more_mildly(licence: object, purpose: Purpose, users: int, more: int) -> None:
    """A cap can only take away."""
    found = LICENCES.find(licence.id)  # type: ignore[attr-defined]
    few, many = judge(found, Use(purpose, users)), judge(found, Use(purpose, users + more))
    assert SEVERITY[few.outcome] <= SEVERITY[many.outcome]


@pytest.mark.parametrize(
    ("text", "use"),
    [
        ("commercial", Use("commercial")),
        (" Research ", Use("research")),
        ("users=5000", Use("commercial", 5000)),
        ("internal,users=1_000", Use("internal", 1000)),
        ("users=7; personal", Use("personal", 7)),
    ],
)
def test_a_use_is_read_as_written(text: str, use: Use) -> None:
    """Purpose and users in either order; users alone mean a product."""
    assert parse_use(text) == use


@pytest.mark.parametrize("text", ["", "profit", "users=", "users=-1", "users=99999999999", "commercial,personal", ","])
def test_a_bad_use_is_refused_with_the_forms(text: str) -> None:
    """The error lists what can be declared."""
    with pytest.raises(InvalidError, match="expected commercial, internal, research or personal, with ,users=N"):
        parse_use(text)


@given(st.sampled_from(PURPOSES), USERS)
def test_a_use_is_written_as_it_is_read(purpose: Purpose, users: int | None) -> None:
    """What the journal keeps can be read again, and fits its column."""
    use = Use(purpose, users)
    assert parse_use(str(use)) == use
    assert len(str(use)) <= 32


def test_an_acceptance_covers_no_more_than_it_said() -> None:
    """The same purpose with as many users or fewer; an acceptance without a number covers no number."""
    accepted = Use("commercial", 1000)
    assert accepted.covers(Use("commercial", 1000))
    assert accepted.covers(Use("commercial", 10))
    assert accepted.covers(Use("commercial"))
    assert not accepted.covers(Use("commercial", 1001))
    assert not accepted.covers(Use("internal"))
    assert not Use("commercial").covers(Use("commercial", 5))
