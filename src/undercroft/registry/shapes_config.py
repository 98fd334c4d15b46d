"""The shape of a network from a Hugging Face ``config.json``.

Where a key is missing, the default of the kind's configuration class holds, see `config_kinds`. A kind that is not
known is read as Llama's, and the shape says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from undercroft.catalog.entries import windowed
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape, problem_of_experts
from undercroft.core.errors import InvalidError
from undercroft.registry.config_kinds import (
    KINDS,
    LATE_POSITIONS,
    OTHER_NAMES,
    SPARSE_STEP_KEYS,
    STATE_KEYS,
    TABLE_KEYS,
    TABLE_KINDS,
    Kind,
    guessed,
)
from undercroft.registry.inspection.reading import refuse

_LAYERS_LIMIT = 1024
_COUNT_LIMIT = 2**40
_WITH_A_GGUF = "plan a GGUF of it: its tensors show all"
# Of the types of a block, those that see the newest tokens only.
_WINDOWS = ("sliding_attention", "chunked_attention")


class Config:
    """A ``config.json`` whose numbers are checked when they are read.

    Args:
        values: The part that speaks of the text network.
        name: What to call the file in errors.
    """

    def __init__(self, values: Mapping[str, Any], name: str) -> None:
        self.values, self.name = values, name

    def fail(self, problem: str) -> NoReturn:
        """Refuses the file."""
        refuse("bad-config", "model configuration", self.name, problem)

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
        if found:
            return found
        if any(self.values.get(key) == 0 for key in keys):
            self.fail(f"{keys[0]} is 0, expected at least 1")
        return self.fail(f"it does not say its {keys[0]}")

    def flag(self, key: str, *, default: bool = False) -> bool:
        """A truth value."""
        value = self.values.get(key)
        return value if isinstance(value, bool) else default


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
    kind_name = values.get("model_type") or document.get("model_type") or ""
    if not isinstance(kind_name, str):
        refuse("bad-config", "model configuration", name, f"its model_type is {str(kind_name)[:40]!r}, expected a text")
    kind = KINDS.get(kind_name) or guessed(kind_name)
    if "tie_word_embeddings" not in values and "tie_word_embeddings" in document:
        values["tie_word_embeddings"] = document["tie_word_embeddings"]
    config = Config({**dict(kind.defaults), **_by_first_names(values)}, name)
    _refuse_what_is_hidden(config, kind, kind_name, document)
    if kind.architecture in ("bert", "nomic-bert"):
        return _encoder(config, kind, document)
    return _decoder(config, kind, kind_name)


def _by_first_names(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that say something, each size by the name that most kinds have for it."""
    said = {key: value for key, value in values.items() if value is not None}
    for first, others in OTHER_NAMES.items():
        found = next((said[key] for key in (first, *others) if key in said), None)
        if found is not None:
            said[first] = found
    return said


def _refuse_what_is_hidden(config: Config, kind: Kind, kind_name: str, document: Mapping[str, Any]) -> None:
    """Raises for networks whose memory a configuration alone does not show."""
    names = document.get("architectures")
    if kind.is_guessed and ("type_vocab_size" in config.values or "ForMaskedLM" in str(names)):
        _refuse_kind(config, kind_name, "only encodes, in a way of its own", hint=_WITH_A_GGUF)
    types = config.values.get("layer_types")
    has_others = isinstance(types, list) and any(one not in ("full_attention", *_WINDOWS) for one in types)
    if "mamba" in kind_name or "rwkv" in kind_name or has_others or any(key in config.values for key in STATE_KEYS):
        _refuse_kind(config, kind_name, "keeps a state in some of its blocks", hint=_WITH_A_GGUF)
    if kind_name in TABLE_KINDS or any(config.values.get(key) for key in TABLE_KEYS):
        _refuse_kind(
            config,
            kind_name,
            "has tables for each block, or blocks that share caches or have heads of another width",
            hint=_WITH_A_GGUF,
        )
    if config.flag("is_encoder_decoder") or kind_name in ("t5", "mt5", "umt5", "whisper", "bart", "mbart"):
        _refuse_kind(
            config,
            kind_name,
            "has an encoder and a decoder",
            hint="choose a model that only decodes or only encodes: undercroft plan models",
        )


def _refuse_kind(config: Config, kind_name: str, what: str, *, hint: str) -> NoReturn:
    raise InvalidError(
        "unknown-kind",
        f"{config.name!r} is of a kind that cannot be planned from its configuration: model_type "
        f"{kind_name[:40]!r} {what}",
        hint=hint,
    )


def _decoder(config: Config, kind: Kind, kind_name: str) -> ModelShape:
    layers = config.needed("num_hidden_layers")
    if layers > _LAYERS_LIMIT:
        config.fail(f"num_hidden_layers is {layers:,}, expected at most {_LAYERS_LIMIT:,}")
    width, heads = config.needed("hidden_size"), config.needed("num_attention_heads")
    latent = _latent(config)
    head_dim = config.count("head_dim", "kv_channels") or width // heads
    experts = _experts(config, kind, kind_name)
    context = config.needed("max_position_embeddings")
    window, window_layers = _window(config, kind, layers, context)
    return ModelShape(
        architecture=kind.architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=(_kv_heads(config, kind, heads),) * layers,
        head_dim=head_dim if latent is None else latent.nope_dim + latent.rope_dim,
        value_head_dim=head_dim if latent is None else latent.value_dim,
        feed_forward=_feed_forward(config, kind, experts, width),
        vocabulary=config.count("padded_vocab_size") or config.needed("vocab_size"),
        context_tokens=context,
        is_tied=config.flag("tie_word_embeddings", default=kind.is_tied),
        is_gated=kind.is_gated,
        has_attention_bias=kind.has_bias
        or any(config.flag(key) for key in ("attention_bias", "add_qkv_bias", "use_qkv_bias")),
        has_query_key_norm=kind.has_norm,
        window_tokens=window,
        window_layers=window_layers,
        experts=experts,
        latent=latent,
        position_rows=_position_rows(kind, context),
        is_guessed=kind.is_guessed,
        extra={"expert_bias": 1} if config.values.get("topk_method") == "noaux_tc" else {},
    )


def _position_rows(kind: Kind, context: int) -> int:
    # OPT counts positions from 2 on.
    return context + 2 * (kind.architecture == "opt") if kind.has_positions else 0


def _kv_heads(config: Config, kind: Kind, heads: int) -> int:
    if config.flag("multi_query_attention"):
        return config.needed("multi_query_group_num")
    if kind.architecture == "starcoder" and config.flag("multi_query", default=True):
        return 1
    is_old_falcon = kind.architecture == "falcon" and not config.flag("new_decoder_architecture")
    if is_old_falcon and "n_head_kv" not in config.values and config.flag("multi_query", default=True):
        return 1
    nested = config.values.get("attn_config")
    inner = Config(nested, config.name).count("kv_n_heads") if isinstance(nested, dict) else 0
    found = inner or config.count("num_key_value_heads", default=heads) or heads
    if heads % found:
        config.fail(f"{heads:,} attention heads cannot share {found:,} key/value heads")
    return found


def _window(config: Config, kind: Kind, layers: int, context: int) -> tuple[int, frozenset[int]]:
    window = config.count("sliding_window")
    if not window or window >= context or (kind.needs_switch and not config.flag("use_sliding_window")):
        return 0, frozenset()
    types = config.values.get("layer_types")
    if isinstance(types, list) and len(types) == layers:
        found = frozenset(layer for layer, kind_of in enumerate(types) if kind_of in _WINDOWS)
        return (window, found) if found else (0, frozenset())
    if kind.needs_switch:
        first = min(config.count("max_window_layers", default=0), layers)
        return window, frozenset(range(first, layers))
    return window, windowed(layers, config.count("sliding_window_pattern") or kind.pattern)


def _feed_forward(config: Config, kind: Kind, experts: Experts | None, width: int) -> int:
    if experts is not None and not experts.dense_layers:
        return 0
    return config.needed("intermediate_size", default=kind.widening * width)


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


def _experts(config: Config, kind: Kind, kind_name: str) -> Experts | None:
    count = config.count("num_local_experts", "num_experts", "n_routed_experts")
    reader = _EXPERT_READERS.get(kind_name, _any_experts if kind.is_guessed else None)
    if not count or reader is None:
        return None
    if any(config.values.get(key) not in (None, 1) for key in SPARSE_STEP_KEYS) or config.values.get("mlp_only_layers"):
        _refuse_kind(config, kind_name, "has experts in some of its blocks only", hint=_WITH_A_GGUF)
    found = reader(config, count)
    if (problem := problem_of_experts(found.count, found.used)) is not None:
        config.fail(problem)
    return found


def _any_experts(config: Config, count: int) -> Experts:
    reader = _qwen2_experts if config.count("shared_expert_intermediate_size") else _deepseek_experts
    return reader(config, count) if config.count("moe_intermediate_size") else _plain_experts(config, count)


def _plain_experts(config: Config, count: int) -> Experts:
    inner = config.needed("moe_intermediate_size", "intermediate_size")
    return Experts(count, config.needed("num_experts_per_tok"), inner)


def _llama4_experts(config: Config, count: int) -> Experts:
    inner = config.needed("intermediate_size")
    return Experts(count, config.needed("num_experts_per_tok"), inner, 1, inner)


def _qwen2_experts(config: Config, count: int) -> Experts:
    shared = config.count("shared_expert_intermediate_size")
    inner = config.needed("moe_intermediate_size")
    return Experts(count, config.needed("num_experts_per_tok"), inner, int(shared > 0), shared)


def _deepseek_experts(config: Config, count: int) -> Experts:
    inner, shared = config.needed("moe_intermediate_size"), config.count("n_shared_experts")
    dense = config.count("first_k_dense_replace")
    return Experts(count, config.needed("num_experts_per_tok"), inner, shared, shared * inner, dense)


_EXPERT_READERS: dict[str, Callable[[Config, int], Experts]] = {
    "llama4": _llama4_experts,
    "llama4_text": _llama4_experts,
    "mixtral": _plain_experts,
    "phimoe": _plain_experts,
    "gpt_oss": _plain_experts,
    "olmoe": _plain_experts,
    "granitemoe": _plain_experts,
    "qwen3_moe": _plain_experts,
    "qwen2_moe": _qwen2_experts,
    "glm4_moe": _deepseek_experts,
    "deepseek": _deepseek_experts,
    "deepseek_v2": _deepseek_experts,
    "deepseek_v3": _deepseek_experts,
}


def _encoder(config: Config, kind: Kind, document: Mapping[str, Any]) -> ModelShape:
    layers = config.needed("num_hidden_layers")
    width, heads = config.needed("hidden_size"), config.needed("num_attention_heads")
    if layers > _LAYERS_LIMIT:
        config.fail(f"num_hidden_layers is {layers:,}, expected at most {_LAYERS_LIMIT:,}")
    is_rotary = kind.architecture == "nomic-bert"
    rows = config.needed("max_position_embeddings")
    is_roberta = config.values.get("model_type") in LATE_POSITIONS
    names = document.get("architectures")
    has_pooler = isinstance(names, list) and names[:1] in (["BertModel"], ["XLMRobertaModel"], ["RobertaModel"])
    extra: dict[str, float] = {"token_type_count": config.count("type_vocab_size", default=2)}
    if "ForSequenceClassification" in str(names):
        labels = document.get("id2label")
        extra["labels"] = len(labels) if isinstance(labels, dict) and labels else config.count("num_labels", default=2)
    return ModelShape(
        architecture=kind.architecture,
        layers=layers,
        width=width,
        heads=heads,
        kv_heads=(heads,) * layers,
        head_dim=width // heads,
        value_head_dim=width // heads,
        feed_forward=config.needed("intermediate_size"),
        vocabulary=config.needed("vocab_size"),
        context_tokens=rows - 2 if is_roberta else rows,
        is_tied=True,
        is_gated=is_rotary,
        has_attention_bias=not is_rotary or config.flag("qkv_proj_bias"),
        is_encoder=True,
        position_rows=0 if is_rotary else rows,
        extra={**extra, "pooler": 1} if has_pooler else extra,
    )
