"""Tool use in the Hermes form: tool descriptions, the call that fits a ticket, and a result."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from tools.starter.grammar import INTENTS, LANGUAGES, URGENCIES
from tools.starter.tickets import Ticket

_NAMES = (
    "lookup_order", "get_order", "find_order", "order_lookup", "track_parcel", "create_ticket", "open_case",
    "route_ticket", "classify_ticket", "get_status", "escalate", "search_orders", "fetch_order", "log_ticket",
    "assign_ticket", "file_request",
)  # fmt: skip
_DESCRIPTIONS = (
    "Look up an order", "Find an order by its number", "Open a case for the help desk", "Route the ticket",
    "Get the state of an order", "Record what the customer wants", "Search the order database",
    "Hand the ticket to a team", "Returns the order as JSON.",
)  # fmt: skip
_PARAMETERS: dict[str, dict[str, Any]] = {
    "order_id": {"type": "string"},
    "language": {"type": "string", "enum": list(LANGUAGES)},
    "intent": {"type": "string", "enum": list(INTENTS)},
    "urgency": {"type": "string", "enum": list(URGENCIES)},
    "summary": {"type": "string"},
}
_STATES = ("shipped", "packed", "delivered", "cancelled", "unknown", "returned")


@dataclass(frozen=True)
class ToolUse:
    """What stands in the system turn, the call the assistant makes, and the tool's result."""

    system: str
    call: str
    result: dict[str, Any]


def tools_text(tools: list[dict[str, Any]]) -> str:
    """The tools as the chat template writes them into the system turn."""
    lines = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in tools)
    return f"<tools>\n{lines}\n</tools>"


def call_text(name: str, arguments: dict[str, Any]) -> str:
    """A tool call as the chat template writes it into the assistant's turn."""
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{call}\n</tool_call>"


def _tool(name: str, parameters: list[str], rng: random.Random) -> dict[str, Any]:
    properties = {key: dict(_PARAMETERS[key]) for key in parameters}
    if rng.random() < 0.3 and "order_id" in properties:
        properties["order_id"]["description"] = rng.choice(("The order number", "Order id as the customer wrote it"))
    schema = {"type": "object", "properties": properties, "required": parameters}
    function = {"name": name, "description": rng.choice(_DESCRIPTIONS), "parameters": schema}
    return {"type": "function", "function": function}


def draw_tool_use(ticket: Ticket, summary: str, rng: random.Random) -> ToolUse:
    """Draw one or two tools and the right call for a ticket: always of the first tool.

    Args:
        ticket: The ticket with its labels.
        summary: The ticket's summary.
        rng: Source of chance.
    """
    names = rng.sample(_NAMES, 2 if rng.random() < 0.25 else 1)
    others = [key for key in _PARAMETERS if key != "order_id"]
    chosen = [["order_id"] * (rng.random() < 0.85) + rng.sample(others, rng.choice((0, 0, 1, 1, 2))) for _ in names]
    chosen = [parameters or ["order_id"] for parameters in chosen]
    tools = [_tool(name, parameters, rng) for name, parameters in zip(names, chosen, strict=True)]
    values = {
        "order_id": ticket.order_id or "",
        "language": ticket.language,
        "intent": ticket.intent,
        "urgency": ticket.urgency,
        "summary": summary,
    }
    arguments = {key: values[key] for key in chosen[0]}
    result = {"order_id": ticket.order_id, "state": rng.choice(_STATES)}
    return ToolUse(tools_text(tools), call_text(names[0], arguments), result)
