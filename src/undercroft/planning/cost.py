"""What a machine costs a month and for a million tokens, against a cloud's price per token and against renting. Pure.

Owned: purchase shared out over its years, electricity of the computer, cooling and losses of the site (PUE), hours of
work, spare parts. Electricity goes from idle to full power with the share of time that it is busy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from undercroft.planning.assumptions import Assumptions
from undercroft.planning.forecasts import Workload
from undercroft.planning.speed import Pace

HOURS_PER_MONTH = 365.25 * 24 / 12
DAYS_PER_MONTH = 365.25 / 12
_MILLION = 1e6


@dataclass(frozen=True, slots=True)
class Bill:
    """Money a month, by kind.

    Args:
        purchase: Price less what is left, over its years.
        electricity: Of the computer itself.
        cooling: What the site takes beside it.
        work: Hours of upkeep.
        parts: Spare parts and support.
    """

    purchase: float
    electricity: float
    cooling: float
    work: float
    parts: float

    @property
    def total(self) -> float:
        """A month."""
        return self.purchase + self.electricity + self.cooling + self.work + self.parts

    @property
    def running(self) -> float:
        """A month without the purchase."""
        return self.total - self.purchase


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one plan.

    Args:
        currency: Of all money here.
        price: Of all machines; None is not known, and then there is no bill.
        bill: A month at the load that is expected; None without a price.
        busy_share: Of all time, that the machines compute at the load that is expected.
        requests_per_day: Expected, mean of all days.
        tokens_per_day: Prompt and answer, expected.
        capacity_tokens_per_day: That the machines could do in 24 hours.
        per_million: Money for a million tokens at the load that is expected; None without a bill or a load.
        per_million_full: The same when busy day and night.
        cloud_month: What the same tokens cost in a cloud, a month.
        rent_month: What renting the same machines costs a month, work included; None without a price for rent.
        even_tokens_per_day: Load from which owning is cheaper than the cloud; None where that is above the capacity.
        even_cloud_months: Months after which buying has cost less than the cloud at the expected load; None for never.
        even_rent_months: The same against renting; None for never, or without a price for rent.
    """

    currency: str
    price: float | None
    bill: Bill | None
    busy_share: float
    requests_per_day: float
    tokens_per_day: float
    capacity_tokens_per_day: float
    per_million: float | None
    per_million_full: float | None
    cloud_month: float
    rent_month: float | None
    even_tokens_per_day: float | None
    even_cloud_months: float | None
    even_rent_months: float | None


@dataclass(frozen=True, slots=True)
class Machines:
    """What is bought.

    Args:
        count: Equal machines that share the load.
        price_usd: Of one; None is not known.
        watts: Of one at full load.
        idle_watts: Of one when nothing runs.
        rent_usd_per_hour: Of one; None is not known.
    """

    count: int
    price_usd: float | None
    watts: float
    idle_watts: float
    rent_usd_per_hour: float | None = None


def cost_of(machines: Machines, pace: Pace, workload: Workload, users: int, assumed: Assumptions) -> Cost:
    """Everything about money.

    Args:
        machines: What is bought.
        pace: Of one machine.
        workload: Of one machine; prompt and answer of a typical request.
        users: Of all machines together.
        assumed: All that is not known from elsewhere.
    """
    requests = users * assumed.requests_per_user * assumed.days_per_month / DAYS_PER_MONTH
    tokens = _tokens_per_request(workload)
    capacity = machines.count * 86400 / seconds_per_request(pace, workload)
    busy = min(1.0, requests / capacity)
    price = price_of(machines, assumed)
    bill = None if price is None else _bill(machines, price, busy, assumed)
    full = None if price is None else _bill(machines, price, 1.0, assumed)
    request_in_cloud = _cloud_price(workload, assumed)
    cloud_month = requests * DAYS_PER_MONTH * request_in_cloud
    rent_month = _rent(machines, assumed)
    return Cost(
        currency=assumed.currency,
        price=price,
        bill=bill,
        busy_share=busy,
        requests_per_day=requests,
        tokens_per_day=requests * tokens,
        capacity_tokens_per_day=capacity * tokens,
        per_million=_per_million(bill, min(requests, capacity) * tokens),
        per_million_full=_per_million(full, capacity * tokens),
        cloud_month=cloud_month,
        rent_month=rent_month,
        even_tokens_per_day=_even_tokens(machines, price, capacity, request_in_cloud, tokens, assumed),
        even_cloud_months=_even_months(price, bill, cloud_month),
        even_rent_months=None if rent_month is None else _even_months(price, bill, rent_month),
    )


def price_of(machines: Machines, assumed: Assumptions) -> float | None:
    """Money for all machines; None is not known."""
    return None if machines.price_usd is None else machines.price_usd * machines.count * assumed.dollar_rate


def seconds_per_request(pace: Pace, workload: Workload) -> float:
    """Time of a machine that a request takes when all slots are busy: its prompt, and its share of the steps."""
    answer = workload.answer_tokens / pace.decode_all if pace.decode_all > 0 else 0.0
    return max(1e-9, workload.prompt_tokens / pace.prefill + answer)


def owned_month(machines: Machines, tokens_per_day: float, cost: Cost, assumed: Assumptions) -> float | None:
    """Money a month at another load; None without a price.

    Args:
        machines: As bought.
        tokens_per_day: The load; what is above the capacity is not served.
        cost: As computed for the expected load.
        assumed: As there.
    """
    if cost.price is None:
        return None
    return _bill(machines, cost.price, min(1.0, tokens_per_day / cost.capacity_tokens_per_day), assumed).total


def cloud_price_per_token(workload: Workload, assumed: Assumptions) -> float:
    """Money for a token in a cloud, prompt and answer mixed as in a typical request."""
    return _cloud_price(workload, assumed) / _tokens_per_request(workload)


def _tokens_per_request(workload: Workload) -> int:
    answer = 0 if workload.is_embedding else workload.answer_tokens
    return max(1, workload.prompt_tokens + answer)


def _cloud_price(workload: Workload, assumed: Assumptions) -> float:
    answer = 0 if workload.is_embedding else workload.answer_tokens
    return (workload.prompt_tokens * assumed.cloud_input + answer * assumed.cloud_output) / _MILLION


def _bill(machines: Machines, price: float, busy: float, assumed: Assumptions) -> Bill:
    watts = machines.count * (machines.idle_watts + (machines.watts - machines.idle_watts) * busy)
    electricity = watts / 1000 * HOURS_PER_MONTH * assumed.kwh_price
    return Bill(
        purchase=price * (1 - assumed.residual) / (assumed.years * 12),
        electricity=electricity,
        cooling=electricity * (assumed.pue - 1),
        work=assumed.upkeep_hours * assumed.wage,
        parts=price * assumed.upkeep_share / 12,
    )


def _rent(machines: Machines, assumed: Assumptions) -> float | None:
    per_hour = assumed.rent_per_hour or None
    if per_hour is None and machines.rent_usd_per_hour is not None:
        per_hour = machines.rent_usd_per_hour * assumed.dollar_rate
    if per_hour is None:
        return None
    return per_hour * machines.count * HOURS_PER_MONTH + assumed.upkeep_hours * assumed.wage


def _per_million(bill: Bill | None, tokens_per_day: float) -> float | None:
    if bill is None or tokens_per_day <= 0:
        return None
    return bill.total / (tokens_per_day * DAYS_PER_MONTH) * _MILLION


def _even_tokens(
    machines: Machines, price: float | None, capacity: float, in_cloud: float, tokens: int, assumed: Assumptions
) -> float | None:
    """Load at which a month of owning and of the cloud cost the same; both grow with it, the cloud faster."""
    if price is None:
        return None
    idle = _bill(machines, price, 0.0, assumed).total
    each = (_bill(machines, price, 1.0, assumed).total - idle) / capacity  # a month, for each request a day
    margin = in_cloud * DAYS_PER_MONTH - each
    if margin <= 0:
        return None
    requests = idle / margin
    return requests * tokens if requests <= capacity else None


def _even_months(price: float | None, bill: Bill | None, other_month: float) -> float | None:
    """Months until the purchase is paid by what running costs less than the other."""
    if price is None or bill is None:
        return None
    saved = other_month - bill.running
    return price / saved if saved > 0 and math.isfinite(price / saved) else None
