"""`undercroft chat` on a terminal: line editing, its own words, Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Iterator

import pytest

from tests.support.server import COMMAND, Server

_PATIENCE_SECONDS = 60.0
_UP = "\x1b[A"


class Terminal:
    """A terminal of 80 columns with a command in it.

    Args:
        server: Whose home the command works on.
        words: The command.
    """

    def __init__(self, server: Server, *words: str) -> None:
        self._own, theirs = pty.openpty()
        self._unread = b""
        self.process = subprocess.Popen(
            [COMMAND, *words],
            env={**server.environment, "TERM": "xterm", "LC_ALL": "C.UTF-8"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def type(self, text: str) -> None:
        """Presses keys."""
        os.write(self._own, text.encode())

    def read_until(self, text: str) -> str:
        """What is written until ``text`` was; what follows it is for the next call."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while text.encode() not in self._unread:
            ready, _, _ = select.select([self._own], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, self._unread
            self._unread += os.read(self._own, 65536)
        found, end, self._unread = self._unread.partition(text.encode())
        return (found + end).decode()

    def read_for(self, seconds: float) -> str:
        """What is written until nothing more comes for so long."""
        while select.select([self._own], [], [], seconds)[0]:
            try:
                self._unread += os.read(self._own, 65536)
            except OSError:  # the command has ended and closed its side
                break
        found, self._unread = self._unread, b""
        return found.decode()

    def close(self) -> None:
        """Ends the command."""
        self.process.kill()
        self.process.wait(10)
        os.close(self._own)


def _take_terminal() -> None:
    """Makes standard input the terminal that Ctrl-C comes from; whoever started the tests may have ignored it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@pytest.fixture
def chat(server: Server) -> Iterator[Terminal]:
    """A conversation at its first prompt."""
    made = Terminal(server, "chat")
    try:
        made.read_until("> ")
        yield made
    finally:
        made.close()


def test_lines_are_edited_and_asked_again(chat: Terminal) -> None:
    """The arrow up brings the last message back."""
    chat.type("Where is my order AB-12345?\r")
    assert "AB-12345" in chat.read_until("}\r\n")
    chat.read_until("> ")
    chat.type(_UP)
    chat.read_until("Where is my order AB-12345?")
    chat.type("\r")
    chat.read_until("}\r\n")


def test_its_own_words_are_answered(chat: Terminal) -> None:
    """/new says that it forgot; a word that is none of its own is not sent to the model."""
    chat.type("/new\r")
    chat.read_until("Forgotten.")
    chat.type("/help\r")
    chat.read_until("There is no /help; /new forgets, an empty line ends.")
    chat.type("\r")
    assert chat.process.wait(_PATIENCE_SECONDS) == 0


def test_ctrl_c_ends_the_conversation_on_a_line_of_its_own(chat: Terminal) -> None:
    """Half a message and Ctrl-C: nothing is sent, and the shell's prompt gets a new line."""
    chat.type("half")
    chat.read_until("half")
    for _ in range(10):
        chat.type("\x03")  # again where it came between two looks at the keyboard, as a person does
        if "\r\n" in chat.read_for(2.0):
            break
    assert chat.process.wait(_PATIENCE_SECONDS) == 130
