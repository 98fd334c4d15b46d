"""Measures models by suites: `lm-eval` says what to ask, our engine answers, `lm-eval` judges.

`lm-eval` runs twice, each time to its end, in its environment and without a network: once to write down its questions,
once to judge the answers. Nothing of a suite reaches the model's engine but texts, and nothing of the model reaches a
suite's code but answers.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.evaluation.evaluating import Told
from undercroft.optimize.evaluation.records import SuiteScore
from undercroft.optimize.evaluation.replica import Setup
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.suites.answering import answers_of, check_requests
from undercroft.optimize.suites.chosen import SuiteSet

PROGRAMS = Path(__file__).with_name("programs")
_PROGRAM, _REQUESTS = "ask_suites", "requests.jsonl"


@dataclass(frozen=True, slots=True)
class SuitePlan:
    """What suites want to know.

    Args:
        suites: That are asked.
        requests: In their order.
        known: Names of all that figures will be of: suites, and groups of them.
        folder: Of the plan; gone when it is done with.
    """

    suites: SuiteSet
    requests: Sequence[Mapping[str, Any]]
    known: tuple[str, ...]
    folder: Path


@contextmanager
def planned(suites: SuiteSet, told: Told) -> Iterator[SuitePlan]:
    """What suites want to know; all that can be wrong with their files is found here.

    Args:
        suites: That are asked.
        told: Told what is done.

    Raises:
        InvalidError: There is no such suite, its data is not at hand, or it asks what cannot be answered here.
        UnavailableError: Its code fails, or memory or disk is short.
    """
    told(0, 0, "reading the suites")
    with tempfile.TemporaryDirectory(prefix="undercroft-suites-") as scratch:
        folder = Path(scratch)
        said = _run(suites, folder, {"operation": "plan"})
        requests = _lines(folder / _REQUESTS)
        check_requests(requests)
        yield SuitePlan(suites, requests, tuple(said["known"]), folder)


def measure_suites(
    plan: SuitePlan, models: Sequence[Found], setup: Setup, settings: EngineSettings, told: Told
) -> list[tuple[SuiteScore, ...]]:
    """Asks models, and lets their answers be judged.

    Args:
        plan: What is asked.
        models: Each by itself.
        setup: How they are run.
        settings: Which engine.
        told: Told how far it is.

    Returns:
        For each model a score of every figure of every suite, in the suites' order.

    Raises:
        InvalidError: A model cannot be used, or a question is too long for it.
        UnavailableError: Memory is short, a model does not load, or the code of a suite fails.
    """
    answers, results = [], []
    for number, found in enumerate(models):
        path = plan.folder / f"answers-{number}.jsonl"
        with open(path, "w", encoding="utf-8") as file:
            for answer in answers_of(found, plan.requests, setup, settings, told):
                file.write(json.dumps(answer) + "\n")
        answers.append(str(path))
        results.append(str(plan.folder / f"results-{number}.json"))
    told(0, 0, "judging the suites")
    _run(plan.suites, plan.folder, {"operation": "score", "answers": answers, "results": results})
    return [scores_of(json.loads(Path(path).read_bytes())) for path in results]


def scores_of(rows: Sequence[Mapping[str, Any]]) -> tuple[SuiteScore, ...]:
    """What the program found, as records. Pure.

    Raises:
        UnavailableError: ``suite-results``: it is something else.
    """
    try:
        return tuple(SuiteScore(**{**row, "values": tuple(map(float, row["values"]))}) for row in rows)
    except (TypeError, KeyError, ValueError) as error:
        raise UnavailableError(
            "suite-results", f"lm-eval's results are of another form: {error}", hint="undercroft engine install lm-eval"
        ) from error


def _run(suites: SuiteSet, folder: Path, order: Mapping[str, Any]) -> dict[str, Any]:
    whole = {
        **order,
        "folder": str(suites.folder),
        "names": list(suites.names),
        "most_items": suites.most_items,
        "shots": suites.shots,
        "requests": str(folder / _REQUESTS),
    }
    said = run_program(suites.environment, _PROGRAM, whole, folder=folder, programs=PROGRAMS)
    if (refused := said.get("refused")) is not None:
        raise InvalidError(refused["code"], refused["message"], hint=refused["hint"])
    return said


def _lines(path: Path) -> list[Mapping[str, Any]]:
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]
