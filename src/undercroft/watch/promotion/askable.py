"""Whether the standard questions of a name can be asked of the releases of a promotion: said before one is loaded."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from undercroft.checks.kinds import JudgeCheck
from undercroft.core.errors import ConflictError
from undercroft.core.home import Home
from undercroft.registry.releases import store
from undercroft.registry.releases.references import ReleaseReference
from undercroft.serving.promotions import Plan
from undercroft.serving.releasing import to_promote
from undercroft.watch.probes.probe_files import Probe, load_probe, probe_file
from undercroft.watch.probes.served import prompt_variables
from undercroft.watch.probes.variables import missing, missing_sentence


def check_askable(home: Home, connection: Connection, reference: ReleaseReference, plan: Plan) -> None:
    """Refuses a promotion that would end because its questions lack values, or cannot be read.

    Args:
        home: That has the questions.
        connection: To read.
        reference: The candidate, as `undercroft.serving.releasing.to_promote` takes it.
        plan: How it is to be tried.

    Raises:
        NotFoundError: There is no such release.
        ConflictError: ``questions-lack-values``.
        InvalidError: ``bad-probe``.
        UnavailableError: ``probe-unreadable``.
    """
    candidate = to_promote(connection, reference)
    if not plan.has_probes or not probe_file(home, candidate.name).exists():
        return
    production = store.tags_of(connection, candidate.name).get("production")
    models = [str(candidate)] + ([f"{candidate.name}@{production}"] if production is not None else [])
    check_questions(connection, candidate.name, load_probe(home, candidate.name), models)


def check_questions(connection: Connection, name: str, probe: Probe, models: Sequence[str]) -> None:
    """Refuses questions that give no value to a variable that a release's prompt, or a judge's, needs one for.

    Args:
        connection: To read.
        name: Of the probe.
        probe: Its questions.
        models: Releases, ``NAME@8``.

    Raises:
        ConflictError: ``questions-lack-values``.
    """
    found = [missing_sentence(name, model, probe.questions, prompt_variables(connection, model)) for model in models]
    for problem in (*found, _judge_sentence(connection, name, probe)):
        if problem:
            raise ConflictError(
                "questions-lack-values", problem, hint="docs/guide/probes.md; --no-probes promotes without questions"
            )


def _judge_sentence(connection: Connection, name: str, probe: Probe) -> str:
    """Which judge cannot be asked for want of a value; empty where all can."""
    for question in probe.questions:
        for check in question.checks:
            if not isinstance(check, JudgeCheck):
                continue
            if lacking := missing(check.variables, prompt_variables(connection, check.model)):
                where = f"the question '{question.id}' of probes/{name}.yaml"
                needed = f"the prompt of the judge '{check.model}' needs a value for {', '.join(lacking)}"
                return f"{needed}, which {where} does not give; write it below variables: of the check"
    return ""
