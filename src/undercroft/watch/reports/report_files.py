"""The health report of a probe, ``reports/NAME.csv``: lines are added whole or not at all, whoever dies in between.

A line is first kept beside the file with the place where it belongs (``.NAME.csv.pending``), then added, then the note
is removed. Whoever adds next finishes what a killed process left: half a line is cut off and written whole.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

from undercroft.core.errors import ConflictError, NotFoundError, UnavailableError
from undercroft.core.files import sync_folder, write_atomically
from undercroft.core.home import Home
from undercroft.core.ids import check_name
from undercroft.core.spreadsheets import BYTE_ORDER_MARK
from undercroft.watch.reports.report_rows import Row, header_line, read_rows

_HEADER_LIMIT_BYTES = 8192
_POLL_SECONDS = 0.3


def report_file(home: Home, probe: str) -> Path:
    """Where the report of a probe lies, whether it is there or not."""
    return home.reports / f"{check_name(probe, what='probe')}.csv"


def append_line(path: Path, line: str) -> None:
    """Adds a line, with the header before the first one. Safe beside other processes that add, too.

    Args:
        path: Of the report; its folder is there.
        line: With its end.

    Raises:
        ConflictError: ``report-columns-differ``: the file's first line is not today's header.
        UnavailableError: ``cannot-write``: the disk is full, or the file may not be written.
    """
    try:
        with _locked(path) as descriptor:
            _finish_pending(path, descriptor)
            size = os.fstat(descriptor).st_size
            content = line.encode("utf-8", "replace")
            if size == 0:
                content = (BYTE_ORDER_MARK + header_line()).encode() + content
            else:
                _check_header(path, descriptor)
                if os.pread(descriptor, 1, size - 1) != b"\n":
                    content = b"\r\n" + content  # an editor left the last line without its end
            _write_pending(path, size, content)
            _finish_pending(path, descriptor)
    except OSError as error:
        raise UnavailableError(
            "cannot-write",
            f"cannot write {path}: {error.strerror or error}",
            hint="look at the disk: undercroft doctor",
        ) from error


def read_report(path: Path) -> str:
    """The whole report.

    Raises:
        NotFoundError: ``no-report``: nothing was asked yet.
        UnavailableError: ``report-unreadable``.
    """
    try:
        with _locked(path, is_new_one_made=False) as descriptor:
            _finish_pending(path, descriptor)
            os.lseek(descriptor, 0, os.SEEK_SET)
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read().decode("utf-8-sig", "replace")
    except FileNotFoundError:
        raise NotFoundError(
            "no-report", f"there is no report {path} yet", hint=f"undercroft probe run {path.stem}"
        ) from None
    except OSError as error:
        raise UnavailableError("report-unreadable", f"cannot read {path}: {error.strerror or error}") from error


def added_rows(path: Path) -> Iterator[Row]:
    """Rows from now on, as they are added; without an end.

    Args:
        path: Of the report, which need not be there yet.

    Raises:
        UnavailableError: ``report-unreadable``.
    """
    shown, size = None, -1
    while True:
        found = path.stat().st_size if path.exists() else 0
        if found != size:
            rows = read_rows(read_report(path))[0] if found else []
            if shown is not None:
                yield from rows[shown:]
            shown, size = len(rows), found
        time.sleep(_POLL_SECONDS)


@contextlib.contextmanager
def _locked(path: Path, *, is_new_one_made: bool = True) -> Iterator[int]:
    flags = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | (os.O_CREAT if is_new_one_made else 0)
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # An editor that saves puts a new file in the place of the one that was waited for.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    yield descriptor
                    return
        finally:
            os.close(descriptor)


def _pending_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.pending")


def _write_pending(path: Path, offset: int, content: bytes) -> None:
    note = json.dumps({"offset": offset, "content": content.decode("utf-8")}).encode()
    write_atomically(_pending_file(path), note)


def _finish_pending(path: Path, descriptor: int) -> None:
    """Writes what a note says, where the file is as the note knew it; else adds it unless it is there."""
    pending = _pending_file(path)
    try:
        note = json.loads(pending.read_bytes())
    except FileNotFoundError:
        return
    offset, content = int(note["offset"]), str(note["content"]).encode("utf-8")
    size = os.fstat(descriptor).st_size
    written = os.pread(descriptor, len(content), offset) if size >= offset else b""
    if size < offset or not content.startswith(written) or size > offset + len(content):
        # Somebody has edited the file since: their work stays, and the line goes behind it.
        whole = os.pread(descriptor, size, 0)
        offset = size
        written = content if content.strip(b"\r\n") in whole else b""
        if not written and not whole.endswith(b"\n"):
            content = b"\r\n" + content
    if written != content:
        os.ftruncate(descriptor, offset)
        view = memoryview(content)
        while view:
            count = os.pwrite(descriptor, view, offset)
            view, offset = view[count:], offset + count
    os.fsync(descriptor)
    sync_folder(path.parent)
    pending.unlink(missing_ok=True)


def _check_header(path: Path, descriptor: int) -> None:
    first = os.pread(descriptor, _HEADER_LIMIT_BYTES, 0).split(b"\n", 1)[0].decode("utf-8-sig", "replace")
    if first.strip("\r") != header_line().strip("\r\n"):
        raise ConflictError(
            "report-columns-differ",
            f"the first line of {path} is not the header that this Undercroft writes; was it saved by a spreadsheet?",
            hint=f"mv {path} {path.with_suffix('.old.csv')}; the next run begins a new one",
        )
