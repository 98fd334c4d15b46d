"""A disk as a crash may leave it: what was not made durable may be lost, torn, or overtake what came before it.

The model is that of ALICE (Pillai et al., OSDI 2014) at its most hostile, and keeps what every file system keeps:

    fsync of a file      its content is durable; its name is not
    fsync of a folder    the names in it are durable, and renames into and out of it; what they name is not
    write                may be lost, torn to its beginning, or durable without any that came before
    name given, removed  may be lost or durable, each by itself; a rename is one step
    memory map           not seen: what SQLite keeps in one (``-shm``) it makes anew after a crash
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.system_calls import SystemCall

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
    """

    def __init__(self, root: Path, start: Tree) -> None:
        self.root = root
        self._files: dict[int, _File] = {}
        self._folders: set[int] = {_ROOT}
        self._live: dict[tuple[int, str], int] = {}
        self._durable: dict[tuple[int, str], tuple[int, int | None]] = {}
        self._pending: list[NameChange] = []
        self._positions: dict[Path, int] = {}
        self._nodes = _ROOT
        self._changes = 0
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

    # What calls do

    def apply(self, call: SystemCall) -> bool:
        """Does what a system call did; whether that has changed anything that a crash may take."""
        before = self._changes
        match call.name:
            case "open" | "openat" | "creat":
                self._open(call)
            case "lseek":
                if (file := self._file(call.path(0))) is not None:
                    file.position = call.result
            case "write" | "writev":
                self._write(call.path(0), call.content(1), None)
            case "pwrite64" | "pwritev" | "pwritev2":
                self._write(call.path(0), call.content(1), int(call.arguments[3]))
            case "copy_file_range" | "sendfile" | "ioctl":
                self._copy(call)
            case "ftruncate" | "truncate":
                self._change_length(call.path(0), int(call.arguments[1]))
            case "fallocate":
                end = int(call.arguments[2]) + int(call.arguments[3])
                if call.arguments[1] == "0" and (file := self._file(call.path(0))) is not None:
                    self._change_length(call.path(0), max(end, len(file.live)))
            case "fsync" | "fdatasync":
                if (node := self._node(call.path(0))) is not None:
                    self._sync_node(node)
            case "syncfs" | "sync":
                for node in [*self._files, *self._folders]:
                    self._sync_node(node)
            case _:
                self._name(call)
        return self._changes != before

    def _open(self, call: SystemCall) -> None:
        at = 1 if call.name == "openat" else 0
        flags = "O_CREAT|O_TRUNC" if call.name == "creat" else call.arguments[at + 1]
        path = call.opened or call.path(at)
        place = self._place(path)
        if place is None or "O_TMPFILE" in flags:
            if path is not None:
                self._positions[path] = 0
            return
        node = self._live.get(place)
        if node is None and "O_CREAT" in flags:
            node = self._new_node(b"")
            self._rename({place: node}, f"{path} is made")
        file = self._files.get(node) if node is not None else None
        if file is not None:
            if "O_TRUNC" in flags and file.live:
                self._change_length(path, 0)
            file.position = -1 if "O_APPEND" in flags else 0

    def _write(self, path: Path | None, content: bytes, offset: int | None) -> None:
        file = self._file(path)
        if file is None:
            return
        if offset is None:
            offset = len(file.live) if file.position < 0 else file.position
            file.position = file.position if file.position < 0 else offset + len(content)
        self._change(file, offset, content)

    def _change_length(self, path: Path | None, size_bytes: int) -> None:
        file = self._file(path)
        if file is not None and len(file.live) != size_bytes:
            self._change(file, size_bytes, None)

    def _change(self, file: _File, offset: int, content: bytes | None) -> None:
        self._changes += 1
        change = DataChange(self._changes, offset, content)
        file.pending.append(change)
        file.live = change.applied(file.live)

    def _copy(self, call: SystemCall) -> None:
        """Bytes that go from one file into another inside the kernel."""
        if call.name == "ioctl":
            if "FICLONE" in call.arguments[1]:
                source = call.path(2)
                assert source is not None
                self._write(call.path(0), self._content(source), 0)
            return
        read, write = (0, 2) if call.name == "copy_file_range" else (1, 0)
        source = call.path(read)
        if source is None:
            return
        begin = self._positions.get(source, 0)
        self._positions[source] = begin + call.result
        self._write(call.path(write), self._content(source)[begin : begin + call.result], None)

    def _content(self, path: Path) -> bytes:
        file = self._file(path)
        return path.read_bytes() if file is None else file.live

    def _name(self, call: SystemCall) -> None:
        match call.name:
            case "rename" | "link":
                self._move(call.path(0), call.path(1), is_link=call.name == "link")
            case "renameat" | "renameat2" | "linkat":
                self._move(call.path_at(0, 1), call.path_at(2, 3), is_link=call.name == "linkat")
            case "mkdir" | "mkdirat":
                path = call.path(0) if call.name == "mkdir" else call.path_at(0, 1)
                if (place := self._place(path)) is not None:
                    self._rename({place: self._new_node(None)}, f"{path} is made")
            case "unlink" | "rmdir" | "unlinkat":
                path = call.path_at(0, 1) if call.name == "unlinkat" else call.path(0)
                if (place := self._place(path)) is not None:
                    self._rename({place: None}, f"{path} is removed")
            case _:
                raise AssertionError(f"the model does not know {call}")

    def _move(self, old: Path | None, new: Path | None, *, is_link: bool) -> None:
        source, target = self._place(old), self._place(new)
        if source is None and target is None:
            return
        if target is None or (source is None and not is_link):
            raise AssertionError(f"{old} → {new}: a rename across the edge of the disk is not known")
        node = self._live[source] if source is not None else self._brought(old)
        if is_link or self._live.get(target) == node:
            self._rename({target: node}, f"{new} is linked to {old}")
        else:
            assert source is not None
            self._rename({source: None, target: node}, f"{old} becomes {new}")

    def _brought(self, path: Path | None) -> int:
        assert path is not None
        return self._new_node(path.read_bytes())

    def _rename(self, names: dict[tuple[int, str], int | None], about: str) -> None:
        self._changes += 1
        self._pending.append(NameChange(self._changes, names, about.replace(f"{self.root}/", "")))
        for place, node in names.items():
            if node is None:
                del self._live[place]
            else:
                self._live[place] = node

    def _sync_node(self, node: int) -> None:
        if node in self._files:
            file = self._files[node]
            file.durable, file.pending = file.live, []
            return
        for change in self._pending:
            if any(folder == node for folder, _ in change.names):
                for place, target in change.names.items():
                    if self._durable.get(place, (0, None))[0] < change.number:
                        self._durable[place] = (change.number, target)
        self._pending = [one for one in self._pending if not any(folder == node for folder, _ in one.names)]

    # What can be seen

    def live(self) -> Tree:
        """As programs see it."""
        return self._tree(self._live, lambda node: self._files[node].live)

    def after(self, loss: Loss) -> Tree:
        """As it is after a crash."""
        chosen: dict[tuple[int, str], tuple[int, int | None]] = dict(self._durable)
        for change in self._pending:
            if change.number not in loss.names:
                for place, node in change.names.items():
                    if chosen.get(place, (0, None))[0] < change.number:
                        chosen[place] = (change.number, node)

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

    def _tree(self, names: Mapping[tuple[int, str], int], content: object) -> Tree:
        assert callable(content)
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
                if in_detail or number == self._changes:
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

    def unsynced_source(self, call: SystemCall) -> str | None:
        """The file that a call gives a name to although its content is not durable; None where all is well.

        Args:
            call: Not applied yet.
        """
        match call.name:
            case "rename" | "link":
                old, new = call.path(0), call.path(1)
            case "renameat" | "renameat2" | "linkat":
                old, new = call.path_at(0, 1), call.path_at(2, 3)
            case _:
                return None
        file = self._file(old)
        return str(new) if file is not None and file.pending and self._place(new) is not None else None


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
