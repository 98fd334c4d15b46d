"""The kinds of ``config.json`` that can be read, and what each means where it does not say it.

Source: configuration classes of transformers 4.57 and the authors' own ``configuration_*.py``; architectures as
``llama-arch.cpp`` of llama.cpp names them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of configuration means where it does not say it.

    Args:
        architecture: As llama.cpp calls it.
        is_tied: Default of ``tie_word_embeddings``.
        is_gated: The feed-forward part has a gate: three matrices, not two.
        has_bias: Query, key and value have biases, whatever ``attention_bias`` says.
        has_norm: Query and key heads are normalised.
        has_positions: There is a table of learned positions.
        pattern: Every n-th block sees everything, the others have the window; 0: all have it.
        needs_switch: The window holds only where ``use_sliding_window`` is true.
        defaults: Numbers by key.
        widening: Width of the feed-forward part over that of the network where no key says it; 0: a key has to.
        is_guessed: The kind is not known; read as Llama's.
    """

    architecture: str
    is_tied: bool = False
    is_gated: bool = True
    has_bias: bool = False
    has_norm: bool = False
    has_positions: bool = False
    pattern: int = 0
    needs_switch: bool = False
    defaults: tuple[tuple[str, int], ...] = ()
    widening: int = 0
    is_guessed: bool = False


_GEMMA3 = (
    ("num_attention_heads", 8),
    ("num_key_value_heads", 4),
    ("head_dim", 256),
    ("vocab_size", 262_208),
    ("max_position_embeddings", 131_072),
    ("sliding_window", 4096),
)
_FALCON = Kind(
    "falcon", is_tied=True, is_gated=False, widening=4, defaults=(("max_position_embeddings", 2048),)
)  # fmt: skip
_GPT_OSS = (("sliding_window", 128), ("head_dim", 64))
_LLAMA4 = (
    ("vocab_size", 202_048),
    ("head_dim", 128),
    ("max_position_embeddings", 131_072),
    ("num_experts_per_tok", 1),
    ("num_local_experts", 16),
    ("sliding_window", 8192),
)
KINDS: dict[str, Kind] = {
    "llama": Kind("llama"),
    "llama4": Kind("llama4", pattern=4, defaults=_LLAMA4),
    "llama4_text": Kind("llama4", pattern=4, defaults=_LLAMA4),
    "mistral": Kind("llama"),
    "mixtral": Kind("llama"),
    "ministral3": Kind("mistral3"),
    "smollm3": Kind("smollm3", is_tied=True),
    "qwen2": Kind("qwen2", has_bias=True, needs_switch=True),
    "qwen2_vl": Kind("qwen2vl", has_bias=True, needs_switch=True),
    "qwen2_vl_text": Kind("qwen2vl", has_bias=True, needs_switch=True),
    "qwen2_5_vl": Kind("qwen2vl", has_bias=True, needs_switch=True),
    "qwen2_5_vl_text": Kind("qwen2vl", has_bias=True, needs_switch=True),
    "qwen2_moe": Kind("qwen2moe", has_bias=True, needs_switch=True),
    "qwen3": Kind("qwen3", has_norm=True, needs_switch=True),
    "qwen3_vl_text": Kind("qwen3vl", has_norm=True, needs_switch=True),
    "qwen3_moe": Kind("qwen3moe", has_norm=True, needs_switch=True),
    "gemma": Kind("gemma", is_tied=True, defaults=(("head_dim", 256),)),
    "gemma2": Kind("gemma2", is_tied=True, pattern=2, defaults=(("head_dim", 256), ("sliding_window", 4096))),
    "gemma3": Kind("gemma3", is_tied=True, has_norm=True, pattern=6, defaults=_GEMMA3),
    "gemma3_text": Kind("gemma3", is_tied=True, has_norm=True, pattern=6, defaults=_GEMMA3),
    "phi": Kind("phi2", is_gated=False, has_bias=True),
    "phi3": Kind("phi3"),
    "phimoe": Kind("phimoe"),
    "chatglm": Kind("chatglm"),
    "glm": Kind("chatglm"),
    "glm4": Kind("glm4"),
    "glm4_moe": Kind("glm4moe"),
    "deepseek": Kind("deepseek"),
    "deepseek_v2": Kind("deepseek2"),
    "deepseek_v3": Kind("deepseek2"),
    "olmo": Kind("olmo"),
    "olmo2": Kind("olmo2", has_norm=True),
    "olmoe": Kind("olmoe", has_norm=True),
    "granite": Kind("granite"),
    "granitemoe": Kind("granitemoe"),
    "gpt_oss": Kind("gpt-oss", has_bias=True, pattern=2, defaults=_GPT_OSS),
    "cohere": Kind("command-r", is_tied=True),
    "cohere2": Kind("cohere2", is_tied=True, pattern=4),
    "falcon": _FALCON,
    "RefinedWeb": _FALCON,
    "RefinedWebModel": _FALCON,
    "gpt2": Kind("gpt2", is_tied=True, is_gated=False, has_bias=True, has_positions=True, widening=4),
    "gptj": Kind("gptj", is_gated=False, widening=4),
    "gpt_neox": Kind("gptneox", is_gated=False, has_bias=True),
    "gpt_bigcode": Kind("starcoder", is_tied=True, is_gated=False, has_bias=True, has_positions=True, widening=4),
    "starcoder2": Kind("starcoder2", is_tied=True, is_gated=False, has_bias=True),
    "opt": Kind("opt", is_tied=True, is_gated=False, has_bias=True, has_positions=True),
    "bloom": Kind("bloom", is_tied=True, is_gated=False, has_bias=True, widening=4,
                  defaults=(("max_position_embeddings", 2048),)),
    "mpt": Kind("mpt", is_tied=True, is_gated=False, widening=4),
    "stablelm": Kind("stablelm"),
    "internlm2": Kind("internlm2"),
    "baichuan": Kind("baichuan"),
    "minicpm": Kind("minicpm", is_tied=True),
    "nemotron": Kind("nemotron", is_gated=False),
    "seed_oss": Kind("seed_oss", has_bias=True),
    "bert": Kind("bert"),
    "roberta": Kind("bert"),
    "xlm-roberta": Kind("bert"),
    "camembert": Kind("bert"),
    "electra": Kind("bert"),
    "mpnet": Kind("bert"),
    "nomic_bert": Kind("nomic-bert"),
}  # fmt: skip
KNOWN_KINDS = tuple(sorted(KINDS))

# Other names of a size, in the order in which they are looked for. A key that says it by its first name goes before.
OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "num_hidden_layers": ("num_layers", "n_layer", "n_layers"),
    "hidden_size": ("n_embd", "n_embed", "d_model"),
    "num_attention_heads": ("n_head", "n_heads", "num_heads"),
    "num_key_value_heads": ("num_kv_heads", "n_head_kv"),
    "intermediate_size": ("ffn_hidden_size", "n_inner", "ffn_dim", "d_ff"),
    "max_position_embeddings": ("seq_length", "n_positions", "n_ctx", "max_seq_len", "max_sequence_length"),
    "num_experts_per_tok": ("experts_per_token", "num_experts_per_token"),
    "sliding_window": ("attention_chunk_size",),
}

# RoBERTa's family counts positions from the padding token's on, so two rows stand for no token.
LATE_POSITIONS = frozenset({"roberta", "xlm-roberta", "camembert", "mpnet"})
# Keys of networks that keep a state in place of keys and values in some blocks; only their tensors show which.
STATE_KEYS = (
    *("state_size", "mamba_d_state", "ssm_state_size", "ssm_cfg", "mamba_expand", "attn_layer_period"),
    *("hybrid_override_pattern", "layers_block_type", "linear_num_value_heads", "conv_L_cache", "lru_width"),
)
# Keys, and kinds, of networks with tables for each block, caches that blocks share, or heads of several widths.
TABLE_KEYS = (
    *("hidden_size_per_layer_input", "altup_num_inputs", "laurel_rank", "num_kv_shared_layers"),
    *("global_head_dim", "num_global_key_value_heads", "attention_k_eq_v"),
)
TABLE_KINDS = frozenset({"gemma3n", "gemma3n_text"})
# Keys that say in which blocks the experts are, where that is not in all of them.
SPARSE_STEP_KEYS = ("interleave_moe_layer_step", "decoder_sparse_step", "moe_layer_freq", "moe_layer_interval")


def guessed(name: str) -> Kind:
    """A kind that nobody told us of, read as Llama's.

    Args:
        name: As the file says it; what is not letters, digits, ``-`` and ``_`` is left out.
    """
    plain = "".join(sign for sign in name[:40] if sign.isascii() and (sign.isalnum() or sign in "-_"))
    return Kind(plain or "unknown", is_guessed=True)
