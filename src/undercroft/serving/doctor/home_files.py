"""The home's files: whose they are, and who else may read them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from undercroft.core.settings import Settings, is_secret_file, setting_names
from undercroft.serving.doctor.findings import Check, Verdict, fail, fine, warn
from undercroft.serving.doctor.scene import Scene

_LOOKED_AT = 5000
_OTHERS = 0o077
_WRITABLE = 0o022
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder.

    Args:
        path: Where.
        uid: Its owner.
        mode: As the file system keeps it, type and permissions.
    """

    path: str
    uid: int
    mode: int


def judge_home(root: Entry | None, above: Sequence[Entry]) -> list[Verdict]:
    """Whether other users can look into the home, or put another one in its place.

    Args:
        root: The home; None where there is none yet.
        above: The folders above it, up to the top.
    """
    if root is None:
        return [fine("none yet; undercroft up makes it, readable by its owner only")]
    verdicts = []
    if root.mode & _OTHERS:
        can = "change" if root.mode & _WRITABLE else "look into"
        saw = f"other users can {can} {root.path} (mode {stat.S_IMODE(root.mode):o})"
        verdicts.append((fail if root.mode & stat.S_IWOTH else warn)(saw, f"chmod 700 {root.path}"))
    open_above = [e for e in above if e.mode & stat.S_IWOTH and not e.mode & stat.S_ISVTX]
    if open_above:
        why = "Anybody may rename the home and put another one in its place."
        place = open_above[0].path
        verdicts.append(warn(f"everybody may write to {place}, in which the home lies", f"chmod o-w {place}", why=why))
    return verdicts or [fine(f"{root.path} is its owner's only")]


def judge_owners(entries: Sequence[Entry], uid: int, root: str) -> list[Verdict]:
    """Whether everything in the home belongs to who uses it, and can be used.

    Args:
        entries: Of the home.
        uid: Of this process.
        root: The home.
    """
    foreign = [entry for entry in entries if entry.uid != uid]
    verdicts = []
    if foreign:
        saw = f"{_named(foreign)} of another user (this one is {uid}, it belongs to {foreign[0].uid})"
        verdicts.append(fail(saw, f"sudo chown -R {uid} {root}"))
    locked = [e for e in entries if e.uid == uid and stat.S_ISDIR(e.mode) and e.mode & 0o700 != 0o700]
    if locked:
        saw = f"{_named(locked)} closed to its own owner"
        verdicts.append(fail(saw, f"chmod u+rwx {locked[0].path}"))
    return verdicts or [fine("everything in the home belongs to this user")]


def judge_secrets(secrets: Sequence[tuple[str, Entry | None, str]]) -> list[Verdict]:
    """Whether files with secrets are there and readable by their owner only.

    Args:
        secrets: Setting, the file (None: it is not there or cannot be looked at), its path.
    """
    verdicts = []
    for setting, entry, path in secrets:
        if entry is None:
            saw = f"{setting} is {path}, which cannot be found"
            why = "What needs it fails when it is first used."
            verdicts.append(fail(saw, f"undercroft config show; correct {setting}", why=why))
        elif entry.mode & _OTHERS:
            saw = f"other users can read {path} ({setting}, mode {stat.S_IMODE(entry.mode):o})"
            verdicts.append(warn(saw, f"chmod 600 {path}"))
    return verdicts or [fine("files with secrets are their owner's only")]


def _named(entries: Sequence[Entry]) -> str:
    shown = ", ".join(entry.path for entry in entries[:_LISTED])
    rest = f" and {len(entries) - _LISTED} more" if len(entries) > _LISTED else ""
    return f"{shown}{rest} {'is' if len(entries) == 1 else 'are'}"


def look_at(path: Path) -> Entry | None:
    """A file or folder; None where it cannot be looked at."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Entry(str(path), status.st_uid, status.st_mode)


def walk_home(root: Path) -> Iterator[Entry]:
    """Everything in the home, links not followed; stored files may be links to a user's own and keep their owner."""
    for folder, folders, files in os.walk(root):
        if Path(folder) == root / "blobs":
            folders[:] = [name for name in folders if name != "sha256"]
        for name in (*folders, *files):
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            yield Entry(str(path), status.st_uid, status.st_mode)


def find_secrets(settings: Settings) -> list[tuple[str, Entry | None, str]]:
    """The files with secrets that the settings name."""
    named = {
        name: getattr(getattr(settings, section), key)
        for name in setting_names()
        for section, _, key in [name.partition(".")]
        if is_secret_file(key)
    }
    return [(setting, look_at(path), str(path)) for setting, path in named.items() if path is not None]


def _look_at_home(scene: Scene) -> list[Verdict]:
    root = scene.home.root
    above = [entry for path in root.parents if (entry := look_at(path)) is not None]
    return judge_home(look_at(root), above)


def _look_at_owners(scene: Scene) -> list[Verdict]:
    root = scene.home.root
    own = look_at(root)
    entries = [*([own] if own else []), *islice(walk_home(root), _LOOKED_AT)]
    return judge_owners(entries, os.geteuid(), str(root))


CHECKS = (
    Check(
        "home",
        "who else may read or change the home, or the folders above it",
        "Others on this machine can read logs and digests of keys, or copy the database and the models.",
        _look_at_home,
    ),
    Check(
        "ownership",
        "owner and permissions of what is in the home",
        "Commands fail in the middle, often after a first start with sudo.",
        _look_at_owners,
    ),
    Check(
        "secret files",
        "files that settings name for secrets: there, and readable by their owner only",
        "Whoever reads the file has the key or the token.",
        lambda scene: judge_secrets(find_secrets(scene.settings)),
    ),
)
