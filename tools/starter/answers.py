"""The JSON answer to a ticket, in the fixed key order, and reading one back."""

from __future__ import annotations

import json

from tools.starter.grammar import INTENTS, LANGUAGES, URGENCIES, Grammar
from tools.starter.tickets import Ticket

KEYS = ("language", "intent", "urgency", "order_id", "summary")
NULL_ID = 'null,"summary":"'
AFTER_ID = '","summary":"'
END = '"}'


def opening_piece(language: str) -> str:
    """The answer up to the intent's value."""
    return f'{{"language":"{language}","intent":"'


def urgency_piece(urgency: str) -> str:
    """The answer between the intent's value and the order id's."""
    return f'","urgency":"{urgency}","order_id":'


# Each is one token, which keeps an answer short; the order id between them is spelt in ordinary tokens.
ANSWER_PIECES = (
    *(opening_piece(language) for language in LANGUAGES),
    *INTENTS,
    *(urgency_piece(urgency) for urgency in URGENCIES),
    NULL_ID,
    AFTER_ID,
    END,
)


def summary(ticket: Ticket, grammars: dict[str, Grammar], language: str | None = None) -> str:
    """The fixed summary of the ticket's intent, in the ticket's language unless another is asked for."""
    phrases = grammars[language or ticket.language].summaries[ticket.intent]
    return phrases.with_id.replace("{id}", ticket.order_id) if ticket.order_id else phrases.without_id


def answer(ticket: Ticket, grammars: dict[str, Grammar], summary_language: str | None = None) -> str:
    """The right answer to a ticket as compact JSON.

    Args:
        ticket: The ticket with its labels.
        grammars: Language code to grammar; holds the summaries.
        summary_language: Language code of the summary where a system prompt asks for another than the ticket's.

    Returns:
        JSON without spaces between keys and values, non-ASCII characters written as they are.
    """
    fields = {
        "language": ticket.language,
        "intent": ticket.intent,
        "urgency": ticket.urgency,
        "order_id": ticket.order_id,
        "summary": summary(ticket, grammars, summary_language),
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def read(text: str) -> dict[str, str | None] | None:
    """Parse a model's answer without repair; None unless it is JSON with exactly the five keys and legal values."""
    try:
        fields = json.loads(text)
    except ValueError:
        return None
    if not isinstance(fields, dict) or tuple(fields) != KEYS:
        return None
    if not all(isinstance(fields[key], str) or (key == "order_id" and fields[key] is None) for key in KEYS):
        return None
    is_legal = fields["language"] in LANGUAGES and fields["intent"] in INTENTS and fields["urgency"] in URGENCIES
    return fields if is_legal else None
