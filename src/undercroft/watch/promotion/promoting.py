"""The server and its promotions: looks once a second, decides by `promotion_steps`, writes what follows.

Everything that it knows of a promotion is in its row, so that it may be killed at any moment and go on.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import structlog
from sqlalchemy.exc import SQLAlchemyError

from undercroft.core.clock import from_iso, utc_now
from undercroft.core.errors import UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.serving import deployments, promotions
from undercroft.serving.promotions import Promotion, State
from undercroft.serving.served import ServedName
from undercroft.serving.snapshot import DeploymentEntry
from undercroft.storage.database import Database
from undercroft.watch.probes.probe_files import load_probe, probe_file
from undercroft.watch.promotion.evidence import read_arm
from undercroft.watch.promotion.judging import check_rules, judge
from undercroft.watch.promotion.promotion_steps import (
    Candidate,
    Next,
    Scores,
    Step,
    after_checking,
    after_loading,
    after_trying,
    before_checking,
)

_log = structlog.get_logger("promotions")

_LOOK_SECONDS = 0.5
_TRY_SECONDS = 1.0
_TRIAL_POLL_SECONDS = 0.2
_STATES = {Step.REPLACE: State.REPLACING, Step.CHECK: State.CHECKING, Step.CANARY: State.CANARY}
_ENDS = {Step.FINISH: State.DONE, Step.REVERT: State.REVERTED, Step.FAIL: State.FAILED}


class Serving(Protocol):
    """What a promotion needs of the reconciler."""

    def names(self) -> dict[str, ServedName]:
        """Names that have releases."""

    def entry(self, name: str) -> DeploymentEntry | None:
        """How a deployment is; None where it is not wanted, or was not looked at yet."""

    def never_fits(self, name: str, without: str | None) -> bool:
        """Whether it would not get its memory even if all that may be unloaded were, and ``without``, too."""

    def lacks_memory(self, name: str) -> bool:
        """Whether a deployment waits for memory."""

    def outlook(self, name: str) -> str:
        """What loading a replica of a deployment takes, in words."""

    def wake(self) -> None:
        """Something changed."""


def look_after_promotions(
    home: Home, database: Database, serving: Serving, patience_seconds: float, ending: threading.Event
) -> None:
    """Until the server ends.

    Args:
        home: Of the server.
        database: Of the home.
        serving: The reconciler.
        patience_seconds: How long a candidate waits for memory beside what is in production.
        ending: Set when the server ends.
    """
    promoter = Promoter(home, database, serving, patience_seconds, lambda: ending.is_set())
    while not ending.wait(_LOOK_SECONDS):
        try:
            promoter.look()
        except (UndercroftError, OSError, SQLAlchemyError) as error:
            _log.error("promotions failed", error=str(error))


class Promoter:
    """Moves every running promotion on.

    Args:
        home: Of the server.
        database: Of the home.
        serving: The reconciler.
        patience_seconds: How long a candidate waits for memory beside what is in production.
        is_ending: Whether the server ends.
    """

    def __init__(
        self,
        home: Home,
        database: Database,
        serving: Serving,
        patience_seconds: float,
        is_ending: Callable[[], bool],
    ) -> None:
        self._home = home
        self._database = database
        self._serving = serving
        self._patience_seconds = patience_seconds
        self._is_ending = is_ending
        self._tried_at: dict[int, float] = {}

    def look(self) -> None:
        """One look at each."""
        with self._database.read() as connection:
            running = promotions.list_running(connection)
        self._tried_at = {one.id: self._tried_at[one.id] for one in running if one.id in self._tried_at}
        for promotion in running:
            try:
                self._look_at(promotion)
            except UnavailableError as error:
                # A full disk or a locked database says nothing of the candidate: the next look tries again.
                _log.error("promotion not looked at", name=promotion.name, error=str(error))
            except UndercroftError as error:
                self._go(promotion, Next(Step.FAIL, str(error)), None)

    def _look_at(self, promotion: Promotion) -> None:
        candidate = self._candidate(promotion)
        if candidate is None:
            # The reconciler has not seen it yet, or is not to load it.
            if self._is_stopped(promotion.name):
                self._go(promotion, Next(Step.WAIT, stopped_sentence(promotion.name)), None)
            return
        evidence: dict[str, Any] | None = None
        if promotion.state is State.CHECKING:
            if awaited := before_checking(candidate, self._state_of_production(promotion)):
                self._go(promotion, Next(Step.WAIT, awaited), None)
                return
            scores = self._ask(promotion)
            if self._is_ending():
                return
            evidence = {**promotion.evidence, "probes": _plain(scores)}
            candidate = self._candidate(promotion) or candidate
            step = after_checking(promotion.plan, check_rules(promotion.plan.rules), candidate, scores)
        elif promotion.state is State.CANARY:
            if time.monotonic() - self._tried_at.get(promotion.id, 0.0) < _TRY_SECONDS:
                return
            self._tried_at[promotion.id] = time.monotonic()
            step, evidence = self._try(promotion, candidate)
        else:
            step = after_loading(
                promotion.state,
                promotion.plan,
                candidate,
                has_production=self._group_of_production(promotion) is not None,
                patience_seconds=self._patience_seconds,
                told="" if promotion.note == stopped_sentence(promotion.name) else promotion.note,
            )
        self._go(promotion, step, evidence)

    def _candidate(self, promotion: Promotion) -> Candidate | None:
        named = self._serving.names().get(promotion.name)
        group = named.groups.get(promotion.to_number) if named is not None else None
        entry = self._serving.entry(group) if group is not None else None
        if named is None or group is None or entry is None:
            return None
        lacks_memory = self._serving.lacks_memory(group)
        return Candidate(
            state=entry.state,
            note=entry.note,
            lacks_memory=lacks_memory,
            waited_seconds=(utc_now() - from_iso(promotion.changed_at)).total_seconds(),
            outlook="" if entry.state == "ready" else self._serving.outlook(group),
            missing_replicas=max(0, named.replicas - len(entry.replicas)),
            never_fits=lacks_memory and self._serving.never_fits(group, self._group_of_production(promotion)),
        )

    def _is_stopped(self, name: str) -> bool:
        with self._database.read() as connection:
            deployment = deployments.find(connection, name)
        return deployment is not None and not deployment.is_running

    def _group(self, name: str, number: int) -> str | None:
        """The deployment that runs a release."""
        named = self._serving.names().get(name)
        return named.groups.get(number) if named is not None else None

    def _group_of_production(self, promotion: Promotion) -> str | None:
        """The deployment that answers while the candidate does not; None where nothing does."""
        if promotion.from_number is not None:
            return self._group(promotion.name, promotion.from_number)
        named = self._serving.names().get(promotion.name)
        return promotion.name if named is not None and named.plain else None

    def _state_of_production(self, promotion: Promotion) -> str | None:
        """Of what the candidate is compared with; None where it is not loaded, or waits for memory."""
        group = self._group(promotion.name, promotion.from_number) if promotion.from_number is not None else None
        entry = self._serving.entry(group) if group is not None else None
        return None if group is None or entry is None or self._serving.lacks_memory(group) else entry.state

    def _try(self, promotion: Promotion, candidate: Candidate) -> tuple[Next, dict[str, Any]]:
        rules = check_rules(promotion.plan.rules)
        with self._database.read() as connection:
            mine = read_arm(connection, promotion.name, promotion.to_number, promotion.changed_at)
            number = promotion.from_number
            other = read_arm(connection, promotion.name, number or 0, promotion.changed_at)
        findings = judge(rules, mine, other, is_shown=not promotion.plan.is_shadow)
        evidence = {
            **promotion.evidence,
            "requests": {"candidate": mine.requests, "production": other.requests},
            "ratings": {"candidate": mine.shares["disliked"].trials, "production": other.shares["disliked"].trials},
            "failures_in_a_row": mine.failures_in_a_row,
            "likeness": mine.likeness,
            "findings": [finding.to_dict() for finding in findings],
        }
        return after_trying(promotion.plan, rules, candidate, mine, other, findings), evidence

    def _ask(self, promotion: Promotion) -> Scores:
        """Sends the candidate a first request, and the standard questions of the name to both releases."""
        name = promotion.name
        if not promotion.plan.has_probes or not probe_file(self._home, name).exists():
            return Scores(None, None, problem=self._trial(None, [f"{name}@{promotion.to_number}"])[1])
        try:
            load_probe(self._home, name)
        except UndercroftError as error:
            return Scores(None, None, problem=str(error))
        models = [f"{name}@{promotion.to_number}"]
        if promotion.from_number is not None and self._is_loaded(name, promotion.from_number):
            models.append(f"{name}@{promotion.from_number}")
        return scores_of(self._trial(name, models), models)

    def _is_loaded(self, name: str, number: int) -> bool:
        entry = self._serving.entry(self._group(name, number) or "")
        return entry is not None and entry.state == "ready"

    def _trial(self, probe: str | None, models: list[str]) -> tuple[str, str]:
        """What the trial's process printed, and why it ended early; empty where it did not."""
        command = [sys.executable, "-P", "-m", "undercroft.watch.promotion.trial", "--home", str(self._home.root)]
        command += ["--parent", str(os.getpid())]
        command += ["--probe", probe] if probe is not None else []
        command += [word for model in models for word in ("--model", model)]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
        )
        while True:
            try:
                out, problem = process.communicate(timeout=_TRIAL_POLL_SECONDS)
                return out, why_it_ended(process.returncode, problem)
            except subprocess.TimeoutExpired:
                if self._is_ending():
                    process.terminate()
                    process.communicate()
                    return "", "the server ended"

    def _go(self, promotion: Promotion, step: Next, evidence: dict[str, Any] | None) -> None:
        if step.step is Step.WAIT and step.note == promotion.note and evidence in (None, promotion.evidence):
            return
        with self._database.write() as connection:
            now = promotions.get(connection, promotion.id)
            if now.ended_at is not None or now.state is not promotion.state:
                return  # a person was quicker
            if step.step in _ENDS:
                # Whoever wanted it put it there; what goes back, the server sends back.
                actor = now.actor if step.step is Step.FINISH else "system"
                promotions.end(connection, now, _ENDS[step.step], step.note, evidence=evidence, actor=actor)
            else:
                state = _STATES.get(step.step, now.state)
                promotions.change(connection, now, state, note=step.note, evidence=evidence)
        if step.step is not Step.WAIT:
            _log.info("promotion", name=promotion.name, candidate=promotion.to_number, step=step.step, note=step.note)
            self._serving.wake()


def stopped_sentence(name: str) -> str:
    """What a promotion waits for that nobody may load."""
    return f"the deployment is stopped; it goes on after: undercroft deployment start {name}"


def why_it_ended(status: int, said: str) -> str:
    """Why a trial's process ended early; empty where it did not.

    Args:
        status: As `subprocess` gives it: negative is the signal that ended it.
        said: Its error output; what is killed says nothing.
    """
    if not status:
        return ""
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return said.strip()[-500:] or f"their process {how}"


def scores_of(printed: tuple[str, str], models: list[str]) -> Scores:
    """How the standard questions went.

    Args:
        printed: The lines of a trial, and why it ended early.
        models: The candidate, then what is in production, if that was asked.
    """
    lines, problem = printed
    if problem:  # what it printed before that may end in the middle of a line
        return Scores(None, None, problem=problem)
    found: dict[str, Mapping[str, Any]] = {line["model"]: line for line in map(json.loads, lines.splitlines())}
    if missing := [model for model in models if model not in found]:
        return Scores(None, None, problem=f"their process printed nothing of {', '.join(missing)}")
    mine = found[models[0]]
    other = found[models[1]] if len(models) > 1 else None
    failed = tuple(one for one in mine["failed"] if other is not None and one not in other["failed"])
    problem = mine["problem"] or (other["problem"] if other is not None else "")
    return Scores(mine["score"], other["score"] if other is not None else None, failed, problem)


def _plain(scores: Scores) -> dict[str, Any]:
    return {
        "candidate": scores.candidate,
        "production": scores.production,
        "failed": list(scores.failed),
        "problem": scores.problem,
    }
