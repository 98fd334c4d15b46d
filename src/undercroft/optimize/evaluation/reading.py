"""Reads texts with a model and, where there is one, its parent."""

from __future__ import annotations

from collections.abc import Sequence

from undercroft.core.errors import InvalidError
from undercroft.optimize.evaluation.evaluating import Told
from undercroft.optimize.evaluation.records import TextRecord
from undercroft.optimize.evaluation.subjects import Found
from undercroft.optimize.evaluation.texts import Text, TextSet
from undercroft.optimize.measures.divergence import TextDivergence, measure_divergence
from undercroft.optimize.measures.perplexity import TextScore, measure_perplexity
from undercroft.optimize.measures.reading import Reading, Report


def read_texts(
    candidate: Found, parent: Found | None, texts: TextSet, *, threads: int, told: Told
) -> tuple[tuple[TextRecord, ...], tuple[TextRecord, ...]]:
    """What a model, and its parent, thought of each text.

    Args:
        candidate: The model.
        parent: What it was made from; None where it stands alone.
        texts: To read.
        threads: CPU threads; 0 means those that an engine would use.
        told: Told tokens that were read, and all of them.

    Returns:
        Of the candidate and of the parent, text by text. Models that cut texts into other tokens are read each by
        itself: their perplexities cannot be compared, and there is no divergence.

    Raises:
        InvalidError: A text or a model cannot be used.
        UnavailableError: Memory is short, or the process died.
    """
    reading = Reading(threads=threads or None)
    words = [text.text for text in texts.texts]
    report = _reporting(told, f"reading texts with {candidate.subject.name}")
    if parent is None:
        found = measure_perplexity(candidate.path, words, reading, report=report)
        return _records(texts.texts, found.texts), ()
    try:
        moved = measure_divergence(candidate.path, parent.path, words, reading, report=report)
    except InvalidError as error:
        if error.code != "other-vocabulary":
            raise
        own = measure_perplexity(candidate.path, words, reading, report=report)
        other = _reporting(told, f"reading texts with {parent.subject.name}")
        parents = measure_perplexity(parent.path, words, reading, report=other)
        return _records(texts.texts, own.texts), _records(texts.texts, parents.texts)
    return _records(texts.texts, moved.model.texts, moved.texts), _records(texts.texts, moved.parent.texts)


def _records(
    texts: Sequence[Text], scores: Sequence[TextScore], moved: Sequence[TextDivergence] | None = None
) -> tuple[TextRecord, ...]:
    return tuple(
        TextRecord(
            name=text.name,
            language=text.language,
            tokens=score.tokens,
            nats=score.negative_log_likelihood_nats,
            bytes=score.size_bytes,
            kl_nats=None if moved is None else moved[index].divergence_nats,
            same_top=None if moved is None else moved[index].same_top_tokens,
        )
        for index, (text, score) in enumerate(zip(texts, scores, strict=True))
    )


def _reporting(told: Told, note: str) -> Report:
    return lambda done, total: told(done, total, note)
