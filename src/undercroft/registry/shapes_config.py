"""The shape of a network from a Hugging Face ``config.json``, for the kinds that engines here know.

Where a key is missing, the default of the kind's configuration class in transformers 4.57 holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from undercroft.catalog.entries import windowed
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape
from undercroft.registry.inspection.reading import refuse

_LAYERS_LIMIT = 1024
_COUNT_LIMIT = 2**40


class Config:
    """A ``config.json`` whose numbers are checked when they are read.

    Args:
        values: The part that speaks of the text network.
        name: What to call the file in errors.
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.values, self._name = values, name

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        refuse("bad-config", "model configuration", self._name, problem)

    def count(self, *keys: str, default: int = 0) -> int:
        """The first of the keys that is there, a number from 0 on."""
        for key in keys:
            value = self.values.get(key)
            if value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _COUNT_LIMIT:
                self.fail(f"{key} is {str(value)[:40]!r}, expected a count")
            return value
        return default

    def needed(self, *keys: str, default: int = 0) -> int:
        """`count` of something that every network has."""
        found = self.count(*keys, default=default)
        return found or self.fail(f"it does not say its {keys[0]}")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A truth value."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else default


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a kind of configuration means where it does not say it.

    Args:
        architecture: As llama.cpp calls it.
        is_tied: Default of ``tie_word_embeddings``.
        has_bias: Query, key and value have biases, whatever ``attention_bias`` says.
        has_norm: Query and key heads are normalised.
        pattern: Every n-th block sees everything, the others have the window; 0: all have it.
        needs_switch: The window holds only where ``use_sliding_window`` is true.
        defaults: Numbers by key.
    """

    architecture: str
    is_tied: bool = False
    has_bias: bool = False
    has_norm: bool = False
    pattern: int = 0
    needs_switch: bool = False
    defaults: tuple[tuple[str, int], ...] = ()


_GEMMA3 = (
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("vocab_size", 262_208),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 4096),
)
_KINDS: dict[str, _Kind] = {
    "llama": _Kind("llama"),
    "mistral": _Kind("llama"),
    "mixtral": _Kind("llama"),
    "ministral3": _Kind("mistral3"),
    "smollm3": _Kind("smollm3", is_tied=True),
    "qwen2": _Kind("qwen2", has_bias=True, needs_switch=True),
    "qwen2_moe": _Kind("qwen2moe", has_bias=True, needs_switch=True),
    "qwen3": _Kind("qwen3", has_norm=True, needs_switch=True),
    "qwen3_moe": _Kind("qwen3moe", has_norm=True, needs_switch=True),
    "gemma": _Kind("gemma", is_tied=True, defaults=(("head_dim", 256),)),
    "gemma2": _Kind("gemma2", is_tied=True, pattern=2, defaults=(("head_dim", 256), ("sliding_window", 4096))),
    "gemma3": _Kind("gemma3", is_tied=True, has_norm=True, pattern=6, defaults=_GEMMA3),
    "gemma3_text": _Kind("gemma3", is_tied=True, has_norm=True, pattern=6, defaults=_GEMMA3),
    "phi3": _Kind("phi3"),
    "chatglm": _Kind("chatglm"),
    "glm": _Kind("chatglm"),
    "glm4": _Kind("glm4"),
    "deepseek_v2": _Kind("deepseek2"),
    "deepseek_v3": _Kind("deepseek2"),
    "olmoe": _Kind("olmoe", has_norm=True),
    "granitemoe": _Kind("granitemoe"),
    "bert": _Kind("bert"),
    "roberta": _Kind("bert"),
    "xlm-roberta": _Kind("bert"),
    "nomic_bert": _Kind("nomic-bert"),
}
KNOWN_KINDS = tuple(sorted(_KINDS))


def shape_of_config(document: Any, *, name: str = "config.json") -> ModelShape:
    """Reads a shape.

    Args:
        document: The parsed file.
        name: What to call it in errors.

    Raises:
        InvalidError: ``bad-config``: its kind is not known, or a size is missing or cannot be.
    """
    if not isinstance(document, dict):
        refuse("bad-config", "model configuration", name, "it is not an object")
    inner = document.get("text_config")
    # Models that see or hear keep the language model's numbers one level down, without those of the outer kind.
    values = {**inner} if isinstance(inner, dict) else dict(document)
    kind_name = values.get("model_type") or document.get("model_type")
    kind = _KINDS.get(kind_name) if isinstance(kind_name, str) else None
    if kind is None:
        known = ", ".join(KNOWN_KINDS)
        refuse(
            "bad-config", "model configuration", name, f"its model_type is {str(kind_name)[:40]!r}, known are {known}"
        )
    if "tie_word_embeddings" not in values and "tie_word_embeddings" in document:
        values["tie_word_embeddings"] = document["tie_word_embeddings"]
    config = Config({**dict(kind.defaults), **{k: v for k, v in values.items() if v is not None}}, name)
    if kind.architecture in ("bert", "nomic-bert"):
        return _encoder(config, kind, document)
    return _decoder(config, kind, str(kind_name))


def _decoder(config: Config, kind: _Kind, kind_name: str) -> ModelShape:
    layers = config.needed("num_hidden_layers", "num_layers")
    if layers > _LAYERS_LIMIT:
        config.fail(f"num_hidden_layers is {layers:,}, expected at most {_LAYERS_LIMIT:,}")
    width, heads = config.needed("hidden_size"), config.needed("num_attention_heads")
    latent = _latent(config)
    head_dim = config.count("head_dim", "kv_channels") or width // heads
    experts = _experts(config, kind_name)
    context = config.needed("max_position_embeddings", "seq_length")
    window, window_layers = _window(config, kind, layers, context)
    return ModelShape(
        architecture=kind.architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=(_kv_heads(config, heads),) * layers,
        head_dim=head_dim if latent is None else latent.nope_dim + latent.rope_dim,
        value_head_dim=head_dim if latent is None else latent.value_dim,
        feed_forward=_feed_forward(config, experts, kind_name),
        vocabulary=config.needed("padded_vocab_size", "vocab_size"),
        context_tokens=context,
        is_tied=config.flag("tie_word_embeddings", default=kind.is_tied),
        has_attention_bias=kind.has_bias or config.flag("attention_bias") or config.flag("add_qkv_bias"),
        has_query_key_norm=kind.has_norm,
        window_tokens=window,
        window_layers=window_layers,
        experts=experts,
        latent=latent,
        extra={"expert_bias": 1} if config.values.get("topk_method") == "noaux_tc" else {},
    )


def _kv_heads(config: Config, heads: int) -> int:
    if config.flag("multi_query_attention"):
        return config.needed("multi_query_group_num")
    found = config.count("num_key_value_heads", default=heads) or heads
    if heads % found:
        config.fail(f"{heads:,} attention heads cannot share {found:,} key/value heads")
    return found


def _window(config: Config, kind: _Kind, layers: int, context: int) -> tuple[int, frozenset[int]]:
    window = config.count("sliding_window")
    if not window or window >= context or (kind.needs_switch and not config.flag("use_sliding_window")):
        return 0, frozenset()
    types = config.values.get("layer_types")
    if isinstance(types, list) and len(types) == layers:
        found = frozenset(layer for layer, kind_of in enumerate(types) if kind_of == "sliding_attention")
        return (window, found) if found else (0, frozenset())
    if kind.needs_switch:
        first = min(config.count("max_window_layers", default=0), layers)
        return window, frozenset(range(first, layers))
    return window, windowed(layers, config.count("sliding_window_pattern") or kind.pattern)


def _feed_forward(config: Config, experts: Experts | None, kind_name: str) -> int:
    if experts is not None and not experts.dense_layers:
        return 0
    return config.needed("intermediate_size", "ffn_hidden_size")


def _latent(config: Config) -> LatentAttention | None:
    rank = config.count("kv_lora_rank")
    if not rank:
        return None
    return LatentAttention(
        kv_rank=rank,
        rope_dim=config.needed("qk_rope_head_dim"),
        query_rank=config.count("q_lora_rank"),
        nope_dim=config.needed("qk_nope_head_dim"),
        value_dim=config.needed("v_head_dim"),
    )


def _experts(config: Config, kind_name: str) -> Experts | None:
    count = config.count("num_local_experts", "num_experts", "n_routed_experts")
    reader = _EXPERT_READERS.get(kind_name)
    return reader(config, count) if count and reader is not None else None


def _plain_experts(config: Config, count: int) -> Experts:
    inner = config.needed("moe_intermediate_size", "intermediate_size")
    return Experts(count, config.needed("num_experts_per_tok"), inner)


def _qwen2_experts(config: Config, count: int) -> Experts:
    shared = config.count("shared_expert_intermediate_size")
    inner = config.needed("moe_intermediate_size")
    return Experts(count, config.needed("num_experts_per_tok"), inner, int(shared > 0), shared)


def _deepseek_experts(config: Config, count: int) -> Experts:
    inner, shared = config.needed("moe_intermediate_size"), config.count("n_shared_experts")
    dense = config.count("first_k_dense_replace")
    return Experts(count, config.needed("num_experts_per_tok"), inner, shared, shared * inner, dense)


_EXPERT_READERS: dict[str, Callable[[Config, int], Experts]] = {
    "mixtral": _plain_experts,
    "olmoe": _plain_experts,
    "granitemoe": _plain_experts,
    "qwen3_moe": _plain_experts,
    "qwen2_moe": _qwen2_experts,
    "deepseek_v2": _deepseek_experts,
    "deepseek_v3": _deepseek_experts,
}


def _encoder(config: Config, kind: _Kind, document: Mapping[str, Any]) -> ModelShape:
    layers = config.needed("num_hidden_layers", "n_layer")
    width, heads = config.needed("hidden_size", "n_embd"), config.needed("num_attention_heads", "n_head")
    if layers > _LAYERS_LIMIT:
        config.fail(f"num_hidden_layers is {layers:,}, expected at most {_LAYERS_LIMIT:,}")
    is_rotary = kind.architecture == "nomic-bert"
    rows = config.needed("max_position_embeddings", "n_positions")
    # RoBERTa counts positions from the padding token's on, so two rows stand for no token.
    is_roberta = config.values.get("model_type") in ("roberta", "xlm-roberta")
    names = document.get("architectures")
    has_pooler = isinstance(names, list) and names[:1] in (["BertModel"], ["XLMRobertaModel"], ["RobertaModel"])
    extra: dict[str, float] = {"token_type_count": config.count("type_vocab_size", default=2)}
    return ModelShape(
        architecture=kind.architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=(heads,) * layers,
        head_dim=width // heads,
        value_head_dim=width // heads,
        feed_forward=config.needed("intermediate_size", "n_inner"),
        vocabulary=config.needed("vocab_size"),
        context_tokens=rows - 2 if is_roberta else rows,
        is_tied=True,
        is_gated=is_rotary,
        has_attention_bias=not is_rotary or config.flag("qkv_proj_bias"),
        is_encoder=True,
        position_rows=0 if is_rotary else rows,
        extra={**extra, "pooler": 1} if has_pooler else extra,
    )
