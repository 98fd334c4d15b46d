"""Between texts and tokens: the model's own tokenizer. Imports only what its environment has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from undercroft.core.errors import InvalidError


class Splitter:
    """The model's own tokenizer.

    Args:
        file: ``tokenizer.json``.

    Raises:
        InvalidError: ``bad-decoder``: the file cannot be used.
    """

    def __init__(self, file: Path) -> None:
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:
            raise InvalidError("bad-decoder", f"its tokenizer.json cannot be read: {str(error)[:200]}") from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self.vocabulary = int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def split(self, text: str, *, has_special: bool) -> list[int]:
        """Token ids of a text; ``has_special`` adds what the model is used to at the beginning."""
        return list(self._tokenizer.encode(text, add_special_tokens=has_special).ids)

    def text(self, tokens: Sequence[int]) -> str:
        """What tokens say; special ones say nothing."""
        return str(self._tokenizer.decode(list(tokens), skip_special_tokens=True))

    def piece(self, token: int) -> str:
        """One token by itself, special ones too."""
        return str(self._tokenizer.decode([token], skip_special_tokens=False))
