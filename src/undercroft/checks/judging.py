"""Whether an answer passes its checks, and how well. Pure: what other models say of it is given."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from undercroft.checks.json_answers import NOTHING, number_at, read_json, schema_validator, text_at
from undercroft.checks.kinds import (
    Check,
    ContainsCheck,
    ExactCheck,
    JsonCheck,
    JudgeCheck,
    LanguageCheck,
    LengthCheck,
    NoRefusalCheck,
    NumberCheck,
    RegexCheck,
    SimilarityCheck,
    compile_pattern,
)
from undercroft.checks.languages import language_probabilities
from undercroft.checks.refusals import is_refusal
from undercroft.checks.similarity import ngram_similarity, vector_similarity

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What came of one check.

    Args:
        name: Its kind, with its number where a question has several of that kind: ``contains-2``.
        kind: Its kind.
        score: 0.0 to 1.0.
        has_passed: Whether it did.
        weight: Of the check within its question.
        detail: Expected before got, for people; it may quote the answer, so it is shown and never stored.
    """

    name: str
    kind: str
    score: float
    has_passed: bool
    weight: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Opinions:
    """What other deployments say of an answer.

    Args:
        vectors: (encoder, text) → its vector.
        judgements: (judge, criterion) → 0.0 to 1.0.
        silent: Encoder or judge that refused → why.
    """

    vectors: Mapping[tuple[str, str], Sequence[float]] = field(default_factory=dict)
    judgements: Mapping[tuple[str, str], float] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


NO_OPINIONS = Opinions()
_Outcome = tuple[float, bool, str]


def check_names(checks: Sequence[Check]) -> list[str]:
    """A name for each, unlike those of the others: its kind, numbered from the second of that kind on."""
    seen: Counter[str] = Counter()
    names = []
    for check in checks:
        seen[check.kind] += 1
        names.append(check.kind if seen[check.kind] == 1 else f"{check.kind}-{seen[check.kind]}")
    return names


def judge_answer(checks: Sequence[Check], answer: str, opinions: Opinions = NO_OPINIONS) -> list[CheckResult]:
    """What every check says of an answer, in their order.

    Args:
        checks: Of one question.
        answer: The whole answer.
        opinions: Of the encoders and judges that the checks name; one that is missing fails its check.
    """
    results = []
    for name, check in zip(check_names(checks), checks, strict=True):
        score, has_passed, detail = _JUDGES[check.kind](check, answer, opinions)
        results.append(CheckResult(name, check.kind, score, has_passed, check.weight, "" if has_passed else detail))
    return results


def judge_time(name: str, limit_seconds: float, seconds: float | None) -> CheckResult:
    """Whether something came in time; the score is the limit's share of the time where it did not.

    Args:
        name: ``first-token-time`` or ``total-time``.
        limit_seconds: Above 0.
        seconds: What it took; None where it never came.
    """
    if seconds is None:
        return CheckResult(name, name, 0.0, False, 1.0, f"expected within {limit_seconds:g} s, and it never came")
    score = 1.0 if seconds <= limit_seconds else limit_seconds / seconds
    detail = "" if seconds <= limit_seconds else f"expected within {limit_seconds:g} s, took {seconds:.2f} s"
    return CheckResult(name, name, score, seconds <= limit_seconds, 1.0, detail)


def graded(results: Sequence[CheckResult]) -> float:
    """The score of a question: the mean of its checks by their weights.

    Args:
        results: At least one.

    Returns:
        0.0 to 1.0.
    """
    return sum(result.score * result.weight for result in results) / sum(result.weight for result in results)


def _exact(check: ExactCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    is_same = text is not None and _plain(text, check.ignore_case) == _plain(check.text, check.ignore_case)
    return float(is_same), is_same, f"expected {_quoted(check.text)}, got {_got(text)}"


def _contains(check: ContainsCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    inside = "" if text is None else _plain(text, check.ignore_case)
    missing = [part for part in check.text if text is None or _plain(part, check.ignore_case) not in inside]
    score = 1 - len(missing) / len(check.text)
    return score, not missing, f"expected {', '.join(map(_quoted, missing))} in it, got {_got(text)}"


def _regex(check: RegexCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    is_found = text is not None and compile_pattern(check.pattern).search(text) is not None
    return float(is_found), is_found, f"expected {_quoted(check.pattern)} to match, got {_got(text)}"


def _json(check: JsonCheck, answer: str, _opinions: Opinions) -> _Outcome:
    value = read_json(answer)
    if value is NOTHING:
        return 0.0, False, f"expected JSON, got {_got(answer)}"
    problems = [
        f"{'.'.join(str(step) for step in error.instance_path) or 'the whole'}: {error.message[:_SHOWN_CHARACTERS]}"
        for error in schema_validator(check.schema_).iter_errors(value)
    ]
    return 1 / (1 + len(problems)), not problems, f"expected JSON as the schema wants it, got {'; '.join(problems[:3])}"


def _number(check: NumberCheck, answer: str, _opinions: Opinions) -> _Outcome:
    found = number_at(answer, check.at)
    expected = f"{check.value:g}" + (f" ± {check.tolerance:g}" if check.tolerance else "")
    if found is None:
        return 0.0, False, f"expected {expected}, and no number is there"
    distance = abs(found - check.value)
    # 7.1 is meant to be within 0.1 of 7, which binary fractions do not know.
    is_near = distance <= check.tolerance + 1e-9 * max(abs(check.value), abs(check.tolerance))
    return 1.0 if is_near else check.tolerance / distance, is_near, f"expected {expected}, got {found:g}"


def _language(check: LanguageCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    if text is None or not any(letter.isalpha() for letter in text):
        return 0.0, False, f"expected {check.language}, and no words are there"
    known = language_probabilities(text)
    allowed = {check.language, *check.among} if check.among else set(known)
    shares = {code: share for code, share in known.items() if code in allowed}
    likeliest = max(shares, key=lambda code: shares[code])
    share = shares.get(check.language, 0.0) / (sum(shares.values()) or 1.0)
    if likeliest == check.language:
        return 1.0, True, ""
    return share, False, f"expected {check.language}, got {likeliest}: {_got(text)}"


def _length(check: LengthCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    count = 0 if text is None else len(text.strip())
    most = "" if check.at_most is None else f" and at most {check.at_most}"
    detail = f"expected at least {check.at_least}{most} characters, got {count}"
    if text is None or count < check.at_least:
        return count / max(1, check.at_least), False, detail
    if check.at_most is not None and count > check.at_most:
        return check.at_most / count, False, detail
    return 1.0, True, detail


def _no_refusal(check: NoRefusalCheck, answer: str, _opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    refuses = text is None or is_refusal(text)
    return float(not refuses), not refuses, f"expected an answer, got a refusal: {_got(text)}"


def _similarity(check: SimilarityCheck, answer: str, opinions: Opinions) -> _Outcome:
    text = text_at(answer, check.at)
    score = 0.0
    if text is not None and check.encoder is None:
        score = ngram_similarity(text, check.reference)
    elif text is not None and check.encoder is not None:
        one = opinions.vectors.get((check.encoder, text))
        other = opinions.vectors.get((check.encoder, check.reference))
        if one is None or other is None:
            return 0.0, False, f"the encoder '{check.encoder}' did not answer{_why(check.encoder, opinions)}"
        score = vector_similarity(one, other)
    detail = f"expected a likeness of {check.at_least:g} or more, got {score:.2f}: {_got(text)}"
    return score, score >= check.at_least, detail


def _judge(check: JudgeCheck, answer: str, opinions: Opinions) -> _Outcome:
    score = opinions.judgements.get((check.model, check.criterion))
    if score is None:
        return 0.0, False, f"the judge '{check.model}' gave no number from 0 to 10{_why(check.model, opinions)}"
    detail = f"expected {check.at_least:g} or more of 1 from '{check.model}', got {score:.2f}: {_got(answer)}"
    return score, score >= check.at_least, detail


def _why(model: str, opinions: Opinions) -> str:
    return f": {opinions.silent[model]}" if model in opinions.silent else ""


_JUDGES: Mapping[str, Callable[[Any, str, Opinions], _Outcome]] = {
    "exact": _exact,
    "contains": _contains,
    "regex": _regex,
    "json": _json,
    "number": _number,
    "language": _language,
    "length": _length,
    "no-refusal": _no_refusal,
    "similarity": _similarity,
    "judge": _judge,
}


def _plain(text: str, ignore_case: bool) -> str:
    plain = unicodedata.normalize("NFC", text).strip()
    return plain.casefold() if ignore_case else plain


def _quoted(text: str) -> str:
    whole = " ".join(text.split())
    return f"'{whole if len(whole) <= _SHOWN_CHARACTERS else whole[:_SHOWN_CHARACTERS] + '…'}'"


def _got(text: str | None) -> str:
    if text is None:
        return "nothing at that place"
    return _quoted(text) if text.strip() else "nothing"
