"""Write the model card from the figures of a report: ``python -m tools.starter.card --report FILE --out FILE``.

The prose is in ``card.md``; every figure in the card comes from the report, so none can be older than the file it is
about.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from tools.starter.grammar import load_all
from tools.starter.scores import half_interval

PROSE = Path(__file__).with_name("card.md")
_FIELDS = ("json", "language", "intent", "urgency", "order_id", "id_present", "id_null", "summary")
_SETS = {
    "held_out_templates": "held-out templates",
    "held_out_templates_unseen_ids": "held-out templates, unseen id formats",
    "training_templates_new_ids": "training templates, new ids",
    "handwritten": "60 hand-written tickets",
    "system_plain_trained": "behind a system prompt that changes nothing, trained",
    "system_plain_held_out": "the same, prompts never trained on",
    "second_ticket_of_a_conversation": "second ticket of a conversation",
    "typed_control_text": "held-out templates, control text typed into the ticket",
    "json_schema": "answer bound by a JSON schema",
    "json_object": "`response_format: json_object`",
}


def _row(name: str, scores: dict[str, Any], fields: tuple[str, ...]) -> str:
    values = " | ".join("–" if scores[key] is None else f"{scores[key]:.1f}" for key in fields)
    return f"| {name} | {scores['tickets']} | {values} |"


def _head(name: str, fields: tuple[str, ...]) -> list[str]:
    return [f"| {name} | tickets | " + " | ".join(fields) + " |", "|---" * (len(fields) + 2) + "|"]


def overall_table(report: dict[str, Any]) -> str:
    """One line for each test set."""
    rows = [_row(name, report[key].get("overall", report[key]), _FIELDS) for key, name in _SETS.items()]
    return "\n".join(_head("test", _FIELDS) + rows)


def language_table(scores: dict[str, Any]) -> str:
    """One line for each language of a test set."""
    rows = [_row(code, one, _FIELDS) for code, one in scores["by_language"].items()]
    return "\n".join(_head("language", _FIELDS) + rows)


def summary_in_table(report: dict[str, Any]) -> str:
    """How often the summary came in the language that a system prompt asked for."""
    fields = ("summary_language", "summary", "intent", "order_id")
    names = {
        "system_summary_in_trained": "prompts trained on",
        "system_summary_in_held_out": "prompts never trained on",
    }
    return "\n".join(
        _head("summary in another language", fields) + [_row(n, report[k], fields) for k, n in names.items()]
    )


def tool_table(report: dict[str, Any]) -> str:
    """Calls of a tool whose name and parameters were never trained on."""
    fields = ("called", "valid", "right")
    names = {"tool_choice_required": '`tool_choice: "required"`', "tool_choice_auto": '`tool_choice: "auto"`'}
    return "\n".join(_head("tool use", fields) + [_row(n, report[k], fields) for k, n in names.items()])


def intent_table() -> str:
    """The intents with their English summaries."""
    summaries = load_all(languages=("en",))["en"].summaries
    rows = [f"| `{intent}` | {one.with_id} | {one.without_id} |" for intent, one in summaries.items()]
    return "\n".join(["| intent | summary with an id | without |", "|---|---|---|", *rows])


def card(report: dict[str, Any], run: dict[str, Any]) -> str:
    """The card's text."""
    held_out = report["held_out_templates"]["overall"]
    values = {
        "overall_table": overall_table(report),
        "language_table": language_table(report["held_out_templates"]),
        "handwritten_table": language_table(report["handwritten"]),
        "summary_in_table": summary_in_table(report),
        "tool_table": tool_table(report),
        "intent_table": intent_table(),
        "confusions": "; ".join(report["held_out_templates"]["confusions"]),
        "interval": str(half_interval(held_out["intent"], held_out["tickets"])),
        **{key: str(value) for key, value in run.items()},
    }
    return re.sub(r"<<(\w+)>>", lambda match: values[match[1]], PROSE.read_text(encoding="utf-8"))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Write the model card from a report of tools.starter.evaluate.")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="JSON with what the prose names of the training run")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    report, run = (json.loads(path.read_text(encoding="utf-8")) for path in (options.report, options.run))
    options.out.write_text(card(report, run), encoding="utf-8")


if __name__ == "__main__":
    main()
