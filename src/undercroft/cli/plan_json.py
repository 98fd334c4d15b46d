"""A plan as JSON; the names of the fields are part of the interface and stand in docs/reference/plan-json.md."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from undercroft.cli.plan_request import Made
from undercroft.cli.plan_text import verdict_sentence
from undercroft.planning.assumptions import listed
from undercroft.planning.cost import Cost
from undercroft.planning.fitting import PoolFit, Verdict
from undercroft.planning.forecasts import SpeedForecast
from undercroft.planning.plan import Choice, Plan, best_of
from undercroft.planning.quality import BY_NAME
from undercroft.planning.targets import Rate
from undercroft.planning.weights import parameter_count


def plan_as_dict(made: Made, explained: Iterable[str]) -> dict[str, Any]:
    """A plan.

    Args:
        made: The plan with what it was made of.
        explained: Every term in words.
    """
    plan, found = made.plan, made.found
    work, shape = plan.workload, plan.subject.shape
    return {
        "verdict": str(plan.fit.verdict),
        "sentence": verdict_sentence(plan),
        "model": {
            "name": plan.subject.name,
            "origin": found.origin,
            "architecture": shape.architecture,
            "parameters": shape.parameters or parameter_count(shape),
            "context_tokens": shape.context_tokens,
            "stored_quantization": found.stored_type or None,
            "languages": sorted(found.languages),
        },
        "machine": {
            "name": plan.site.target.name,
            "device": made.device.id if made.device is not None else None,
            "accelerators": len(plan.site.target.accelerators),
            "machines": plan.site.machines,
            "maturity": made.device.engines.get(work.engine) if made.device is not None else None,
        },
        "workload": {
            "engine": work.engine,
            "quantization": work.quantization or plan.subject.stored,
            "context_tokens": work.context_tokens,
            "users": plan.users,
            "slots": work.slots,
            "cache_type": work.cache_type,
            "prompt_tokens": work.prompt_tokens,
            "answer_tokens": work.answer_tokens,
        },
        "memory": {
            "needed_bytes": sum(pool.needed_bytes for pool in plan.fit.pools),
            "missing_bytes": plan.fit.missing_bytes,
            "gpu_layers": plan.fit.gpu_layers,
            "pools": [_pool(pool) for pool in plan.fit.pools],
        },
        "best_quantization": _best_that_fits(plan),
        "quantizations": [_choice(choice) for choice in plan.choices],
        "largest_context_tokens": plan.largest_context,
        "most_users": plan.most_users,
        "speed": None if plan.speed is None else _speed(plan.speed),
        "cost": None if plan.cost is None else _cost(plan.cost),
        "licence": None if plan.subject.licence is None else plan.subject.licence.to_dict(),
        "assumptions": assumptions_as_dicts(plan),
        "notes": list(plan.notes),
        "explained": list(explained),
    }


def _best_that_fits(plan: Plan) -> str | None:
    """Whatever was asked for; None where nothing fits."""
    fitting = tuple(choice for choice in plan.choices if choice.verdict is not Verdict.NO)
    return best_of(fitting) if fitting else None


def assumptions_as_dicts(plan: Plan) -> list[dict[str, str]]:
    """Each with its value and source."""
    return [
        {"name": name, "value": value, "meaning": meaning, "source": source}
        for name, value, meaning, source in listed(plan.assumptions)
    ]


def _pool(pool: PoolFit) -> dict[str, Any]:
    return {
        "pool": pool.pool,
        "name": pool.name,
        "needed_bytes": pool.needed_bytes,
        "available_bytes": pool.available_bytes,
        "total_bytes": pool.total_bytes,
        "missing_bytes": pool.missing_bytes,
        "terms": [
            {
                "name": term.name,
                "size_bytes": term.size_bytes,
                "is_file": term.is_file,
                "formula": term.formula,
                "source": term.source,
            }
            for term in pool.terms
        ],
    }


def _choice(choice: Choice) -> dict[str, Any]:
    quality = BY_NAME.get(choice.quantization)
    return {
        "quantization": choice.quantization,
        "verdict": str(choice.verdict),
        "needed_bytes": choice.needed_bytes,
        "missing_bytes": choice.missing_bytes,
        "decode_tokens_per_second": choice.decode or None,
        "quality": quality.words if quality is not None else None,
        "divergence": quality.divergence if quality is not None else None,
    }


def _speed(speed: SpeedForecast) -> dict[str, Any]:
    return {
        "decode_tokens_per_second": _rate(speed.decode),
        "decode_user_tokens_per_second": _rate(speed.decode_user),
        "decode_all_tokens_per_second": _rate(speed.decode_all),
        "prefill_tokens_per_second": _rate(speed.prefill),
        "first_token_seconds": _rate(speed.first_token),
        "load_seconds": _rate(speed.load),
    }


def _rate(rate: Rate) -> dict[str, Any] | None:
    """None where nothing is generated."""
    return asdict(rate) if rate.value > 0 else None


def _cost(cost: Cost) -> dict[str, Any]:
    bill = cost.bill
    return {
        "currency": cost.currency,
        "price": cost.price,
        "month": None if bill is None else {**asdict(bill), "total": bill.total},
        "busy_share": cost.busy_share,
        "requests_per_day": cost.requests_per_day,
        "tokens_per_day": cost.tokens_per_day,
        "capacity_tokens_per_day": cost.capacity_tokens_per_day,
        "per_million_tokens": cost.per_million,
        "per_million_tokens_full": cost.per_million_full,
        "cloud_month": cost.cloud_month,
        "rent_month": cost.rent_month,
        "even_tokens_per_day": cost.even_tokens_per_day,
        "even_cloud_months": cost.even_cloud_months,
        "even_rent_months": cost.even_rent_months,
    }
