"""Questions to begin with: what a deployment is asked first, and checks out of an answer that was accepted. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from undercroft.checks.json_answers import NOTHING, read_json
from undercroft.checks.languages import language_probabilities
from undercroft.checks.refusals import is_refusal
from undercroft.checks.similarity import ngram_similarity
from undercroft.core.ids import name_from

# For the starter model: tickets in five of its languages.
TICKETS = (
    ("order-status-english", "Hi, where is my order SG-4471? I need it today."),
    ("refund-thai", "ขอเงินคืนสำหรับคำสั่งซื้อ TH-20931 ด้วยค่ะ สินค้ายังไม่มาเลย"),
    ("cancel-malay", "Saya mahu batalkan pesanan MY-7745, terima kasih."),
    ("damaged-vietnamese", "Đơn hàng VN-58213 của tôi đến nơi bị vỡ."),
    ("invoice-chinese", "请给我订单 CN-90317 的发票，谢谢。"),
)
# For any other model that chats: arithmetic, structure, a list, a language, a rule.
GENERAL = (
    ("arithmetic", "A box holds 12 eggs. How many eggs are in 7 boxes? Answer with the number only."),
    ("json", 'Answer with JSON only, with the keys "name" and "city": Somchai moved to Chiang Mai in 2019.'),
    ("list", "Name the three colours of a traffic light, separated by commas, and nothing else."),
    ("translation", "Translate into Malay, and answer with the translation only: Good morning, how can I help you?"),
    ("summary", "Say in one sentence: The shop opens at nine. On Sundays it stays closed. Parking is free."),
)
_LEAST_LIKENESS = 0.5
_SLACK = 0.15
_LANGUAGE_LETTERS = 12
_CONSTANT_CHARACTERS = 40
_LANGUAGE_PROBABILITY = 0.9
_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}


def proposed_questions(own: Sequence[str] | None, *, is_starter: bool) -> list[tuple[str, str]]:
    """What a deployment is asked: an id and a text each.

    Args:
        own: Questions of the user's, which take the place of ours; None where there are none.
        is_starter: Whether the deployment serves the starter model, which reads tickets and does nothing else.
    """
    if own is None:
        return list(TICKETS if is_starter else GENERAL)
    names = [name_from(text)[:40].strip("._-") or "question" for text in own]
    return [
        (name if names.index(name) == position else f"{name}-{position + 1}", text)
        for position, (name, text) in enumerate(zip(names, own, strict=True))
    ]


def derived_checks(answers: Sequence[str]) -> list[dict[str, Any]]:
    """Checks that an accepted answer passes, and those that wavered while it was asked again.

    JSON has to stay JSON with the same keys and types; text has to stay like it, by as much as the answers to the same
    question were like each other, and a little less; a language that is plain has to stay.

    Args:
        answers: The accepted one, then others to the same question.

    Returns:
        Checks as a probe file has them; at least one.
    """
    accepted = answers[0]
    likeness = min((ngram_similarity(accepted, other) for other in answers[1:]), default=1.0)
    checks: list[dict[str, Any]] = []
    value = read_json(accepted.strip())
    if isinstance(value, dict | list):
        checks.append({"kind": "json", "schema": schema_of([read_json(answer.strip()) for answer in answers])})
    if accepted.strip():
        at_least = max(_LEAST_LIKENESS, round(likeness - _SLACK, 2))
        if likeness >= at_least:
            checks.append({"kind": "similarity", "reference": accepted, "at_least": at_least})
    texts = {key: text for key, text in value.items() if isinstance(text, str)} if isinstance(value, dict) else {}
    for path, text in texts.items() if texts else [(None, accepted)] if value is NOTHING else []:
        language = plain_language(text)
        if language is not None and (path is None or path.isidentifier()):
            checks.append({"kind": "language", "language": language} | ({"at": path} if path else {}))
    if value is NOTHING and not any(is_refusal(answer) for answer in answers):
        checks.append({"kind": "no-refusal"})
    return checks or [{"kind": "length", "at_least": 1}]


def schema_of(values: Sequence[Any]) -> dict[str, Any]:
    """A JSON Schema that all values meet: their type, the keys that all have, and the types that those have.

    A value that was the same each time and has no white space, such as a name of a class or a number, has to stay.

    Args:
        values: Read from JSON; those that could not be read are left out. At least one.
    """
    known = [value for value in values if value is not NOTHING]
    if not all(isinstance(value, dict) for value in known):
        return {"type": _types(known)}
    keys = [key for key in known[0] if all(key in value for value in known)]
    return {
        "type": "object",
        "required": keys,
        "properties": {key: _property([value[key] for value in known]) for key in keys},
    }


def plain_language(text: str) -> str | None:
    """The language of a text that leaves no doubt; None for any other.

    Args:
        text: Any.
    """
    if sum(letter.isalpha() for letter in text) < _LANGUAGE_LETTERS:
        return None
    code, share = next(iter(language_probabilities(text).items()))
    return code if share >= _LANGUAGE_PROBABILITY else None


def probe_text(model: str | None, questions: Sequence[dict[str, Any]]) -> str:
    """A probe file.

    Args:
        model: Deployment; None where it is called as the probe.
        questions: ``id``, ``text``, ``max_tokens`` and ``checks`` of each.
    """
    head = (
        "# Standard questions; docs/guide/probes.md says what may stand here. Made by `undercroft probe init` out of\n"
        "# answers that somebody accepted. Keep it in git. Each morning at seven:\n"
        '# schedule: "0 7 * * *"\n'
        "# time_zone: Asia/Bangkok\n"
    )
    document = ({"model": model} if model else {}) | {"questions": list(questions)}
    return head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _property(values: Sequence[Any]) -> dict[str, Any]:
    first = values[0]
    is_short = not isinstance(first, str | list | dict) or (isinstance(first, str) and len(first.split()) == 1)
    if is_short and len(str(first)) <= _CONSTANT_CHARACTERS and all(value == first for value in values):
        return {"const": first}
    return {"type": _types(values)}


def _types(values: Sequence[Any]) -> Any:
    found = list(dict.fromkeys("null" if value is None else _TYPES[type(value)] for value in values))
    return found[0] if len(found) == 1 else found
