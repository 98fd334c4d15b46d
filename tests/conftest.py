"""Options and fixtures that every test may use."""

from __future__ import annotations

import gc
import itertools
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.environments import Environments
from undercroft.engines.openmp import with_library

_ended_tests = itertools.count(1)
_TESTS_BETWEEN_COLLECTIONS = 100
_SCENARIOS = Path(__file__).parent / "scenario"
_COMMANDS = Path(__file__).parent / "e2e"

# No test depends on time: a busy machine is no finding.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="Run tests marked `long` at full size: pytest -m long --full")
    parser.addoption(
        "--environments",
        metavar="FOLDER",
        help="Install the environments that long tests need there, and keep them for the next run; "
        "without it each run installs them anew",
    )


def pytest_configure() -> None:
    """Ctrl-C reaches what tests start also where the suite runs in the background, which is begun with it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None]:
    """Scenarios are long, all of them, which is said before ``-m`` chooses; at full size a long test takes as long as
    it takes.

    Several processes take what is long first, so that none of them waits for another in the end.
    """
    for item in items:
        if _SCENARIOS in item.path.parents:
            item.add_marker(pytest.mark.long)
        if config.getoption("--full") and item.get_closest_marker("long") is not None:
            item.add_marker(pytest.mark.timeout(0))
    yield
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: not ({_SCENARIOS, _COMMANDS} & {*item.path.parents}))


def pytest_runtest_logfinish() -> None:
    """The garbage collector closes files that tests let go of; by itself it comes too rarely for a limit of 1,024."""
    if next(_ended_tests) % _TESTS_BETWEEN_COLLECTIONS == 0:
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def _openmp(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Tests that run an engine without the product find OpenMP on minimal systems as the product does."""
    os.environ.update(with_library(dict(os.environ), tmp_path_factory.mktemp("openmp")))


@pytest.fixture(scope="session", autouse=True)
def _sockets_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Homes of tests have long paths, so their sockets lie in the folder for temporary files: one of our own, which is
    removed in the end."""
    tmp_path_factory.getbasetemp()
    folder = tempfile.mkdtemp(prefix="uc-")
    os.environ["TMPDIR"] = tempfile.tempdir = folder
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def environments(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environments]:
    """What the package index gives, installed when a test first asks for it; it goes when the last test has ended."""
    kept = request.config.getoption("--environments")
    folder = Path(kept).absolute() if kept else tmp_path_factory.mktemp("environments") / "home"
    yield Environments(folder)
    if not kept:
        shutil.rmtree(folder, ignore_errors=True)  # not there where all was skipped


@pytest.fixture
def is_full(request: pytest.FixtureRequest) -> bool:
    """Whether long tests run at full size; without it they run with a small budget."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No test sees the settings or the home of whoever runs it."""

    for name in list(os.environ):
        if name.startswith(("UNDERCROFT_", "HF_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("user-home")))
