"""Texts of a model's user, in two parts that share none: one to calibrate by, one to compare by. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from undercroft.core.errors import InvalidError

# One piece in so many is held back.
_HELD_BACK_EVERY = 8
_LEAST_PIECES = 2


@dataclass(frozen=True, slots=True)
class Parts:
    """Texts that were shared out.

    Args:
        calibration: What the quantizer reads.
        held_back: What it never sees; the result is compared with its source on these.
    """

    calibration: tuple[str, ...]
    held_back: tuple[str, ...]


def share_out(text: str, *, is_calibrated: bool, what: str) -> Parts:
    """Cuts a text into paragraphs, where it has several, else lines, and holds one in eight back, the last among them.

    Args:
        text: All of it.
        is_calibrated: Whether any is to be read by the quantizer; else all of it is held back.
        what: What to call it in errors.

    Raises:
        InvalidError: ``bad-texts``: it is empty, or cannot be shared out.
    """
    pieces = [piece for part in text.split("\n\n") if (piece := part.strip())]
    if len(pieces) < _LEAST_PIECES:
        pieces = [piece for part in text.splitlines() if (piece := part.strip())]
    if not pieces:
        raise InvalidError("bad-texts", f"{what} hold nothing", hint="give a file of plain text in UTF-8")
    if not is_calibrated:
        return Parts((), tuple(pieces))
    if len(pieces) < _LEAST_PIECES:
        raise InvalidError(
            "bad-texts",
            f"{what} are one line: expected at least {_LEAST_PIECES} paragraphs or lines, for one part is held back to "
            "compare the result by",
            hint="put each text into a paragraph of its own",
        )
    held = set(range(len(pieces) - 1, -1, -_HELD_BACK_EVERY))
    return Parts(_at(pieces, set(range(len(pieces))) - held), _at(pieces, held))


def _at(pieces: Sequence[str], places: set[int]) -> tuple[str, ...]:
    return tuple(pieces[place] for place in sorted(places))
