"""What a home goes through while its system calls are recorded: commands, one after the other, in one process.

python -m tests.support.crash_steps DISK
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import crash_looks as looks
from tests.support.bundles import SIGNER
from undercroft.cli import build
from undercroft.core.home import Home
from undercroft.engines.chat_stream import Answer
from undercroft.watch.probes.outcomes import Outcome
from undercroft.watch.reports.report_files import append_line, report_file
from undercroft.watch.reports.report_rows import row_line

DONE = b"done: "
_ROW = "a row of a report"
_FROM = ("--from", "/shelf/store", "--key-file", "/backup.key")
_TO = ("--to", "/shelf/store", "--key-file", "/backup.key")


@dataclass(frozen=True, slots=True)
class Step:
    """One command.

    Args:
        name: For a person.
        home: Whose, below the disk.
        words: Of the command; those that begin with ``/`` are below the disk.
        look: What of it is there; raises where something is half.
    """

    name: str
    home: str
    words: tuple[str, ...]
    look: Callable[[Path], tuple[Any, ...]]


def _release(*words: str) -> Step:
    return Step(f"release {words[0]}", "home", ("release", *words), looks.of_home)


STEPS = (
    Step("a key for backups", "home", ("backup", "key", "/backup.key"), looks.of_key),
    Step("a model, and a new home", "home", ("model", "pull", "/in/tiny.gguf", "--name", "tiny"), looks.of_home),
    _release("create", "support", "--model", "tiny", "--system", "Answer briefly."),
    _release("create", "support", "--model", "tiny", "--system", "Answer at length."),
    _release("promote", "support@1"),
    _release("promote", "support@2"),
    _release("rollback", "support"),
    Step("a checkpoint, and a key that signs it", "home", ("journal", "checkpoint"), looks.of_checkpoints),
    Step(_ROW, "home", (), looks.of_report),
    Step("another row", "home", (), looks.of_report),
    Step("a first backup", "home", ("backup", "create", *_TO), looks.of_store),
    Step("a second", "home", ("backup", "create", *_TO), looks.of_store),
    Step("a trial of the second", "home", ("backup", "trial", *_FROM), looks.of_store),
    Step("the first one pruned", "home", ("backup", "prune", "--keep-last", "1", *_FROM), looks.of_store),
    Step("a restore", "home", ("backup", "restore", "latest", *_FROM, "--into", "/new/cellar"), looks.of_restored),
    Step("a bundle", "home", ("bundle", "export", "/team.bundle", "--sign-with", "/in/sign.key"), looks.of_bundle),
    Step(
        "an import",
        "other",
        ("bundle", "import", "/team.bundle", "--trust", SIGNER.fingerprint),
        partial(looks.of_home, home="other"),
    ),
    Step("an upgrade", "old", ("journal", "verify"), looks.of_upgrade),
)


def take(step: Step, disk: Path) -> None:
    """Does one step, as the command line does it.

    Args:
        disk: What the step's words are below of.
    """
    os.environ["UNDERCROFT_HOME"] = str(disk / step.home)
    if not step.words:
        answer = Answer("Hello.", 0.25, 1.25, 12, 5)
        outcome = Outcome(
            at=datetime(2026, 11, 21, tzinfo=UTC),
            release="support@1",
            question="hello",
            weight=1.0,
            results=(),
            noisy=frozenset(),
            answer=answer,
            likeness=None,
        )
        append_line(report_file(Home(disk / step.home), "support"), row_line(outcome, "UTC", keep_answer=True))
        return
    words = [str(disk / word[1:]) if word.startswith("/") else word for word in step.words]
    build(words[0])(words, standalone_mode=False)


def main() -> None:
    """Takes every step, and says after each on standard output that it is done."""
    disk = Path(sys.argv[1])
    for step in STEPS:
        take(step, disk)
        gc.collect()  # a command's end closes its database
        os.write(1, DONE + step.name.encode())


if __name__ == "__main__":
    main()
