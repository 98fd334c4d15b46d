"""From texts to token ids, as the model's own tokenizer splits them. Imports only what its environment has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from undercroft.core.errors import InvalidError
from undercroft.engines.encoder.inputs import Input, Tokens, TooLongError


class TextReader:
    """Splits texts; may be used by several threads.

    Args:
        file: ``tokenizer.json``.
        max_tokens: Longest input, special tokens among it.

    Raises:
        InvalidError: ``bad-encoder``: the file cannot be used.
    """

    def __init__(self, file: Path, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        self._whole, self._cutting = _load(file), _load(file)
        self._cutting.enable_truncation(max_tokens, strategy="longest_first")
        self._vocabulary = self._whole.get_vocab_size(with_added_tokens=True)

    def read(self, inputs: Sequence[Input], *, may_cut: bool) -> list[Tokens]:
        """Splits inputs.

        Args:
            inputs: Texts, pairs of texts, or token ids, which are taken as they are.
            may_cut: Whether what is too long is cut to the length that the model takes, at its end.

        Raises:
            TooLongError: One is too long and may not be cut.
            InvalidError: ``bad-tokens``: a token id is none of the vocabulary.
        """
        texts = [one for one in inputs if not isinstance(one, list)]
        split = iter(self._whole.encode_batch(texts) if texts else ())
        found = []
        for one in inputs:
            if isinstance(one, list):
                found.append(self._checked(one, may_cut))
                continue
            encoding = next(split)
            if len(encoding.ids) > self.max_tokens:
                if not may_cut:
                    raise TooLongError(len(encoding.ids), self.max_tokens)
                encoding = self._cutting.encode_batch([one])[0]
            found.append(Tokens(encoding.ids, encoding.type_ids))
        return found

    def _checked(self, ids: list[int], may_cut: bool) -> Tokens:
        if any(not 0 <= token < self._vocabulary for token in ids):
            raise InvalidError("bad-tokens", f"expected token ids from 0 to {self._vocabulary - 1}, got another one")
        if len(ids) > self.max_tokens and not may_cut:
            raise TooLongError(len(ids), self.max_tokens)
        kept = ids[: self.max_tokens]
        return Tokens(kept, [0] * len(kept))


def _load(file: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:
        raise InvalidError("bad-encoder", f"its tokenizer.json cannot be read: {str(error)[:200]}") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
