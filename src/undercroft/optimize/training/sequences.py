"""What is learnt from, as token ids: a list of sequences, and which of their tokens count. Written for the program."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from undercroft.core.files import write_atomically


@dataclass(frozen=True, slots=True)
class TokenSequence:
    """One text that is read.

    Args:
        tokens: Token ids, with the mark of its beginning where the model wants one.
        judged: Of each token whether the model has to foretell it; as long as ``tokens``. The first never counts.
        is_held: What the model expects in it is to stay as it is, where the loss is `orders.Holding`.
    """

    tokens: tuple[int, ...]
    judged: tuple[bool, ...]
    is_held: bool = False

    @property
    def judged_tokens(self) -> int:
        """How many count."""
        return sum(self.judged[1:])


def write_sequences(path: Path, sequences: Sequence[TokenSequence]) -> None:
    """Writes ``tokens`` (int32) and ``judged`` (bool) of all sequences joined, and of each sequence its length as
    ``lengths`` (int64) and whether it is held as ``held`` (bool), as numpy's ``.npz``.

    Args:
        path: File to write, atomically.
        sequences: In the order in which they are numbered; pairs one after the other.

    Raises:
        OSError: The disk is full.
    """
    content = io.BytesIO()
    np.savez(
        content,
        tokens=np.asarray([token for one in sequences for token in one.tokens], np.int32),
        judged=np.asarray([mark for one in sequences for mark in one.judged], np.bool_),
        lengths=np.asarray([len(one.tokens) for one in sequences], np.int64),
        held=np.asarray([one.is_held for one in sequences], np.bool_),
    )
    write_atomically(path, content.getvalue())
