"""Load and check the six grammar files (``grammar/FORMAT.md``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from tools.starter.phrases import Sequence, parse

Split = Literal["train", "held_out"]
LANGUAGES = ("en", "th", "ms", "vi", "ar", "zh")
INTENTS = (
    "order_status", "cancel_order", "change_address", "return_item", "refund_request", "damaged_item",
    "wrong_item", "missing_item", "payment_problem", "invoice_request", "account_access", "product_question",
)  # fmt: skip
URGENCIES = ("low", "normal", "high")
GRAMMAR_DIR = Path(__file__).parent / "grammar"
_LISTS = ("openings", "closings", "id_sentences", "distractors", "names", "products", "when")
_MINIMUM = {
    "intent": (90, 20), "openings": (40, 12), "closings": (30, 10), "high": (40, 12), "low": (30, 10),
    "id_sentences": (30, 10), "distractors": (30, 10), "names": (40, 15), "products": (80, 25), "when": (25, 8),
}  # fmt: skip

Lists = dict[Split, tuple[Sequence, ...]]


class GrammarError(ValueError):
    """A grammar file misses a part or holds fewer phrases than the format asks for."""


@dataclass(frozen=True)
class Summary:
    """The fixed summary of an intent in one language; ``with_id`` holds the slot ``{id}``."""

    with_id: str
    without_id: str


@dataclass(frozen=True)
class Grammar:
    """One language's grammar, parsed."""

    language: str
    join: str
    intents: dict[str, Lists]
    summaries: dict[str, Summary]
    urgency: dict[str, Lists]
    lists: dict[str, Lists]
    systems_plain: tuple[str, ...]
    systems_summary_in: dict[str, tuple[str, ...]]


def _parse_lists(raw: dict[str, list[str]]) -> Lists:
    return {
        "train": tuple(parse(str(text)) for text in raw["train"]),
        "held_out": tuple(parse(str(text)) for text in raw["held_out"]),
    }


def load_grammar(path: Path) -> Grammar:
    """Read one grammar file.

    Args:
        path: The YAML file.

    Returns:
        The grammar with every phrase parsed.

    Raises:
        GrammarError: A list is missing.
        PhraseError: A phrase breaks the bracket notation.
    """
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    _add_more(raw, path.parent / "more" / path.name)
    try:
        return Grammar(
            language=raw["language"],
            join=raw["join"],
            intents={intent: _parse_lists(raw["intents"][intent]) for intent in INTENTS},
            summaries={intent: Summary(**raw["intents"][intent]["summary"]) for intent in INTENTS},
            urgency={level: _parse_lists(raw["urgency"][level]) for level in ("low", "high")},
            lists={name: _parse_lists(raw[name]) for name in _LISTS},
            systems_plain=tuple(raw["systems"]["plain"]),
            systems_summary_in={code: tuple(raw["systems"]["summary_in"][code]) for code in LANGUAGES},
        )
    except KeyError as error:
        raise GrammarError(f"{path.name}: misses {error}") from error


def _add_more(raw: dict[str, Any], more: Path) -> None:
    """Adds the train phrasings of ``more/CODE.yaml``, which were written without a look at the held-out ones.

    A phrasing that happens to stand among the held-out ones is left out: the exam stays an exam.
    """
    if not more.exists():
        return
    extra: dict[str, Any] = yaml.safe_load(more.read_text(encoding="utf-8"))
    grown = [(raw[part], extra.get(part, {})) for part in ("intents", "urgency")]
    grown.append((raw, {name: extra[name] for name in _LISTS if name in extra}))
    for known_lists, more_lists in grown:
        for name, lists in more_lists.items():
            known = known_lists[name]
            taken = {*known["train"], *known["held_out"]}
            known["train"] = [*known["train"], *(text for text in lists["train"] if text not in taken)]


def load_all(folder: Path = GRAMMAR_DIR, languages: tuple[str, ...] = LANGUAGES) -> dict[str, Grammar]:
    """Load the grammars of a folder, in the order of ``languages``."""
    return {code: load_grammar(folder / f"{code}.yaml") for code in languages}


def shortages(grammar: Grammar) -> list[str]:
    """Name every list that holds fewer phrases than the format asks for, or shares a phrase between the splits."""
    named: list[tuple[str, str, Lists]] = [("intent", name, lists) for name, lists in grammar.intents.items()]
    named += [(level, level, lists) for level, lists in grammar.urgency.items()]
    named += [(name, name, lists) for name, lists in grammar.lists.items()]
    found = []
    for kind, name, lists in named:
        train, held_out = _MINIMUM[kind]
        if len(lists["train"]) < train or len(lists["held_out"]) < held_out:
            found.append(
                f"{grammar.language}/{name}: {len(lists['train'])}/{len(lists['held_out'])}, needs {train}/{held_out}"
            )
        if set(lists["train"]) & set(lists["held_out"]):
            found.append(f"{grammar.language}/{name}: the splits share a phrase")
    return found


def main() -> None:
    """Print what the grammar files lack; silent when they are complete."""
    for grammar in load_all().values():
        for problem in shortages(grammar):
            print(problem)


if __name__ == "__main__":
    main()
