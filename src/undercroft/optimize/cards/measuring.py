"""Measures a model and writes its card: what the command line, jobs and searches call."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import InvalidError
from undercroft.core.files import make_folder, write_atomically
from undercroft.core.settings import EngineSettings
from undercroft.hardware.processors import compute_threads, read_processor
from undercroft.optimize.cards.card import Card, Circumstances, make_card
from undercroft.optimize.cards.markdown import markdown_of
from undercroft.optimize.cards.page import page_of
from undercroft.optimize.evaluation.evaluating import Told, common_context, evaluate_tasks
from undercroft.optimize.evaluation.gate import not_measurable
from undercroft.optimize.evaluation.gate_rules import GateRules
from undercroft.optimize.evaluation.reading import read_texts
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import TaskSet
from undercroft.optimize.evaluation.texts import TextSet

JSON_FILE, MARKDOWN_FILE, PAGE_FILE = "card.json", "card.md", "card.html"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured, and how.

    Args:
        tasks: What is asked; None asks nothing.
        texts: What is read; None reads nothing.
        rules: Of the gate; None has none.
        context_tokens: Of one request; 0 takes the models' own, up to 8,192.
        slots: Questions at once.
        threads: CPU threads; 0 takes those of the settings, else the physical cores there are.
        answer_tokens: Longest answer where a question does not say.
    """

    tasks: TaskSet | None = None
    texts: TextSet | None = None
    rules: GateRules | None = None
    context_tokens: int = 0
    slots: int = 4
    threads: int = 0
    answer_tokens: int = 512


def measure(candidate: Found, parent: Found | None, wanted: Wanted, settings: EngineSettings, told: Told) -> Card:
    """Everything that is wanted of a model, and of its parent beside it.

    Args:
        candidate: The model.
        parent: What it was made from; None lets it stand alone.
        wanted: What is measured, and how.
        settings: Which engine, and its defaults.
        told: Told how far it is.

    Raises:
        InvalidError: ``nothing-to-measure`` or ``not-measurable``, or a model or text cannot be used.
        UnavailableError: A model does not load, or memory is short.
    """
    check_wanted(wanted, has_parent=parent is not None)
    found = [candidate] if parent is None else [candidate, parent]
    setup = Setup(
        context_tokens=common_context(found, wanted.context_tokens, settings.context_tokens),
        slots=wanted.slots,
        threads=wanted.threads or settings.threads or compute_threads(),
        answer_tokens=wanted.answer_tokens,
        start_timeout_seconds=settings.start_timeout_seconds,
    )
    runs = [Run(model.subject) for model in found]
    if wanted.tasks is not None:
        runs = [evaluate_tasks(model, wanted.tasks, setup, settings, told) for model in found]
    if wanted.texts is not None:
        read = read_texts(candidate, parent, wanted.texts, threads=setup.threads, told=told)
        runs = [replace(run, texts=records) for run, records in zip(runs, read, strict=False)]
    return make_card(
        runs[0], runs[1] if parent is not None else None, wanted.rules, circumstances(wanted.tasks, wanted.texts, setup)
    )


def check_wanted(wanted: Wanted, *, has_parent: bool) -> None:
    """Refuses what could only fail, before anything is measured.

    Args:
        wanted: What is measured, and how.
        has_parent: Whether there is something to compare with.

    Raises:
        InvalidError: ``nothing-to-measure``, or ``not-measurable``: a rule of the gate asks for what is not measured.
    """
    if wanted.tasks is None and wanted.texts is None:
        raise InvalidError("nothing-to-measure", "expected tasks, texts or both", hint="give --tasks, --texts or both")
    if wanted.rules is None:
        return
    problems = not_measurable(
        wanted.rules,
        task_languages=None if wanted.tasks is None else wanted.tasks.languages,
        text_languages=None if wanted.texts is None else wanted.texts.languages,
        has_parent=has_parent,
    )
    if problems:
        raise InvalidError(
            "not-measurable",
            "the gate asks for what would not be measured:\n" + "\n".join(f"  - {problem}" for problem in problems),
            hint="give what is missing, or leave these rules out",
        )


def write_card(card: Card, folder: Path) -> None:
    """Writes the card as JSON, Markdown and a page, in place of what was there; the folder is made.

    Raises:
        InvalidError: ``cannot-write``.
    """
    try:
        make_folder(folder, mode=0o755)
        for name, content in contents_of(card).items():
            write_atomically(folder / name, content.encode("utf-8"), mode=0o644)
    except OSError as error:
        raise InvalidError(
            "cannot-write",
            f"cannot write into {str(folder)!r}: {error.strerror or error}",
            hint="give a folder that you may write to, on a disk with room",
        ) from error


def contents_of(card: Card) -> dict[str, str]:
    """File → what it holds."""
    return {
        JSON_FILE: json.dumps(card.to_dict(), indent=1, ensure_ascii=False) + "\n",
        MARKDOWN_FILE: markdown_of(card),
        PAGE_FILE: page_of(card),
    }


def circumstances(tasks: TaskSet | None, texts: TextSet | None, setup: Setup) -> Circumstances:
    """What a card says of the measuring itself: here, now, with these questions and texts."""
    return Circumstances(
        made_at=to_iso(utc_now()),
        machine=read_processor().name or "a processor without a name",
        tasks={} if tasks is None else {"name": tasks.name, "digest": tasks.digest, "count": len(tasks.tasks)},
        texts={} if texts is None else {"name": texts.name, "digest": texts.digest, "count": len(texts.texts)},
        settings={
            "context_tokens": setup.context_tokens,
            "slots": setup.slots,
            "threads": setup.threads,
            "answer_tokens": setup.answer_tokens,
        },
    )
