"""``undercroft probe``: standard questions, asked through the door, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from undercroft.cli.encoding import typed
from undercroft.cli.errors import print_error
from undercroft.cli.first_run import STARTER
from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.cli.probe_text import list_row, plain_run, plain_summary, print_run, row_sentence
from undercroft.cli.report_files import write_report
from undercroft.core.clock import parse_moment, to_iso, utc_now
from undercroft.core.errors import ConflictError, InvalidError, NotFoundError, UndercroftError
from undercroft.core.files import write_atomically
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.serving import deployments
from undercroft.serving.adapters import names_taken
from undercroft.storage.database import Database
from undercroft.watch.probes import proposals
from undercroft.watch.probes.asking import answers_to, check_languages
from undercroft.watch.probes.baselines import load_baseline, save_baseline
from undercroft.watch.probes.baselining import baseline_of, take_baseline
from undercroft.watch.probes.history import begin_run, break_off, last_run
from undercroft.watch.probes.outcome_rows import baseline_rows, keep_rows
from undercroft.watch.probes.probe_files import load_probe, parse_probe, probe_file, probe_names
from undercroft.watch.probes.running import Run, note_end, reach_door, run_probe
from undercroft.watch.probes.scheduler import next_start, owed_since
from undercroft.watch.probes.served import answer_limit, prompt_variables, served_release
from undercroft.watch.probes.variables import check_values, read_assignments
from undercroft.watch.reports.report_files import added_rows, read_report, report_file
from undercroft.watch.reports.report_pages import COLUMNS, figure_cells, headline, html_of, markdown_of
from undercroft.watch.reports.report_rows import read_rows
from undercroft.watch.reports.report_summary import summarize

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_EXIT_FAILED = 1
_EXIT_UNREACHED = 6

Name = Annotated[str, typer.Argument(help="Of the probe: probes/NAME.yaml in the home.")]


@app.command()
def run(
    name: Annotated[str | None, typer.Argument(help="Of the probe: probes/NAME.yaml.", show_default=False)] = None,
    run_all: Annotated[bool, typer.Option("--all", help="Every probe of the home, one after the other.")] = False,
    as_json: AsJson = False,
) -> None:
    """Ask the questions of a probe and add a row for each to its report.

    The exit status is 0 where all passed, 1 where some failed, 6 where nobody could be asked. With --all a probe that
    cannot be asked keeps none of the others from it; it is named, and the status is its error's.
    """
    home, database = open_database()
    if (name is None) != run_all:
        raise InvalidError("which-probe", "expected the name of a probe or --all", hint="undercroft probe list")
    names = probe_names(home) if name is None else [name]
    if not names:
        raise NotFoundError("no-probe", f"there is no probe in {home.probes}", hint="undercroft probe init NAME")
    settings = settings_of(home)
    runs, problems = [], []
    for each in names:
        try:
            runs.append(_asked(home, settings, database, each))
        except UndercroftError as error:
            if not run_all:
                raise
            problems.append(error)
    if as_json:
        print_json([plain_run(made) for made in runs])
    else:
        for made in runs:
            print_run(made)
    if problems:  # the others were asked all the same
        for problem in problems[:-1]:
            print_error(problem)
        raise problems[-1]
    if any(made.is_unreached for made in runs):
        raise typer.Exit(_EXIT_UNREACHED)
    if any(made.passed < len(made.outcomes) for made in runs):
        raise typer.Exit(_EXIT_FAILED)


def _asked(home: Home, settings: Settings, database: Database, name: str) -> Run:
    probe, baseline = load_probe(home, name), load_baseline(home, name)
    check_languages(probe.questions)
    run_id = begin_run(database, name, None, utc_now())
    assert run_id is not None  # only a time of a schedule can have had its run
    try:
        made = run_probe(home, settings, database, name, probe, baseline, tell=lambda _outcome: None)
    except UndercroftError as error:
        break_off(database, utc_now(), error.code, run_id=run_id)
        raise
    note_end(database, run_id, made)
    return made


@app.command("list")
def list_probes(as_json: AsJson = False) -> None:
    """Show probes, how each last went and when it is asked next."""
    home, database = open_database()
    found = []
    for name in probe_names(home):
        entry: dict[str, Any] = {"probe": name, "problem": None, "questions": None, "schedule": None, "next": None}
        try:
            probe = load_probe(home, name)
            start = next_start(name, probe, owed_since(home, database, name))
            entry |= {"questions": len(probe.questions), "schedule": probe.schedule, "time_zone": probe.time_zone}
            entry["next"] = to_iso(start) if start is not None else None
        except InvalidError as error:
            entry["problem"] = error.message
        with database.read() as connection:
            past = last_run(connection, name)
            entry["last"] = past.to_dict() if past is not None else None
        found.append(entry)
    if as_json:
        print_json(found)
        return
    print_table(
        ["=probe", ">questions", "=last run (UTC)", "passed", ">score", "=next run (UTC)"],
        [list_row(entry) for entry in found],
        empty="There is no probe. Try: undercroft probe init NAME",
    )
    for entry in found:
        if entry["problem"]:
            typer.echo(entry["problem"])


@app.command()
def baseline(
    name: Name,
    runs: Annotated[int, typer.Option(min=2, max=100, help="How many times each question is asked.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Take the baseline: ask everything several times while all is well, and see which checks waver.

    A check that passes at one time and fails at another is noisy: from then on it is shown, and fails nothing.
    """
    home, database = open_database()
    probe = load_probe(home, name)
    check_languages(probe.questions)
    model = probe.model or name
    with database.read() as connection:
        release, limit = served_release(connection, model), answer_limit(connection, model)
        known = prompt_variables(connection, model)
    client = reach_door(home, settings_of(home))

    def tell(done: int) -> None:
        if not as_json:
            typer.echo(f"  {done} of {runs} runs", err=True)

    outcomes = take_baseline(client, model, probe.questions, runs, release, tell, limit_tokens=limit, known=known)
    now = utc_now()
    found = {question.id: baseline_of(question, outcomes[question.id]) for question in probe.questions}
    path = save_baseline(home, name, found, release, now)
    rows = baseline_rows(outcomes, probe.questions, found, run_at=now, probe=name, deployment=model)
    keep_rows(database, rows, now)
    if as_json:
        print_json(
            {"probe": name, "release": release, "runs": runs, "file": str(path)}
            | {
                "questions": {
                    each: {**seen.model_dump(exclude={"sketches"}), "noisy": sorted(seen.noisy_checks())}
                    for each, seen in found.items()
                }
            }
        )
        return
    print_table(
        ["=question", ">answers", "checks, passed of all runs", "noisy"],
        [
            [
                each,
                str(len(seen.answers)),
                ", ".join(f"{check} {one.passed}/{seen.runs}" for check, one in seen.checks.items()),
                ", ".join(sorted(seen.noisy_checks())) or "none",
            ]
            for each, seen in found.items()
        ],
        empty="No question was asked.",
    )
    never = [f"{each}: {check}" for each, seen in found.items() for check, one in seen.checks.items() if not one.passed]
    if never:
        print_wrapped(f"  Never passed, and will fail every run: {', '.join(never)}", indent="  ")
    print_wrapped(f"Kept in {path}, without the text of any answer.", indent="  ")


@app.command()
def report(
    name: Name,
    since: Annotated[str, typer.Option(help="7d, 12h, 2026-11-20 or an ISO 8601 time.")] = "7d",
    html: Annotated[Path | None, typer.Option(help="Write it as a page with plots.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write it as Markdown; - is standard output.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show how the answers were, day by day and question by question."""
    home, _ = open_database()
    begin = parse_moment(since, utc_now())
    if begin is None:
        raise InvalidError(
            "bad-time", f"--since: expected a period such as 7d, a day, or an ISO 8601 time, got {since[:40]!r}"
        )
    rows, damaged = read_rows(read_report(report_file(home, name)))
    rows = [row for row in rows if row.at >= begin]
    if not rows:
        raise NotFoundError("no-rows", f"nothing was asked of '{name}' since {to_iso(begin)}", hint="--since 30d")
    summary = summarize(rows)
    made_at = to_iso(utc_now())[:16].replace("T", " ") + " UTC"
    if html is not None:
        write_report(html, html_of(name, summary, made_at))
    if markdown is not None and str(markdown) != "-":
        write_report(markdown, markdown_of(name, summary, made_at))
    if as_json:
        print_json({"probe": name, "since": to_iso(begin), "damaged_lines": damaged} | plain_summary(summary))
    elif str(markdown) == "-":
        typer.echo(markdown_of(name, summary, made_at))
    else:
        print_wrapped(f"{name}: {headline(summary)[1]}", indent="  ")
        for first, figures in (("day", summary.days), ("question", summary.questions)):
            heads = [f"={first}", *(f">{column}" for column in COLUMNS)]
            print_table(heads, [[key, *figure_cells(each)] for key, each in figures.items()], empty="")
        if damaged:
            typer.echo(f"{damaged} {'line' if damaged == 1 else 'lines'} of the report could not be read.", err=True)
    for file in (html, markdown):
        if file is not None and str(file) != "-" and not as_json:
            print_wrapped(f"Written to {file}", indent="  ")


@app.command()
def watch(name: Name) -> None:
    """Show rows of the report as they are added, until Ctrl-C."""
    home, _ = open_database()
    load_probe(home, name)
    path = report_file(home, name)
    typer.echo(f"Waiting for rows of {path}; Ctrl-C ends.")
    for row in added_rows(path):
        typer.echo(row_sentence(row))


@app.command()
def init(
    name: Name,
    model: Annotated[str | None, typer.Option(help="Deployment; the one that is called as the probe.")] = None,
    question: Annotated[
        list[str] | None, typer.Option("--question", callback=_typed_all, help="Your own instead of the five; repeat.")
    ] = None,
    variable: Annotated[
        list[str] | None,
        typer.Option(
            "--variable",
            metavar="NAME=VALUE",
            callback=_typed_all,
            help="For a variable of the release's prompt, in every question; repeat.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept every answer, for scripts.")] = False,
) -> None:
    """Write a probe to begin with: questions whose answers you accept become the standard."""
    home, database = open_database()
    path = probe_file(home, name)
    if path.exists():
        raise ConflictError("probe-exists", f"there is a probe already: {path}", hint="edit it, or choose another name")
    values = read_assignments(variable or [])
    with database.read() as connection:
        asked_of = model or name
        deployment = deployments.get(connection, names_taken(connection).adapters.get(asked_of, asked_of))
        known = prompt_variables(connection, asked_of)
    check_values(values, known, asked_of)
    client = reach_door(home, settings_of(home))
    asked = proposals.proposed_questions(question, is_starter=deployment.model == STARTER)
    accepted = []
    for number, (key, text) in enumerate(asked, 1):
        answers = answers_to(client, asked_of, text, variables=values)
        print_wrapped(f"{number} of {len(asked)}: {text}", indent="    ")
        typer.echo(f"    {answers[0].strip()}")
        if yes or typer.confirm("Is this answer good, and the standard from now on?", default=True):
            checks = proposals.derived_checks(answers)
            accepted.append({"id": key, "text": text, **({"variables": values} if values else {}), "checks": checks})
            print_wrapped(f"  checks: {', '.join(check['kind'] for check in checks)}", indent="    ")
    if not accepted:
        raise NotFoundError("nothing-accepted", "no answer was accepted, so no probe was written")
    content = proposals.probe_text(model if model != name else None, accepted).encode()
    parse_probe(content, path)
    write_atomically(path, content)
    counted = "1 question is" if len(accepted) == 1 else f"{len(accepted)} questions are"
    typer.echo(f"{counted} in {path}\nTry: undercroft probe run {name}")


def _typed_all(given: list[str] | None) -> list[str] | None:
    return [typed(each) or "" for each in given] if given else None
