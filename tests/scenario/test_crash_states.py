"""Power loss at every moment, by the model: what was promised is there, what was not is there whole or not at all."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.bundles import KEY
from tests.support.crash_looks import OLD_SCHEMA
from tests.support.crash_model import Disk, Loss, Tree, tree_of, write_tree
from tests.support.crash_replay import Replay, renamed
from tests.support.crash_steps import DONE, STEPS, Step
from tests.support.ggufs import write_chat_model
from tests.support.homes import past_home
from tests.support.system_calls import SystemCall, calls_of, traced
from undercroft.core.errors import UndercroftError

ROOT = Path(__file__).parent.parent.parent
_MOST_OF_A_STEP = 3
_SEED = 7
# Of these nothing is promised: what runs, what is being brought in, scratch, locks, and lines for people.
_UNPROMISED = {"run", "logs", "quarantine"}


@dataclass(frozen=True, slots=True)
class Record:
    """What a program did to a disk.

    Args:
        root: Of the disk.
        start: What was there before, durable.
        calls: In their order.
    """

    root: Path
    start: Tree
    calls: Sequence[SystemCall]

    def disk(self) -> Disk:
        """As it was before."""
        return Disk(self.root, self.start)

    def said(self, call: SystemCall) -> bytes:
        """What the program writes to its standard output; empty where a call is another, or of another process."""
        is_told = call.name == "write" and call.descriptor(0) == 1 and call.process == self.calls[0].process
        return call.content(1) if is_told else b""


def record(root: Path, *words: str | Path) -> Record:
    """Runs Python with these words under strace."""
    start = tree_of(root)
    log = root.with_suffix(".log")
    environment = {name: os.environ[name] for name in ("PATH", "TMPDIR", "HOME")}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    result = traced([sys.executable, *words], log, folder=ROOT, environment=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    return Record(root, start, list(calls_of(log)))


def is_promised(path: str) -> bool:
    """Whether what a command reports as done includes a path."""
    parts = path.split("/")
    return not (_UNPROMISED & set(parts) or parts[-1] == "lock" or any(part.startswith(".") for part in parts))


def faults(record: Record) -> list[str]:
    """What a program forgot: a file that got its name before it was durable, or something that it reported and that a
    crash would have taken."""
    disk, found = record.disk(), []
    replay = Replay(disk)
    for call in record.calls:
        names = renamed(call)
        if names is not None and disk.is_unsynced(names[0]) and is_promised(str(names[1].relative_to(record.root))):
            found.append(f"{names[1]} gets its name before its content is durable")
        if said := record.said(call):
            lacking = {path: what for path, what in disk.lacking().items() if is_promised(path)}
            found += [f"{path} is not safe when {said[:60]!r} is said: {what}" for path, what in lacking.items()]
        replay.apply(call)
    return found


@dataclass(frozen=True, slots=True)
class Outcome:
    """A disk after a crash.

    Args:
        about: What was lost, for a person.
        tree: What is there.
        is_reported: Whether the command had said that it is done.
    """

    about: str
    tree: Tree
    is_reported: bool


def crashes(replay: Replay, call: SystemCall, *, is_told: bool) -> Iterator[Loss]:
    """Around a call, which is applied meanwhile: what it settles or reports is looked at change by change."""
    if is_told or call.name in ("fsync", "fdatasync"):
        yield from replay.disk.losses(in_detail=True)
    if replay.apply(call):
        yield from replay.disk.losses(in_detail=False)


def outcomes(record: Record, most: int | None) -> Iterator[tuple[Tree, Tree, list[Outcome]]]:
    """For each step what was there before and after it, and what different crashes in it leave.

    Args:
        most: How many crashes of a step are looked at, chosen by chance; None is all.
    """
    disk, chance = record.disk(), random.Random(_SEED)
    replay = Replay(disk)
    before, is_reported, met = disk.live(), False, 0
    found: dict[object, Outcome] = {}
    for call in record.calls:
        said = record.said(call)
        is_reported = is_reported or bool(said)
        for loss in crashes(replay, call, is_told=bool(said)):
            met += 1
            if most is not None and chance.random() >= most / met:
                continue
            tree = disk.after(loss)
            content = frozenset((path, one) for path, one in tree.items() if not _UNPROMISED & set(path.split("/")))
            found.setdefault((content, is_reported), Outcome(loss.about, tree, is_reported))
        if said.startswith(DONE):
            chosen = list(found.values())
            yield before, disk.live(), chosen if most is None else chance.sample(chosen, min(most, len(chosen)))
            before, is_reported, met, found = disk.live(), False, 0, {}


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Path]:
    """Where states are written: in memory, where syncs of the product cost nothing, else on the disk."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path, prefix="uc-") as folder:
        yield Path(folder) / "disk"


def seen(step: Step, tree: Tree, scratch: Path) -> tuple[Any, ...] | str:
    """What the product sees of a step on a disk; a text where it finds something half."""
    shutil.rmtree(scratch, ignore_errors=True)
    write_tree(tree, scratch)
    try:
        return step.look(scratch)
    except (UndercroftError, AssertionError, OSError, sqlite3.DatabaseError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Everything that `STEPS` name, done once and recorded."""
    root = tmp_path_factory.mktemp("crash") / "disk"
    (root / "in").mkdir(parents=True)
    write_chat_model(root / "in" / "tiny.gguf", licence="apache-2.0")
    (root / "in" / "sign.key").write_text(KEY.private_bytes_raw().hex(), encoding="ascii")
    past_home(OLD_SCHEMA, root / "old")
    return record(root, "-m", "tests.support.crash_steps", root)


def test_the_model_is_what_the_disk_is(life: Record) -> None:
    """After all calls the model holds the same files with the same bytes as the real disk: it has missed nothing."""
    disk = life.disk()
    replay = Replay(disk)
    for call in life.calls:
        replay.apply(call)
    modelled, real = disk.live(), tree_of(life.root)
    assert sorted(modelled) == sorted(real)
    assert [path for path in real if modelled[path] != real[path]] == []


def test_what_is_reported_is_durable(life: Record) -> None:
    """In every command files are synced before they get their names, and names before it says that it is done."""
    assert faults(life) == []


@pytest.mark.long
def test_no_crash_leaves_half(life: Record, scratch: Path, is_full: bool) -> None:
    """Whatever of the unsynced writes and names survives at any moment of a command: the product opens it, all of the
    command has happened or nothing, and all of it once it was reported."""
    problems, count = [], 0
    for step, (before, after, found) in zip(STEPS, outcomes(life, None if is_full else _MOST_OF_A_STEP), strict=True):
        old, new = (seen(step, tree, scratch) for tree in (before, after))
        assert isinstance(old, tuple), old
        assert isinstance(new, tuple), new
        assert old != new, f"{step.name} changes nothing"
        allowed = [(*new[:parts], *old[parts:]) for parts in range(len(new) + 1)]
        for outcome in found:
            count += 1
            result = seen(step, outcome.tree, scratch)
            if result not in (allowed[-1:] if outcome.is_reported else allowed):
                problems.append(f"{step.name}, reported: {outcome.is_reported}, {outcome.about}: {result}")
        print(f"{step.name}: {len(found)} states")
    assert problems == []
    assert count > len(STEPS)


_WRITES = """
import os, sys
folder = sys.argv[1]
for content in (b"old", b"new"):
    descriptor = os.open(f"{folder}/.kept", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, content)
    FILE
    os.close(descriptor)
    os.rename(f"{folder}/.kept", f"{folder}/kept")
    NAMES
    os.write(1, b"done: " + content)
"""
_FILE = "os.fsync(descriptor)"
_NAMES = "names = os.open(folder, os.O_RDONLY); os.fsync(names); os.close(names)"


@pytest.mark.parametrize(
    ("file", "names", "forgotten", "after_report"),
    [
        (_FILE, _NAMES, set(), {b"new"}),
        ("pass", _NAMES, {"gets its name before", "its content is not durable"}, {b"new", b"n", b""}),
        (_FILE, "pass", {"its name is not durable"}, {b"new", b"old", None}),
    ],
    ids=["nothing", "of the file", "of the folder"],
)
def test_a_forgotten_fsync_is_found(
    tmp_path: Path, file: str, names: str, forgotten: set[str], after_report: set[bytes | None]
) -> None:
    """A program writes a file beside its place, syncs it, renames it, syncs the folder and says so: where it forgets
    one of the two, it is told which, and there are crashes that leave the old file, half a new one, or none."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "program.py").write_text(_WRITES.replace("FILE", file).replace("NAMES", names), encoding="utf-8")
    found = record(tmp_path / "disk", tmp_path / "program.py", tmp_path / "disk")
    told = faults(found)
    assert {kind for kind in forgotten if any(kind in one for one in told)} == forgotten
    assert bool(told) == bool(forgotten)
    *_, (_, _, last) = outcomes(found, None)
    assert {one.tree.get("kept") for one in last if one.is_reported} == after_report
