"""What a promotion does next: a pure function of what is known of it.

in state               it is known that                            step
─────────────────────  ──────────────────────────────────────────  ──────────────────────────────────
loading                the candidate is ready with all replicas    check
                       that there is memory for
                       it cannot be loaded beside production       replace, or fail where that is not allowed
                       it could not be loaded without it either    fail
                       it failed                                   fail
replacing              the candidate is ready                      check
                       it failed                                   fail: production is loaded again
checking               it or production is being loaded again      wait: both are asked, or nothing is compared
                       it answers its questions worse, or failed   revert
                       it answers them as well, or has none        canary where it is to be tried, else finish
canary                 the candidate failed                        revert
                       a rule is proven broken, or so many bad     revert
                       answers came in a row
                       the hold is over, enough requests came      finish, or as ``undecided`` says
                       too few came for too long                   revert
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from undercroft.core.units import format_duration
from undercroft.serving.promotions import Plan, State
from undercroft.watch.promotion.judging import Arm, Finding, Opinion, Rules, failures_sentence


class Step(StrEnum):
    """See the table above."""

    WAIT = "wait"
    REPLACE = "replace"
    CHECK = "check"
    CANARY = "canary"
    FINISH = "finish"
    REVERT = "revert"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Candidate:
    """How the candidate's deployment is.

    Args:
        state: As the doors know it: ready, loading, unloaded, failed.
        note: Why it is not ready.
        lacks_memory: It waits for memory, or was refused it.
        waited_seconds: Since the promotion came into its state.
        never_fits: It would not get its memory in the place of what is in production either.
        outlook: What loading it takes, in words.
        missing_replicas: That are not ready yet, of those that it is to have; count.
    """

    state: str
    note: str
    lacks_memory: bool
    waited_seconds: float
    never_fits: bool = False
    outlook: str = ""
    missing_replicas: int = 0


@dataclass(frozen=True, slots=True)
class Scores:
    """How the standard questions went.

    Args:
        candidate: 0.0 to 1.0; None where there are none.
        production: Of what is in production; None is not known.
        failed: Questions that the candidate failed and production did not.
        problem: Why it refused a first request, or they could not be asked; empty where all is well.
    """

    candidate: float | None
    production: float | None
    failed: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Next:
    """What to do, and why in plain words."""

    step: Step
    note: str = ""


def after_loading(
    state: State,
    plan: Plan,
    candidate: Candidate,
    *,
    has_production: bool,
    patience_seconds: float,
    told: str = "",
) -> Next:
    """The step of a promotion whose candidate is being loaded.

    Args:
        state: ``loading`` or ``replacing``.
        has_production: Something else is loaded for the name, which could make room.
        patience_seconds: How long it waits for memory beside production.
        told: What was noted before; figures of the moment are noted once.
    """
    if candidate.state == "ready":
        # Those for which there is no memory now come when what is in production has left.
        if candidate.missing_replicas and not candidate.lacks_memory:
            return Next(Step.WAIT, f"replicas that are not ready yet: {candidate.missing_replicas}")
        return Next(Step.CHECK)
    if candidate.never_fits:
        return Next(Step.FAIL, f"it cannot be loaded: {candidate.note}")
    # What is refused for want of memory may get it a moment later, when others have been unloaded.
    is_patient = candidate.lacks_memory and candidate.waited_seconds <= patience_seconds
    if candidate.lacks_memory and not is_patient and state is State.LOADING and plan.may_replace and has_production:
        what = candidate.outlook or candidate.note
        return Next(Step.REPLACE, f"there is no memory for both: {what}. Requests wait until it is there")
    if candidate.state == "failed" and not is_patient:
        return Next(Step.FAIL, f"it cannot be loaded: {candidate.note}")
    return Next(Step.WAIT, candidate.note or told or candidate.outlook)


def before_checking(candidate: Candidate, production: str | None) -> str:
    """What is waited for before the questions are asked; empty where nothing is.

    An engine may have ended, or the server, since the candidate was ready. Without an answer of production there would
    be nothing to compare with.

    Args:
        candidate: How it is now.
        production: State of what it is compared with; None where that is not loaded, or waits for memory.
    """
    if candidate.state in ("loading", "unloaded"):
        return candidate.note or "its engine is being loaded again"
    is_awaited = candidate.state == "ready" and production == "loading"
    return "what is in production is being loaded again" if is_awaited else ""


def after_checking(plan: Plan, rules: Rules, candidate: Candidate, scores: Scores) -> Next:
    """The step of a promotion whose candidate was asked its standard questions."""
    if candidate.state == "failed":
        return Next(Step.REVERT, f"it failed: {candidate.note}")
    further = Next(Step.CANARY if plan.is_tried else Step.FINISH)
    if scores.problem:
        return Next(Step.REVERT, f"it could not be tried: {scores.problem}")
    if scores.candidate is None or rules.probes_worse_by is None or scores.production is None:
        return further
    if scores.candidate < scores.production - rules.probes_worse_by - 1e-9:
        failed = f"; it fails {', '.join(scores.failed)}" if scores.failed else ""
        return Next(
            Step.REVERT,
            f"standard questions: {100 * scores.candidate:.0f} of 100 points where production has "
            f"{100 * scores.production:.0f}{failed}",
        )
    return further


def after_trying(
    plan: Plan,
    rules: Rules,
    candidate: Candidate,
    mine: Arm,
    other: Arm,
    findings: Sequence[Finding],
) -> Next:
    """The step of a promotion whose candidate answers users.

    Args:
        mine: What was seen of the candidate.
        other: What was seen of production in the same time.
        findings: What the rules say of both.
    """
    if candidate.state == "failed":
        return Next(Step.REVERT, f"it failed: {candidate.note}")
    in_a_row = failures_sentence(rules, mine, other)
    if in_a_row:
        return Next(Step.REVERT, in_a_row)
    worse = [finding for finding in findings if finding.opinion is Opinion.WORSE]
    if worse:
        return Next(Step.REVERT, "; ".join(finding.sentence() for finding in worse))
    has_enough = mine.requests >= rules.min_requests
    if candidate.waited_seconds >= plan.hold_seconds and has_enough and candidate.state == "ready":
        # What neither release has given anything to see of (JSON, ratings) is no doubt about the candidate.
        seen = [finding.opinion for finding in findings if finding.is_seen]
        is_fine = bool(seen) and all(opinion is Opinion.FINE for opinion in seen)
        if is_fine or rules.undecided == "promote":
            how = "every rule was kept" if is_fine else "nothing speaks against it"
            return Next(Step.FINISH, f"{how} in {mine.requests:,} requests")
        if candidate.waited_seconds < rules.give_up_seconds:
            return Next(Step.WAIT, "the rules are not decided yet")
    if candidate.waited_seconds >= max(rules.give_up_seconds, plan.hold_seconds):
        return Next(
            Step.REVERT,
            f"after {candidate.waited_seconds:,.0f} s nothing is decided: {mine.requests:,} requests, of at least "
            f"{rules.min_requests:,}",
        )
    patience = format_duration(max(rules.give_up_seconds, plan.hold_seconds))
    short = f" of {rules.min_requests:,}; without them it is sent back {patience} after the trial began"
    return Next(Step.WAIT, f"{mine.requests:,} requests so far" + ("" if has_enough else short))
