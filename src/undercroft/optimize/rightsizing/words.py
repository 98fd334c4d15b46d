"""What a search says to people: sentences and rows that every form of its report shows. Pure."""

from __future__ import annotations

import math

from undercroft.core.units import format_bytes
from undercroft.optimize.cards.words import name_of
from undercroft.optimize.evaluation.intervals import Estimate
from undercroft.optimize.rightsizing.budget import Standing, tasks_needed
from undercroft.optimize.rightsizing.outcome import Entry, Outcome, shortcomings
from undercroft.planning.report.words import significant

COLUMNS = ("=model", ">size", ">lost (95 %)", ">tokens/s", ">memory", "what came of it")
_INSTEAD = "-"


def headline(outcome: Outcome) -> str:
    """The sentence that a report begins with."""
    parent, picked = outcome.order.parent.subject, outcome.picked
    if picked is None:
        return f"Nothing smaller than {name_of(parent.name)} is shown to hold what was asked."
    judgement = picked.runner.judgement
    assert judgement is not None  # it was picked by it
    share = f"{picked.candidate.size_bytes / parent.size_bytes:.0%}".replace("%", " %")
    return (
        f"{picked.candidate.name}: {format_bytes(picked.candidate.size_bytes)}, {share} of {name_of(parent.name)}; "
        f"{lost_words(outcome, judgement.loss)}, {_budget_words(outcome)}."
    )


def asked_sentences(outcome: Outcome) -> list[str]:
    """What was asked for, where, and how it was measured."""
    order = outcome.order
    wish, machine = order.wish, order.wish.machine
    found = [
        f"Where it has to run: {machine.name}, {_users(wish.workload.slots)}, context of "
        f"{wish.workload.context_tokens:,} tokens."
    ]
    if wish.least_tokens_per_second is not None:
        found.append(f"Speed: at least {significant(wish.least_tokens_per_second)} tokens/s of one answer.")
    if machine.is_here:
        found.append(
            "Speed and memory were measured here, with the engine, of what keeps the quality and of the model itself."
        )
    else:
        found.append(
            f"Speed and memory on {machine.name} are forecasts: it is not this machine. Quality was measured here."
        )
    whole = [entry for entry in outcome.entries if entry.runner.judgement is not None]
    found.append(
        f"{_counted(len(order.candidates), 'candidate')} could be made, {len(whole)} of them had to be; "
        f"{_counted(len(order.left_out), 'other')} did not come into question."
    )
    proven = sum(entry.runner.judgement.is_whole for entry in whole if entry.runner.judgement is not None)
    if order.tasks is not None:
        found.append(
            f"Judged by {_counted(order.count, 'task')} of {order.tasks.name}, by the paired interval of 95 %: a model "
            "is within the budget when even the unfavourable end of its loss is."
        )
    elif order.texts is not None:
        found.append(
            f"Judged by the perplexity of {_counted(order.count, 'text')} of {order.texts.name}, by the paired "
            "interval of 95 %: a model is within the budget when even the unfavourable end of its rise is."
        )
    if proven > 1:
        found.append(
            f"A model that loses more would pass so once in 40 times; {proven} were given everything, so fresh tasks "
            "are the surer proof: undercroft optimize evaluate NAME --against PARENT --tasks OTHER."
        )
    if order.calibration:
        found.append(
            f"Importance matrix: of {_counted(len(order.calibration), 'text')} of {order.dataset}, by none of which a "
            "model was judged."
        )
    return found


def rows(outcome: Outcome) -> list[tuple[str, ...]]:
    """A row a candidate, the smallest first, then the parent; of `COLUMNS`."""
    subject, trial = outcome.order.parent.subject, outcome.parent.trial
    found = [_row(outcome, entry) for entry in outcome.entries]
    found.append(
        (
            name_of(subject.name) + (" *" if subject.name in outcome.front else ""),
            format_bytes(subject.size_bytes),
            _INSTEAD,
            _rate(trial.tokens_per_second if trial is not None else None),
            _size(trial.memory_bytes if trial is not None else None),
            "the model itself",
        )
    )
    return found


def left_out_rows(outcome: Outcome) -> list[tuple[str, str, str]]:
    """Scheme, kind of reason, sentence: of what was never made."""
    return [(out.name, out.why.value, out.sentence) for out, _ in outcome.order.left_out]


def fate(outcome: Outcome, entry: Entry) -> str:
    """What came of a candidate, in a few words."""
    runner, kept = entry.runner, entry.kept
    if kept is not None and kept.lost:
        return kept.lost
    judgement = runner.judgement
    if judgement is None:
        return "not made, larger"
    if entry.candidate.name == outcome.pick:
        return "the pick"
    after = "" if judgement.is_whole else f", after {judgement.looked:,} of {judgement.of:,}"
    if judgement.standing is Standing.HOLDS:
        return _of_one_that_holds(outcome, entry)
    if judgement.standing is Standing.LOSES:
        return f"loses more{after}"
    if judgement.standing is Standing.OUT_OF_REACH:
        return f"cannot catch up{after}"
    if judgement.standing is Standing.OPEN:
        return f"not asked further{after}"
    needed = needed_for(outcome, entry)
    return "not proven" + (f": about {needed:,} tasks would" if needed is not None else "")


def needed_for(outcome: Outcome, entry: Entry) -> int | None:
    """Tasks that would prove a candidate within the budget, if it goes on as it did; None where none would."""
    judgement = entry.runner.judgement
    if judgement is None or not judgement.is_whole or outcome.order.tasks is None or entry.kept is None:
        return None
    pairs = list(zip(outcome.parent.run.items, entry.kept.run.items, strict=True))
    return tasks_needed(
        judgement,
        outcome.order.budget,
        only_parent=sum(one.has_passed and not other.has_passed for one, other in pairs),
        only_candidate=sum(other.has_passed and not one.has_passed for one, other in pairs),
    )


def lost_words(outcome: Outcome, loss: Estimate) -> str:
    """A loss with its interval: ``it loses 0.1 points (-0.5 to 0.8)``."""
    if outcome.order.tasks is not None:
        return f"it loses {number(loss.value)} points{_interval(loss)}"
    return f"its perplexity rises by {number(loss.value)} %{_interval(loss)}"


def number(value: float) -> str:
    """A loss in percent, as exact as it is worth."""
    return f"{value + 0.0:.2f}" if abs(value) < 0.995 else f"{value:.1f}"


def _of_one_that_holds(outcome: Outcome, entry: Entry) -> str:
    runner = entry.runner
    if runner.can_run is False:
        return "; ".join(shortcomings(outcome.order.wish, runner.tokens_per_second, runner.memory_bytes))
    return "within the budget, larger"


def _row(outcome: Outcome, entry: Entry) -> tuple[str, ...]:
    runner = entry.runner
    loss = runner.judgement.loss if runner.judgement is not None else None
    mark = " *" if entry.candidate.name in outcome.front else ""
    lost = _INSTEAD if loss is None else f"{number(loss.value)}{_interval(loss)}"
    return (
        f"{entry.candidate.name}{mark}",
        format_bytes(entry.candidate.size_bytes),
        lost,
        _rate(runner.tokens_per_second),
        _size(runner.memory_bytes),
        fate(outcome, entry),
    )


def _interval(loss: Estimate) -> str:
    if not (math.isfinite(loss.lower) and math.isfinite(loss.upper)):
        return ""
    return f" ({number(loss.lower)} to {number(loss.upper)})"


def _budget_words(outcome: Outcome) -> str:
    percent, is_points = f"{outcome.order.percent:g}", outcome.order.tasks is not None
    unit = "%" if not is_points else "point" if percent == "1" else "points"
    return f"at most {percent} {unit} allowed"


def _rate(value: float | None) -> str:
    return _INSTEAD if value is None else significant(value)


def _size(value: int | None) -> str:
    return _INSTEAD if value is None else format_bytes(value)


def _users(slots: int) -> str:
    return "one user" if slots == 1 else f"{slots} users at once"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
