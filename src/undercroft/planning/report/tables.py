"""Rows of a report's tables and the sentences between them. Pure; templates only lay them out."""

from __future__ import annotations

from collections.abc import Iterator

from undercroft.core.units import format_bytes, format_duration
from undercroft.planning.assumptions import Assumptions, listed, unit_of
from undercroft.planning.cost import Cost
from undercroft.planning.fitting import Verdict
from undercroft.planning.plan import Plan
from undercroft.planning.quality import BY_NAME
from undercroft.planning.report.memory_plots import fullest_pools
from undercroft.planning.report.words import money, months, ranged, significant, tokens
from undercroft.planning.targets import Pool, Rate

Row = tuple[str, ...]
_TONES = {Verdict.FITS: "good", Verdict.OFFLOAD: "middling", Verdict.NO: "bad"}


def verdict_of(plan: Plan) -> tuple[str, str, str]:
    """Tone, headline and sentence of the verdict.

    Args:
        plan: Any.
    """
    name = plan.workload.quantization or plan.subject.stored
    spare = min((pool.available_bytes - pool.needed_bytes for pool in plan.fit.pools), default=0)
    if plan.fit.verdict is Verdict.FITS:
        text = f"{format_bytes(spare)} stay free where it is tightest."
        return _TONES[plan.fit.verdict], f"It fits in {name}", text
    if plan.fit.verdict is Verdict.OFFLOAD:
        layers = plan.subject.shape.layers + 1
        text = f"{plan.fit.gpu_layers} of {layers} layers are on accelerators, the processor computes the others."
        return _TONES[plan.fit.verdict], f"It fits in {name}, with layers on the processor", text
    short = "; ".join(
        f"{name}: needs {format_bytes(pool.needed_bytes)}, may take {format_bytes(pool.available_bytes)}"
        for name, pool in fullest_pools(plan.fit.pools)
        if pool.missing_bytes
    )
    return (
        _TONES[plan.fit.verdict],
        f"It does not fit, not even in {name}" if _is_open(plan) else (f"It does not fit in {name}"),
        f"{short}.",
    )


def _is_open(plan: Plan) -> bool:
    """Whether no quantization at all fits."""
    return all(choice.verdict is Verdict.NO for choice in plan.choices) and len(plan.choices) > 1


def subtitle_of(plan: Plan) -> str:
    """What was asked, in a line."""
    work, count = plan.workload, plan.site.machines
    people = "1 user" if plan.users == 1 else f"{plan.users:,} users at the same time"
    parts = [people, f"{work.context_tokens:,} tokens of context each", work.engine]
    return " · ".join([f"{count} machines", *parts] if count > 1 else parts)


def tiles_of(plan: Plan) -> list[Row]:
    """Figures that are read first: value, unit, what it is."""
    if plan.speed is None:
        return []
    speed = plan.speed
    tiles: list[Row] = []
    if speed.decode_user.value > 0:
        who = "each user, all at work" if plan.workload.slots > 1 else "one user"
        tiles.append((significant(speed.decode_user.value), "tokens / s", f"{who}; {ranged(speed.decode_user)}"))
        tiles.append((*_time(speed.first_token.value), f"to the first token; {_times(speed.first_token)}"))
    else:
        tiles.append((significant(speed.prefill.value), "tokens / s", f"read; {ranged(speed.prefill)}"))
        tiles.append((*_time(speed.first_token.value), f"for a text; {_times(speed.first_token)}"))
    tiles.append((f"{plan.most_users:,}", "users", "fit at the same time, at most"))
    tiles.append((f"{plan.largest_context:,}", "tokens", "largest context that fits"))
    cost = plan.cost
    if cost is not None and cost.bill is not None and cost.price is not None:
        if cost.price > 0:
            tiles.append((f"{cost.price:,.0f}", cost.currency, "to buy"))
        tiles.append((f"{cost.bill.total:,.0f}", cost.currency, "a month, all in"))
    return tiles


def _time(seconds: float) -> Row:
    number, _, unit = format_duration(seconds).partition(" ")
    return number, unit


def _times(rate: Rate) -> str:
    return f"{format_duration(rate.low)} to {format_duration(rate.high)}"


def memory_rows(plan: Plan) -> list[Row]:
    """Each term of each memory: where, what, size, how it was computed, source."""
    rows: list[Row] = []
    for name, pool in fullest_pools(plan.fit.pools):
        rows += [(name, t.name, format_bytes(t.size_bytes), t.formula, t.source) for t in pool.terms]
        counted = sum(term.size_bytes for term in pool.terms)
        if abs(pool.needed_bytes - counted) > max(1, counted) / 1000:
            factor = f"x {pool.needed_bytes / max(1, counted):.3f}"
            rows.append(
                (name, "together, corrected", format_bytes(pool.needed_bytes), factor, "learnt from loads here")
            )
    return rows


def speed_rows(plan: Plan) -> list[Row]:
    """Each rate and time: what, value, range."""
    if plan.speed is None:
        return []
    speed, work = plan.speed, plan.workload
    rows: list[Row] = []
    if speed.decode.value > 0:
        rows.append(("one user alone, tokens a second", significant(speed.decode.value), ranged(speed.decode)))
        if work.slots > 1:
            each = f"each of {work.slots} users of a machine, all at work, tokens a second"
            rows.append((each, significant(speed.decode_user.value), ranged(speed.decode_user)))
            rows.append(
                ("a machine in all, tokens a second", significant(speed.decode_all.value), ranged(speed.decode_all))
            )
    rows.append(("prompts, tokens a second", significant(speed.prefill.value), ranged(speed.prefill)))
    first = f"a text of {work.prompt_tokens:,} tokens, nobody waiting before"
    if speed.decode.value > 0:
        first = f"first token after a prompt of {work.prompt_tokens:,} tokens, nobody waiting before"
    rows.append((first, format_duration(speed.first_token.value), _times(speed.first_token)))
    rows.append(("loaded from a cold disk", format_duration(speed.load.value), _times(speed.load)))
    return rows


def choice_rows(plan: Plan) -> list[Row]:
    """Each quantization: name, memory, speed, verdict, quality, and whether it was chosen."""
    chosen = plan.workload.quantization or plan.subject.stored
    rows: list[Row] = []
    for choice in plan.choices:
        quality = BY_NAME.get(choice.quantization)
        speed = significant(choice.decode) if choice.decode else "–"
        verdict = choice.verdict.value
        if choice.verdict is Verdict.NO:
            verdict += f": {format_bytes(choice.missing_bytes)} too much"
        words = quality.words if quality else ""
        mark = "chosen" if choice.quantization == chosen else ""
        rows.append((choice.quantization, format_bytes(choice.needed_bytes), speed, verdict, words, mark))
    return rows


def bill_rows(cost: Cost) -> list[Row]:
    """Each kind of money a month, and the whole; none without a price."""
    if cost.bill is None:
        return []
    bill = cost.bill
    parts = {
        "purchase, shared out over its years": bill.purchase,
        "electricity of the machines": bill.electricity,
        "cooling and losses of the site": bill.cooling,
        "hours of work": bill.work,
        "spare parts and support": bill.parts,
        "owning in all": bill.total,
    }
    return [(name, money(value, cost.currency)) for name, value in parts.items()]


def comparison_rows(cost: Cost) -> list[Row]:
    """What was expected, and what others ask for the same."""
    rows: list[Row] = [
        ("expected load", f"{tokens(cost.tokens_per_day)} tokens a day in {cost.requests_per_day:,.0f} requests"),
        ("capacity, day and night", f"{tokens(cost.capacity_tokens_per_day)} tokens a day"),
        ("busy", f"{cost.busy_share:.2%} of the time"),
    ]
    if cost.per_million is not None and cost.per_million_full is not None:
        rows.append(("a million tokens, at the expected load", money(cost.per_million, cost.currency)))
        rows.append(("a million tokens, busy day and night", money(cost.per_million_full, cost.currency)))
    rows.append(("a cloud by token, a month", money(cost.cloud_month, cost.currency)))
    if cost.rent_month is not None:
        rows.append(("renting the same machines, a month", money(cost.rent_month, cost.currency)))
    if cost.even_cloud_months is not None:
        rows.append(("paid back against the cloud", f"after {months(cost.even_cloud_months)}"))
    if cost.even_rent_months is not None:
        rows.append(("paid back against renting", f"after {months(cost.even_rent_months)}"))
    return rows


def assumption_rows(plan: Plan) -> list[Row]:
    """Everything that was assumed: name, value, unit, meaning, source."""
    return [*_asked(plan), *_machine(plan), *money_assumption_rows(plan.assumptions)]


def money_assumption_rows(assumed: Assumptions) -> list[Row]:
    """What a cost was computed with: name, value, unit, meaning, source."""
    return [
        (name, value, unit_of(name, assumed.currency), meaning, source)
        for name, value, meaning, source in listed(assumed)
    ]


def _asked(plan: Plan) -> Iterator[Row]:
    work = plan.workload
    yield "users", f"{plan.users:,}", "people", "at the same time, on all machines", "asked"
    yield "context", f"{work.context_tokens:,}", "tokens", "of one request, prompt and answer", "asked"
    yield "prompt", f"{work.prompt_tokens:,}", "tokens", "of a typical request", "asked"
    if not work.is_embedding:
        yield "answer", f"{work.answer_tokens:,}", "tokens", "of a typical request", "asked"
    yield "cache type", work.cache_type, "", "of keys and values", "asked"
    yield "machines", f"{plan.site.machines:,}", "", "equal ones that share the users", "asked"


def _machine(plan: Plan) -> Iterator[Row]:
    target = plan.site.target
    pools: dict[str, Pool] = {pool.name: pool for pool in (target.host, *target.accelerators)}
    for name, pool in pools.items():
        memory = f"memory of {name}", format_bytes(pool.total_bytes), "", "all of it"
        yield *memory, "catalogue, or detected"
        rate = pool.bandwidth
        yield f"bandwidth of {name}", significant(rate.value / 1e9), "GB / s", _spread(rate, 1e9), rate.source
        for dtype, computed in pool.compute.items():
            value = significant(computed.value / 1e12)
            yield f"{dtype} of {name}", value, "TFLOP / s", _spread(computed, 1e12), computed.source
    disk = target.disk_bandwidth
    yield "disk, cold", significant(disk.value / 1e9), "GB / s", _spread(disk, 1e9), disk.source
    link = target.link_bandwidth
    if link is not None:
        yield "host to accelerators", significant(link.value / 1e9), "GB / s", _spread(link, 1e9), link.source
    yield "power at full load", f"{target.watts:,.0f}", "W", "one machine, with its host", "data sheets, default host"
    yield "power when idle", f"{target.idle_watts:,.0f}", "W", "one machine, with its host", "share of full load"
    price = f"{target.price_usd:,.0f}" if target.price_usd is not None else "not known"
    yield "price", price, "USD", "one machine, with its host", "undercroft hardware devices says from where"
    rent = plan.site.rent_usd_per_hour
    if rent is not None:
        yield "rent", significant(rent), "USD / h", "one machine", "undercroft hardware devices says from where"


def _spread(rate: Rate, unit: float) -> str:
    if rate.low == rate.high:
        return "as given"
    return f"range {significant(rate.low / unit)} to {significant(rate.high / unit)}"
