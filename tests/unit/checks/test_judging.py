"""What every kind of check says of an answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from undercroft.checks.json_answers import NOTHING, look_up, read_json
from undercroft.checks.judging import CheckResult, Opinions, check_names, graded, judge_answer, judge_time
from undercroft.checks.kinds import CHECK_KINDS, Check
from undercroft.checks.refusals import is_refusal
from undercroft.checks.similarity import ngram_similarity, sketch, sketch_similarity, vector_similarity

_READ: TypeAdapter[Check] = TypeAdapter(Check)


def check(**fields: Any) -> Check:
    return _READ.validate_python(fields)


def judged(answer: str, opinions: Opinions | None = None, **fields: Any) -> CheckResult:
    return judge_answer([check(**fields)], answer, opinions or Opinions())[0]


@pytest.mark.parametrize(
    ("answer", "fields", "score"),
    [
        (" Paris\n", {"kind": "exact", "text": "Paris"}, 1.0),
        ("paris", {"kind": "exact", "text": "Paris"}, 0.0),
        ("PARIS", {"kind": "exact", "text": "Paris", "ignore_case": True}, 1.0),
        ('{"city": "Paris"}', {"kind": "exact", "text": "Paris", "at": "city"}, 1.0),
        ('{"city": "Paris"}', {"kind": "exact", "text": "Paris", "at": "town"}, 0.0),
        ("cafe\u0301", {"kind": "exact", "text": "caf\u00e9"}, 1.0),
        ("red and green", {"kind": "contains", "text": "red"}, 1.0),
        ("red and green", {"kind": "contains", "text": ["red", "blue"]}, 0.5),
        ("order SG-4471", {"kind": "regex", "pattern": r"\b[A-Z]{2}-\d{4}\b"}, 1.0),
        ("order 4471", {"kind": "regex", "pattern": r"\b[A-Z]{2}-\d{4}\b"}, 0.0),
        ('{"a": 1}', {"kind": "json"}, 1.0),
        ('Sure! {"a": 1}', {"kind": "json"}, 0.0),
        ('{"a": NaN}', {"kind": "json"}, 0.0),
        ('{"a": 1, "a": 2}', {"kind": "json"}, 0.0),
        ("[" * 100_000, {"kind": "json"}, 0.0),
        ('{"a": 1}', {"kind": "json", "schema": {"required": ["a"]}}, 1.0),
        ('{"a": 1}', {"kind": "json", "schema": {"required": ["b"]}}, 0.5),
        ("It is 42.", {"kind": "number", "value": 42}, 1.0),
        ("It is 1,284.5 EUR", {"kind": "number", "value": 1284.5}, 1.0),
        ("about 7.1", {"kind": "number", "value": 7, "tolerance": 0.1}, 1.0),
        ("about 9", {"kind": "number", "value": 7, "tolerance": 1}, 0.5),
        ('{"n": [3, -4]}', {"kind": "number", "value": -4, "at": "n[1]"}, 1.0),
        ('{"n": true}', {"kind": "number", "value": 1, "at": "n"}, 0.0),
        ("none", {"kind": "number", "value": 1}, 0.0),
        ("สินค้าของฉันอยู่ที่ไหน", {"kind": "language", "language": "th"}, 1.0),
        ("Di mana pesanan saya?", {"kind": "language", "language": "ms", "among": ["en", "ms", "vi"]}, 1.0),
        ("12345", {"kind": "language", "language": "en"}, 0.0),
        ("four", {"kind": "length", "at_least": 8}, 0.5),
        ("four", {"kind": "length", "at_most": 2}, 0.5),
        ("four", {"kind": "length", "at_least": 4, "at_most": 4}, 1.0),
        ("Yes, here it is.", {"kind": "no-refusal"}, 1.0),
        ("", {"kind": "no-refusal"}, 0.0),
        ("the same", {"kind": "similarity", "reference": "The  same"}, 1.0),
        ("xyz", {"kind": "similarity", "reference": "abc"}, 0.0),
    ],
)
def test_an_answer_gets_the_score_that_the_check_promises(answer: str, fields: dict[str, Any], score: float) -> None:
    """Every kind, at its best, at its worst, and between; a check without full score says expected before got."""
    result = judged(answer, **fields)
    assert result.score == pytest.approx(score)
    assert result.has_passed == (score == 1.0)
    assert result.has_passed == (result.detail == "")


def test_another_language_is_not_taken_for_the_wanted_one() -> None:
    """An English answer to a question that wants Thai fails, and its score is the little that speaks for Thai."""
    result = judged("Where is my order, please? I need it today.", kind="language", language="th")
    assert not result.has_passed
    assert result.score < 0.1
    assert "expected th, got en" in result.detail


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with this request.",
        "As an AI language model, I have no opinion.",
        "ขออภัยค่ะ ฉันไม่สามารถช่วยเรื่องนี้ได้",
        "Maaf, saya tidak dapat membantu dengan permintaan itu.",
        "Xin lỗi, tôi không thể giúp bạn việc này.",
        "عذراً، لا أستطيع المساعدة في ذلك.",
        "抱歉，我无法回答这个问题。",
    ],
)
def test_refusals_are_known_in_six_languages(answer: str) -> None:
    """One in each is a refusal."""
    assert is_refusal(answer)
    assert is_refusal(" \n" * 9000 + answer + " and more" * 9000)


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry to hear that. Your parcel arrives tomorrow.",
        '{"intent":"account_access","summary":"Cannot access the account"}',
        "ขอบคุณค่ะ สินค้าจะถึงพรุ่งนี้",
        "Maaf atas kelewatan. Pesanan anda tiba esok.",
        "Xin lỗi vì sự chậm trễ. Đơn hàng sẽ đến ngày mai.",
        "عذراً على التأخير، سيصل طلبك غداً.",
        "抱歉让您久等，您的订单明天送达。",
        "不能吃苹果的人很少。",
    ],
)
def test_an_apology_is_no_refusal(answer: str) -> None:
    """One in each language that says sorry, or cannot, and answers all the same."""
    assert not is_refusal(answer)


def test_a_harmful_pattern_takes_linear_time() -> None:
    """A pattern that takes years in Python's own engine comes to its end here, in a check and in a schema."""
    assert not judged("a" * 50_000 + "!", kind="regex", pattern="(a+)+$").has_passed
    schema = {"pattern": "^(a+)+$"}
    assert not judged(json.dumps("a" * 50_000 + "!"), kind="json", schema=schema).has_passed


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"kind": "regex", "pattern": "("}, "RE2"),
        ({"kind": "regex", "pattern": r"(?=a)b"}, "RE2"),
        ({"kind": "regex", "pattern": r"(a)\1"}, "RE2"),
        ({"kind": "json", "schema": {"type": "strange"}}, "JSON Schema"),
        ({"kind": "json", "schema": {"$ref": "http://127.0.0.1:9/schema.json"}}, "nothing is fetched"),
        ({"kind": "length", "at_least": 5, "at_most": 4}, "at least at_least"),
        ({"kind": "number", "value": float("nan")}, "finite"),
        ({"kind": "exact", "text": "a", "at": "a..b"}, "path"),
        ({"kind": "contains", "text": []}, "at least 1"),
        ({"kind": "similarity", "reference": "a", "at_least": 1.5}, "less than or equal to 1"),
        ({"kind": "exact", "text": "a", "weight": 0}, "greater than 0"),
    ],
)
def test_a_check_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    """Before any question is asked, and with the reason."""
    with pytest.raises(ValidationError, match=said):
        check(**fields)


def test_encoders_and_judges_are_asked_by_somebody_else() -> None:
    """Their opinions count where they are given, and a missing one fails the check."""
    similar = {"kind": "similarity", "reference": "b", "encoder": "e5", "at_least": 0.9}
    vectors = {("e5", "a"): [1.0, 0.0], ("e5", "b"): [1.0, 0.1]}
    assert judged("a", Opinions(vectors=vectors), **similar).score == pytest.approx(0.995, abs=0.001)
    assert "did not answer" in judged("a", **similar).detail
    judge = {"kind": "judge", "model": "big", "criterion": "polite"}
    assert judged("a", Opinions(judgements={("big", "polite"): 0.7}), **judge).has_passed
    assert "no number" in judged("a", **judge).detail


def test_a_question_is_graded_by_the_weights_of_its_checks() -> None:
    """Three parts of a failed check and one of a passed one are a quarter; each has a name of its own."""
    checks = [check(kind="exact", text="x", weight=3), check(kind="exact", text="y"), check(kind="json")]
    assert check_names(checks) == ["exact", "exact-2", "json"]
    assert graded(judge_answer(checks[:2], "y")) == pytest.approx(0.25)


def test_late_answers_lose_in_proportion() -> None:
    """Twice the limit is half the score; what never came has none."""
    assert judge_time("total-time", 2.0, 1.9).has_passed
    assert judge_time("total-time", 2.0, 4.0).score == pytest.approx(0.5)
    assert judge_time("first-token-time", 2.0, None).score == 0.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_likeness_is_between_0_and_1_and_the_same_both_ways(one: str, other: str) -> None:
    """Of texts and of their sketches; a text is like itself, and a sketch is never less alike by much."""
    assert 0.0 <= ngram_similarity(one, other) <= 1.0
    assert ngram_similarity(one, other) == pytest.approx(ngram_similarity(other, one))
    assert ngram_similarity(one, one) == 1.0
    assert sketch_similarity(sketch(one), sketch(one)) == 1.0
    assert 0.0 <= sketch_similarity(sketch(one), sketch(other)) <= 1.0


def test_a_changed_order_id_is_less_alike_and_another_text_far_less() -> None:
    """So that a threshold can stand between them."""
    same = '{"intent":"order_status","order_id":"kx-55120"}'
    near = ngram_similarity(same, '{"intent":"order_status","order_id":"kx-55121"}')
    far = ngram_similarity(same, "I am a philosopher now.")
    assert far < 0.2 < 0.8 < near < 1.0
    assert vector_similarity([0.0], [1.0]) == 0.0


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=8))
def test_json_is_read_as_it_is_written(value: Any) -> None:
    """Whatever JSON can hold comes back; nothing is found where nothing stands."""
    assert read_json(json.dumps(value)) == value
    assert look_up({"a": [value]}, "a[0]") == value
    assert look_up({"a": [value]}, "a[1]") is NOTHING


def test_every_kind_has_its_place_in_the_report() -> None:
    """A kind that the report has no column for would be lost."""
    kinds = {kind.model_fields["kind"].annotation.__args__[0] for kind in Check.__origin__.__args__}  # type: ignore[attr-defined]
    assert kinds | {"first-token-time", "total-time"} == set(CHECK_KINDS)
