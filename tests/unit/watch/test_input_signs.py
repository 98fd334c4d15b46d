"""Language and topic of a text, without keeping it."""

from __future__ import annotations

import pytest

from undercroft.watch.probes.input_signs import TOPICS, language_of, topic_of

TEXTS = {
    "en": "Where is the order that I paid for last week? It has not arrived.",
    "th": "พัสดุของผมยังไม่มาถึงเลย ช่วยตรวจสอบให้หน่อยครับ",
    "ms": "Saya ingin membatalkan pesanan saya kerana barang itu tidak sampai.",
    "vi": "Đơn hàng của tôi chưa đến, xin kiểm tra giúp tôi với ạ.",
    "ar": "أين طلبي؟ لم يصل بعد وقد دفعت الأسبوع الماضي",
    "zh": "我的订单还没有到，请帮我查一下。",
    "ja": "注文した商品がまだ届きません。",
    "de": "Wo ist die Bestellung, die ich bezahlt habe?",
}


@pytest.mark.parametrize("language", list(TEXTS))
def test_languages_are_told_apart(language: str) -> None:
    """By their writing, and by short words where that is Latin."""
    assert language_of(TEXTS[language]) == language


@pytest.mark.parametrize(
    ("text", "language"),
    [("", "xx"), ("12345 !?", "xx"), ("lorem ipsum dolor", "la"), ("ქართული", "zz"), ("🙂 the cat is here", "en")],
)
def test_what_cannot_be_told_is_said_so(text: str, language: str) -> None:
    """Numbers, unknown words and unknown writings have words of their own."""
    assert language_of(text) == language


def test_a_thai_text_with_english_names_stays_thai() -> None:
    """Product names do not change the language of a message."""
    assert language_of("ผมสั่ง iPhone 15 Pro Max แต่ยังไม่ได้รับของเลยครับ") == "th"


def test_topics_are_sixteen_and_steady() -> None:
    """The same text has the same topic; a text without longer words has none."""
    found = {topic_of(text) for text in TEXTS.values()}
    assert found <= set(range(TOPICS))
    assert topic_of(TEXTS["en"]) == topic_of(TEXTS["en"])
    assert topic_of("to be or") is None


def test_like_texts_share_a_topic_more_often() -> None:
    """A message with one word changed stays in its heap more often than one about something else."""
    base = "please refund the delivery fee because the parcel arrived broken and the seller refuses every answer"
    words = base.split()
    changed = [" ".join([*words[:at], "yesterday", *words[at + 1 :]]) for at in range(len(words))]
    assert sum(topic_of(text) == topic_of(base) for text in changed) > len(changed) * 0.6
