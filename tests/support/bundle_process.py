"""A process that imports a bundle into one empty home after the other until somebody ends it.

python -m tests.support.bundle_process BUNDLE EMPTY FOLDER
"""

from __future__ import annotations

import shutil
import sys
from itertools import count
from pathlib import Path

from tests.support.bundles import BundleHome


def main() -> None:
    """Says ``ready``, then imports into copies of EMPTY: ``FOLDER/0``, ``FOLDER/1`` …"""
    bundle, empty, folder = (Path(argument) for argument in sys.argv[1:])
    print("ready", flush=True)
    for number in count():
        shutil.copytree(empty, folder / f".{number}")
        (folder / f".{number}").rename(folder / str(number))
        target = BundleHome(folder / str(number))
        target.take_in(bundle)
        target.close()


if __name__ == "__main__":
    main()
