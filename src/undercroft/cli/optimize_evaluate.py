"""``undercroft optimize evaluate``: measure a model, beside its parent, and say whether it passes its gate."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from undercroft.cli.opening import open_database, open_home, settings_of
from undercroft.cli.output import AsJson, harmless, print_json, print_table, print_wrapped
from undercroft.core.errors import InvalidError, RefusedError
from undercroft.environments.installed import needed
from undercroft.environments.recipes import find
from undercroft.optimize.cards import words
from undercroft.optimize.cards.card import Card
from undercroft.optimize.cards.measuring import PAGE_FILE, Wanted, check_folder, check_wanted, measure, write_card
from undercroft.optimize.evaluation.evaluating import Told
from undercroft.optimize.evaluation.figures import WORDS
from undercroft.optimize.evaluation.gate_rules import load_gate
from undercroft.optimize.evaluation.subjects import Found, find_file, find_model, is_path
from undercroft.optimize.evaluation.tasks import load_tasks
from undercroft.optimize.evaluation.texts import load_texts
from undercroft.optimize.suites.chosen import ENVIRONMENT, SuiteSet, load_suites

_BAR_WIDTH = 24
_NOTE_WIDTH = 40
_LINE_EVERY_SECONDS = 10.0


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the registry, or a GGUF file.")],
    tasks: Annotated[
        Path | None,
        typer.Option("--tasks", metavar="FILE", help="Questions with checks: JSON lines, or a probe file."),
    ] = None,
    texts: Annotated[
        Path | None, typer.Option("--texts", metavar="FILE", help="Texts of your own: plain, or JSON lines.")
    ] = None,
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", metavar="NAME", help="A standard suite of lm-eval; may be given several times."),
    ] = None,
    suite_data: Annotated[
        Path | None,
        typer.Option("--suite-data", metavar="DIR", help="Where task files and data of the suites are at hand."),
    ] = None,
    suite_items: Annotated[
        int | None, typer.Option("--suite-items", min=1, help="First items of each suite only; else all.")
    ] = None,
    shots: Annotated[
        int | None, typer.Option("--shots", min=0, max=100, help="Examples before each question; else the suite's own.")
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
    """Measure a model: tasks passed, perplexity, standard suites, speed, memory; with tests beside its parent."""
    wanted = Wanted(
        tasks=load_tasks(tasks) if tasks is not None else None,
        texts=load_texts(texts) if texts is not None else None,
        suites=_suites(suite or [], suite_data, suite_items, shots),
        rules=load_gate(gate) if gate is not None else None,
        context_tokens=context,
        slots=slots,
        threads=threads,
        answer_tokens=max_tokens,
    )
    check_wanted(wanted, has_parent=against is not None)
    settings = settings_of(open_home()).engines
    candidate, parent = _find(model), _find(against) if against is not None else None
    if card is not None:
        check_folder(card.expanduser())
    with _shown(is_quiet=as_json) as told:
        made = measure(candidate, parent, wanted, settings, told)
    if card is not None:
        write_card(made, card.expanduser())
    if as_json:
        print_json(made.to_dict())
    else:
        _print(made)
        if card is not None:
            typer.echo(f"\nCard: {card / PAGE_FILE}")
    if made.gate is not None and not made.gate.has_passed:
        raise RefusedError(
            "gate-not-passed",
            f"{model} does not pass its gate:\n" + "\n".join(f"  - {reason}" for reason in made.gate.reasons),
            hint="make it less small, or change the rules",
        )


def _suites(names: list[str], folder: Path | None, most_items: int | None, shots: int | None) -> SuiteSet | None:
    if folder is not None and names:
        return load_suites(folder, names, needed(open_home(), find(ENVIRONMENT)), most_items=most_items, shots=shots)
    if (folder, names, most_items, shots) == (None, [], None, None):
        return None
    raise InvalidError(
        "bad-options",
        "expected --suite NAME and --suite-data DIR together: which suites, and where their files are",
        hint="--suite arc_easy --suite-data suites",
    )


def _find(name: str) -> Found:
    if is_path(name):
        return find_file(Path(name).expanduser())
    return find_model(name, *open_database())


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
    if suites := words.suite_rows(card):
        typer.echo("\nStandard suites, with standard errors:\n")
        columns = ("suite", ">candidate", ">parent", "verdict")
        width = 4 if card.parent is not None else 2
        print_table(columns[:width], [row[:width] for row in suites], empty="")
    if tests := words.comparison_sentences(card):
        typer.echo()
        for sentence in tests:
            print_wrapped(f"- {sentence}", indent="  ")


@contextmanager
def _shown(*, is_quiet: bool) -> Iterator[Told]:
    """How far it is, on stderr, so that stdout stays for the result: a bar on a terminal, else a line now and then."""
    if is_quiet:
        yield lambda done, total, note: None
        return
    if not sys.stderr.isatty():
        yield _Lines()
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(bar_width=_BAR_WIDTH), TimeRemainingColumn())
    with Bars(*columns, console=console, transient=True) as bars:
        task = bars.add_task("")

        def told(done: int, total: int, note: str) -> None:
            bars.update(task, completed=done, total=total, description=harmless(note)[:_NOTE_WIDTH])

        yield told


class _Lines:
    """For logs and pipes: a line every ten seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, done: int, total: int, note: str) -> None:
        now = time.monotonic()
        if now - self._said >= _LINE_EVERY_SECONDS:
            self._said = now
            typer.echo(f"{harmless(note)}: {done:,} of {total:,}", err=True)
