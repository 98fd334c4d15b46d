"""A published model that generates as one network: token ids in, what follows out, its cache inside or the caller's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface, AutoModelForCausalLM, AutoTokenizer

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
        self.model = model
        self.layers, shape = _cache_of(model, cache_tokens)
        for layer in range(self.layers):
            for name in ("keys", "values"):
                self.register_buffer(f"{name}_{layer}", torch.zeros(shape), persistent=False)
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


class LentCache:
    """Keys and values of what was read, which the caller keeps; what is new is seen behind them, and told apart.

    Args:
        keys: Of each layer, ``(1, heads, tokens, width)``.
        values: The same.
    """

    is_compileable = True

    def __init__(self, keys: list[Any], values: list[Any]) -> None:
        self._keys, self._values = keys, values
        self.new: dict[int, tuple[Any, Any]] = {}

    def update(self, keys: Any, values: Any, layer: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        """All keys and values of a layer, the new ones last."""
        self.new[layer] = keys, values
        return torch.cat([self._keys[layer], keys], 2), torch.cat([self._values[layer], values], 2)

    def get_seq_length(self, layer: int = 0) -> int:
        """Nothing is counted here: positions are given."""
        return 0


class LendingDecoder(torch.nn.Module):  # type: ignore[misc]  # torch has no types here
    """Keeps nothing, for runtimes whose programs have no state: the cache comes in, and what is new of it goes out.

    Args:
        model: A network that generates.
        cache_tokens: Room for prompt and answer together.
    """

    def __init__(self, model: Any, cache_tokens: int) -> None:
        super().__init__()
        self.model, self.cache_tokens = model, cache_tokens
        self.layers, self.shape = _cache_of(model, cache_tokens)

    def forward(self, input_ids: Any, position: Any, last: Any, **kept: Any) -> dict[str, Any]:
        """What follows one of some tokens, and their keys and values.

        Args:
            input_ids: ``(1, tokens)``.
            position: Of the first, ``(1,)``; what the cache holds from there on is not seen.
            last: Which of the tokens ``logits`` come after, ``(1,)``; those behind it only fill up.
            kept: ``keys_0``, ``values_0`` and so on, ``(1, heads, cache_tokens, width)``.

        Returns:
            ``logits``, ``(1, 1, vocabulary)``, and as ``keys_0``, ``values_0`` and so on what is new,
            ``(1, heads, tokens, width)``.
        """
        tokens = torch.arange(input_ids.shape[1], dtype=torch.int32)
        places = torch.arange(self.cache_tokens, dtype=torch.int32)
        read = (places[None] < position).expand(len(tokens), -1)
        seen = torch.cat([read, tokens[None] <= tokens[:, None]], 1)
        mask = torch.where(seen, 0.0, torch.finfo(torch.float32).min)[None, None]
        keys, values = ([kept[f"{name}_{layer}"] for layer in range(self.layers)] for name in ("keys", "values"))
        cache = LentCache(keys, values)
        logits = self.model(
            input_ids=input_ids,
            position_ids=(position + tokens)[None],
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=last,
        ).logits
        new = {
            f"{name}_{layer}": found
            for layer in range(self.layers)
            for name, found in zip(("keys", "values"), cache.new[layer], strict=True)
        }
        return {"logits": logits, **new}

    def example(self, tokens: int) -> dict[str, Any]:
        """What `forward` takes of as many tokens."""
        names = [f"{name}_{layer}" for layer in range(self.layers) for name in ("keys", "values")]
        return {
            "input_ids": torch.ones(1, tokens, dtype=torch.int32),
            "position": torch.zeros(1, dtype=torch.int32),
            "last": torch.zeros(1, dtype=torch.int32),
            **{name: torch.zeros(self.shape) for name in names},
        }


def grouped_attention(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    scaling: float,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Any, None]:
    """Attention in which the heads that share keys and values are rows of one product.

    Plain attention copies keys and values for each head that shares them, all of the cache at every token: in LiteRT
    nine tenths of the time of a token (12 layers, 9 heads on 3, a cache of 2,048).

    Args:
        module: Not used.
        query: ``(1, heads, tokens, width)``.
        key: ``(1, heads that are shared, all tokens, width)``.
        value: The same.
        attention_mask: Added to the scores, ``(1, 1, tokens, all tokens)``.
        scaling: Of the scores.
        softcap: What scores are bent towards, as Gemma 2 does.

    Returns:
        ``(1, tokens, heads, width)``.
    """
    heads, tokens, width = query.shape[1:]
    shared = key.shape[1]
    scores = torch.matmul(query.reshape(1, shared, -1, width), key.transpose(2, 3)) * scaling
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    shares = torch.softmax(scores.reshape(1, heads, tokens, -1) + attention_mask, -1)
    found = torch.matmul(shares.reshape(1, shared, heads // shared * tokens, -1), value)
    return found.reshape(1, heads, tokens, width).transpose(1, 2).contiguous(), None


AttentionInterface.register("grouped", grouped_attention)


def _cache_of(model: Any, cache_tokens: int) -> tuple[int, tuple[int, int, int, int]]:
    """How many layers keep keys and values, and the shape of either."""
    config = model.config.get_text_config()
    queries = int(config.num_attention_heads)
    heads = int(getattr(config, "num_key_value_heads", None) or queries)
    width = int(getattr(config, "head_dim", None) or config.hidden_size // queries)
    return int(config.num_hidden_layers), (1, heads, cache_tokens, width)


def open_decoder(order: dict[str, Any], attention: str = "eager") -> tuple[Any, dict[str, Any]]:
    """Loads a published model in float32, and writes its tokenizer. Nothing of the model's is run as code.

    Args:
        order: ``source`` (folder), ``target`` (folder).
        attention: ``eager``, which is plain and which exporters know how to cut into operators of a device, or
            ``grouped``.

    Returns:
        The network, for `Decoder` or `LendingDecoder`, and ``parameters`` (values of all weights), ``pad_token``,
        ``end_tokens``, ``vocabulary``.
    """
    tokenizer = AutoTokenizer.from_pretrained(order["source"], trust_remote_code=False)
    model = AutoModelForCausalLM.from_pretrained(
        order["source"], dtype=torch.float32, attn_implementation=attention, trust_remote_code=False
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
    return model, said
