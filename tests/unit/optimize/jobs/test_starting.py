"""The process that does jobs, seen by whoever starts it."""

from __future__ import annotations

import psutil

from tests.support.server import wait_for
from undercroft.core.home import Home
from undercroft.optimize.jobs.starting import start_worker


def test_nothing_is_left_of_it(home: Home) -> None:
    """Who starts it and goes on longer than it keeps no entry of it among its processes."""
    before = {child.pid for child in psutil.Process().children()}
    start_worker(home)
    (started,) = {child.pid for child in psutil.Process().children()} - before
    wait_for(lambda: started not in {child.pid for child in psutil.Process().children()}, "it to end and be gone")
