"""Plots of memory: what fills each memory, and size against speed of each quantization. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from undercroft.core.units import format_bytes
from undercroft.planning.fitting import PoolFit, Verdict
from undercroft.planning.plan import Choice, Plan
from undercroft.planning.report.axes import Frame
from undercroft.planning.report.drawing import LETTER_WIDTH, Drawing
from undercroft.planning.report.scales import Scale, linear
from undercroft.planning.report.words import shortened, significant

_GIB = 1024**3
_ROW, _BAR = 62.0, 26.0
_LEFT, _RIGHT = 4.0, 476.0
_WORDS = {Verdict.FITS: "fits", Verdict.OFFLOAD: "fits with layers on the processor", Verdict.NO: "does not fit"}


def fullest_pools(pools: Iterable[PoolFit]) -> list[tuple[str, PoolFit]]:
    """Of equal memories the fullest one, named with their count.

    Args:
        pools: Of a plan.
    """
    groups: dict[tuple[str, int], list[PoolFit]] = {}
    for pool in pools:
        groups.setdefault((pool.name, pool.total_bytes), []).append(pool)
    named = []
    for (name, _), equal in groups.items():
        fullest = max(equal, key=lambda p: p.needed_bytes)
        named.append((name if len(equal) == 1 else f"{len(equal)} x {name}, the fullest", fullest))
    return named


def memory_plot(plan: Plan) -> Drawing:
    """What fills each memory, stacked by term, with the line that it must not cross.

    Args:
        plan: Any.
    """
    pools = fullest_pools(plan.fit.pools)
    names = list(dict.fromkeys(term.name for _, pool in pools for term in pool.terms))
    key_rows = -(-len(names) // 3)
    bottom = 40 + _ROW * len(pools)
    described = "; ".join(_described(name, pool) for name, pool in pools)
    drawing = Drawing(
        "memory", "Memory, of what a model may take", f"{described}.", height=max(300.0, bottom + 56 + 22 * key_rows)
    )
    most = max([1.0, *(_share(pool, pool.needed_bytes) for _, pool in pools)])
    scale = linear(most, _LEFT, _RIGHT - 12) if most > 1 else Scale(0.0, 1.0, _LEFT, _RIGHT - 12, step=0.25)
    for value in scale.ticks():
        drawing.line(scale.at(value), 28, scale.at(value), bottom, "thin s-grid")
        drawing.words(scale.at(value), bottom + 18, f"{value:.0%}", "t-quiet" if not value else "middle t-quiet")
    for index, (name, pool) in enumerate(pools):
        top = 40 + _ROW * index
        needed, room = format_bytes(pool.needed_bytes), format_bytes(pool.available_bytes)
        amount = f"{needed} of {room}"
        drawing.words(_LEFT, top + 12, shortened(name, int((_RIGHT - 20) / LETTER_WIDTH) - len(amount)), "rim t-words")
        kind = "t-alarm strong" if pool.missing_bytes else "t-words"
        drawing.words(_RIGHT - 12, top + 12, amount, f"end rim {kind}")
        _stack(drawing, pool, scale.at(0.0), scale.at(1.0), top + 20)
        drawing.line(scale.at(1.0), top + 15, scale.at(1.0), top + 25 + _BAR, "line s-limit")
    drawing.words(min(scale.at(1.0), _RIGHT - 12), 18, "limit", f"{'end' if most <= 1 else 'middle'} t-alarm")
    _memory_key(drawing, names, bottom + 44)
    return drawing


def _stack(drawing: Drawing, pool: PoolFit, zero: float, full: float, y: float) -> None:
    """Terms side by side; together as long as what is needed, which is corrected by what was learnt."""
    counted = sum(term.size_bytes for term in pool.terms)
    correction = pool.needed_bytes / counted if counted else 1.0
    x = zero
    for term in pool.terms:
        width = _share(pool, term.size_bytes * correction) * (full - zero)
        drawing.bar(x, y, width, _BAR, f"f-{_kind(term.name)}{' edge' if width > 4 else ''}")
        x += width


def _memory_key(drawing: Drawing, names: Sequence[str], top: float) -> None:
    for index, name in enumerate(names):
        x, y = _LEFT + index % 3 * 158, top + index // 3 * 22
        drawing.bar(x, y - 6, 12, 12, f"f-{_kind(name)}", corner=2)
        drawing.words(x + 18, y + 4, name)


def _kind(name: str) -> str:
    return name.replace(" ", "-")


def _share(pool: PoolFit, size_bytes: float) -> float:
    return size_bytes / max(1, pool.available_bytes)


def _described(name: str, pool: PoolFit) -> str:
    terms = ", ".join(f"{term.name} {format_bytes(term.size_bytes)}" for term in pool.terms)
    return f"{name}: {format_bytes(pool.needed_bytes)} of {format_bytes(pool.available_bytes)} ({terms or 'nothing'})"


def quantization_plot(plan: Plan) -> Drawing:
    """Size against tokens a second of each quantization; where nothing is generated, or nothing fits, size alone.

    Args:
        plan: Any.
    """
    if any(choice.decode > 0 for choice in plan.choices):
        return _size_and_speed(plan)
    return _sizes(plan)


def _size_and_speed(plan: Plan) -> Drawing:
    described = "; ".join(
        f"{c.quantization}: {format_bytes(c.needed_bytes)}, "
        + (f"{significant(c.decode)} tokens a second" if c.decode else _WORDS[c.verdict])
        for c in plan.choices
    )
    drawing = Drawing("quantizations", "Quantizations: size and speed", f"{described}.")
    across = linear(max(c.needed_bytes for c in plan.choices) / _GIB, 48, 470)
    up = linear(max(c.decode for c in plan.choices), 252, 64)
    frame = Frame(across, up, "memory in all, GiB", "tokens a second, one user", _plain, _plain)
    frame.draw(drawing)
    _choices_key(drawing, {c.verdict for c in plan.choices})
    points = [frame.point(c.needed_bytes / _GIB, c.decode) for c in plan.choices]
    chosen = plan.workload.quantization or plan.subject.stored
    reach = [13.0 if c.quantization == chosen else 8.0 for c in plan.choices]
    boxes = [(x - r, y - r, x + r, y + r) for (x, y), r in zip(points, reach, strict=True)]
    for choice in sorted(plan.choices, key=lambda c: c.quantization != chosen):
        x, y = frame.point(choice.needed_bytes / _GIB, choice.decode)
        _draw_choice(drawing, choice, x, y, is_chosen=choice.quantization == chosen)
        kind = "strong t-words" if choice.quantization == chosen else "t-words"
        boxes.append(_write_free(drawing, x, y, choice.quantization, kind, boxes))
    return drawing


def _draw_choice(drawing: Drawing, choice: Choice, x: float, y: float, *, is_chosen: bool) -> None:
    if choice.verdict is Verdict.NO:
        drawing.cross(x, y, 4.5, "line s-limit-mark")
    elif choice.verdict is Verdict.OFFLOAD:
        drawing.dot(x, y, 5.5, "line s-ring ring")
    else:
        drawing.dot(x, y, 7 if is_chosen else 5.5, "f-chosen" if is_chosen else "f-good")
    if is_chosen:
        drawing.dot(x, y, 10.5, "line s-owning ring-open")


def _choices_key(drawing: Drawing, verdicts: set[Verdict]) -> None:
    x = 8.0
    for verdict in (v for v in Verdict if v in verdicts):
        if verdict is Verdict.FITS:
            drawing.dot(x, 14, 5.5, "f-good")
        elif verdict is Verdict.OFFLOAD:
            drawing.dot(x, 14, 5.5, "line s-ring ring")
        else:
            drawing.cross(x, 14, 4.5, "line s-limit-mark")
        drawing.words(x + 13, 18, _WORDS[verdict])
        x += 13 + len(_WORDS[verdict]) * LETTER_WIDTH + 14


Box = tuple[float, float, float, float]


def _write_free(drawing: Drawing, x: float, y: float, text: str, kind: str, boxes: Sequence[Box]) -> Box:
    """Writes beside a point where the least is covered, farther off with a line to it; returns the place it took."""
    width = len(text) * LETTER_WIDTH + 2
    right, left, middle = x + 14, x - 14 - width, x - width / 2
    near = [(right, y - 7), (left, y - 7), (middle, y - 26), (middle, y + 12), (x + 9, y - 22), (x - 9 - width, y + 8)]
    far = [(right + 18, y - 34), (left - 18, y + 20), (right + 18, y + 20), (left - 18, y - 34), (middle, y - 44)]

    def covered(place: tuple[float, float]) -> float:
        box = (place[0], place[1], place[0] + width, place[1] + 14)
        outside = max(0.0, 50 - box[0]) + max(0.0, box[2] - drawing.width) + max(0.0, box[3] - 252)
        above = max(0.0, 46 - box[1])
        return (outside + above) * 100 + sum(_overlap(box, other) for other in boxes) + (12 if place in far else 0)

    from_left, top = min([*near, *far], key=covered)
    if (from_left, top) in far:
        end = from_left if from_left > x else from_left + width
        drawing.line(x, y, x if abs(from_left - middle) < 1 else end, top + 8, "thin s-axis")
    drawing.words(from_left, top + 11, text, f"rim {kind}")
    return from_left, top, from_left + width, top + 14


def _overlap(one: Box, other: Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return across * down if across > 0 and down > 0 else 0.0


def _sizes(plan: Plan) -> Drawing:
    described = "; ".join(
        f"{c.quantization}: {format_bytes(c.needed_bytes)}, {_WORDS[c.verdict]}" for c in plan.choices
    )
    height = max(300.0, 64.0 + 30 * len(plan.choices))
    drawing = Drawing("quantizations", "Quantizations: size", f"{described}.", height=height)
    scale = linear(max(c.needed_bytes for c in plan.choices) / _GIB, 76, 380)
    drawing.words(_LEFT, 14, "memory in all", "t-quiet")
    for index, choice in enumerate(plan.choices):
        y = 34 + 30 * index
        is_fitting = choice.verdict is not Verdict.NO
        width = scale.at(choice.needed_bytes / _GIB) - scale.start
        drawing.words(_LEFT, y + 14, choice.quantization)
        drawing.bar(scale.start, y, max(1.5, width), 18, "f-good" if is_fitting else "f-poor")
        words = format_bytes(choice.needed_bytes) + ("" if is_fitting else ", too much")
        drawing.words(scale.start + width + 8, y + 14, words, "rim t-words")
    return drawing


def _plain(value: float) -> str:
    return f"{value:,.10g}"
