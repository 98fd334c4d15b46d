"""Environments of their own: made whole or not at all, and only of what was tried."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.support.engines import wait_until
from undercroft.core.errors import ConflictError, InvalidError, UnavailableError
from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.environments.installed import State, environment_of, needed
from undercroft.environments.recipes import EnvironmentRecipe, SourceWheel, find, recipes
from undercroft.storage import journal
from undercroft.storage.database import Database

_INSTALL = """
import sys
from pathlib import Path
from tests.unit.environments.test_installing import recipe_of
from undercroft.core.home import Home
from undercroft.environments import installing
from undercroft.storage.database import Database
home, wheels = Home(Path(sys.argv[1])), Path(sys.argv[2])
installing.install(
    home, Database(home.database_file), recipe_of(wheels), actor="cli:test",
    pip_arguments=["--no-index", f"--find-links={wheels}"], say=lambda text: print(text, flush=True),
)
"""


def write_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """A wheel of version 1.0 with some files."""
    information = f"{name}-1.0.dist-info"
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    return path


def write_wheels(folder: Path) -> Path:
    """The two wheels that `recipe_of` asks for."""
    folder.mkdir()
    write_wheel(folder, "pebble", {"pebble.py": "WEIGHT = 7\n"})
    write_wheel(folder, "quarry", {"q/deep/stone.py": "", "q/LICENSE": "free", "q/other.exe": "x", "setup.py": ""})
    return folder


def recipe_of(wheels: Path) -> EnvironmentRecipe:
    """A small environment of two wheels: one is installed, of the other a part is taken."""
    digest = hashlib.sha256((wheels / "quarry-1.0-py3-none-any.whl").read_bytes()).hexdigest()
    quarry = SourceWheel("quarry", "1.0", digest, "q/", ("LICENSE", "deep/"))
    return EnvironmentRecipe("stones", "for a test", ">=3.11", 5, ("pebble==1.0",), (quarry,), "import pebble")


@pytest.fixture(name="home")
def _home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    home.prepare()
    return home


@pytest.fixture(name="wheels")
def _wheels(tmp_path: Path) -> Path:
    return write_wheels(tmp_path / "wheels")


@pytest.mark.long
def test_killed_then_made_used_and_removed(home: Home, wheels: Path) -> None:
    """An installation that is killed counts for nothing; the next is whole, works, and is told in the journal."""
    recipe, environment = recipe_of(wheels), environment_of(home, "stones")
    command = [sys.executable, "-c", _INSTALL, str(home.root), str(wheels)]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    wait_until(lambda: environment.python.exists(), what="it has begun")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert environment.state(recipe) is State.BROKEN
    with pytest.raises(UnavailableError, match="not whole"):
        needed(home, recipe)

    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "trying it" in done.stdout
    assert needed(home, recipe) == environment
    said = subprocess.run(
        [environment.python, "-c", "import pebble; print(pebble.WEIGHT)"], capture_output=True, check=True
    )
    assert said.stdout == b"7\n"
    taken = {str(path.relative_to(environment.sources)) for path in environment.sources.rglob("*") if path.is_file()}
    assert taken == {"LICENSE", "deep/stone.py"}
    record = environment.record()
    assert record is not None
    assert record.packages["pebble"] == "1.0"
    assert "quarry" not in record.packages

    other = replace(recipe, requirements=("pebble==1.0", "other==2"))
    assert environment.state(other) is State.OUTDATED
    assert environment.state(replace(recipe, purpose="told otherwise")) is State.READY
    database = Database(home.database_file)
    assert installing.remove(home, database, recipe, actor="cli:test") == record.size_bytes
    assert environment.state(recipe) is State.ABSENT
    assert installing.remove(home, database, recipe, actor="cli:test") == 0
    with database.read() as connection:
        actions = [entry.action for entry, _ in journal.entries(connection) if entry.subject == "stones"]
    assert actions == ["environment.install", "environment.remove"]


@pytest.mark.long
def test_another_wheel_than_the_one_tried_leaves_nothing(home: Home, wheels: Path) -> None:
    """A wheel with another digest is refused, and the environment is not half there."""
    recipe = recipe_of(wheels)
    write_wheel(wheels, "quarry", {"q/LICENSE": "changed on the way"})
    with pytest.raises(UnavailableError, match=r"expected [0-9a-f]{64}, got") as caught:
        installing.install(
            home,
            Database(home.database_file),
            recipe,
            actor="cli:test",
            pip_arguments=["--no-index", f"--find-links={wheels}"],
        )
    assert caught.value.code == "wrong-digest"
    assert environment_of(home, "stones").state(recipe) is State.ABSENT


@pytest.mark.long
def test_temporary_files_lie_where_the_room_was_counted(home: Home, wheels: Path) -> None:
    """Pip puts what it needs for a while into the folder of the environment, which a kill leaves to the next
    installation, and nothing where the user's own temporary files lie."""
    proof = "import pathlib, tempfile; pathlib.Path(tempfile.mkdtemp()); print(tempfile.gettempdir())"
    recipe = replace(recipe_of(wheels), proof=proof)
    said: list[str] = []
    arguments = ["--no-index", f"--find-links={wheels}"]
    database = Database(home.database_file)
    made = installing.install(home, database, recipe, actor="cli:test", pip_arguments=arguments, say=said.append)
    assert Path(said[-1]).parent == made.folder
    assert not Path(said[-1]).exists()
    assert made.state(recipe) is State.READY


@pytest.mark.long
def test_what_pip_says_is_told(home: Home, wheels: Path) -> None:
    """Where a package is not at the index, the error shows pip's own words and where its log lies."""
    recipe = replace(recipe_of(wheels), requirements=("pebble==99",))
    with pytest.raises(UnavailableError, match="pebble==99") as caught:
        installing.install(
            home,
            Database(home.database_file),
            recipe,
            actor="cli:test",
            pip_arguments=["--no-index", f"--find-links={wheels}"],
        )
    environment = environment_of(home, "stones")
    assert str(environment.log) in (caught.value.hint or "")
    assert b"pebble==99" in environment.log.read_bytes()
    assert environment.state(recipe) is State.ABSENT


def test_refused_before_anything_is_made(home: Home, wheels: Path) -> None:
    """A Python that is too old, too little room and a second installer are told before anything changes."""
    database, recipe = Database(home.database_file), recipe_of(wheels)
    with pytest.raises(InvalidError, match="needs Python >=9"):
        installing.install(home, database, replace(recipe, python=">=9"), actor="cli:test")
    with pytest.raises(UnavailableError, match=r"needs .*are free below") as caught:
        installing.install(home, database, replace(recipe, size_mb=10**12), actor="cli:test")
    assert caught.value.code == "disk-full"
    environment = environment_of(home, "stones")
    descriptor = os.open(environment.lock, os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(ConflictError, match="another process"):
        installing.install(home, database, recipe, actor="cli:test")
    os.close(descriptor)
    assert not environment.folder.exists()


def test_recipes_are_pinned() -> None:
    """Every requirement that we ship names one version, and every part of a wheel its digest."""
    for recipe in recipes().values():
        assert all("==" in requirement for requirement in recipe.requirements), recipe.name
        assert all(len(source.sha256) == 64 and source.below.endswith("/") for source in recipe.sources)


def test_unknown_name_is_told_with_the_nearest() -> None:
    """A mistyped name gets the one that was meant."""
    with pytest.raises(InvalidError) as caught:
        find("convrt")
    assert caught.value.hint == "undercroft engine install convert"


@pytest.mark.parametrize("member", ["q/../../etc/passwd", "other/LICENSE", "q/deep/", "q/LICENSES", "/q/LICENSE"])
def test_nothing_leaves_the_folder_of_sources(member: str) -> None:
    """Names in a wheel that are not wanted, or lead elsewhere, are not unpacked."""
    assert SourceWheel("quarry", "1.0", "0" * 64, "q/", ("LICENSE", "deep/")).wanted(member) is None


def test_list_of_dropped_packages_is_part_of_what_it_is_made_of(tmp_path: Path) -> None:
    """An environment without such a list keeps its digest, so that it is not outdated; one with it has another."""
    recipe = recipe_of(write_wheels(tmp_path / "w"))
    parts = {key: value for key, value in asdict(recipe).items() if key not in ("purpose", "size_mb", "dropped")}
    assert recipe.digest() == hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    assert replace(recipe, dropped=("pebble",)).digest() != recipe.digest()
    assert find("vllm").dropped == ("torchvision", "torchaudio", "torchcodec")
