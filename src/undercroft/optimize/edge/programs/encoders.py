"""A published encoder as one network: token ids in, the vector of a text out, pooled; and what it says itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModel, AutoTokenizer

from undercroft.optimize.edge.programs.tokenizer_file import write_tokenizer


class Encoder(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """One text at a time, so that a device needs no batch.

    Args:
        model: A network whose ``last_hidden_state`` is ``(1, tokens, width)``.
        pooling: The ``mean`` of the tokens that the mask keeps, their ``max``, or the ``first``.
        is_normalized: Whether vectors are brought to length 1.
    """

    def __init__(self, model: Any, pooling: str, is_normalized: bool) -> None:
        super().__init__()
        self.model, self.pooling, self.is_normalized = model, pooling, is_normalized

    def forward(self, input_ids: Any, attention_mask: Any) -> Any:
        """``(1, tokens)`` and ``(1, tokens)`` to ``(1, width)``."""
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        kept = attention_mask.unsqueeze(-1).to(hidden.dtype)
        if self.pooling == "first":
            vector = hidden[:, 0]
        elif self.pooling == "max":
            vector = (hidden - (1 - kept) * 1e4).max(1).values
        else:
            vector = (hidden * kept).sum(1) / kept.sum(1)
        return torch.nn.functional.normalize(vector, dim=-1) if self.is_normalized else vector


def open_encoder(order: dict[str, Any]) -> tuple[Encoder, dict[str, Any]]:
    """Loads a published encoder in float32, writes its tokenizer, and lets it answer.

    Nothing of the model's is run as code.

    Args:
        order: ``model`` (folder), ``target`` (folder), ``pooling``, ``is_normalized``, ``most_tokens``, ``texts``.

    Returns:
        The network, and ``answers`` (the vector of each text), ``pad_token``, ``parameters`` (values of all weights),
        ``width``.
    """
    tokenizer = AutoTokenizer.from_pretrained(order["model"], trust_remote_code=False)
    # Plain attention: what the exporters know how to cut into operators of a device.
    model = AutoModel.from_pretrained(
        order["model"], dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    ).eval()
    with torch.inference_mode():
        answers = [_answer(model, tokenizer, order, text) for text in order["texts"]]
    write_tokenizer(tokenizer, Path(order["target"]))
    said = {
        "answers": answers,
        "pad_token": int(tokenizer.pad_token_id or 0),  # any will do where it has none: what fills up is masked
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "width": int(model.config.hidden_size),
    }
    return Encoder(model, order["pooling"], order["is_normalized"]).eval(), said


def _answer(model: Any, tokenizer: Any, order: dict[str, Any], text: str) -> list[float]:
    """By the model's own tokenizer, without padding and without a mask."""
    split = tokenizer(text, return_tensors="pt", truncation=True, max_length=order["most_tokens"])
    hidden = model(input_ids=split["input_ids"]).last_hidden_state[0]
    if order["pooling"] == "first":
        vector = hidden[0]
    else:
        vector = hidden.max(0).values if order["pooling"] == "max" else hidden.mean(0)
    vector = torch.nn.functional.normalize(vector, dim=0) if order["is_normalized"] else vector
    return list(vector.tolist())
