"""Stops every engine of a home and clears its replicas' folders: the last step of ``undercroft down``.

python -m undercroft.serving.sweep --home HOME
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from undercroft.core.home import Home
from undercroft.core.settings import EngineSettings
from undercroft.engines import records
from undercroft.engines.all import engines

_GRACE_SECONDS = 5.0


def sweep(home: Home) -> int:
    """Stops them, several at a time; returns how many there were."""
    known = engines(EngineSettings())
    found = records.list_all(home.engines)
    with ThreadPoolExecutor(8) as pool:
        for record in found:
            if record.engine in known:
                pool.submit(known[record.engine].stop, record, grace_seconds=_GRACE_SECONDS)
    records.remove_broken(home.engines)
    return len(found)


def main() -> None:
    """Reads the command line and sweeps."""
    parser = argparse.ArgumentParser(prog="undercroft-sweep")
    parser.add_argument("--home", required=True)
    sweep(Home(Path(parser.parse_args().home)))


if __name__ == "__main__":
    main()
