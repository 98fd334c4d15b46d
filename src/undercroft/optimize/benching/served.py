"""Models that an engine here serves, timed in that engine, sealed as it is when it serves: one request at a time."""

from __future__ import annotations

import os
import platform
import statistics
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from undercroft.catalog.engines import EngineName
from undercroft.checks.kinds import LengthCheck
from undercroft.checks.questions import Message
from undercroft.core.errors import UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import Task as EngineTask
from undercroft.environments.installed import Environment
from undercroft.optimize.edge.programs.run_edge import LENGTHS, WORDS, percentiles, timed_rounds
from undercroft.optimize.evaluation.evaluating import common_context, evaluate_tasks
from undercroft.optimize.evaluation.records import ItemResult, Peak, Run
from undercroft.optimize.evaluation.replica import Setup, running
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.tasks import Task, TaskSet

_ANY_ANSWER = LengthCheck(kind="length")
_PROMPT_WORDS, _ANSWER_TOKENS = 64, 64
_ANSWERS_SHARE, _FEWEST_ANSWERS = 10, 3
_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Served:
    """A model that an engine here runs.

    Args:
        found: The model.
        engine: Which runs it.
        environment: That the engine is installed in; None for one that is built in.
    """

    found: Found
    engine: EngineName = "llama.cpp"
    environment: Environment | None = None


def bench_encoder(model: Served, settings: EngineSettings, *, rounds: int, threads: int) -> dict[str, Any]:
    """Texts to vectors, over the engine's own socket.

    Args:
        model: One that embeds.
        settings: Which program of the engine, and whether it has to be sealed.
        rounds: Of each length of text.
        threads: Processors; 0 means the physical cores there are.

    Returns:
        Figures, of the form of ``time_model`` in ``run_edge.py``.

    Raises:
        UnavailableError: It does not load or does not answer.
    """
    longest = common_context([model.found], 0, max(LENGTHS))
    setup = Setup(context_tokens=longest, slots=1, threads=threads)
    folder = model.environment.folder if model.environment is not None else None
    with running(
        model.found.path, setup, settings, task=EngineTask.EMBED, engine=model.engine, environment=folder
    ) as replica:
        most = _words_taken(replica.endpoint, max(LENGTHS))
        counts = sorted({min(length, most) for length in LENGTHS})
        timed = [_timed_text(replica.endpoint, count, rounds) for count in counts]
        peak, load = replica.peak(), replica.load_seconds
    return {**_told(model, threads, load, peak), "lengths": timed}


def bench_generator(model: Served, settings: EngineSettings, *, rounds: int, threads: int) -> dict[str, Any]:
    """Prompts to answers, one after the other, as an evaluation asks them.

    Args:
        model: One that makes text.
        settings: Which program of the engine, and whether it has to be sealed.
        rounds: Ten for each answer.
        threads: Processors; 0 means the physical cores there are.

    Returns:
        As above.

    Raises:
        UnavailableError: It does not load, or gave no answer that can be timed.
    """
    count = max(_FEWEST_ANSWERS, rounds // _ANSWERS_SHARE)
    setup = Setup(common_context([model.found], 0, 4 * _PROMPT_WORDS + 2 * _ANSWER_TOKENS), slots=1, threads=threads)
    tasks = TaskSet("bench", "", tuple(_task(number) for number in range(count + 1)))
    folder = model.environment.folder if model.environment is not None else None
    run = evaluate_tasks(
        model.found,
        tasks,
        setup,
        settings,
        lambda done, total, note: None,
        engine=model.engine,
        environment=folder,
    )
    return {**_told(model, threads, run.load_seconds, run.peak), "answer": answer_figures(run)}


def answer_figures(run: Run) -> dict[str, Any]:
    """Speed of reading and writing; the first answer warms up and does not count.

    Args:
        run: Of several answers, one at a time.

    Raises:
        UnavailableError: ``nothing-timed``: no answer had two tokens.
    """
    items = [one for one in run.items[1:] if one.speaking_seconds > 0 and one.prompt_tokens]
    if not items:
        why = next((one.error for one in run.items if one.error), "every answer ended at once")
        raise UnavailableError("nothing-timed", f"model {run.subject.name!r} gave nothing that can be timed: {why}")
    firsts = [one.first_token_seconds or 0.0 for one in items]
    steps = [_step_seconds(one) for one in items]
    return {
        "read_tokens": round(statistics.median(one.prompt_tokens or 0 for one in items)),
        "read_tokens_per_second": sum(one.prompt_tokens or 0 for one in items) / sum(firsts),
        "first_token_ms": percentiles(firsts)["p50_ms"],
        "written_tokens": round(statistics.median(one.answer_tokens or 0 for one in items)),
        "written_tokens_per_second": 1.0 / statistics.median(steps),
        **percentiles(steps),
    }


def _step_seconds(item: ItemResult) -> float:
    return item.speaking_seconds / ((item.answer_tokens or 2) - 1)


def _task(number: int) -> Task:
    """Each begins otherwise, so that none is answered with what was computed for another."""
    words = " ".join(WORDS[place % len(WORDS)] for place in range(_PROMPT_WORDS))
    message = Message(role="user", content=f"Report {number + 1}. {words} Go on.")
    return Task(f"bench-{number}", (message,), (_ANY_ANSWER,), max_tokens=_ANSWER_TOKENS)


def _words_taken(endpoint: wire.Endpoint, count: int) -> int:
    """How many words, ``count`` at most, the engine reads as one text; each may be several tokens.

    Raises:
        UnavailableError: ``engine-refused``: not even one.
    """
    while (answer := _embedded(endpoint, count)).status != 200:
        if count == 1:
            raise _refusal(answer)
        count = count * 3 // 4
    return count


def _embedded(endpoint: wire.Endpoint, count: int) -> wire.Answer:
    body = {"input": " ".join(WORDS[place % len(WORDS)] for place in range(count))}
    return wire.request(endpoint, "POST", "/v1/embeddings", body, timeout_seconds=_TIMEOUT_SECONDS)


def _refusal(answer: wire.Answer) -> UnavailableError:
    return UnavailableError(
        "engine-refused",
        f"the engine answered a text with status {answer.status}: {answer.message()}",
        hint="undercroft model verify MODEL looks for a damaged file",
    )


def _timed_text(endpoint: wire.Endpoint, count: int, rounds: int) -> dict[str, Any]:
    tokens: list[int] = []

    def ask() -> None:
        answer = _embedded(endpoint, count)
        if answer.status != 200:
            raise _refusal(answer)
        tokens.append(int(answer.json()["usage"]["prompt_tokens"]))

    seconds = timed_rounds(ask, rounds)
    return {
        "tokens": tokens[-1],
        "computed_tokens": tokens[-1],
        **percentiles(seconds),
        "texts_per_second": len(seconds) / sum(seconds),
    }


def _told(model: Served, threads: int, load_seconds: float, peak: Peak | None) -> dict[str, Any]:
    if model.environment is None:
        package = version("xllamacpp")
    else:
        record = model.environment.record()
        package = record.packages.get(model.engine, "") if record is not None else ""
    return {
        "runtime": model.engine,
        "runtime_version": package,
        "task": model.found.facts.task if model.found.facts is not None else None,
        "weights": model.found.subject.quantization,
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "threads": threads or None,
        "size_bytes": model.found.subject.size_bytes,
        "load_seconds": load_seconds,
        "before_bytes": None,
        "peak_bytes": peak.private_bytes + peak.file_bytes if peak is not None else None,
    }
