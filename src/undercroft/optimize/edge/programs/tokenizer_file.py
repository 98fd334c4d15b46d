"""The tokenizer as a device reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def write_tokenizer(tokenizer: Any, target: Path) -> None:
    """``tokenizer.json``, without the cutting and padding that it was once trained with.

    Args:
        tokenizer: Of transformers, with a fast one inside.
        target: Folder that is there.
    """
    inner = tokenizer.backend_tokenizer
    inner.no_padding()
    inner.no_truncation()
    inner.save(str(target / "tokenizer.json"))
