"""Asks a replica every task, several at once, greedily, and judges what comes."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any

from undercroft.checks.json_answers import NOTHING, read_json
from undercroft.checks.judging import CheckResult, graded, judge_answer, judge_time
from undercroft.checks.kinds import JsonCheck
from undercroft.engines import wire
from undercroft.engines.chat_stream import Answer, StreamRefusedError, read_chat_stream
from undercroft.optimize.evaluation.records import ItemResult
from undercroft.optimize.evaluation.replica import NAME, Setup
from undercroft.optimize.evaluation.tasks import Task

# The same numbers from the same prompt; the prompt's state is not reused, so that a first token's time is that of its
# whole prompt, whichever question came before.
_GREEDY: Mapping[str, Any] = {
    "temperature": 0,
    "seed": 1,
    "cache_prompt": False,
    "stream": True,
    "stream_options": {"include_usage": True},
}
_ERROR_SHOWN = 300


@dataclass(frozen=True, slots=True)
class Said:
    """What a task was answered.

    Args:
        answer: What came; empty where the engine said that it could not.
        error: What the engine said instead; empty where an answer came.
    """

    answer: Answer
    error: str = ""


def ask_all(
    endpoint: wire.Endpoint, tasks: Sequence[Task], setup: Setup, report: Callable[[int], None]
) -> tuple[list[ItemResult], float]:
    """Every task's result in their order, and the seconds from the first question to the last answer.

    Args:
        endpoint: Of the replica.
        tasks: At least one.
        setup: Says how many at once, and how long an answer may be.
        report: Told how many are done, from the calling thread.
    """
    found: list[ItemResult | None] = [None] * len(tasks)
    begun = time.monotonic()
    with ThreadPoolExecutor(max_workers=setup.slots, thread_name_prefix="question") as pool:
        asked = {pool.submit(ask, endpoint, task, setup): index for index, task in enumerate(tasks)}
        try:
            for done, future in enumerate(as_completed(asked), 1):
                found[asked[future]] = judged(tasks[asked[future]], future.result())
                report(done)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [result for result in found if result is not None], time.monotonic() - begun


def ask(endpoint: wire.Endpoint, task: Task, setup: Setup) -> Said:
    """One greedy answer; what goes wrong is part of what is given back, for a model may fail a task so, too.

    Args:
        endpoint: Of the replica.
        task: What to ask.
        setup: Limits.
    """
    body = {
        **_GREEDY,
        "model": NAME,
        "messages": task.turns(),
        "max_tokens": task.max_tokens or setup.answer_tokens,
    }
    begun = time.monotonic()
    try:
        with wire.streamed(
            endpoint, "POST", "/v1/chat/completions", body, timeout_seconds=setup.request_timeout_seconds
        ) as response:
            if response.status != 200:
                return _failed(_error_in(response.read(wire.ANSWER_LIMIT_BYTES)), begun)
            return Said(read_chat_stream(response, begun))
    except StreamRefusedError as error:
        return _failed(_error_in(error.content), begun)
    except (OSError, ValueError, http.client.HTTPException) as error:
        return _failed(str(error) or type(error).__name__, begun)


def judged(task: Task, said: Said) -> ItemResult:
    """What an answer is worth.

    Args:
        task: That was asked.
        said: What came.
    """
    if said.error:
        wants = False if _wants_json(task) else None
        return ItemResult(task.id, task.language, False, 0.0, error=said.error, has_valid_format=wants)
    answer = said.answer
    results = judge_answer(task.checks, answer.text)
    if task.first_token_seconds is not None:
        results.append(judge_time("first-token-time", task.first_token_seconds, answer.first_token_seconds))
    if task.total_seconds is not None:
        results.append(judge_time("total-time", task.total_seconds, answer.total_seconds))
    return ItemResult(
        id=task.id,
        language=task.language,
        has_passed=all(result.has_passed for result in results),
        score=graded(results),
        failed=tuple(result.name for result in results if not result.has_passed),
        total_seconds=answer.total_seconds,
        first_token_seconds=answer.first_token_seconds,
        prompt_tokens=answer.prompt_tokens,
        answer_tokens=answer.answer_tokens,
        answer_digest="sha256:" + hashlib.sha256(answer.text.encode("utf-8", "surrogatepass")).hexdigest(),
        has_valid_format=_is_valid(task, answer.text, results) if _wants_json(task) else None,
    )


def _wants_json(task: Task) -> bool:
    """Whether a check asks for JSON: by a schema, or by looking at a place in it."""
    return any(check.kind == "json" or getattr(check, "at", None) is not None for check in task.checks)


def _is_valid(task: Task, answer: str, results: Sequence[CheckResult]) -> bool:
    """JSON, and as its schemas want it; a schema of one value alone says what is right, not what is valid."""
    checked = zip(task.checks, results, strict=False)  # limits of time come after the checks
    wanted = [result for check, result in checked if isinstance(check, JsonCheck) and not _is_one_value(check)]
    return all(result.has_passed for result in wanted) and read_json(answer) is not NOTHING


def _is_one_value(check: JsonCheck) -> bool:
    return isinstance(check.schema_, dict) and set(check.schema_) == {"const"}


def _failed(error: str, begun: float) -> Said:
    empty = Answer("", None, time.monotonic() - begun, None, None)
    return Said(empty, error=" ".join(error.split())[:_ERROR_SHOWN])


def _error_in(content: bytes) -> str:
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return content[:_ERROR_SHOWN].decode(errors="replace") or "no answer"
