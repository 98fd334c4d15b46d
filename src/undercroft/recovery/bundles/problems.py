"""What is wrong with a bundle, in one form."""

from __future__ import annotations

from undercroft.core.errors import InvalidError


def bad_bundle(problem: str) -> InvalidError:
    """The error where a file is not a whole bundle.

    Args:
        problem: A sentence without a full stop; nothing of the bundle longer than a name.
    """
    return InvalidError(
        "bad-bundle",
        f"the bundle is refused, nothing of it was taken: {problem}",
        hint="get the file again from whoever made it, and compare its digest with what undercroft bundle export said",
    )
