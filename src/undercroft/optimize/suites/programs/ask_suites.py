"""Asks lm-eval what suites want to know of a model, and lets it judge the answers; runs in the environment ``lm-eval``.

Order on stdin, JSON: ``operation``, ``folder`` (task files and data), ``names``, ``most_items``, ``shots`` (None: as
the suite says), ``requests`` (file). Nothing is fetched: a data set ``ORG/NAME`` is read from ``folder/ORG/NAME``.

``plan`` writes ``requests``, a JSON object a line: ``kind``, and ``context`` with ``continuation`` (loglikelihood),
``text`` (loglikelihood_rolling) or ``context`` with ``settings`` (generate_until). ``score`` reads ``answers`` (files,
one a model, with a JSON value for each request in their order) and writes ``results`` (files, one a model). On stdout
JSON: ``known`` (names of suites and groups) of a plan, or ``refused`` with ``code``, ``message`` and ``hint``.
"""

from __future__ import annotations

import difflib
import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

_RESAMPLES = 1000  # for figures whose standard error has no formula
_SEED, _ARRAY_SEED = 0, 1234  # as lm-eval's own
_FILES = frozenset({"json", "csv", "parquet", "text", "arrow"})  # data sets that a task file names by its files
_HARMLESS = "bypass"  # a metric of lm-eval's that judges nothing


class RefusedError(Exception):
    """What the user has to change."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.said = {"code": code, "message": message, "hint": hint}


class Planned(LM):  # type: ignore[misc]  # lm-eval is not here when types are checked
    """A model that answers nothing and writes down what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict[str, Any]] = []

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        self.asked += map(as_asked, requests)
        return [(0.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        self.asked += map(as_asked, requests)
        return [0.0] * len(requests)

    def generate_until(self, requests: list[Any]) -> list[str]:
        self.asked += map(as_asked, requests)
        return [""] * len(requests)


class Answered(LM):  # type: ignore[misc]
    """A model whose answers are known already."""

    def __init__(self, asked: list[dict[str, Any]], answers: list[Any]) -> None:
        super().__init__()
        self._known = iter(zip(asked, answers, strict=True))

    def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
        return [(float(nats), bool(is_likeliest)) for nats, is_likeliest in self._answers(requests)]

    def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
        return [float(nats) for nats in self._answers(requests)]

    def generate_until(self, requests: list[Any]) -> list[str]:
        return [str(text) for text in self._answers(requests)]

    def _answers(self, requests: list[Any]) -> Iterator[Any]:
        for request in requests:
            asked, answer = next(self._known)
            if asked != as_asked(request):
                raise RefusedError(
                    "not-the-same-again",
                    "a suite asked other questions the second time: its code draws them without a seed",
                    "take the chance out of its task file",
                )
            yield answer


def as_asked(request: Any) -> dict[str, Any]:
    """A request as plain data."""
    kind, given = request.request_type, request.args
    if kind == "loglikelihood":
        return {"kind": kind, "context": given[0], "continuation": given[1]}
    if kind == "loglikelihood_rolling":
        return {"kind": kind, "text": given[0]}
    return {"kind": kind, "context": given[0], "settings": json.loads(json.dumps(given[1]))}


def main() -> None:
    """Does what stdin says."""
    order: dict[str, Any] = json.load(sys.stdin)
    folder = Path(order["folder"])
    os.chdir(folder)  # task files name their data beside them
    datasets.load_dataset = at_hand(folder, datasets.load_dataset)
    try:
        if order["operation"] == "plan":
            planned = Planned()
            known = ask(planned, order, is_judged=False)
            with open(order["requests"], "w", encoding="utf-8") as file:
                file.writelines(json.dumps(one, ensure_ascii=False) + "\n" for one in planned.asked)
            said: dict[str, Any] = {"known": known}
        else:
            asked = lines_of(order["requests"])
            for answers, results in zip(order["answers"], order["results"], strict=True):
                found = ask(Answered(asked, lines_of(answers)), order, is_judged=True)
                Path(results).write_text(json.dumps(found), encoding="utf-8")
            said = {}
    except RefusedError as error:
        said = {"refused": error.said}
    print(json.dumps(said), flush=True)


def lines_of(path: str) -> list[Any]:
    """What a file of JSON lines holds."""
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def ask(model: LM, order: dict[str, Any], *, is_judged: bool) -> list[Any]:
    """What lm-eval finds of a model, a row for each figure of each suite; their names where nothing is judged."""
    random.seed(_SEED)
    np.random.seed(_ARRAY_SEED)  # what the code of suites draws from
    loaded = load(order)
    for task in loaded["tasks"].values():
        usual = task.get_config("num_fewshot")
        if order["shots"] is not None and usual != 0:
            task.set_config(key="num_fewshot", value=order["shots"])
        elif usual is None:
            task.set_config(key="num_fewshot", value=0)
        task.set_fewshot_seed(seed=_ARRAY_SEED)
        if not is_judged:
            task.override_metric(metric_name=_HARMLESS)
    found = evaluate(
        lm=model, task_dict=loaded, limit=order["most_items"], bootstrap_iters=_RESAMPLES if is_judged else 0
    )
    return list(rows_of(found)) if is_judged else list(found["results"])


def load(order: dict[str, Any]) -> dict[str, Any]:
    """The suites: of the user's folder, and only where one is not there, of those that lm-eval brings along."""
    names, folder = order["names"], order["folder"]
    manager = TaskManager(include_path=folder, include_defaults=False)
    if not set(names) <= set(manager.all_tasks):
        manager = TaskManager(include_path=folder)
    for name in names:
        if name not in manager.all_tasks:
            near = difflib.get_close_matches(name, manager.all_tasks, n=1, cutoff=0.4)
            raise RefusedError(
                "no-such-suite",
                f"there is no suite {name!r}, neither in {folder} nor in lm-eval",
                f"did you mean {near[0]}?" if near else "give the name that stands behind task: in its file",
            )
    loaded: dict[str, Any] = manager.load(names)
    return loaded


def at_hand(folder: Path, load_dataset: Callable[..., Any]) -> Callable[..., Any]:
    """What data sets are loaded by: from the folder of the user's or not at all."""

    def load_at_hand(path: str, name: str | None = None, **options: Any) -> Any:
        if path not in _FILES and not (folder / path).is_dir():
            raise RefusedError(
                "data-not-at-hand",
                f"a suite reads the data set {path!r}, and nothing is fetched: expected it in {folder / path}",
                f"where there is a network: hf download --repo-type dataset {path} --local-dir {path}",
            )
        try:
            return load_dataset(path if path in _FILES else str(folder / path), name, **options)
        except (FileNotFoundError, ValueError) as error:
            raise RefusedError(
                "data-unreadable", f"the data set {path!r} cannot be read: {error}", f"look into {folder}"
            ) from error

    return load_at_hand


def rows_of(found: Any) -> Iterator[dict[str, Any]]:
    """Every figure of every suite, with a value for each item where the figure is their mean."""
    for suite, figures in found["results"].items():
        for key, value in figures.items():
            metric, _, way = key.partition(",")
            if not way or metric.endswith("_stderr") or isinstance(value, str):
                continue
            error = figures.get(f"{metric}_stderr,{way}")
            samples = found.get("samples", {}).get(suite, [])
            yield {
                "suite": suite,
                "metric": metric,
                "filter": way,
                "value": float(value),
                "standard_error": float(error) if isinstance(error, int | float) else None,
                "count": int(figures["sample_len"]),
                "is_more_better": bool(found["higher_is_better"].get(suite, {}).get(metric, True)),
                "shots": int(found["n-shot"].get(suite) or 0),
                "version": str(found["versions"].get(suite, "")),
                "values": values_of(samples, metric, way, float(value)),
            }


def values_of(samples: list[dict[str, Any]], metric: str, way: str, mean: float) -> list[float]:
    """What each item adds to a figure; none where that is not their mean."""
    found = [one.get(metric) for one in samples if one["filter"] == way]
    numbers = [float(one) for one in found if isinstance(one, int | float | np.number)]
    is_mean = bool(numbers) and len(numbers) == len(found) and abs(sum(numbers) / len(numbers) - mean) < 1e-9
    return numbers if is_mean else []


if __name__ == "__main__":
    main()
