"""What ``undercroft up`` becomes when everything runs: it waits, and passes Ctrl-C on as ``down``.

    python -m undercroft.serving.follow --home HOME

Small on purpose: it stays in memory as long as the server runs.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from pathlib import Path

from undercroft.core.home import Home
from undercroft.serving.keeper_client import ask, wait_until_gone

# Each of them ends the server; `undercroft up` blocks them while it becomes this program.
FOLLOWED_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_POLL_SECONDS = 0.5


def follow(home: Home) -> int:
    """Until the keeper is gone. Returns the exit status."""
    for number in FOLLOWED_SIGNALS:
        signal.signal(number, _interrupted)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FOLLOWED_SIGNALS)
        while ask(home, "status") is not None:
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        print(
            "\nStopping: running requests are finished first (Ctrl-C again leaves that to the background).", flush=True
        )
        ask(home, "down")
        wait_until_gone(home)
    print("Undercroft has stopped.", flush=True)
    return 0


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    """Reads the command line and follows."""
    parser = argparse.ArgumentParser(prog="undercroft-follow")
    parser.add_argument("--home", required=True)
    sys.exit(follow(Home(Path(parser.parse_args().home))))


if __name__ == "__main__":
    main()
