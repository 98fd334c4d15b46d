"""A plan in words, bars and rows for a terminal of any width. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

from undercroft.core.units import format_bytes, format_duration
from undercroft.planning.fitting import PoolFit, Verdict
from undercroft.planning.forecasts import Term
from undercroft.planning.plan import Choice, Plan
from undercroft.planning.quality import BY_NAME
from undercroft.planning.targets import Rate
from undercroft.planning.weights import parameter_count

MOST_COLUMNS = 100
_INDENT = "  "
_BLOCKS = {"weights": "█", "repacked weights": "█", "kv cache": "▓", "compute buffers": "▒", "adapters": "▓"}
_OTHER_BLOCK = "░"
_FREE, _MISSING = "·", "!"
BAR_STYLES = {"█+": "blue", "▓+": "magenta", "▒+": "cyan", "░+": "yellow", "!!+": "red"}
_SHORT_VERDICT = {Verdict.FITS: "fits", Verdict.OFFLOAD: "partly on processor", Verdict.NO: "no"}


def wrapped(text: str, width: int, *, indent: str = "") -> list[str]:
    """Lines of at most so many columns; a word that is longer stays whole, for it may be something to copy."""
    return textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) or [""]


def verdict_sentence(plan: Plan) -> str:
    """Everything that matters most: does it fit and by how much, how fast, what it costs, whether it may be used."""
    name = _model_name(plan)
    machines = f"{plan.site.machines} x {plan.site.target.name}" if plan.site.machines > 1 else plan.site.target.name
    if plan.fit.verdict is Verdict.NO:
        return f"{name} does not fit on {machines}: {_shortage(plan)}. {_instead(plan)}{_permission(plan)}"
    tightest = min(plan.fit.pools, key=lambda pool: pool.available_bytes - pool.needed_bytes)
    spare = format_bytes(tightest.available_bytes - tightest.needed_bytes)
    how = "fits with layers on the processor" if plan.fit.verdict is Verdict.OFFLOAD else "fits"
    parts = [f"{name} {how} on {machines} with {spare} to spare", *_speed_words(plan), *_cost_words(plan)]
    return f"{'; '.join(parts)}. {_permission(plan)}"


def _model_name(plan: Plan) -> str:
    taken = plan.workload.quantization or plan.subject.stored
    return f"{plan.subject.name} in {taken}" if taken else plan.subject.name


def _shortage(plan: Plan) -> str:
    short = [pool for pool in plan.fit.pools if pool.missing_bytes]
    return "; ".join(
        f"it needs {format_bytes(pool.needed_bytes)} of memory{f' of {pool.name}' if len(plan.fit.pools) > 1 else ''}, "
        f"{format_bytes(pool.available_bytes)} are there, {format_bytes(pool.missing_bytes)} are missing"
        for pool, _ in _alike(short)
    )


def _instead(plan: Plan) -> str:
    """What of the table would fit; empty where nothing does."""
    fitting = next((c.quantization for c in plan.choices if c.verdict is Verdict.FITS), None)
    return f"In {fitting} it fits. " if fitting is not None else ""


def _speed_words(plan: Plan) -> list[str]:
    speed = plan.speed
    if speed is None:
        return []
    if speed.decode.value <= 0:
        return [f"it reads about {number(speed.prefill.value)} tokens/s"]
    words = f"about {number(speed.decode.value)} tokens/s for one user"
    if plan.workload.slots > 1:
        words += f", {number(speed.decode_user.value)} for each of {plan.workload.slots} at once"
    return [words]


def _cost_words(plan: Plan) -> list[str]:
    cost = plan.cost
    if cost is None or cost.bill is None:
        return ["no price of it is known"] if cost is not None else []
    return [f"about {money(cost.bill.total, cost.currency)} a month"]


def _permission(plan: Plan) -> str:
    verdict = plan.subject.licence
    return verdict.summary if verdict is not None else "Its licence was not judged."


def memory_lines(plan: Plan, width: int) -> list[str]:
    """A bar for each memory, with what fills it; what one card of several has stands once."""
    lines = []
    for pool, count in _alike(plan.fit.pools):
        times = f"each of {count} x " if count > 1 else ""
        lines += wrapped(
            f"{times}{pool.name}: {format_bytes(pool.needed_bytes)} of {format_bytes(pool.available_bytes)}"
            + (f", {format_bytes(pool.missing_bytes)} are missing" if pool.missing_bytes else ""),
            width,
            indent=_INDENT,
        )
        lines.append(_INDENT + bar(pool, width - len(_INDENT)))
        terms = _by_name(pool.terms)
        if terms:
            lines += _joined([f"{_block(name)} {name} {format_bytes(size)}" for name, size in terms], width)
    return lines


def bar(pool: PoolFit, width: int) -> str:
    """What fills a memory, in proportion, each kind with its own shade; ``!`` is what it lacks."""
    whole = max(pool.available_bytes, pool.needed_bytes, 1)
    counted = sum(term.size_bytes for term in pool.terms) or 1
    drawn, filled = "", 0.0
    for name, size in _by_name(pool.terms):
        filled += size / counted * pool.needed_bytes
        drawn += _block(name) * (round(filled / whole * width) - len(drawn))
    if not pool.missing_bytes:
        return drawn + _FREE * (width - len(drawn))
    room = min(len(drawn), int(pool.available_bytes / whole * width))
    return drawn[:room] + _MISSING * (width - room)


def _block(name: str) -> str:
    return _BLOCKS.get(name, _OTHER_BLOCK)


def _by_name(terms: Iterable[Term]) -> list[tuple[str, int]]:
    """Sizes of terms of one name together, those of one shade beside each other, the largest first."""
    sizes: dict[str, int] = {}
    for term in terms:
        sizes[term.name] = sizes.get(term.name, 0) + term.size_bytes
    shades = list(_BLOCKS)
    order = {name: shades.index(name) if name in shades else len(shades) for name in sizes}
    return sorted(sizes.items(), key=lambda item: (order[item[0]], -item[1]))


def _alike(pools: Sequence[PoolFit]) -> list[tuple[PoolFit, int]]:
    """Pools of one name and filling, with their count."""
    found: list[tuple[PoolFit, int]] = []
    for pool in pools:
        for index, (other, count) in enumerate(found):
            if (other.name, other.needed_bytes, other.available_bytes) == (
                pool.name,
                pool.needed_bytes,
                pool.available_bytes,
            ):
                found[index] = (other, count + 1)
                break
        else:
            found.append((pool, 1))
    return found


def _joined(pieces: Sequence[str], width: int) -> list[str]:
    """Pieces beside each other, broken between them only."""
    lines, line = [], _INDENT
    for piece in pieces:
        joined = f"{line}   {piece}" if line.strip() else _INDENT + piece
        if line.strip() and len(joined) > width:
            lines.append(line)
            joined = _INDENT + piece
        line = joined
    return [*lines, line]


QUANTIZATION_COLUMNS = ("=quantization", ">memory", "verdict", ">tokens/s", "quality")


def quantization_rows(plan: Plan) -> list[list[str]]:
    """A row a quantization that could be taken; the one that is taken has a ``*``."""
    taken = plan.workload.quantization or plan.subject.stored
    return [
        [
            f"{choice.quantization}{' *' if choice.quantization == taken else ''}",
            format_bytes(choice.needed_bytes),
            _choice_verdict(choice),
            number(choice.decode) if choice.decode else "-",
            BY_NAME[choice.quantization].words if choice.quantization in BY_NAME else "",
        ]
        for choice in plan.choices
    ]


def _choice_verdict(choice: Choice) -> str:
    if choice.verdict is Verdict.NO:
        return f"lacks {format_bytes(choice.missing_bytes)}"
    return _SHORT_VERDICT[choice.verdict]


def reach_lines(plan: Plan, width: int) -> list[str]:
    """How far it goes: the largest context and the most users; where it does not fit, what might."""
    if plan.fit.verdict is Verdict.NO:
        return wrapped(_way_out(plan), width)
    users = "user" if plan.users == 1 else "users"
    return wrapped(
        f"With {plan.users:,} {users} the context may have {plan.largest_context:,} tokens for each; with "
        f"{plan.workload.context_tokens:,} tokens for each there is room for {plan.most_users:,} at once.",
        width,
    )


def _way_out(plan: Plan) -> str:
    """What to change, and the command that finds machines."""
    work, shape = plan.workload, plan.subject.shape
    changes = ["fewer --users"] if work.slots > 1 else []
    changes += ["a shorter --context"]
    changes += ["--cache-type q8_0"] if work.engine == "llama.cpp" and work.cache_type in ("f16", "bf16", "f32") else []
    task = ",task=embed" if work.is_embedding else ""
    count = shape.parameters or parameter_count(shape)
    parameters = f"{count // 10**8 / 10:g}B" if count >= 10**9 else f"{count // 10**6}M"  # rounded down: it counts, too
    need = f"users={plan.users}{task},parameters={parameters},context={work.context_tokens}"
    return f"Try {', '.join(changes)}, or see which machines would do: undercroft plan --need '{need}'"


SPEED_COLUMNS = ("speed", ">about", ">range", "=unit")


def speed_rows(plan: Plan) -> list[list[str]]:
    """Each figure with its range; nothing where it does not fit."""
    speed, work = plan.speed, plan.workload
    if speed is None:
        return []
    rows = []
    if speed.decode.value > 0:
        rows.append(_rate_row("answer, one user alone", speed.decode, "tokens/s"))
        if work.slots > 1:
            rows.append(_rate_row(f"answer, each of {work.slots} users", speed.decode_user, "tokens/s"))
            rows.append(_rate_row(f"answers, all {work.slots} users", speed.decode_all, "tokens/s"))
    rows.append(_rate_row("prompt", speed.prefill, "tokens/s"))
    first = "first token" if speed.decode.value > 0 else "whole answer"
    rows.append(_time_row(f"{first} of {work.prompt_tokens:,}", speed.first_token))
    rows.append(_time_row("load from a cold disk", speed.load))
    return rows


def _rate_row(name: str, rate: Rate, unit: str) -> list[str]:
    return [name, number(rate.value), f"{number(rate.low)} to {number(rate.high)}", unit]


def _time_row(name: str, rate: Rate) -> list[str]:
    return [name, format_duration(rate.value), f"{format_duration(rate.low)} to {format_duration(rate.high)}", ""]


def licence_lines(plan: Plan, width: int) -> list[str]:
    """What the licence says to the declared use, with its conditions."""
    verdict = plan.subject.licence
    if verdict is None:
        return []
    words = {"allowed": "allowed", "needs-acceptance": "allowed once accepted", "refused-use": "not allowed"}
    lines = wrapped(f"{verdict.licence}, for {verdict.use}: {words[verdict.outcome]}.", width)
    for condition in verdict.conditions:
        lines += wrapped(f"- {condition}", width, indent=_INDENT)
    if verdict.url:
        lines += wrapped(f"Its text: {verdict.url}", width, indent=_INDENT)
    for name in verdict.to_accept:
        lines += wrapped(f"Accept it: undercroft licence accept {name} --use {verdict.use}", width)
    return lines


def note_lines(plan: Plan, width: int) -> list[str]:
    """Each note as a point."""
    return [line for note in plan.notes for line in wrapped(f"- {note}", width, indent=_INDENT)]


def explained_lines(plan: Plan) -> list[str]:
    """Every term of memory, speed and cost, with formula and source; unwrapped."""
    lines = ["Memory, term by term"]
    for pool in plan.fit.pools:
        lines.append(f"{pool.name}: {format_bytes(pool.needed_bytes)} of {format_bytes(pool.available_bytes)}")
        lines += [
            f"  {term.name} {format_bytes(term.size_bytes)}{' (file pages)' if term.is_file else ''} = {term.formula}; "
            f"source: {term.source}"
            for term in pool.terms
        ]
    if plan.speed is not None:
        lines += ["Speed, term by term", *plan.speed.explanation]
    return lines


def number(value: float) -> str:
    """Two significant digits below 100, thousands with commas above: ``0.52``, ``7.4``, ``32``, ``5,828``."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def money(value: float, currency: str) -> str:
    """Money as people write it: whole from 100 on, and never nothing where it is something."""
    if 0 < abs(value) < 0.01:
        return f"{value:.2g} {currency}"
    return f"{value:,.0f} {currency}" if abs(value) >= 100 else f"{value:,.2f} {currency}"
