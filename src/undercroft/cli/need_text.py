"""A ranking in rows and sentences for a terminal. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.cli.plan_text import money, number
from undercroft.core.units import format_duration
from undercroft.planning.ranking import Candidate, Ranking

CANDIDATE_COLUMNS = ("model", "device", ">price", ">a month", ">tokens/s", ">first")
REASON_COLUMNS = ("why the others do not", ">first reason", ">one of several")
_TO_ACCEPT = "*"
# What a reader can change in a need, by the kind of reason that it was refused for.
_LOOSER = {
    "language": "languages",
    "licence": "licence",
    "budget": "budget",
    "price not known": "budget",
    "tokens a second": "tps",
    "first token": "ttft",
    "context": "context",
    "power": "power",
    "size": "parameters",
    "vendor": "vendor",
    "memory": "users or context",
}


def ranking_sentence(ranking: Ranking) -> str:
    """How many do, and the cheapest of them."""
    devices = f"{ranking.devices} devices" if ranking.devices != 1 else "one device"
    pairs = f"{ranking.models * ranking.devices:,} pairs of {ranking.models} models and {devices}"
    if not ranking.candidates:
        reasons = ", ".join(f"{kind} ({first:,})" for kind, first, _ in ranking.grouped()[:3] if first)
        loosen = [_LOOSER[kind] for kind, _, _ in ranking.grouped() if kind in _LOOSER]
        hint = f" Ask for less of one: {', '.join(dict.fromkeys(loosen[:4]))}." if loosen else ""
        return f"None of {pairs} satisfies the need; most fail for {reasons}.{hint}"
    best = ranking.candidates[0]
    price = "no list price" if best.cost.price is None else money(best.cost.price, best.cost.currency)
    return (
        f"{len(ranking.candidates):,} of {pairs} satisfy the need. The cheapest that is just right: "
        f"{best.model.name} in {best.stored_as} on {_where(best)}, {price}."
    )


def candidate_rows(candidates: Sequence[Candidate]) -> list[list[str]]:
    """A row each."""
    return [
        [
            f"{one.model.name}{_TO_ACCEPT if one.needs_acceptance else ''} {one.stored_as}",
            _where(one),
            "-" if one.cost.price is None else f"{one.cost.price:,.0f}",
            "-" if one.cost.bill is None else f"{one.cost.bill.total:,.0f}",
            number(one.pace.decode_user) if one.pace.decode_user else "-",
            format_duration(one.pace.first_token),
        ]
        for one in candidates
    ]


def _where(one: Candidate) -> str:
    return one.device.id if one.count == 1 else f"{one.count} x {one.device.id}"


def legend_of(candidates: Sequence[Candidate], currency: str) -> str:
    """What the columns mean."""
    words = f"Price and month in {currency}; tokens/s for each user while all are served; first: of a prompt's answer."
    if any(one.engine != "llama.cpp" for one in candidates):
        words += " vllm: with that engine, all others with llama.cpp."
    if any(one.needs_acceptance for one in candidates):
        words += f" {_TO_ACCEPT} its licence has to be accepted."
    return words


def reason_rows(ranking: Ranking) -> list[list[str]]:
    """Pairs by the reason that was looked at first, and by each of several."""
    return [[kind, f"{first:,}", f"{every:,}"] for kind, first, every in ranking.grouped()]
