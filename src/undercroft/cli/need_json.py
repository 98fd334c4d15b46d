"""A ranking as JSON; the names of the fields are part of the interface and stand in docs/reference/plan-json.md."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from undercroft.cli.need_text import ranking_sentence
from undercroft.planning.needs import Need, assumed_in
from undercroft.planning.ranking import Candidate, Ranking


def ranking_as_dict(ranking: Ranking, need: Need, shown: Iterable[Candidate]) -> dict[str, Any]:
    """A ranking: what does, the cheapest first, and every other pair with its reasons."""
    return {
        "sentence": ranking_sentence(ranking),
        "assumed": [{"name": name, "value": value, "why": why} for name, value, why in assumed_in(need)],
        "models": ranking.models,
        "devices": ranking.devices,
        "candidates": [candidate_as_dict(candidate) for candidate in shown],
        "candidates_in_all": len(ranking.candidates),
        "rejections": [
            {
                "model": one.model,
                "device": one.device or None,
                "reasons": [{"kind": kind, "sentence": sentence} for kind, sentence in one.reasons],
            }
            for one in ranking.rejections
        ],
        "reasons": [{"kind": kind, "first": first, "all": every} for kind, first, every in ranking.grouped()],
    }


def candidate_as_dict(one: Candidate) -> dict[str, Any]:
    """One model in one quantization on one device."""
    bill = one.cost.bill
    return {
        "model": one.model.name,
        "engine": one.engine,
        "quantization": one.quantization,
        "device": one.device.id,
        "count": one.count,
        "price": one.cost.price,
        "month": None if bill is None else bill.total,
        "currency": one.cost.currency,
        "decode_user_tokens_per_second": one.pace.decode_user or None,
        "first_token_seconds": one.pace.first_token,
        "needs_acceptance": one.needs_acceptance,
        "spare_ratio": one.spare_ratio,
    }
