"""What is wrong with a bundle, in one form."""

from __future__ import annotations

from undercroft.core.errors import InvalidError

_SHOWN = 600


def bad_bundle(problem: str) -> InvalidError:
    """The error where a file is not a whole bundle.

    Args:
        problem: A sentence without a full stop. What it quotes may be hostile: a terminal gets no control characters.
    """
    shown = "".join(letter if letter.isprintable() else "?" for letter in problem[:_SHOWN])
    return InvalidError(
        "bad-bundle",
        f"the bundle is refused, nothing of it was taken: {shown}",
        hint="get the file again from whoever made it, and compare its digest with what undercroft bundle export said",
    )
