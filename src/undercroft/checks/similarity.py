"""How alike two texts are, by their character n-grams or by their vectors. Pure."""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence

_SIZES = (2, 3, 4)
_BUCKETS = 512


def ngram_similarity(one: str, other: str) -> float:
    """Cosine of the counts of character n-grams: 1.0 for the same text, 0.0 where nothing is shared.

    Case, width and white space do not count. It needs no words, so that it serves Thai and Chinese, too.

    Args:
        one: Any text.
        other: Any text; two empty ones are the same.

    Returns:
        0.0 to 1.0.
    """
    return _cosine_of_counts(_ngrams(one), _ngrams(other))


def sketch(text: str) -> dict[str, int]:
    """What is kept of an answer to compare later ones with it: counts of its n-grams by a short hash, not the text.

    Args:
        text: Any.

    Returns:
        Bucket → count; at most 512 buckets, named in decimal as JSON wants it.
    """
    counts: Counter[str] = Counter()
    for gram, count in _ngrams(text).items():
        counts[str(zlib.crc32(gram.encode("utf-8", "surrogatepass")) % _BUCKETS)] += count
    return dict(counts)


def sketch_similarity(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Cosine of two sketches; 1.0 for those of the same text.

    Returns:
        0.0 to 1.0. It is a little higher than that of the texts themselves, for different n-grams share buckets.
    """
    return _cosine_of_counts(one, other)


def vector_similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Cosine of two vectors of an encoder, negative ones counted as 0.

    Args:
        one: Values, as many as in ``other``.
        other: Values.

    Returns:
        0.0 to 1.0; 0.0 where a vector is all zeros.
    """
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    length = math.sqrt(sum(a * a for a in one)) * math.sqrt(sum(b * b for b in other))
    return _bounded(dot / length) if length else 0.0


def _ngrams(text: str) -> Counter[str]:
    plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    if not plain:
        return Counter()
    padded = f" {plain} "
    return Counter(padded[at : at + size] for size in _SIZES for at in range(len(padded) - size + 1))


def _cosine_of_counts(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    if one == other:
        return 1.0
    dot = sum(count * other.get(gram, 0) for gram, count in one.items())
    length = math.sqrt(sum(c * c for c in one.values()) * sum(c * c for c in other.values()))
    return _bounded(dot / length) if length else 0.0


def _bounded(value: float) -> float:
    return min(1.0, max(0.0, value))
