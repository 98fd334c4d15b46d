"""What alerts say: every kind in every language, with the command to act, and nothing else."""

from __future__ import annotations

import re
from string import Formatter

import pytest

from tests.support.alerts import NOW, message, note
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.alert_texts import (
    LANGUAGES,
    commands_for,
    gathered_lines,
    sentence_of,
    text_of,
    texts,
    title_of,
    what_happened,
)
from undercroft.watch.incidents.notes import Event, read_note

# A letter of the script that each language is written in, so that none is left in English by mistake.
_SCRIPTS = {"th": r"[\u0e01-\u0e5b]", "ar": r"[\u0621-\u064a]", "zh": r"[\u4e00-\u9fff]"}


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_text_is_there_in_every_language_with_the_same_figures() -> None:
    """A figure that one translation forgets would be missed by whoever reads that language."""
    for group in texts().values():
        for name, translations in group.items():
            assert tuple(translations) == LANGUAGES, name
            for language, text in translations.items():
                assert fields(text) == fields(translations["en"]), f"{name} in {language}"
                assert re.search(_SCRIPTS.get(language, "."), text), f"{name} in {language}"


def test_every_kind_has_a_text_and_every_event_and_severity_a_word() -> None:
    """A new kind without words would be told as nothing."""
    assert set(texts()["kinds"]) == {kind.value for kind in Kind}
    assert {*Event, *Severity} <= set(texts()["words"])


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(Kind))
def test_a_message_says_what_since_when_why_and_what_to_type(kind: Kind, language: str) -> None:
    """In each language, for each kind; a figure that is not known is a dash and no error."""
    text = text_of(message(note(kind=kind, cause="release bot@8, 4 minutes before"), language=language))
    assert "cellar-1" in text
    assert "2026-11-21 07:00 UTC" in text
    assert "release bot@8, 4 minutes before" in text
    assert "  undercroft incident show 12" in text
    assert "{" not in text
    subject_is_said = "{subject}" in texts()["kinds"][kind.value][language]
    assert ("bot" in what_happened(note(kind=kind), language)) is subject_is_said


def test_english_says_the_sentence_of_the_finding() -> None:
    """Which has its figures; the other languages have the text of the kind."""
    one = note(kind=Kind.LATENCY, sentence="The first token came after 562 ms instead of 180 ms.")
    assert what_happened(one, "en") == "The first token came after 562 ms instead of 180 ms."
    assert what_happened(one, "ms") == "bot memulakan jawapan lebih lambat daripada sebelum ini."
    assert sentence_of(Kind.DISK_LOW, "home", {"free": "1.2 GiB"}).endswith("1.2 GiB are free.")


def test_a_command_is_given_only_where_all_of_it_is_known() -> None:
    """A rollback needs a release to go back to; what is resolved needs no command."""
    assert commands_for(note()) == ("undercroft probe report bot", "undercroft incident show 12")
    known = note(figures={"deployment": "support", "previous": 6})
    assert "undercroft rollback support --to 6" in commands_for(known)
    assert commands_for(note(event=Event.RESOLVED)) == ()
    assert commands_for(note(event=Event.ACTED, deed="restart")) == ("undercroft incident show 12",)


def test_a_resolved_incident_says_until_when() -> None:
    """And no cause any more."""
    text = text_of(message(note(event=Event.RESOLVED, until=NOW)))
    assert text.splitlines()[0] == "[Resolved · critical] cellar-1"
    assert "Until: 2026-11-21 07:00 UTC" in text
    assert "cause" not in text


def test_the_title_is_one_short_line_about_the_gravest() -> None:
    """However long a sentence is, and whatever stands in it."""
    small = note(1, severity=Severity.WARNING, sentence="Small.")
    grave = note(2, sentence="Grave\nand long. " * 50)
    title = title_of(message(grave, small))
    assert title.startswith("[2] [New · critical] cellar-1: Grave and long.")
    assert len(title) <= 140
    assert "\n" not in title


def test_many_notes_become_one_message_that_every_service_takes() -> None:
    """The newest dozen in full, the others counted; below Telegram's 4,096 characters in every language."""
    many = [note(number, sentence="x" * 500) for number in range(1, 101)]
    lines = gathered_lines(message(*many))
    assert len(lines) == 13
    assert "#100 " in lines[-2]
    assert lines[-1] == "and 88 more: undercroft incident list"
    for language in LANGUAGES:
        assert len(text_of(message(*many, language=language, is_repeat=True))) < 4096


def test_a_message_that_may_come_twice_says_so() -> None:
    """Whoever gets it again knows that it is the same."""
    assert "sent again" in text_of(message(is_repeat=True))


def test_a_test_is_no_incident() -> None:
    """It says that nothing is wrong, and has no command."""
    test = note(event=Event.TEST, incident=None, kind=None, severity=Severity.NOTICE)
    text = text_of(message(test))
    assert text == "[Test] cellar-1\nThis is a test of this server's alerts. Nothing is wrong."


def test_a_note_is_kept_as_it_is() -> None:
    """What the outbox holds is what was told to it."""
    one = note(until=NOW, deed="restart", cause="x")
    assert read_note(one.to_dict()) == one
    test = note(event=Event.TEST, incident=None, kind=None)
    assert read_note(test.to_dict()) == test
