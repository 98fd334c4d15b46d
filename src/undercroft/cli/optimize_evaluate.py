"""``undercroft optimize evaluate``: measure a model, beside its parent, and say whether it passes its gate."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from undercroft.cli.opening import open_database, open_home, settings_of
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.cli.report_files import write_report
from undercroft.core.clock import to_iso, utc_now
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.core.files import make_folder
from undercroft.core.settings import EngineSettings
from undercroft.hardware.processors import compute_threads, read_processor
from undercroft.optimize.cards import words
from undercroft.optimize.cards.card import Card, Circumstances, make_card
from undercroft.optimize.cards.markdown import markdown_of
from undercroft.optimize.cards.page import page_of
from undercroft.optimize.evaluation.evaluating import Told, common_context, evaluate_tasks
from undercroft.optimize.evaluation.figures import WORDS
from undercroft.optimize.evaluation.gate_rules import GateRules, load_gate
from undercroft.optimize.evaluation.reading import read_texts
from undercroft.optimize.evaluation.records import Run
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found, find_file, find_model, is_path
from undercroft.optimize.evaluation.tasks import TaskSet, load_tasks
from undercroft.optimize.evaluation.texts import TextSet, load_texts

_CARD_FILES = ("card.json", "card.md", "card.html")
_BAR_WIDTH = 24
_NOTE_WIDTH = 40


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the registry, or a GGUF file.")],
    tasks: Annotated[
        Path | None,
        typer.Option("--tasks", metavar="FILE", help="Questions with checks: JSON lines, or a probe file."),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", metavar="FILE", help="Texts of your own: plain, or JSON lines.")
    ] = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="PARENT", help="What it was made from: measured beside it.")
    ] = None,
    gate: Annotated[
        Path | None, typer.Option("--gate", metavar="FILE", help="Rules that it has to keep, as YAML; else status 3.")
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", metavar="DIR", help="Write the card there: JSON, Markdown and HTML.")
    ] = None,
    context: Annotated[
        int,
        typer.Option(
            "--context", min=0, max=10_000_000, help="Tokens of one request; 0: the models' own, at most 8,192."
        ),
    ] = 0,
    slots: Annotated[int, typer.Option("--slots", min=1, max=256, help="Questions that are asked at once.")] = 4,
    threads: Annotated[
        int, typer.Option("--threads", min=0, max=1024, help="CPU threads; 0: the physical cores there are.")
    ] = 0,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", min=1, max=100_000, help="Longest answer where a question does not say.")
    ] = 512,
    as_json: AsJson = False,
) -> None:
    """Measure a model: tasks passed, perplexity, speed, memory; with intervals, and tests beside its parent."""
    if tasks is None and texts is None:
        raise InvalidError(
            "nothing-to-measure",
            "expected tasks, texts or both",
            hint=f"undercroft optimize evaluate {model} --tasks questions.jsonl",
        )
    task_set = load_tasks(tasks) if tasks is not None else None
    text_set = load_texts(texts) if texts is not None else None
    rules = load_gate(gate) if gate is not None else None
    settings = settings_of(open_home()).engines
    found = [_find(name) for name in (model, against) if name is not None]
    setup = Setup(
        context_tokens=common_context(found, context, settings.context_tokens),
        slots=slots,
        threads=threads or settings.threads or compute_threads(),
        answer_tokens=max_tokens,
        start_timeout_seconds=settings.start_timeout_seconds,
    )
    with _shown(is_quiet=as_json) as told:
        made = _measure(found, task_set, text_set, rules, setup, settings, told)
    if card is not None:
        _write(made, card)
    if as_json:
        print_json(made.to_dict())
    else:
        _print(made)
        if card is not None:
            typer.echo(f"\nCard: {card / _CARD_FILES[-1]}")
    if made.gate is not None and not made.gate.has_passed:
        raise RefusedError(
            "gate-not-passed",
            f"{model} does not pass its gate:\n" + "\n".join(f"  - {reason}" for reason in made.gate.reasons),
            hint="make it less small, or change the rules",
        )


def _find(name: str) -> Found:
    if is_path(name):
        return find_file(Path(name).expanduser())
    return find_model(name, *open_database())


def _measure(
    found: list[Found],
    tasks: TaskSet | None,
    texts: TextSet | None,
    rules: GateRules | None,
    setup: Setup,
    settings: EngineSettings,
    told: Told,
) -> Card:
    runs = [
        evaluate_tasks(model, tasks, setup, settings, told) if tasks is not None else Run(model.subject)
        for model in found
    ]
    parent = found[1] if len(found) > 1 else None
    if texts is not None:
        read = read_texts(found[0], parent, texts, threads=setup.threads, told=told)
        runs = [replace(run, texts=records) for run, records in zip(runs, read, strict=False)]
    settings_shown = {"context_tokens": setup.context_tokens, "slots": setup.slots, "threads": setup.threads}
    around = Circumstances(
        made_at=to_iso(utc_now()),
        machine=read_processor().name or "a processor without a name",
        tasks={} if tasks is None else {"name": tasks.name, "digest": tasks.digest, "count": len(tasks.tasks)},
        texts={} if texts is None else {"name": texts.name, "digest": texts.digest, "count": len(texts.texts)},
        settings={**settings_shown, "answer_tokens": setup.answer_tokens},
    )
    return make_card(runs[0], runs[1] if parent is not None else None, rules, around)


def _write(card: Card, folder: Path) -> None:
    try:
        make_folder(folder.expanduser(), mode=0o755)
    except OSError as error:
        raise InvalidError(
            "cannot-write",
            f"cannot make the folder {str(folder)!r}: {error.strerror or error}",
            hint="give a folder that you may write to",
        ) from error
    contents = (json.dumps(card.to_dict(), indent=1, ensure_ascii=False) + "\n", markdown_of(card), page_of(card))
    for name, content in zip(_CARD_FILES, contents, strict=True):
        write_report(folder / name, content)


def _print(card: Card) -> None:
    print_wrapped(f"{words.name_of(card.candidate.subject.name)}: {words.headline(card)[1]}")
    if card.parent is not None:
        print_wrapped(f"Parent: {words.name_of(card.parent.subject.name)}")
    if error := words.error_sentence(card):
        print_wrapped(error)
    typer.echo()
    for state, sentence in words.gate_rows(card):
        print_wrapped(f"- {state}: {sentence}", indent="  ")
    if card.gate is not None:
        typer.echo()
    width = 3 if card.parent is not None else 2
    print_table(
        ("measure", ">candidate", ">parent")[:width], [row[:width] for row in words.figure_rows(card)], empty=""
    )
    if languages := words.language_rows(card):
        typer.echo(f"\nBy language, {WORDS[words.quality_measure(card)]}:\n")
        columns = ("language", ">candidate", ">parent", "verdict")
        width = 4 if card.parent is not None else 2
        print_table(columns[:width], [row[:width] for row in languages], empty="No language is known.")
    if tests := words.comparison_sentences(card):
        typer.echo()
        for sentence in tests:
            print_wrapped(f"- {sentence}", indent="  ")


@contextmanager
def _shown(*, is_quiet: bool) -> Iterator[Told]:
    """A bar on stderr where that is a terminal; nothing elsewhere, so that stdout stays for the result."""
    if is_quiet or not sys.stderr.isatty():
        yield lambda done, total, note: None
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=_BAR_WIDTH), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("")

        def told(done: int, total: int, note: str) -> None:
            bars.update(task, completed=done, total=total, description=note[:_NOTE_WIDTH])

        yield told
