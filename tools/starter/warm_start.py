"""Begin a run with the weights of an earlier one whose tokenizer was another: rows are matched by their piece."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sentencepiece
import torch
from torch import Tensor


def _pieces(folder: Path) -> dict[str, int]:
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    return {model.id_to_piece(token): token for token in range(model.vocab_size())}


def warm_weights(earlier: Path, folder: Path, fresh: dict[str, Tensor]) -> dict[str, Tensor]:
    """The earlier run's weights, with the embedding's rows put in the order of the new tokenizer.

    Args:
        earlier: Folder of the earlier run; holds ``checkpoint.pt`` and ``tokenizer.model``.
        folder: Folder of the new run; holds ``tokenizer.model``.
        fresh: Initial weights of the new run; a piece the earlier tokenizer lacks keeps its row of these.
    """
    state: dict[str, Any] = torch.load(earlier / "checkpoint.pt", weights_only=True)
    weights: dict[str, Tensor] = state["model"]
    old, new = _pieces(earlier), _pieces(folder)
    rows = fresh["embedding.weight"].clone()
    for piece, token in new.items():
        if piece in old:
            rows[token] = weights["embedding.weight"][old[piece]]
    return {**weights, "embedding.weight": rows}
