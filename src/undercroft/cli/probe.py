"""``undercroft probe``: standard questions, asked through the door, and what came of them."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from undercroft.cli.opening import open_database, settings_of
from undercroft.cli.output import AsJson, print_json, print_table, print_wrapped
from undercroft.core.clock import to_iso
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.watch.baselines import load_baseline
from undercroft.watch.outcomes import Outcome
from undercroft.watch.probe_files import load_probe, probe_names
from undercroft.watch.running import Run, run_probe

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

    The exit status is 0 where all passed, 1 where some failed, 6 where nobody could be asked.
    """
    home, database = open_database()
    if (name is None) != run_all:
        raise InvalidError("which-probe", "expected the name of a probe or --all", hint="undercroft probe list")
    names = probe_names(home) if name is None else [name]
    if not names:
        raise NotFoundError("no-probe", f"there is no probe in {home.probes}", hint="undercroft probe init NAME")
    loaded = [(each, load_probe(home, each), load_baseline(home, each)) for each in names]
    settings = settings_of(home)
    runs = [run_probe(home, settings, database, *each, tell=lambda _outcome: None) for each in loaded]
    if as_json:
        print_json([_plain_run(made) for made in runs])
    else:
        for made in runs:
            _print_run(made)
    if any(made.is_unreached for made in runs):
        raise typer.Exit(_EXIT_UNREACHED)
    if any(made.passed < len(made.outcomes) for made in runs):
        raise typer.Exit(_EXIT_FAILED)


def _print_run(made: Run) -> None:
    typer.echo(f"{made.probe}: {made.passed} of {len(made.outcomes)} passed, score {made.score:.2f}, by {made.release}")
    print_table(
        ["=question", "passed", ">score", ">first token", ">total", ">tokens/s", ">likeness"],
        [
            [
                outcome.question,
                "yes" if outcome.has_passed else "NO",
                f"{outcome.score:.2f}",
                _seconds(outcome.answer.first_token_seconds if outcome.answer else None),
                _seconds(outcome.answer.total_seconds if outcome.answer else None),
                _shown(outcome.answer.tokens_per_second if outcome.answer else None, 0),
                _shown(outcome.likeness, 2),
            ]
            for outcome in made.outcomes
        ],
        empty="No question was asked.",
    )
    for outcome in made.outcomes:
        for line in problem_lines(outcome):
            print_wrapped(line, indent="    ")
    print_wrapped(f"Added to {made.report}", indent="  ")


def problem_lines(outcome: Outcome) -> list[str]:
    """What is wrong with an outcome, a sentence each; noisy checks that failed are said to be so.

    Args:
        outcome: Any; one that is well gives no line.
    """
    if outcome.error:
        return [f"  {outcome.question}: {outcome.error}: {outcome.message}"]
    lines = [f"  {outcome.question}: {result.name}: {result.detail}" for result in outcome.failed]
    noisy = [result.name for result in outcome.results if result.name in outcome.noisy and not result.has_passed]
    if noisy:
        lines.append(
            f"  {outcome.question}: {', '.join(noisy)} failed and does not count: it was noisy in the baseline"
        )
    return lines


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f} s"


def _shown(value: float | None, decimals: int) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _plain_run(made: Run) -> dict[str, Any]:
    return {
        "probe": made.probe,
        "release": made.release,
        "passed": made.passed,
        "questions": len(made.outcomes),
        "score": round(made.score, 4),
        "report": str(made.report),
        "outcomes": [_plain_outcome(outcome) for outcome in made.outcomes],
    }


def _plain_outcome(outcome: Outcome) -> dict[str, Any]:
    answer = outcome.answer
    return {
        "at": to_iso(outcome.at),
        "question": outcome.question,
        "has_passed": outcome.has_passed,
        "score": round(outcome.score, 4),
        "checks": [
            {
                "name": result.name,
                "score": round(result.score, 4),
                "has_passed": result.has_passed,
                "is_noisy": result.name in outcome.noisy,
                "detail": result.detail,
            }
            for result in outcome.results
        ],
        "first_token_seconds": answer.first_token_seconds if answer else None,
        "total_seconds": answer.total_seconds if answer else None,
        "tokens_per_second": answer.tokens_per_second if answer else None,
        "prompt_tokens": answer.prompt_tokens if answer else None,
        "answer_tokens": answer.answer_tokens if answer else None,
        "likeness": outcome.likeness,
        "answer_digest": outcome.answer_digest or None,
        "error": outcome.error or None,
        "message": outcome.message or None,
    }
