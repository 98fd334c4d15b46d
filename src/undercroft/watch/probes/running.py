"""One run of a probe: asks, writes each row as it comes, and remembers in the database how it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from undercroft.core.clock import utc_now
from undercroft.core.environment import environment
from undercroft.core.errors import UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.serving.keeper_client import ask_control, is_running
from undercroft.serving.listening import url_of
from undercroft.storage.database import Database
from undercroft.watch.probes.asking import ask_all, check_languages, unreached
from undercroft.watch.probes.baselines import Baseline
from undercroft.watch.probes.door_client import DoorClient
from undercroft.watch.probes.history import end_run
from undercroft.watch.probes.outcome_rows import UNREACHED, Purpose, keep_rows, outcome_row
from undercroft.watch.probes.outcomes import Outcome, mean_score
from undercroft.watch.probes.probe_files import Probe
from undercroft.watch.probes.served import answer_limit, prompt_variables, served_release
from undercroft.watch.probes.variables import without_place
from undercroft.watch.reports.report_files import append_line, report_file
from undercroft.watch.reports.report_rows import row_line


@dataclass(frozen=True, slots=True)
class Run:
    """A run that has ended.

    Args:
        probe: Its name.
        release: What served it.
        outcomes: One a question, in their order.
        report: The CSV file that has the rows.
        left_out: Variables that questions give values to and the prompt does not have.
    """

    probe: str
    release: str
    outcomes: tuple[Outcome, ...]
    report: Path
    left_out: tuple[str, ...] = ()

    @property
    def passed(self) -> int:
        """Questions that passed; count."""
        return sum(outcome.has_passed for outcome in self.outcomes)

    @property
    def score(self) -> float:
        """0.0 to 1.0, by the weights of the questions."""
        return mean_score(self.outcomes)

    @property
    def is_unreached(self) -> bool:
        """Whether the door could not be asked, at the beginning or later."""
        return any(outcome.error in UNREACHED for outcome in self.outcomes)


def reach_door(home: Home, settings: Settings) -> DoorClient:
    """A client of this home's server, with a key whose requests wait behind all others.

    ``UNDERCROFT_KEY`` takes its place where it is set.

    Raises:
        UnavailableError: ``not-running`` or ``control-away``.
    """
    if not is_running(home):
        raise UnavailableError("not-running", f"no Undercroft runs on the home {home.root}", hint="undercroft up")
    key = environment().get("UNDERCROFT_KEY")
    if not key:
        answer = ask_control(home, "POST", "/internal/probe-key")
        if answer is None:
            raise UnavailableError("control-away", "the control process is away just now", hint="undercroft status")
        key = str(answer["key"])
    return DoorClient(url_of(settings.gateway), key, certificate_file=settings.gateway.tls_cert_file)


def run_probe(
    home: Home,
    settings: Settings,
    database: Database,
    name: str,
    probe: Probe,
    baseline: Baseline | None,
    tell: Callable[[Outcome], None],
    *,
    model: str | None = None,
) -> Run:
    """Asks every question and writes a row for each, one by one, so that a run that is killed keeps those it has.

    Detectors get the rows of a whole run at once, in the database.

    Where the server cannot be reached, the rows say so: a report without them would look like a day off.

    Args:
        home: Prepared.
        settings: In force.
        database: Of the home.
        name: Of the probe.
        probe: Its questions.
        baseline: To compare with; None where none was taken.
        tell: Gets each outcome as it comes.
        model: Asked in place of the probe's: a certain release.

    Raises:
        InvalidError: A check is for a language that cannot be told.
        ConflictError: The report has other columns.
        UnavailableError: The report cannot be written.
    """
    check_languages(probe.questions)
    purpose, run_at = Purpose.TRIAL if model else Purpose.PROBE, utc_now()
    model = model or probe.model or name
    with database.read() as connection:
        release, limit = served_release(connection, model), answer_limit(connection, model)
        known = prompt_variables(connection, model)
    report = report_file(home, name)
    outcomes = []
    for outcome in _outcomes(home, settings, model, probe, baseline, release, limit, known):
        append_line(report, row_line(outcome, probe.time_zone, keep_answer=probe.keep_answers))
        outcomes.append(outcome)
        tell(outcome)
    asked = {question.id: question for question in probe.questions}
    rows = [
        outcome_row(outcome, asked[outcome.question], run_at=run_at, probe=name, purpose=purpose, deployment=model)
        for outcome in outcomes
    ]
    keep_rows(database, rows, utc_now())
    return Run(name, release, tuple(outcomes), report, without_place(probe.questions, known))


def note_end(database: Database, run_id: int, made: Run) -> None:
    """Writes down how a run went.

    Args:
        database: Of the home.
        run_id: As `history.begin_run` gave it.
        made: The run.
    """
    unreached = next((outcome.error for outcome in made.outcomes if outcome.error in UNREACHED), "")
    end_run(
        database,
        run_id,
        utc_now(),
        release=made.release,
        asked=len(made.outcomes),
        passed=made.passed,
        score=made.score,
        note=unreached,
    )


def _outcomes(
    home: Home,
    settings: Settings,
    model: str,
    probe: Probe,
    baseline: Baseline | None,
    release: str,
    limit_tokens: int | None,
    known: Mapping[str, str | None],
) -> Iterator[Outcome]:
    try:
        client = reach_door(home, settings)
    except UnavailableError as error:
        yield from unreached(probe.questions, release, error, utc_now())
        return
    yield from ask_all(client, model, probe.questions, baseline, release, limit_tokens=limit_tokens, known=known)
