"""A disk as a crash may leave it: what was not made durable may be lost, torn, or overtake what came before it.

The model is that of ALICE (Pillai et al., OSDI 2014) at its most hostile, and keeps what every file system keeps:

    fsync of a file      its content is durable; its name is not
    fsync of a folder    the names in it are durable, and renames into and out of it; what they name is not
    write                may be lost, torn to its beginning, or durable without any that came before
    name given, removed  may be lost or durable, each by itself; a rename is one step
    memory map           not seen: what SQLite keeps in one (``-shm``) it makes anew after a crash
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path

# Path relative to the disk's root → content; None is a folder.
Tree = Mapping[str, bytes | None]
_ROOT = 0
_MAPPED = "-shm"


@dataclass(frozen=True, slots=True)
class DataChange:
    """A write, or another length.

    Args:
        number: Changes of a disk are counted from 1.
        offset: Where it begins, or the new length; bytes.
        content: What is written; None where the length is changed.
    """

    number: int
    offset: int
    content: bytes | None

    def applied(self, before: bytes, *, torn: bool = False) -> bytes:
        """The content after it.

        Args:
            before: The content before it.
            torn: Whether only its first half reaches the disk.
        """
        begin = before[: self.offset] + bytes(max(0, self.offset - len(before)))
        if self.content is None:
            return begin
        content = self.content[: len(self.content) // 2] if torn else self.content
        return begin + content + before[self.offset + len(content) :]


@dataclass(frozen=True, slots=True)
class NameChange:
    """Names that are given or taken away in one step.

    Args:
        number: Changes of a disk are counted from 1.
        names: Folder and name → file or folder; None where the name is taken away.
        about: For a person.
    """

    number: int
    names: Mapping[tuple[int, str], int | None]
    about: str


@dataclass(slots=True)
class _File:
    """A file.

    Args:
        durable: Its content as it was made durable last.
        live: Its content as programs see it.
        pending: What makes the one the other.
        position: Of the descriptor that was opened last; bytes.
    """

    durable: bytes = b""
    live: bytes = b""
    pending: list[DataChange] = field(default_factory=list)
    position: int = 0


@dataclass(frozen=True, slots=True)
class Loss:
    """What does not survive a crash in one of its outcomes.

    Args:
        names: Numbers of name changes that are lost.
        data: Numbers of data changes that are lost.
        torn: The data change of which only half survives; 0 for none.
        about: For a person.
    """

    names: frozenset[int]
    data: frozenset[int]
    torn: int
    about: str


class Disk:
    """Files and folders below a root, live and durable.

    Args:
        root: Where they lie.
        start: What is there, durable.

    Attributes:
        changes: That it has seen; count.
    """

    def __init__(self, root: Path, start: Tree) -> None:
        self.root = root
        self._files: dict[int, _File] = {}
        self._folders: set[int] = {_ROOT}
        self._live: dict[tuple[int, str], int] = {}
        self._durable: dict[tuple[int, str], tuple[int, int | None]] = {}
        self._pending: list[NameChange] = []
        self._nodes = _ROOT
        self.changes = 0
        for path in sorted(start):
            node = self._new_node(start[path])
            place = self._place(root / path)
            assert place is not None
            self._live[place] = node
            self._durable[place] = (0, node)

    def _new_node(self, content: bytes | None) -> int:
        self._nodes += 1
        if content is None:
            self._folders.add(self._nodes)
        else:
            self._files[self._nodes] = _File(content, content)
        return self._nodes

    def _place(self, path: Path | None) -> tuple[int, str] | None:
        """Folder and name of a path; None where it is not on this disk."""
        if path is None or not path.is_relative_to(self.root) or path == self.root:
            return None
        folder = _ROOT
        *above, name = path.relative_to(self.root).parts
        for part in above:
            folder = self._live[folder, part]
        return folder, name

    def _node(self, path: Path | None) -> int | None:
        if path == self.root:
            return _ROOT
        place = self._place(path)
        return None if place is None else self._live.get(place)

    def _file(self, path: Path | None) -> _File | None:
        node = self._node(path)
        return None if node is None else self._files.get(node)

    # What programs do

    def position(self, path: Path | None) -> int | None:
        """Where the next write without an offset goes; None where the path is no file of this disk."""
        file = self._file(path)
        return None if file is None else len(file.live) if file.position < 0 else file.position

    def seek(self, path: Path | None, position: int) -> None:
        """The next write goes there; below 0 each goes to the end."""
        if (file := self._file(path)) is not None:
            file.position = position

    def content(self, path: Path) -> bytes:
        """Of a file here, or of one of the real disk that lies elsewhere."""
        file = self._file(path)
        return path.read_bytes() if file is None else file.live

    def open(self, path: Path, *, is_made: bool, is_emptied: bool) -> None:
        """Makes a file where there is none, or empties it."""
        place = self._place(path)
        if place is not None and place not in self._live and is_made:
            self._rename({place: self._new_node(b"")}, f"{path} is made")
        if is_emptied:
            self.resize(path, 0)

    def write(self, path: Path | None, content: bytes, offset: int | None = None) -> None:
        """Writes where the last write without an offset ended, or at an offset."""
        file, end = self._file(path), self.position(path)
        if file is None or end is None:
            return
        self._change(file, end if offset is None else offset, content)
        if offset is None and file.position >= 0:
            file.position += len(content)

    def resize(self, path: Path | None, size_bytes: int, *, is_least: bool = False) -> None:
        """Gives a file another length, or at least that length."""
        file = self._file(path)
        if file is not None and (len(file.live) < size_bytes if is_least else len(file.live) != size_bytes):
            self._change(file, size_bytes, None)

    def make_folder(self, path: Path | None) -> None:
        """Makes a folder."""
        if (place := self._place(path)) is not None:
            self._rename({place: self._new_node(None)}, f"{path} is made")

    def remove(self, path: Path | None) -> None:
        """Takes a name away."""
        if (place := self._place(path)) is not None:
            self._rename({place: None}, f"{path} is removed")

    def rename(self, old: Path, new: Path, *, is_link: bool) -> None:
        """Gives a file another name, or one more. A file from elsewhere that is linked here is durable."""
        source, target = self._place(old), self._place(new)
        if source is None and target is None:
            return
        if target is None or (source is None and not is_link):
            raise AssertionError(f"{old} → {new}: a rename across the edge of the disk is not known")
        node = self._new_node(old.read_bytes()) if source is None else self._live[source]
        # A rename does nothing where both names are the same file's.
        if source is None or is_link or self._live.get(target) == node:
            self._rename({target: node}, f"{new} is linked to {old}")
        else:
            self._rename({source: None, target: node}, f"{old} becomes {new}")

    def sync(self, path: Path | None) -> None:
        """Makes a file's content durable, or the names in a folder."""
        node = self._node(path)
        if node in self._files:
            file = self._files[node]
            file.durable, file.pending = file.live, []
        elif node is not None:
            settled = [change for change in self._pending if any(folder == node for folder, _ in change.names)]
            self._pending = [change for change in self._pending if change not in settled]
            for change in settled:
                _settle(self._durable, change)

    def _change(self, file: _File, offset: int, content: bytes | None) -> None:
        self.changes += 1
        change = DataChange(self.changes, offset, content)
        file.pending.append(change)
        file.live = change.applied(file.live)

    def _rename(self, names: dict[tuple[int, str], int | None], about: str) -> None:
        self.changes += 1
        self._pending.append(NameChange(self.changes, names, about.replace(f"{self.root}/", "")))
        for place, node in names.items():
            if node is None:
                del self._live[place]
            else:
                self._live[place] = node

    # What can be seen

    def live(self) -> Tree:
        """As programs see it."""
        return self._tree(self._live, lambda node: self._files[node].live)

    def after(self, loss: Loss) -> Tree:
        """As it is after a crash."""
        chosen = dict(self._durable)
        for change in self._pending:
            if change.number not in loss.names:
                _settle(chosen, change)

        def content(node: int) -> bytes:
            file = self._files[node]
            if all(change.number not in loss.data and change.number != loss.torn for change in file.pending):
                return file.live
            kept = file.durable
            for change in file.pending:
                if change.number not in loss.data:
                    kept = change.applied(kept, torn=change.number == loss.torn)
            return kept

        return self._tree({place: node for place, (_, node) in chosen.items() if node is not None}, content)

    def _tree(self, names: Mapping[tuple[int, str], int], content: Callable[[int], bytes]) -> Tree:
        below: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), node in names.items():
            below.setdefault(folder, []).append((name, node))
        tree: dict[str, bytes | None] = {}
        waiting = [("", _ROOT)]
        while waiting:
            above, folder = waiting.pop()
            for name, node in below.get(folder, ()):
                path = above + name
                if node in self._folders:
                    tree[path] = None
                    waiting.append((f"{path}/", node))
                elif not name.endswith(_MAPPED):
                    tree[path] = content(node)
        return tree

    def losses(self, *, in_detail: bool) -> Iterator[Loss]:
        """Outcomes of a crash at this moment.

        Args:
            in_detail: Whether each pending change is looked at, or the last one alone.
        """
        names = [change.number for change in self._pending]
        writes = {node: [c.number for c in file.pending] for node, file in self._files.items() if file.pending}
        data = [number for numbers in writes.values() for number in numbers]
        yield _loss((), (), "nothing is lost")
        yield _loss(names, data, "everything that is not durable is lost")
        yield _loss((), data, "contents are lost, names are not")
        yield _loss(names, (), "names are lost, contents are not")
        for change in self._pending if in_detail else self._pending[-1:]:
            number = change.number
            yield _loss([number], (), f"lost alone: {change.about}")
            yield _loss(set(names) - {number}, (), f"durable alone: {change.about}")
            yield _loss(set(names) - {number}, data, f"durable alone, without contents: {change.about}")
        for node, numbers in writes.items():
            about = self._name_of(node)
            yield _loss((), numbers, f"the content of {about} is lost")
            yield _loss((), set(data) - set(numbers), f"the content of {about} is durable alone")
            for place, number in enumerate(numbers):
                if in_detail or number == self.changes:
                    yield _loss((), (), f"write {place + 1} to {about} is torn", number)
                    yield _loss((), [number], f"write {place + 1} of {len(numbers)} to {about} is lost")
                    yield _loss((), numbers[place:], f"writes from {place + 1} of {len(numbers)} to {about} are lost")

    def _name_of(self, node: int) -> str:
        return next((name for (_, name), found in self._live.items() if found == node), "a removed file")

    def lacking(self) -> dict[str, str]:
        """Path → what of it a crash would take now: its name, and all below it, or its content.

        Names that were taken away and would come back are not in it.
        """
        everything = frozenset(change.number for change in self._pending)
        data = frozenset(c.number for file in self._files.values() for c in file.pending)
        durable, live = self.after(Loss(everything, data, 0, "")), self.live()
        missing = {
            path: "its name is not durable"
            for path in live
            if path not in durable and (path.rpartition("/")[0] or path) in {*durable, path}
        }
        other = {path: "its content is not durable" for path in live if path in durable and live[path] != durable[path]}
        return {**missing, **other}

    def is_unsynced(self, path: Path) -> bool:
        """Whether a file of this disk has content that is not durable."""
        file = self._file(path)
        return file is not None and bool(file.pending)


def _settle(durable: MutableMapping[tuple[int, str], tuple[int, int | None]], change: NameChange) -> None:
    """Of two changes of a name the later one counts, whichever is settled first."""
    for place, node in change.names.items():
        if durable.get(place, (0, None))[0] < change.number:
            durable[place] = (change.number, node)


def _loss(names: Iterable[int], data: Iterable[int], about: str, torn: int = 0) -> Loss:
    return Loss(frozenset(names), frozenset(data), torn, about)


def write_tree(tree: Tree, folder: Path) -> None:
    """Makes files and folders as a tree says.

    Args:
        folder: Does not exist.
    """
    folder.mkdir(mode=0o700)
    for path in sorted(tree):
        content = tree[path]
        if content is None:
            (folder / path).mkdir(mode=0o700)
        else:
            (folder / path).write_bytes(content)


def tree_of(folder: Path) -> Tree:
    """Files and folders as they lie on a real disk."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if not path.name.endswith(_MAPPED)
    }
