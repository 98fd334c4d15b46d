"""Rows of a ranking's tables. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.core.units import format_duration
from undercroft.planning.ranking import Candidate, Ranking, Rejection
from undercroft.planning.report.words import money, significant
from undercroft.planning.weights import parameter_count

Row = tuple[str, ...]


def candidate_rows(candidates: Sequence[Candidate], ranks: Sequence[int] = ()) -> list[Row]:
    """Each: rank, model, quantization, device, price, a month, tokens a second, first token, free memory, licence.

    Args:
        candidates: In the order of the table.
        ranks: Of each among all; empty counts from 1.
    """
    rows: list[Row] = []
    for rank, found in zip(ranks or range(1, len(candidates) + 1), candidates, strict=True):
        cost = found.cost
        rows.append(
            (
                f"{rank}",
                found.model.name,
                found.stored_as,
                device_text(found),
                money(cost.price, cost.currency) if cost.price is not None else "not known",
                money(cost.bill.total, cost.currency) if cost.bill is not None else "not known",
                significant(found.pace.decode_user) if found.pace.decode_user else "–",
                format_duration(found.pace.first_token),
                f"{found.spare_ratio:.0%}",
                f"{found.model.licence}" + (", to accept" if found.needs_acceptance else ""),
            )
        )
    return rows


def device_text(found: Candidate) -> str:
    """Device with its count."""
    return found.device.name if found.count == 1 else f"{found.count} x {found.device.name}"


def parameters_of(found: Candidate) -> int:
    """Of the model; count."""
    return found.model.shape.parameters or parameter_count(found.model.shape)


def reason_rows(ranking: Ranking) -> list[Row]:
    """Each kind of reason: name, pairs it was the first for, pairs it was one of several for."""
    return [(kind, f"{first:,}", f"{every:,}") for kind, first, every in ranking.grouped()]


def rejection_groups(rejections: Sequence[Rejection]) -> list[tuple[str, list[Row]]]:
    """Model → devices and the sentence that is true of all of them.

    Args:
        rejections: All.
    """
    groups: dict[str, dict[str, list[str]]] = {}
    for rejection in rejections:
        sentence = "; ".join(f"{kind}: {words}" for kind, words in rejection.reasons)
        where = rejection.device or "every device"
        groups.setdefault(rejection.model, {}).setdefault(sentence, []).append(where)
    return [
        (model, [(", ".join(devices), sentence) for sentence, devices in found.items()])
        for model, found in groups.items()
    ]
