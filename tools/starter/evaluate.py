"""Measure a GGUF in llama.cpp: ``python -m tools.starter.evaluate FILE``. Prints JSON."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tools.starter.engine import Engine
from tools.starter.examination import Examination, drawn, handwritten
from tools.starter.grammar import INTENTS, LANGUAGES, load_all
from tools.starter.tickets import TicketSource
from tools.starter.tokenizer import TicketTokenizer

SCHEMA = {
    "type": "object",
    "properties": {
        "language": {"type": "string", "enum": list(LANGUAGES)},
        "intent": {"type": "string", "enum": list(INTENTS)},
        "urgency": {"type": "string", "enum": ["low", "normal", "high"]},
        "order_id": {"type": ["string", "null"]},
        "summary": {"type": "string"},
    },
    "required": ["language", "intent", "urgency", "order_id", "summary"],
    "additionalProperties": False,
}


def examine(exam: Examination, *, is_quick: bool) -> dict[str, Any]:
    """All tests; the quick form asks fewer tickets and leaves out conversations and tools."""
    grammars, seed = exam.grammars, exam.seed
    held_out, unseen = TicketSource(grammars, "held_out"), TicketSource(grammars, "held_out", "unseen")
    size = 720 if is_quick else 1224
    result: dict[str, Any] = {
        "held_out_templates": exam.tickets(drawn(held_out, size, seed)),
        "held_out_templates_unseen_ids": exam.tickets(drawn(unseen, size // 2, seed + 1)),
        "training_templates_new_ids": exam.tickets(drawn(TicketSource(grammars), 288 if is_quick else 648, seed + 2)),
        "handwritten": exam.tickets(handwritten()),
    }
    if is_quick:
        return result
    some = drawn(held_out, 216, seed + 3)
    constrained = {"type": "json_schema", "json_schema": {"name": "ticket", "strict": True, "schema": SCHEMA}}
    return result | {
        "system_plain_trained": exam.systems(some, wants_summary=False, is_held_out=False),
        "system_plain_held_out": exam.systems(some, wants_summary=False, is_held_out=True),
        "system_summary_in_trained": exam.systems(some, wants_summary=True, is_held_out=False),
        "system_summary_in_held_out": exam.systems(some, wants_summary=True, is_held_out=True),
        "second_ticket_of_a_conversation": exam.last_turn(some),
        "json_schema": exam.tickets(some, response_format=constrained)["overall"],
        "json_object": exam.tickets(some, response_format={"type": "json_object"})["overall"],
        "typed_control_text": exam.typed_control_text(some),
        "tool_choice_required": exam.tools(some, "required"),
        "tool_choice_auto": exam.tools(some, "auto"),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Measure a GGUF of the starter model in llama.cpp.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--quick", action="store_true", help="fewer tickets, no conversations and tools")
    parser.add_argument(
        "--tokenizer", type=Path, help="tokenizer.model of the run; compares its token ids with llama.cpp's"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    exam = Examination(Engine(options.model, threads=options.threads), load_all(), options.seed)
    report = examine(exam, is_quick=options.quick)
    if options.tokenizer:
        some = drawn(TicketSource(exam.grammars, "held_out", has_noise=True), 200, options.seed)
        report["equal_token_ids"] = exam.equal_token_ids(some, TicketTokenizer(options.tokenizer))
    print(json.dumps(report, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    main()
