"""Needs: how they are read, what is filled in, and what is said about those that make no sense."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError
from undercroft.planning.assumptions import Assumptions
from undercroft.planning.need_values import FIELDS, Money
from undercroft.planning.needs import LEAST_OF_A_CHAT, Need, assumed_in, in_dollars, parse_need


def test_the_need_of_the_guide_is_read() -> None:
    """Every name with its unit, as the guide writes them."""
    assert parse_need("users=20,ttft=1s,tps=15,languages=th;ar,licence=commercial,budget=3000USD") == Need(
        users=20,
        first_token_seconds=1.0,
        tokens_per_second=15.0,
        languages=("th", "ar"),
        purpose="commercial",
        budget_usd=3000.0,
        parameters=1_000_000_000,
        assumed=("parameters",),
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        (" Users = 20 ", "users", 20),
        ("users=2k", "users", 2000),
        ("users=٢٠", "users", 20),
        ("monthly=800M", "monthly_users", 800_000_000),
        ("TTFT=800 MS", "first_token_seconds", 0.8),
        ("ttft=1.5sec", "first_token_seconds", 1.5),
        ("ttft=.5", "first_token_seconds", 0.5),
        ("tps=15 tokens", "tokens_per_second", 15.0),
        ("context=8k", "context_tokens", 8192),
        ("context=128K", "context_tokens", 131_072),
        ("budget=3k USD", "budget_usd", 3000.0),
        ("budget=$3000", "budget_usd", 3000.0),
        ("budget=3 000", "budget_usd", 3000.0),
        ("budget=3000 EUR", "budget_other", Money(3000.0, "EUR")),
        ("budget=€2.5k", "budget_other", Money(2500.0, "EUR")),
        ("power=1.2kW", "power_watts", 1200.0),
        ("size=7b", "parameters", 7_000_000_000),
        ("license=Research", "purpose", "research"),
        ("vendor=AMD", "vendor", "amd"),
        ("task=encode", "task", "encode"),
        ("lang=TH", "languages", ("th",)),
        ("languages=th;ar;th", "languages", ("th", "ar")),
        ("languages=th,ar", "languages", ("th", "ar")),
        ("languages=zh-CN", "languages", ("zh",)),
        ("tps=any", "tokens_per_second", None),
        ("parameters=any", "parameters", 0),
    ],
)
def test_values_are_read_as_people_write_them(text: str, field: str, value: object) -> None:
    """Spaces, capitals, units, symbols of money and other scripts' digits."""
    assert getattr(parse_need(text), field) == value


def test_needs_may_be_separated_as_people_do() -> None:
    """Commas, semicolons, spaces and lines, with languages in between."""
    wanted = parse_need("users=20,languages=th;ar,tps=15")
    assert parse_need("users=20; languages=th;ar; tps=15") == wanted
    assert parse_need("users=20 languages=th,ar tps=15") == wanted
    assert parse_need("\n users = 20 ,, languages = th ; ar \n tps = 15,") == wanted


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        (" , ", "empty"),
        ("users", "expected name=value"),
        ("=3", "expected|unknown"),
        ("user=3", "nearest is 'users'"),
        ("bugdet=3000", "nearest is 'budget'"),
        ("xyzzy=3", "known are users, ttft"),
        ("users=many", "users: expected a count, such as 20, got 'many'"),
        ("users=0", "users: expected a count"),
        ("users=-3", "users: expected a count"),
        ("users=2.5e3", "users: expected a count"),
        ("users=²", "users: expected a count"),
        ("users=" + "9" * 400, "users: expected a count"),
        ("tps=" + "9" * 400, "tps: expected tokens"),
        ("tps=nan", "tps: expected tokens"),
        ("users=any", "users: expected a count"),
        ("ttft=1h", "ttft: expected a time"),
        ("ttft=0s", "ttft: expected a time"),
        ("languages=thai", "language codes .*nearest is 'th'"),
        ("languages=tha;arabc", "nearest is 'th;ar'"),
        ("languages=;", "'languages=': expected name=value"),
        ("licence=comercial", "expected one of commercial.*nearest is 'commercial'"),
        ("vendor=nvida", "nearest is 'nvidia'"),
        ("budget=-5", "expected dollars"),
        ("budget=$3000USD", "expected dollars"),
        ("budget=3,000USD", "'000USD': expected name=value; write numbers without commas"),
        ("users=1,users=2", "users is given twice"),
        ("language=th,languages=ar", "languages is given twice"),
        ("prompt=8k,context=4k", "the context of a request has 4,096"),
        ("task=embed,tps=5", "tps: nothing is generated for task=embed"),
        ("task=embed,prompt=1k,context=512", "the prompt takes 1,024 tokens, the context has 512"),
        ("users=x,tps=y,colour=red", "users: .*; tps: .*; unknown 'colour'"),
    ],
)
def test_a_wrong_need_is_refused_with_what_was_expected(text: str, words: str) -> None:
    """Every problem has its sentence with the nearest name, and all come at once."""
    with pytest.raises(InvalidError, match=words):
        parse_need(text)


def test_what_a_chat_has_to_give_is_filled_in_and_said() -> None:
    """Pace, wait and size of a chat have a least that is shown with its reason; what was said is not filled in."""
    need = parse_need("users=3,ttft=2s")
    assert (need.tokens_per_second, need.parameters) == (5.0, 1_000_000_000)
    assert [row[:2] for row in assumed_in(need)] == [("tps", "5"), ("parameters", "1B")]
    assert assumed_in(parse_need("tps=1,ttft=any,parameters=any")) == []
    assert {field for field, _, _ in LEAST_OF_A_CHAT.values()} <= {field.field for field in FIELDS.values()}


def test_an_encoder_is_asked_for_a_passage_and_no_answer() -> None:
    """Without a context an encoder gets what most were made for; nothing is asked of tokens a second."""
    need = parse_need("task=embed,users=5")
    assert (need.context_tokens, need.tokens_per_second, need.parameters, need.assumed) == (512, None, 0, ())
    assert parse_need("task=embed,prompt=2k").context_tokens == 2048
    assert parse_need("task=rerank,context=256").prompt_tokens == 256


def test_a_short_context_shortens_the_typical_request() -> None:
    """Of 300 tokens two thirds are the prompt."""
    need = parse_need("context=300")
    assert (need.prompt_tokens, need.answer_tokens) == (200, 100)


def test_a_budget_in_another_currency_is_turned_into_dollars() -> None:
    """2,760 EUR at 0.92 EUR a dollar are 3,000 dollars; without the price of a dollar the budget is refused."""
    need = parse_need("budget=2760EUR")
    known = in_dollars(need, Assumptions(currency="EUR", dollar_rate=0.92))
    assert known == replace(need, budget_usd=pytest.approx(3000.0), budget_other=None)
    with pytest.raises(InvalidError, match="the price of a dollar in EUR") as refused:
        in_dollars(need, Assumptions())
    assert "--assume currency=EUR" in str(refused.value.hint)


NAMES = st.sampled_from([*FIELDS, "lang", "size", "colour", ""])
VALUES = st.one_of(st.text(max_size=12), st.sampled_from(["any", "1", "8k", "3000 EUR", "th;ar", "chat", "embed"]))


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(NAMES, VALUES), max_size=5), separator=st.sampled_from([",", "; ", " "]))
def test_any_text_is_a_need_or_an_error_that_says_why(pairs: list[tuple[str, str]], separator: str) -> None:
    """Whatever is written, nothing but a need that holds together or a sentence comes out."""
    text = separator.join(f"{name}={value}" for name, value in pairs)
    with contextlib.suppress(InvalidError):
        need = parse_need(text)
        assert need.users >= 1
        assert need.prompt_tokens <= need.context_tokens
