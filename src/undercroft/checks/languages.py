"""Which language a text is in: a model of 97 languages and more that comes with the package py3langid, offline."""

from __future__ import annotations

from functools import cache
from typing import Any

from undercroft.core.errors import InvalidError


def known_languages() -> tuple[str, ...]:
    """ISO 639 codes that can be told apart, sorted."""
    return tuple(sorted(str(code) for code in _identifier().nb_classes))


def check_language(code: str) -> str:
    """Returns ``code`` where it is known.

    Raises:
        InvalidError: ``unknown-language``.
    """
    if code not in known_languages():
        raise InvalidError(
            "unknown-language",
            f"expected the code of a language such as en, th, ms, vi, ar or zh, got {code[:20]!r}",
            hint=f"one of: {' '.join(known_languages())}",
        )
    return code


def language_probabilities(text: str) -> dict[str, float]:
    """Each known language with its probability, the likeliest first.

    Args:
        text: Any; the longer, the surer.

    Returns:
        Code → 0.0 to 1.0, which add up to 1. Near relatives share: a short Malay text is Indonesian, too.

    Source:
        py3langid, a port of langid.py: Lui and Baldwin, ACL 2012. It computes here; nothing is fetched.
    """
    return {str(code): float(share) for code, share in _identifier().rank(text)}


@cache
def _identifier() -> Any:
    # Its model takes half a second and 100 MB, which only a question with a check of the language shall cost.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # noqa: PLC0415

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
