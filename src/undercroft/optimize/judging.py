"""What a recipe asks of its result before that has a name: measured beside its parent, held against the gate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from undercroft.core.errors import ConflictError, InvalidError, RefusedError
from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.environments.installed import needed
from undercroft.environments.recipes import find
from undercroft.optimize.cards.card import Card
from undercroft.optimize.cards.measuring import Wanted, check_suite_rules, check_wanted, measure
from undercroft.optimize.evaluation.gate_rules import GateRules
from undercroft.optimize.evaluation.records import Subject
from undercroft.optimize.evaluation.subjects import Found, find_file
from undercroft.optimize.evaluation.tasks import TaskSet, load_tasks
from undercroft.optimize.evaluation.texts import TextSet, load_texts
from undercroft.optimize.recipes import Evaluation
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import Progress
from undercroft.optimize.suites.chosen import ENVIRONMENT, SuiteSet, load_suites
from undercroft.optimize.suites.measuring import planned
from undercroft.optimize.suites.settings import Suites

_SERVING_BYTES = 512 * 1024**2  # what an engine takes beside the weights: cache, buffers, its program


@dataclass(frozen=True, slots=True)
class PreparedEvaluation:
    """What will be measured.

    Args:
        wanted: Tasks, texts and rules.
        parent: What the result is compared with.
    """

    wanted: Wanted
    parent: Source

    def memory_bytes(self, result_bytes: int) -> int:
        """Both models at a time, for they read the same texts side by side.

        Args:
            result_bytes: Of the new model.
        """
        return self.parent.model.size_bytes + result_bytes + 2 * _SERVING_BYTES


def prepare_evaluation(
    evaluation: Evaluation, rules: GateRules | None, parent: Source, home: Home
) -> PreparedEvaluation:
    """Reads tasks, texts and suites, and makes sure that models of this kind can be asked.

    Args:
        evaluation: What the recipe says.
        rules: Of its gate.
        parent: What the result is compared with.
        home: Where environments lie.

    Raises:
        InvalidError: A file has problems, the model makes no text, or a rule asks for what would not be measured.
        ConflictError: ``evaluation-changed``: a file is not what it was when the recipe was read.
        UnavailableError: ``no-environment``, for suites.
    """
    task = parent.model.facts.task
    if task not in (None, "generate"):
        raise InvalidError(
            "not-generating",
            f"model {parent.model.name!r} cannot be evaluated: expected one that makes text, it is one for {task!r}",
            hint="leave evaluation and gate out of the recipe",
        )
    tasks = load_tasks(evaluation.tasks) if evaluation.tasks is not None else None
    texts = load_texts(evaluation.texts) if evaluation.texts is not None else None
    suites = _open_suites(evaluation.suites, home) if evaluation.suites is not None else None
    pairs: list[tuple[str | None, TaskSet | TextSet | SuiteSet | None]] = [
        (evaluation.tasks_digest, tasks),
        (evaluation.texts_digest, texts),
        (evaluation.suites.folder_digest if evaluation.suites is not None else None, suites),
    ]
    for digest, found in pairs:
        if digest is not None and found is not None and digest != found.digest:
            raise ConflictError(
                "evaluation-changed",
                f"{found.name} is not what the recipe was made for: expected {digest}, got {found.digest}",
                hint="put it back, or leave its digest out of the recipe and ask anew",
            )
    wanted = Wanted(tasks=tasks, texts=texts, suites=suites, rules=rules)
    check_wanted(wanted, has_parent=True)
    if suites is not None:
        with planned(suites, lambda done, total, note: None) as plan:
            check_suite_rules(rules, plan)
    return PreparedEvaluation(wanted, parent)


def _open_suites(suites: Suites, home: Home) -> SuiteSet:
    environment = needed(home, find(ENVIRONMENT))
    return load_suites(suites.folder, suites.names, environment, most_items=suites.most_items, shots=suites.shots)


def judge(
    prepared: PreparedEvaluation,
    made: Path,
    name: str,
    *,
    threads: int,
    settings: EngineSettings,
    report: Callable[[Progress], None],
) -> Card:
    """Measures a result beside its parent.

    Args:
        prepared: What is measured.
        made: The new model's file.
        name: That it would get.
        threads: Processors to use; count.
        settings: Which engine.
        report: Told how far it is.

    Raises:
        InvalidError: The result, or a text, cannot be used.
        UnavailableError: A model does not load, or memory is short.
    """
    found = find_file(made)
    candidate = replace(found, subject=replace(found.subject, name=name))
    wanted = replace(prepared.wanted, threads=threads)

    def told(done: int, total: int, note: str) -> None:
        report(Progress(done, total, "items", note))

    return measure(candidate, _found(prepared.parent), wanted, settings, told)


def check_gate(card: Card, *, job: str, name: str, folder: Path) -> None:
    """Lets a model have its name, or not.

    Args:
        card: What was measured.
        job: The id of the job.
        name: That the model would get.
        folder: Where the card lies.

    Raises:
        RefusedError: ``gate-not-passed``, with every reason.
    """
    if card.gate is None or card.gate.has_passed:
        return
    reasons = "\n".join(f"  - {reason}" for reason in card.gate.reasons)
    raise RefusedError(
        "gate-not-passed",
        f"model {name!r} does not pass its gate and gets no name:\n{reasons}\nIts card: {folder}",
        hint=f"make it less small, or change the rules; undercroft job cancel {job} removes what was made",
    )


def _found(source: Source) -> Found:
    model = source.model
    subject = Subject(model.name, model.digest, model.size_bytes, model.facts.quantization, model.facts.parameters)
    return Found(subject, source.path, model.facts.context_tokens, model.facts)
