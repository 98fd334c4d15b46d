"""A process that opens one old database after the other until somebody ends it.

python -m tests.support.upgrade_process DATABASE FOLDER
"""

from __future__ import annotations

import shutil
import sys
from itertools import count
from pathlib import Path

import undercroft.storage.migrations  # noqa: F401  (imported before the first one, so that no kill meets an import)
from undercroft.storage.database import Database


def main() -> None:
    """Says ``ready``, then opens copies: ``FOLDER/0/undercroft.db``, ``FOLDER/1/undercroft.db`` …"""
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    print("ready", flush=True)
    for number in count():
        new = folder / f".{number}"
        new.mkdir()
        shutil.copy(source, new / "undercroft.db")
        home = new.rename(folder / str(number))
        Database(home / "undercroft.db").close()


if __name__ == "__main__":
    main()
