"""Probe files: what is taken, and how what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.watch.probes.probe_files import load_probe, parse_probe, probe_names

_GOOD = """\
schedule: "0 7 * * mon-fri"
time_zone: Asia/Bangkok
questions:
  - id: capital
    text: What is the capital of France?
    system: Be brief.
    checks:
      - kind: contains
        text: Paris
      - kind: length
        at_most: 80
  - id: second
    messages:
      - {role: user, content: Hello}
      - {role: assistant, content: Hi}
      - {role: user, content: Who are you?}
    checks: [{kind: no-refusal}]
"""


def problems(text: str | bytes) -> str:
    raw = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InvalidError) as caught:
        parse_probe(raw, Path("bot.yaml"))
    assert caught.value.code == "bad-probe"
    return caught.value.message


def test_a_good_file_is_read_with_what_it_leaves_open() -> None:
    """Both forms of a question, the defaults, and the messages as the door takes them."""
    probe = parse_probe(_GOOD.encode(), Path("bot.yaml"))
    first, second = probe.questions
    assert first.turns() == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    assert [turn["role"] for turn in second.turns()] == ["user", "assistant", "user"]
    assert (first.max_tokens, first.weight, probe.model, probe.keep_answers) == (None, 1.0, None, False)


def test_a_changed_question_is_another_and_a_renamed_one_is_not() -> None:
    """The digest that a baseline is bound to follows the question and its checks."""

    def digest(text: str) -> str:
        return parse_probe(text.encode(), Path("bot.yaml")).questions[0].digest()

    assert digest(_GOOD) == digest(_GOOD.replace("id: capital", "id: city"))
    assert digest(_GOOD) != digest(_GOOD.replace("text: Paris", "text: paris"))
    assert digest(_GOOD) != digest(_GOOD.replace("Be brief.", "Be long."))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("kind: contains", "kind: contain", "line 8: questions[1].checks[1]: kind: expected one of exact,"),
        ("kind: contains", "kind: contain", "got 'contain'; nearest is 'contains'"),
        ("- kind: contains\n        text", "- text", "line 8: questions[1].checks[1]: kind: is missing"),
        ("at_most: 80", "at_mots: 80", "line 11: questions[1].checks[2].at_mots: there is no such field; nearest is"),
        ("at_most: 80", "at_most: many", "line 11: questions[1].checks[2].at_most: expected a whole number"),
        (
            "    system: Be",
            "    sistem: Be",
            "line 6: questions[1].sistem: there is no such field; nearest is 'system'",
        ),
        (
            "system: Be brief.",
            "variables: {1st: x}",
            "line 6: questions[1].variables: expected names of letters, digits",
        ),
        ("system: Be brief.", "variables: {7: x}", "line 6: questions[1].variables: expected names of letters, digits"),
        ("system: Be brief.", "variables: {shop: 5}", "line 6: questions[1].variables.shop: expected a text, got 5"),
        ("system: Be brief.", "variables: [shop]", "line 6: questions[1].variables: expected a mapping"),
        ("system: Be brief.", "variabels: {}", "line 6: questions[1].variabels: there is no such field; nearest is"),
        ("id: second", "id: capital", "capital stands twice"),
        ("id: second", "id: Second one", "line 12: questions[2].id: expected a name"),
        (
            "    text: What is the capital of France?\n    system: Be brief.\n",
            "",
            "line 4: questions[1]: expected either",
        ),
        ("text: Paris", "text: Paris\n        text: Rome", "line 10: text stands twice"),
        ("0 7 * * mon-fri", "0 7 * *", "line 1: schedule: expected five fields"),
        ("0 7 * * mon-fri", "61 7 * * *", "line 1: schedule: expected cron syntax"),
        ("0 7 * * mon-fri", "0 7 30 2 *", "line 1: schedule: expected"),
        ("Asia/Bangkok", "Asia/Bangkog", "line 2: time_zone: expected a time zone"),
        ("Asia/Bangkok", "../../etc/passwd", "line 2: time_zone: expected a time zone"),
        ("text: Paris", "text: [a", "it is not YAML"),
        ("text: Paris", "text: &a Paris\n        <<: *a", "aliases"),
        (
            "{role: user, content: Who are you?}",
            "{role: assistant, content: x}",
            "expected the last one to be the user's",
        ),
    ],
)
def test_a_problem_is_said_with_its_line_and_field(before: str, after: str, said: str) -> None:
    """And with the nearest name where a name is wrong."""
    assert before in _GOOD
    assert said in problems(_GOOD.replace(before, after, 1))


def test_all_problems_are_said_at_once() -> None:
    """So that nobody corrects one to see the next."""
    text = problems(_GOOD.replace("Asia/Bangkok", "nowhere").replace("at_most: 80", "at_most: -1"))
    assert text.count("line ") == 2


@pytest.mark.parametrize(
    "text", ["", "[]", "questions: []", "questions: 5", "- a", "{" * 1000, "\x00", b"\xff\xfe\x00"]
)
def test_what_is_no_probe_is_refused(text: str | bytes) -> None:
    """Empty, another form, too deep, no text."""
    assert "bot.yaml has problems" in problems(text)


def test_an_unknown_probe_is_said_with_the_nearest(tmp_path: Path) -> None:
    """And a name that would lead out of the folder is none."""
    home = Home(tmp_path)
    home.probes.mkdir()
    (home.probes / "support-bot.yaml").write_text(_GOOD, encoding="utf-8")
    (home.probes / "Not A Name.yaml").write_text(_GOOD, encoding="utf-8")
    assert probe_names(home) == ["support-bot"]
    assert len(load_probe(home, "support-bot").questions) == 2
    with pytest.raises(NotFoundError, match="nearest is 'support-bot'"):
        load_probe(home, "support-bott")
    with pytest.raises(InvalidError, match="bad-name"):
        load_probe(home, "../support-bot")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_probe_or_refused(raw: bytes) -> None:
    """Nothing but our own error comes of them."""
    with pytest.raises(InvalidError):
        parse_probe(raw, Path("bot.yaml"))
