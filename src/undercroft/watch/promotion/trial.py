"""A first request to a candidate, and the standard questions of its name to several releases: a process of its own.

python -P -m undercroft.watch.promotion.trial --home HOME --parent PID --probe NAME --model NAME@8 --model NAME@7

It prints one JSON line a release: ``{"model", "score", "asked", "passed", "failed", "problem"}``. The answers stand in
the health report like those of every other run.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from undercroft.core.errors import ConflictError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import load_settings
from undercroft.storage.database import Database
from undercroft.watch.probes.baselines import load_baseline
from undercroft.watch.probes.door_client import DoorClient, RefusedAnswerError
from undercroft.watch.probes.probe_files import load_probe
from undercroft.watch.probes.running import reach_door, run_probe
from undercroft.watch.probes.served import prompt_variables
from undercroft.watch.probes.variables import fitting, stand_ins
from undercroft.watch.promotion.askable import check_questions

_GREETING_TOKENS = 4


def main() -> None:
    """Reads the command line, asks, and prints how it went."""
    parser = argparse.ArgumentParser(prog="undercroft-trial")
    parser.add_argument("--home", required=True)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--probe")
    parser.add_argument("--model", required=True, action="append")
    given = parser.parse_args()
    die_with_parent(given.parent)
    home = Home(Path(given.home))
    try:
        settings = load_settings(home.config_file).settings
        database = Database(home.database_file)
        probe = load_probe(home, given.probe) if given.probe is not None else None
        with database.read() as connection:
            known = prompt_variables(connection, given.model[0])
            if probe is not None:
                check_questions(connection, given.probe, probe, given.model)
        values = stand_ins(known) | (fitting(probe.questions[0].variables, known) if probe is not None else {})
        greet(reach_door(home, settings), given.model[0], values)
        if probe is None:
            return
        baseline = load_baseline(home, given.probe)
        for model in given.model:
            made = run_probe(home, settings, database, given.probe, probe, baseline, lambda _outcome: None, model=model)
            unreached = next((outcome.message for outcome in made.outcomes if made.is_unreached), "")
            print(
                json.dumps(
                    {
                        "model": model,
                        "score": made.score,
                        "asked": len(made.outcomes),
                        "passed": made.passed,
                        "failed": [outcome.question for outcome in made.outcomes if not outcome.has_passed],
                        "problem": unreached,
                    }
                ),
                flush=True,
            )
    except UndercroftError as error:
        sys.exit(str(error))


def greet(client: DoorClient, model: str, variables: Mapping[str, str]) -> None:
    """Sends one short request, which a prompt that is too long for its context fails, too.

    What is no chat cannot be tried like that.

    Args:
        client: Of the door.
        model: The release.
        variables: Values for those of its prompt.

    Raises:
        ConflictError: ``not-answered``: it was refused.
        UnavailableError: Nobody answers at the door.
    """
    try:
        hello = [{"role": "user", "content": "Hello"}]
        client.chat(model, hello, max_tokens=_GREETING_TOKENS, variables=variables)
    except RefusedAnswerError as error:
        if error.code == "task-not-offered":
            return
        raise ConflictError("not-answered", f"it refuses a first request: {error.code}: {error.message}") from error


if __name__ == "__main__":
    main()
