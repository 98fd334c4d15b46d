"""Measures a model and writes its card: what the command line, jobs and searches call."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
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
from undercroft.optimize.suites.chosen import SuiteSet
from undercroft.optimize.suites.measuring import SuitePlan, measure_suites, planned

JSON_FILE, MARKDOWN_FILE, PAGE_FILE = "card.json", "card.md", "card.html"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is measured, and how.

    Args:
        tasks: What is asked; None asks nothing.
        texts: What is read; None reads nothing.
        suites: Standard suites that are asked; None asks none.
        rules: Of the gate; None has none.
        context_tokens: Of one request; 0 takes the models' own, up to 8,192.
        slots: Questions at once.
        threads: CPU threads; 0 takes those of the settings, else the physical cores there are.
        answer_tokens: Longest answer where a question does not say.
    """

    tasks: TaskSet | None = None
    texts: TextSet | None = None
    suites: SuiteSet | None = None
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
    with ExitStack() as stack:
        # Planned first: what is wrong with a suite's files is said before an hour of questions.
        plan = stack.enter_context(planned(wanted.suites, told)) if wanted.suites is not None else None
        check_suite_rules(wanted.rules, plan)
        runs = [Run(model.subject) for model in found]
        if wanted.tasks is not None:
            runs = [evaluate_tasks(model, wanted.tasks, setup, settings, told) for model in found]
        if wanted.texts is not None:
            read = read_texts(candidate, parent, wanted.texts, threads=setup.threads, told=told)
            runs = [replace(run, texts=records) for run, records in zip(runs, read, strict=False)]
        if plan is not None:
            scores = measure_suites(plan, found, setup, settings, told)
            runs = [replace(run, suites=own) for run, own in zip(runs, scores, strict=True)]
    around = circumstances(wanted.tasks, wanted.texts, setup, wanted.suites)
    return make_card(runs[0], runs[1] if parent is not None else None, wanted.rules, around)


def check_suite_rules(rules: GateRules | None, plan: SuitePlan | None) -> None:
    """Refuses rules for suites that are not among those that are asked.

    Raises:
        InvalidError: ``not-measurable``.
    """
    if rules is None or plan is None:
        return
    wrong = next((name for name in rules.suites or {} if name not in plan.known), None)
    if wrong is not None:
        raise InvalidError(
            "not-measurable",
            f"the gate has rules for suite {wrong!r}, and asked are {', '.join(plan.known)[:300]}",
            hint="correct the name, or ask that suite, too",
        )


def check_wanted(wanted: Wanted, *, has_parent: bool) -> None:
    """Refuses what could only fail, before anything is measured.

    Args:
        wanted: What is measured, and how.
        has_parent: Whether there is something to compare with.

    Raises:
        InvalidError: ``nothing-to-measure``, or ``not-measurable``: a rule of the gate asks for what is not measured.
    """
    if wanted.tasks is None and wanted.texts is None and wanted.suites is None:
        raise InvalidError(
            "nothing-to-measure", "expected tasks, texts or suites", hint="give --tasks, --texts or --suite"
        )
    if wanted.rules is None:
        return
    problems = not_measurable(
        wanted.rules,
        task_languages=None if wanted.tasks is None else wanted.tasks.languages,
        text_languages=None if wanted.texts is None else wanted.texts.languages,
        has_parent=has_parent,
        has_suites=wanted.suites is not None,
    )
    if problems:
        raise InvalidError(
            "not-measurable",
            "the gate asks for what would not be measured:\n" + "\n".join(f"  - {problem}" for problem in problems),
            hint="give what is missing, in a recipe below evaluation:, or leave these rules out",
        )


def check_folder(folder: Path) -> None:
    """Makes the folder of a card, before hours are spent on what could not be kept in it.

    Raises:
        InvalidError: ``cannot-write``.
    """
    try:
        make_folder(folder, mode=0o755)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _cannot_write(folder, error) from error


def write_card(card: Card, folder: Path) -> None:
    """Writes the card as JSON, Markdown and a page, in place of what was there; the folder is made.

    Raises:
        InvalidError: ``cannot-write``.
    """
    check_folder(folder)
    try:
        for name, content in contents_of(card).items():
            write_atomically(folder / name, content.encode("utf-8"), mode=0o644)
    except OSError as error:
        raise _cannot_write(folder, error) from error


def _cannot_write(folder: Path, error: OSError) -> InvalidError:
    return InvalidError(
        "cannot-write",
        f"cannot write into {str(folder)!r}: {error.strerror or error}",
        hint="give a folder that you may write to, on a disk with room",
    )


def contents_of(card: Card) -> dict[str, str]:
    """File → what it holds."""
    return {
        JSON_FILE: json.dumps(card.to_dict(), indent=1, ensure_ascii=False) + "\n",
        MARKDOWN_FILE: markdown_of(card),
        PAGE_FILE: page_of(card),
    }


def circumstances(
    tasks: TaskSet | None, texts: TextSet | None, setup: Setup, suites: SuiteSet | None = None
) -> Circumstances:
    """What a card says of the measuring itself: here, now, with these questions, texts and suites."""
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
        suites={} if suites is None else {"names": list(suites.names), "digest": suites.digest, **_limits(suites)},
    )


def _limits(suites: SuiteSet) -> dict[str, int]:
    given = {"most_items": suites.most_items, "shots": suites.shots}
    return {name: value for name, value in given.items() if value is not None}
