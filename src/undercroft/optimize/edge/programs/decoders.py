"""A published model that generates as one network: token ids and their positions in, what follows out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from undercroft.optimize.edge.programs.tokenizer_file import write_tokenizer


class Cache:
    """Keys and values of what was read, as buffers of the program, at fixed places; transformers' models write to it.

    Args:
        keys: Of each layer, ``(1, heads, tokens, width)``.
        values: The same.
        positions: Of what is read now, ``(tokens,)``.
    """

    is_compileable = True

    def __init__(self, keys: list[Any], values: list[Any], positions: Any) -> None:
        self._keys, self._values, self._positions = keys, values, positions

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """Keeps what is new of a layer; all that is kept."""
        self._keys[layer].index_copy_(2, self._positions, keys)
        self._values[layer].index_copy_(2, self._positions, values)
        return self._keys[layer], self._values[layer]

    def get_seq_length(self, layer: int = 0) -> int:
        """Nothing is counted here: positions are given."""
        return 0


class Decoder(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """One conversation, with a cache of its own.

    Args:
        model: A network that generates.
        cache_tokens: Room for prompt and answer together.
    """

    def __init__(self, model: Any, cache_tokens: int) -> None:
        super().__init__()
        config = model.config.get_text_config()
        self.model, self.layers = model, int(config.num_hidden_layers)
        queries = int(config.num_attention_heads)
        heads = int(getattr(config, "num_key_value_heads", None) or queries)
        width = int(getattr(config, "head_dim", None) or config.hidden_size // queries)
        for layer in range(self.layers):
            for name in ("keys", "values"):
                empty = torch.zeros(1, heads, cache_tokens, width)
                self.register_buffer(f"{name}_{layer}", empty, persistent=False)
        self.register_buffer("places", torch.arange(cache_tokens), persistent=False)

    def forward(self, input_ids: Any, positions: Any) -> Any:
        """``(1, tokens)`` and ``(tokens,)``, one after the other, to logits ``(1, 1, vocabulary)`` after the last."""
        keys, values = (
            [getattr(self, f"{name}_{layer}") for layer in range(self.layers)] for name in ("keys", "values")
        )
        # What was read before, by whomever, is not seen from positions before it.
        hidden = torch.finfo(torch.float32).min
        mask = torch.where(self.places[None, :] <= positions[:, None], 0.0, hidden)[None, None]
        return self.model(
            input_ids=input_ids,
            position_ids=positions[None],
            attention_mask=mask,
            past_key_values=Cache(keys, values, positions),
            use_cache=True,
            logits_to_keep=1,
        ).logits


def open_decoder(order: dict[str, Any]) -> tuple[Decoder, dict[str, Any]]:
    """Loads a published model in float32, and writes its tokenizer. Nothing of the model's is run as code.

    Args:
        order: ``source`` (folder), ``target`` (folder), ``cache_tokens``.

    Returns:
        The network, and ``parameters`` (values of all weights), ``pad_token``, ``end_tokens``, ``vocabulary``.
    """
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    # Plain attention: what the exporters know how to cut into operators of a device.
    model = AutoModelForCausalLM.from_pretrained(
        order["source"], dtype=torch.float32, attn_implementation="eager", trust_remote_code=False
    )
    model = model.eval().requires_grad_(False)
    write_tokenizer(tokenizer, Path(order["target"]))
    ends = model.generation_config.eos_token_id
    said = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "pad_token": int(tokenizer.pad_token_id or 0),
        "end_tokens": [] if ends is None else [int(end) for end in ([ends] if isinstance(ends, int) else ends)],
        "vocabulary": int(model.config.get_text_config().vocab_size),
    }
    return Decoder(model, order["cache_tokens"]).eval(), said
