"""Text of every language in whatever locale the command was started, one that is not installed here included."""

from __future__ import annotations

import io
import sys


def typed(given: str | None) -> str | None:
    """Text as a person typed it; also a callback of options that take such text.

    Bytes that the locale cannot read come from Python as lone surrogates, which nothing can be done with. They are
    UTF-8, which terminals write whatever the locale says.

    Args:
        given: From the command line or standard input; None where nothing was given.
    """
    if given is None:
        return None
    return given.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def prepare_streams() -> None:
    """Makes the standard streams take every letter.

    A locale that knows ASCII only is written to in UTF-8; in another one a letter that it lacks becomes ``?``.

    Source:
        PEP 538 and PEP 540, which do the same for the locales that are called C and POSIX.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_ascii = stream.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968", "646")
            stream.reconfigure(encoding="utf-8" if is_ascii else stream.encoding, errors="replace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="surrogateescape")
