"""What alerts say, in the user's language. Pure but for the file of texts beside it, which is read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from undercroft.core.clock import to_iso
from undercroft.watch.findings import Kind, Severity
from undercroft.watch.incidents.incidents import is_at_least
from undercroft.watch.incidents.notes import Event, Message, Note

LANGUAGES = ("en", "th", "ms", "vi", "ar", "zh")

_NOTES_SHOWN = 12
_TITLE_CHARACTERS = 140

# Kind → the commands that help; {subject}, {deployment}, {number} and the like are filled in, and a command that needs
# what is not known is left out.
_COMMANDS: Mapping[Kind, tuple[str, ...]] = {
    Kind.PROBE_FAILING: ("undercroft probe report {subject}", "undercroft rollback {deployment} --to {previous}"),
    Kind.PROBE_UNUSABLE: ("undercroft probe list",),
    Kind.REPLICA_FAILING: ("undercroft status", "undercroft doctor"),
    Kind.PROMOTION_FAILED: ("undercroft release log {subject}",),
    Kind.BACKUP_FAILING: ("undercroft status", "undercroft backup create"),
    Kind.JOURNAL_BROKEN: ("undercroft journal verify",),
    Kind.DISK_LOW: ("undercroft doctor", "undercroft model gc"),
    Kind.WEIGHTS_CHANGED: ("undercroft model verify {subject}",),
    Kind.ALERTS_UNDELIVERED: ("undercroft alert list", "undercroft alert test {subject}"),
    Kind.RULES_UNUSABLE: ("undercroft incident rules",),
    Kind.ACTIONS_EXHAUSTED: ("undercroft status", "undercroft incident list"),
    Kind.ACTION_FAILED: ("undercroft status", "undercroft incident list"),
    **dict.fromkeys((Kind.LATENCY, Kind.THROUGHPUT, Kind.ERRORS), ("undercroft status",)),
    **dict.fromkeys(
        (Kind.MEMORY_LEAK, Kind.GPU_MEMORY_LEAK, Kind.FILE_LEAK),
        ("undercroft status", "undercroft deployment stop {subject}; undercroft deployment start {subject}"),
    ),
    **dict.fromkeys((Kind.INPUT_LENGTH, Kind.INPUT_LANGUAGE, Kind.INPUT_TOPIC), ()),
    **dict.fromkeys(
        (
            Kind.PASSES,
            Kind.SCORE,
            Kind.FORMAT,
            Kind.REFUSALS,
            Kind.STYLE,
            Kind.ANSWERS,
            Kind.ANSWER_LENGTH,
            Kind.ANSWER_LANGUAGE,
        ),
        ("undercroft probe report {probe}",),
    ),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A note in one language.

    Args:
        what: What happened, a sentence.
        lines: Label and text of everything else.
        commands: What to type, one a line.
        heading: Event and severity in words.
    """

    what: str
    lines: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]
    heading: str


@cache
def texts() -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """``words``, ``kinds`` and ``deeds``: name → language → text."""
    raw = (files(__package__) / "alert_texts.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Mapping[str, Mapping[str, str]]] = yaml.safe_load(raw)
    return found


def word(name: str, language: str) -> str:
    """One of the words of all messages."""
    return texts()["words"][name][language]


def what_happened(note: Note, language: str) -> str:
    """A sentence; the finding's own where that says more."""
    if note.kind is None:
        return word("try", language)
    if note.deed:
        return _filled(texts()["deeds"][note.deed][language], note)
    if language == "en" and note.sentence:
        return note.sentence
    text = _filled(texts()["kinds"][note.kind.value][language], note)
    if "before" in note.figures and "now" in note.figures:
        text += f" ({note.figures['before']} → {note.figures['now']})"
    return text


def sentence_of(kind: Kind, subject: str, figures: Mapping[str, float | int | str]) -> str:
    """What is found, in English, for findings that have no words of their own."""
    values = _Values({**figures, "subject": subject})
    return texts()["kinds"][kind.value]["en"].format_map(values)


def commands_for(note: Note) -> tuple[str, ...]:
    """What to type; nothing where it is over."""
    if note.event in (Event.RESOLVED, Event.TEST) or note.kind is None:
        return ()
    found: list[str] = []
    for command in _COMMANDS[note.kind] if note.event is not Event.ACTED else ():
        usual = {"deployment": note.subject, "probe": note.subject}
        values = _Values({**usual, **note.figures, "subject": note.subject})
        filled = command.format_map(values)
        if not values.lacks:
            found.append(filled)
    return (*found, f"undercroft incident show {note.incident}")


def shown(note: Note, language: str) -> Shown:
    """A note in a language, in its parts."""

    def said(name: str) -> str:
        return word(name, language)

    heading = f"{said(note.event.value)} · {said(note.severity.value)}"
    if note.event is Event.TEST:
        heading = said("test")
    lines = []
    if note.incident is not None:
        lines.append((said("since"), _time(to_iso(note.since))))
        if note.until is not None:
            lines.append((said("until"), _time(to_iso(note.until))))
        if note.event in (Event.OPENED, Event.ESCALATED):
            lines.append((said("cause"), note.cause or said("unknown")))
        lines.append((said("incident"), f"#{note.incident}"))
    return Shown(what_happened(note, language), tuple(lines), commands_for(note), heading)


def title_of(message: Message) -> str:
    """One line: how grave, which server, what."""
    note = gravest(message)
    text = f"[{shown(note, message.language).heading}] {message.site}: {what_happened(note, message.language)}"
    if len(message.notes) > 1:
        text = f"[{len(message.notes)}] {text}"
    return shortened(" ".join(text.split()), _TITLE_CHARACTERS)


def text_of(message: Message) -> str:
    """The whole message as plain text; at most some 4,000 characters."""
    language = message.language
    if len(message.notes) == 1:
        one = shown(message.notes[0], language)
        lines = [f"[{one.heading}] {message.site}", one.what]
        lines += [f"{label}: {text}" for label, text in one.lines]
        if one.commands:
            lines += [f"{word('todo', language)}:", *(f"  {command}" for command in one.commands)]
    else:
        gathered = word("gathered", language).format(count=len(message.notes))
        lines = [f"{message.site}: {gathered}", *(f"• {line}" for line in gathered_lines(message))]
    if message.is_repeat:
        lines.append(word("repeated", language))
    return "\n".join(lines)


def gathered_lines(message: Message) -> list[str]:
    """Each note in a line, those that are too many counted; the last ones are the newest and so are kept."""
    kept = message.notes[-_NOTES_SHOWN:]
    lines = []
    for note in kept:
        one = shown(note, message.language)
        number = f"#{note.incident} " if note.incident is not None else ""
        lines.append(shortened(f"[{one.heading}] {number}{one.what} ({_time(to_iso(note.since))})", 300))
    if len(message.notes) > len(kept):
        lines.append(word("more", message.language).format(count=len(message.notes) - len(kept)))
    return lines


def gravest(message: Message) -> Note:
    """The note that a title is about: the gravest, of several the newest."""
    found = message.notes[0]
    for note in message.notes[1:]:
        if is_at_least(note.severity, found.severity):
            found = note
    return found


def is_bad(message: Message) -> bool:
    """Whether something is wrong that is critical."""
    return any(note.severity is Severity.CRITICAL and note.event is not Event.RESOLVED for note in message.notes)


def shortened(text: str, characters: int) -> str:
    """A text that is no longer than that; one that is cut ends with an ellipsis."""
    return text if len(text) <= characters else text[: characters - 1].rstrip() + "…"


class _Values(dict[str, Any]):
    """Values of a text; what is not there is shown as a dash, and known to lack."""

    lacks = False

    def __missing__(self, key: str) -> str:
        self.lacks = True
        return "-"


def _filled(text: str, note: Note) -> str:
    return text.format_map(_Values({**note.figures, "subject": note.subject}))


def _time(iso: str) -> str:
    return f"{iso[:16].replace('T', ' ')} UTC"
