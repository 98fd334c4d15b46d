"""A process that backs up, prunes or restores again and again until somebody ends it.

python -m tests.support.backup_process FOLDER VERB
"""

from __future__ import annotations

import resource
import sys
from datetime import timedelta
from pathlib import Path

from tests.support.backups import KEY, NOW
from undercroft.core.errors import UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import Settings
from undercroft.recovery.checks import find, list_backups
from undercroft.recovery.creating import create
from undercroft.recovery.objects.folder import FolderObjects
from undercroft.recovery.pruning import prune
from undercroft.recovery.reading import verify
from undercroft.recovery.restoring import restore
from undercroft.recovery.retention import Policy
from undercroft.recovery.store import make_store


def act(folder: Path, verb: str, number: int) -> str:
    """One step; what came of it."""
    store = make_store(FolderObjects(folder / "store"), KEY)
    if verb in {"create", "limited"}:
        at = NOW + timedelta(days=1, minutes=number)
        made = create(Home(folder / "home"), store, Settings(), at=at, reason=None, must_write=True)
        return made.manifest.id
    if verb == "prune":
        create(Home(folder / "home"), store, Settings(), at=NOW + timedelta(days=1, minutes=number), reason=None)
        return str(prune(store, Policy(1, 0, 0, 0)).removed)
    if verb == "verify":
        with store.shared():
            found = verify(store, list_backups(store))
        return f"{len(found.problems)} damaged, kept: {found.was_kept}"
    with store.shared():
        return restore(store, find(store, None), folder / f"restored-{number}", actor="cli:x").manifest.id


def main() -> None:
    """Says ``ready`` when everything is imported, then one line a step."""
    folder, verb = Path(sys.argv[1]), sys.argv[2]
    if verb == "limited":
        limit = int(sys.argv[3])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    steps = int(sys.argv[3]) if len(sys.argv) > 3 and verb != "limited" else 1
    print("ready", flush=True)
    try:
        for number in range(steps):
            print(act(folder, verb, number), flush=True)
    except UndercroftError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
