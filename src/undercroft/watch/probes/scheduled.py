"""One run of a probe as a process of its own: what it needs in memory is gone when it ends.

python -P -m undercroft.watch.probes.scheduled --home HOME --probe NAME --run ID --parent PID
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.processes import die_with_parent
from undercroft.core.settings import load_settings
from undercroft.storage.database import Database
from undercroft.watch.probes.baselines import load_baseline
from undercroft.watch.probes.probe_files import load_probe
from undercroft.watch.probes.running import note_end, run_probe


def main() -> None:
    """Reads the command line, asks, and notes how it went."""
    parser = argparse.ArgumentParser(prog="undercroft-probe")
    for flag in ("--home", "--probe"):
        parser.add_argument(flag, required=True)
    for flag in ("--run", "--parent"):
        parser.add_argument(flag, type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    home = Home(Path(given.home))
    try:
        settings = load_settings(home.config_file).settings
        database = Database(home.database_file)
        probe, baseline = load_probe(home, given.probe), load_baseline(home, given.probe)
        made = run_probe(home, settings, database, given.probe, probe, baseline, tell=lambda _outcome: None)
        note_end(database, given.run, made)
    except UndercroftError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
