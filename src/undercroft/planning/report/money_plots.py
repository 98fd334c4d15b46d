"""Plots of money: a month over the load, and all that was spent over the months. Pure."""

from __future__ import annotations

import math

from undercroft.core.units import format_count
from undercroft.planning.cost import DAYS_PER_MONTH, Cost, cloud_price_per_token, owned_month
from undercroft.planning.plan import Plan, machines_of
from undercroft.planning.report.axes import Frame, draw_key, draw_label
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.scales import Scale, linear, logarithmic
from undercroft.planning.report.words import money, months, significant, tokens

_LEFT, _RIGHT, _TOP, _BOTTOM = 62.0, 466.0, 66.0, 252.0
_LONGEST_MONTHS = 120.0
_LEAST_SHARE = 1e-3  # of the capacity: where the axis of loads begins when nothing else is there


def load_plot(plan: Plan, cost: Cost) -> Drawing:
    """Money a month over tokens a day, for owning, for a cloud and for renting.

    Args:
        plan: That fits.
        cost: Its cost.
    """
    drawing = Drawing("load", "Money a month, over the load", _load_described(cost))
    curves = _Curves(plan, cost)
    marks = [v for v in (cost.tokens_per_day, cost.even_tokens_per_day) if v]
    least = min([cost.capacity_tokens_per_day * _LEAST_SHARE, *(v / 3 for v in marks)])
    across = logarithmic(least, max([cost.capacity_tokens_per_day, *(v * 1.5 for v in marks)]), _LEFT, _RIGHT)
    up = _money_axis(curves, across)
    frame = Frame(across, up, "tokens a day, prompts and answers", f"{cost.currency} a month", _count, _count)
    frame.draw(drawing)
    draw_key(drawing, 14, _key(cost))
    if cost.capacity_tokens_per_day < across.high * 0.98:
        x = across.at(cost.capacity_tokens_per_day)
        drawing.line(x, _TOP, x, _BOTTOM, "thin s-axis")
        draw_label(drawing, x - 4, _TOP + 14, "capacity", "t-quiet")
    if cost.tokens_per_day > 0:
        x = across.at(cost.tokens_per_day)
        drawing.line(x, _TOP, x, _BOTTOM, "thin s-axis")
        draw_label(drawing, x - 10, _TOP - 6, "expected", "t-quiet")
    for kind, points in curves.over(across, up).items():
        if len(points) > 1:
            drawing.curve([frame.point(*point) for point in points], f"line s-{kind}")
    if cost.even_tokens_per_day is not None:
        x, y = frame.point(cost.even_tokens_per_day, curves.owning(cost.even_tokens_per_day) or up.low)
        drawing.dot(x, y, 5.5, "f-owning edge")
        draw_label(drawing, x, y - 12, f"even at {tokens(cost.even_tokens_per_day)}", "strong t-words", is_left=True)
    return drawing


def months_plot(plan: Plan, cost: Cost) -> Drawing:
    """All money spent from the purchase on, at the load that is expected.

    Args:
        plan: That fits.
        cost: Its cost.
    """
    drawing = Drawing("months", "Money in all, over the months", _months_described(cost, plan.assumptions.years))
    found = {"cloud": cost.even_cloud_months, "renting": cost.even_rent_months}
    evens = {other: count for other, count in found.items() if count is not None and count <= _LONGEST_MONTHS}
    horizon = max([plan.assumptions.years * 12, *(count * 1.15 for count in evens.values())])
    across = Scale(0.0, horizon, _LEFT, _RIGHT, step=12.0 if horizon <= 72 else 24.0)
    lines: dict[str, tuple[float, float]] = {"cloud": (0.0, cost.cloud_month)}
    if cost.rent_month is not None:
        lines["renting"] = (0.0, cost.rent_month)
    if cost.price is not None and cost.bill is not None:
        lines["owning"] = (cost.price, cost.bill.running)
    up = linear(max(begin + slope * across.high for begin, slope in lines.values()), _BOTTOM, _TOP)
    frame = Frame(across, up, "months from the purchase", f"{cost.currency} in all", _plain, _count)
    frame.draw(drawing)
    draw_key(drawing, 14, _key(cost))
    for kind, (begin, slope) in lines.items():
        ends = [frame.point(month, begin + slope * month) for month in (0.0, across.high)]
        drawing.curve(ends, f"line s-{kind}")
    for row, (other, month) in enumerate(sorted(evens.items(), key=lambda pair: pair[1])):
        x, y = frame.point(month, (cost.price or 0.0) + (cost.bill.running if cost.bill else 0.0) * month)
        drawing.dot(x, y, 5.5, "f-owning edge")
        # Two of them lie side by side as a rule: the later one's words stand above the lines, not on the other's.
        draw_label(
            drawing, x, y - 14 if row else y + 22, f"{other}: {months(month)}", "strong t-words", is_left=row > 0
        )
    return drawing


class _Curves:
    """Money a month at any load."""

    def __init__(self, plan: Plan, cost: Cost) -> None:
        self.plan, self.cost = plan, cost
        self.machines = machines_of(plan.site)
        self.each = cloud_price_per_token(plan.workload, plan.assumptions) * DAYS_PER_MONTH

    def owning(self, tokens_per_day: float) -> float | None:
        """None without a price, and above the capacity."""
        if tokens_per_day > self.cost.capacity_tokens_per_day * 1.0001:
            return None
        return owned_month(self.machines, tokens_per_day, self.cost, self.plan.assumptions)

    def over(self, across: Scale, up: Scale) -> dict[str, list[tuple[float, float]]]:
        """Points of each line that lie on the axes."""
        loads = across.samples()
        found = {"cloud": [(load, load * self.each) for load in loads]}
        rent = self.cost.rent_month
        if rent is not None:
            found["renting"] = [(load, rent) for load in loads if load <= self.cost.capacity_tokens_per_day * 1.0001]
        owned = [(load, self.owning(load)) for load in [*loads, self.cost.capacity_tokens_per_day]]
        found["owning"] = sorted((load, value) for load, value in owned if value is not None)
        return {kind: [(x, y) for x, y in points if up.low <= y] for kind, points in found.items()}

    def values(self, loads: list[float]) -> list[float]:
        """Money of all lines at some loads, where it is above nothing."""
        owned = [self.owning(load) for load in loads]
        every = [*owned, self.cost.rent_month, *(load * self.each for load in loads)]
        return [value for value in every if value is not None and value > 0]


def _money_axis(curves: _Curves, across: Scale) -> Scale:
    """From a tenth of what owning costs least, so that a cloud's first cents do not press all else together."""
    loads = [*across.samples(9), curves.cost.capacity_tokens_per_day]
    values = curves.values(loads) or [1.0]
    fixed = [v for v in (curves.owning(across.low), curves.cost.rent_month) if v is not None and v > 0]
    least = max(min(values), min(fixed) / 20) if fixed else min(values)
    return logarithmic(10.0 ** math.floor(math.log10(least)), max(values) * 1.2, _BOTTOM, _TOP)


def _key(cost: Cost) -> list[tuple[str, str]]:
    entries = [("owning", "owning")] if cost.price is not None else []
    entries.append(("cloud", "cloud, by token"))
    return [*entries, *([("renting", "renting")] if cost.rent_month is not None else [])]


def _load_described(cost: Cost) -> str:
    parts = [f"Expected are {tokens(cost.tokens_per_day)} tokens a day."]
    if cost.bill is not None:
        parts.append(f"Then owning costs {money(cost.bill.total, cost.currency)} a month.")
    parts.append(f"A cloud by token costs {money(cost.cloud_month, cost.currency)}.")
    if cost.rent_month is not None:
        parts.append(f"Renting the machines costs {money(cost.rent_month, cost.currency)} at any load.")
    return " ".join([*parts, even_load_sentence(cost)])


def even_load_sentence(cost: Cost) -> str:
    """From which load owning is cheaper than a cloud."""
    if cost.price is None:
        return "Without a price of the machine there is no break-even."
    if cost.even_tokens_per_day is None:
        return "The cloud's tokens are cheaper at any load that these machines can serve."
    return f"Owning is cheaper than the cloud from {tokens(cost.even_tokens_per_day)} tokens a day."


def _months_described(cost: Cost, years: float) -> str:
    return " ".join(even_month_sentences(cost, years)) + " All at the load that is expected."


def even_month_sentences(cost: Cost, years: float) -> list[str]:
    """After how many months the purchase is paid back, and whether the machine lasts so long.

    Args:
        cost: Of a plan.
        years: Until the machine is written off.
    """
    if cost.price is None:
        return ["Without a price of the machine there is no break-even."]
    if cost.price == 0:
        return ["Nothing is bought: the machine is there already."]
    found = []
    pairs = [("the cloud", cost.even_cloud_months, True)]
    pairs.append(("renting", cost.even_rent_months, cost.rent_month is not None))
    for other, count, is_known in pairs:
        if not is_known:
            found.append("No price for renting such a machine was found.")
        elif count is None:
            found.append(f"Against {other} the purchase is never paid back at this load.")
        else:
            late = "" if count <= years * 12 else f", longer than the {months(years * 12)} that it is to last"
            found.append(f"Against {other} the purchase is paid back after {months(count)}{late}.")
    return found


def _count(value: float) -> str:
    return format_count(round(value)).replace(".0 ", " ") if value >= 1 else significant(value, 1)


def _plain(value: float) -> str:
    return f"{value:,.10g}"
