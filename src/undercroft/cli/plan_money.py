"""The cost of a plan for a terminal: rows, sentences, and a chart of owning against a cloud. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from undercroft.cli.plan_text import explained_lines, money, number, wrapped
from undercroft.core.units import format_count
from undercroft.planning.assumptions import listed
from undercroft.planning.cost import DAYS_PER_MONTH, HOURS_PER_MONTH, Cost, cloud_price_per_token, owned_month
from undercroft.planning.plan import Plan, machines_of

COST_COLUMNS = ("cost", ">a month", "of what")
_ROWS, _MOST_COLUMNS, _LEAST_COLUMNS = 9, 64, 20
_DECADES = 4
_OWN, _CLOUD, _BOTH = "o", "c", "x"


def cost_rows(plan: Plan) -> list[list[str]]:
    """The bill by kind, then the same load in a cloud and on rented machines; nothing where it does not fit."""
    cost, assumed = plan.cost, plan.assumptions
    if cost is None:
        return []
    rows: list[tuple[str, float, str]] = []
    bill = cost.bill
    if bill is not None and cost.price is not None:
        share = 1 - assumed.residual
        rows += [
            (
                "purchase",
                bill.purchase,
                f"{money(cost.price, cost.currency)} x {share:.0%} over {assumed.years:g} years",
            ),
            ("electricity", bill.electricity, f"{cost.busy_share:.1%} busy, {assumed.kwh_price:g} a kWh"),
            ("cooling, losses", bill.cooling, f"PUE {assumed.pue:g}"),
            ("work", bill.work, f"{assumed.upkeep_hours:g} hours a month at {assumed.wage:g}"),
            ("parts, support", bill.parts, f"{assumed.upkeep_share:.0%} of the price a year"),
            ("owning", bill.total, "all of it"),
        ]
    tokens = format_count(round(cost.tokens_per_day))
    prices = f"{assumed.cloud_input:g} and {assumed.cloud_output:g} a million"
    rows.append(("the same in a cloud", cost.cloud_month, f"{tokens} tokens a day at {prices}"))
    if cost.rent_month is not None:
        rows.append(("renting the machine", cost.rent_month, "day and night, with the work"))
    return [[name, money(value, cost.currency), words] for name, value, words in rows]


def cost_sentences(plan: Plan, width: int) -> list[str]:
    """What a million tokens cost, and from where on owning is cheaper."""
    cost = plan.cost
    if cost is None:
        return []
    sentences = []
    if cost.tokens_per_day > cost.capacity_tokens_per_day:
        sentences.append(
            f"The expected load, {format_count(round(cost.tokens_per_day))} tokens a day, is more than the "
            f"{format_count(round(cost.capacity_tokens_per_day))} that can be done: take more machines or a faster one."
        )
    if cost.per_million is not None and cost.per_million_full is not None:
        sentences.append(
            f"A million tokens cost {money(cost.per_million, cost.currency)} at this load, "
            f"{money(cost.per_million_full, cost.currency)} when busy day and night "
            f"({format_count(round(cost.capacity_tokens_per_day))} tokens a day)."
        )
    if cost.bill is None:
        sentences.append("Without a price there is nothing to compare with.")
    elif cost.even_tokens_per_day is None:
        sentences.append("At these prices the cloud is cheaper at every load that the machine can serve.")
    else:
        sentences.append(
            f"Owning is cheaper than the cloud from {format_count(round(cost.even_tokens_per_day))} tokens a day on."
        )
    sentences += _months(cost, assumed_years=plan.assumptions.years)
    return [line for sentence in sentences for line in wrapped(sentence, width)]


def _months(cost: Cost, *, assumed_years: float) -> list[str]:
    """When a purchase is paid back, at the load that is expected, and whether the machine lasts so long."""
    if not cost.price:
        return []
    found = []
    for months, against in ((cost.even_cloud_months, "the cloud"), (cost.even_rent_months, "renting")):
        if months is not None:
            late = (
                f", longer than the {assumed_years:g} years that it is to last" if months > assumed_years * 12 else ""
            )
            found.append(
                f"At this load the purchase is paid back against {against} after {number(months)} months{late}."
            )
    if cost.even_cloud_months is None:
        found.append("At this load the purchase is never paid back against the cloud.")
    return found


def chart_lines(plan: Plan, width: int) -> list[str]:
    """Money a month over tokens a day, both in powers of ten; nothing without a price."""
    cost = plan.cost
    if cost is None or cost.bill is None:
        return []
    columns = max(_LEAST_COLUMNS, min(_MOST_COLUMNS, width - 12))
    loads = _loads(cost.capacity_tokens_per_day, columns)
    per_token = cloud_price_per_token(plan.workload, plan.assumptions)
    cloud = [load * DAYS_PER_MONTH * per_token for load in loads]
    machines = machines_of(plan.site)
    own = [owned_month(machines, load, cost, plan.assumptions) or 0.0 for load in loads]
    if not any((*own, *cloud)):
        return []  # everything is free: nothing to compare
    first, last = format_count(round(loads[0])), format_count(round(loads[-1]))
    title = wrapped(
        f"{cost.currency} a month over tokens a day: {_OWN} owning, {_CLOUD} cloud, {_BOTH} both; | expected load",
        width,
    )
    expected = _column(cost.tokens_per_day, loads)
    return [*title, *_plot(own, cloud, expected), f"{'':11}{first}{last:>{columns - len(first)}}"]


def _loads(capacity: float, columns: int) -> list[float]:
    """Loads up to what the machines can do, over some powers of ten."""
    return [capacity * 10 ** (-_DECADES * (1 - index / (columns - 1))) for index in range(columns)]


def _column(load: float, loads: Sequence[float]) -> int | None:
    """Where a load stands; None outside of the chart."""
    if not loads[0] <= load <= loads[-1]:
        return None
    return min(range(len(loads)), key=lambda index: abs(math.log(loads[index] / load)))


def _plot(own: Sequence[float], cloud: Sequence[float], expected: int | None) -> list[str]:
    """Two curves on logarithmic axes, the highest row first, with money at the left."""
    values = [value for value in (*own, *cloud) if value > 0]
    low, high = math.log10(min(values)), math.log10(max(values))
    step = max(high - low, 1e-9) / (_ROWS - 1)
    grid = [["|" if index == expected else " " for index in range(len(own))] for _ in range(_ROWS)]
    for curve, letter in ((own, _OWN), (cloud, _CLOUD)):
        for index, value in enumerate(curve):
            if value <= 0:
                continue
            row = _ROWS - 1 - round((math.log10(value) - low) / step)
            grid[row][index] = _BOTH if letter == _CLOUD and grid[row][index] == _OWN else letter
    labels = [10 ** (high - step * row) for row in range(_ROWS)]
    return [
        f"{number(label) if row % 2 == 0 else '':>9} |{''.join(cells)}".rstrip()
        for row, (label, cells) in enumerate(zip(labels, grid, strict=True))
    ]


def explanation(plan: Plan) -> list[str]:
    """Every term of memory, speed and cost with formula and source, then every assumption; unwrapped."""
    assumed = listed(plan.assumptions)
    return [
        *explained_lines(plan),
        *explained_cost(plan),
        "Assumptions",
        *(f"{name} = {value}: {meaning}; source: {source}" for name, value, meaning, source in assumed),
    ]


def explained_cost(plan: Plan) -> list[str]:
    """Each part of the bill with its formula and numbers; unwrapped; nothing without a price."""
    cost, assumed, machines = plan.cost, plan.assumptions, machines_of(plan.site)
    if cost is None or cost.bill is None or cost.price is None:
        return []
    bill, busy = cost.bill, cost.busy_share
    watts = machines.count * (machines.idle_watts + (machines.watts - machines.idle_watts) * busy)
    seconds = cost.capacity_tokens_per_day and 86400 / cost.capacity_tokens_per_day
    parts = [
        (
            "load",
            f"{cost.requests_per_day:,.1f} requests a day",
            f"{plan.users} users x {assumed.requests_per_user:g} a working day x {assumed.days_per_month:g} days / "
            f"{DAYS_PER_MONTH:.2f} days of a month; each {plan.workload.prompt_tokens:,} tokens of prompt and "
            f"{plan.workload.answer_tokens:,} of answer",
        ),
        (
            "busy",
            f"{busy:.2%}",
            f"{cost.tokens_per_day:,.0f} tokens a day x {seconds * 1e3:.3g} ms that one takes when all slots are busy",
        ),
        (
            "purchase",
            money(bill.purchase, cost.currency),
            f"{money(cost.price, cost.currency)} x (1 - {assumed.residual:g}) / ({assumed.years:g} years x 12)",
        ),
        (
            "electricity",
            money(bill.electricity, cost.currency),
            f"{watts:,.0f} W, between {machines.count * machines.idle_watts:,.0f} idle and "
            f"{machines.count * machines.watts:,.0f} at full load, x {HOURS_PER_MONTH:g} h x "
            f"{assumed.kwh_price:g} a kWh",
        ),
        ("cooling", money(bill.cooling, cost.currency), f"electricity x ({assumed.pue:g} - 1)"),
        ("work", money(bill.work, cost.currency), f"{assumed.upkeep_hours:g} h x {assumed.wage:g}"),
        (
            "parts",
            money(bill.parts, cost.currency),
            f"{money(cost.price, cost.currency)} x {assumed.upkeep_share:g} / 12",
        ),
        (
            "cloud",
            money(cost.cloud_month, cost.currency),
            f"{cost.requests_per_day:,.1f} requests a day x {DAYS_PER_MONTH:.2f} days x tokens of one x their price",
        ),
    ]
    return ["Cost, term by term", *(f"{name} {value} = {formula}" for name, value, formula in parts)]
