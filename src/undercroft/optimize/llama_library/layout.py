"""The structures that pass between us and llama.cpp, and whether a library has the layout that is written down here.

C has no way to ask a library for its structures. So its own defaults are read through ours: where a field was added,
taken away or moved, they do not come out as they should.

Source: ``include/llama.h``, ``ggml/include/ggml.h`` and ``src/llama-context.cpp`` of llama.cpp as it lies in the source
distribution of xllamacpp 2026.10.11549.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

# A library that is newer may have more fields at the end: it then finds zeros there, which mean "not used".
_SPARE_BYTES = 256
_DIMENSIONS, _SOURCES, _NAME_BYTES, _PARAMETER_WORDS = 4, 10, 64, 16

EVALUATED = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_bool, ctypes.c_void_p)
LOGGED = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class ModelParameters(ctypes.Structure):
    """``llama_model_params``."""

    _fields_ = (
        ("devices", ctypes.c_void_p),
        ("tensor_buft_overrides", ctypes.c_void_p),
        ("n_gpu_layers", ctypes.c_int32),
        ("split_mode", ctypes.c_int),
        ("load_mode", ctypes.c_int),
        ("lazy_mode", ctypes.c_int),
        ("main_gpu", ctypes.c_int32),
        ("tensor_split", ctypes.c_void_p),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("vocab_only", ctypes.c_bool),
        ("check_tensors", ctypes.c_bool),
        ("use_extra_bufts", ctypes.c_bool),
        ("no_host", ctypes.c_bool),
        ("no_alloc", ctypes.c_bool),
        ("load_mtp", ctypes.c_bool),
        ("spare", ctypes.c_ubyte * _SPARE_BYTES),
    )


class ContextParameters(ctypes.Structure):
    """``llama_context_params``."""

    _fields_ = (
        ("n_ctx", ctypes.c_uint32),
        ("n_batch", ctypes.c_uint32),
        ("n_ubatch", ctypes.c_uint32),
        ("n_seq_max", ctypes.c_uint32),
        ("n_rs_seq", ctypes.c_uint32),
        ("n_outputs_max", ctypes.c_uint32),
        ("n_outputs_max_per_seq", ctypes.c_uint32),
        ("n_threads", ctypes.c_int32),
        ("n_threads_batch", ctypes.c_int32),
        ("ctx_type", ctypes.c_int),
        ("rope_scaling_type", ctypes.c_int),
        ("pooling_type", ctypes.c_int),
        ("attention_type", ctypes.c_int),
        ("flash_attn_type", ctypes.c_int),
        ("rope_freq_base", ctypes.c_float),
        ("rope_freq_scale", ctypes.c_float),
        ("yarn_ext_factor", ctypes.c_float),
        ("yarn_attn_factor", ctypes.c_float),
        ("yarn_beta_fast", ctypes.c_float),
        ("yarn_beta_slow", ctypes.c_float),
        ("yarn_orig_ctx", ctypes.c_uint32),
        ("defrag_thold", ctypes.c_float),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("type_k", ctypes.c_int),
        ("type_v", ctypes.c_int),
        ("moe_cache_size", ctypes.c_size_t),
        ("abort_callback", ctypes.c_void_p),
        ("abort_callback_data", ctypes.c_void_p),
        ("embeddings", ctypes.c_bool),
        ("offload_kqv", ctypes.c_bool),
        ("no_perf", ctypes.c_bool),
        ("op_offload", ctypes.c_bool),
        ("swa_full", ctypes.c_bool),
        ("kv_unified", ctypes.c_bool),
        ("samplers", ctypes.c_void_p),
        ("n_samplers", ctypes.c_size_t),
        ("ctx_other", ctypes.c_void_p),
        ("spare", ctypes.c_ubyte * _SPARE_BYTES),
    )


class Batch(ctypes.Structure):
    """``llama_batch``: tokens with their positions and sequences, and for which of them logits are wanted."""

    _fields_ = (
        ("n_tokens", ctypes.c_int32),
        ("token", ctypes.POINTER(ctypes.c_int32)),
        ("embd", ctypes.POINTER(ctypes.c_float)),
        ("pos", ctypes.POINTER(ctypes.c_int32)),
        ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
        ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))),
        ("logits", ctypes.POINTER(ctypes.c_int8)),
    )


class Tensor(ctypes.Structure):
    """``ggml_tensor``: a node of the graph. ``ne`` counts its elements, ``nb`` is the stride in bytes."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("buffer", ctypes.c_void_p),
        ("ne", ctypes.c_int64 * _DIMENSIONS),
        ("nb", ctypes.c_size_t * _DIMENSIONS),
        ("op", ctypes.c_int),
        ("op_params", ctypes.c_int32 * _PARAMETER_WORDS),
        ("flags", ctypes.c_int32),
        ("src", ctypes.c_void_p * _SOURCES),
        ("view_src", ctypes.c_void_p),
        ("view_offs", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("name", ctypes.c_char * _NAME_BYTES),
        ("extra", ctypes.c_void_p),
        ("padding", ctypes.c_char * 8),
    )


class GraphParameters(ctypes.Structure):
    """``ggml_init_params``: where tensors are kept."""

    _fields_ = (("mem_size", ctypes.c_size_t), ("mem_buffer", ctypes.c_void_p), ("no_alloc", ctypes.c_bool))


OBJECT_HEADER_BYTES = 32  # what ggml keeps before each tensor

MODEL_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("devices", "tensor_buft_overrides", "tensor_split", "progress_callback", "kv_overrides"), None),
    **{"n_gpu_layers": -1, "split_mode": 1, "load_mode": -1, "lazy_mode": 1, "main_gpu": 0},
    **{"vocab_only": False, "check_tensors": False, "use_extra_bufts": True, "no_host": False, "no_alloc": False},
    "load_mtp": False,
}
CONTEXT_DEFAULTS: Mapping[str, Any] = {
    **{"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_rs_seq": 0, "n_outputs_max": 0},
    **{"n_outputs_max_per_seq": 1, "n_threads": 4, "n_threads_batch": 4, "ctx_type": 0, "rope_scaling_type": -1},
    **{"pooling_type": -1, "attention_type": -1, "flash_attn_type": -1, "rope_freq_base": 0.0, "rope_freq_scale": 0.0},
    **{"yarn_ext_factor": -1.0, "yarn_attn_factor": -1.0, "yarn_beta_fast": -1.0, "yarn_beta_slow": -1.0},
    **{"yarn_orig_ctx": 0, "defrag_thold": -1.0, "cb_eval": None, "cb_eval_user_data": None},
    **{
        "type_k": 1,
        "type_v": 1,
        "moe_cache_size": 0,
        "abort_callback": None,
        "abort_callback_data": None,
        "embeddings": False,
    },
    **{"offload_kqv": True, "no_perf": True, "op_offload": True, "swa_full": True, "kv_unified": False},
    **{"samplers": None, "n_samplers": 0, "ctx_other": None},
}


def differences(read: ctypes.Structure, expected: Mapping[str, Any]) -> list[str]:
    """What a library's defaults are, against what they would be if it had our layout.

    Args:
        read: Its defaults, read through our structure.
        expected: `MODEL_DEFAULTS` or `CONTEXT_DEFAULTS`.

    Returns:
        One phrase a field, ``n_batch is 512, not 2048``; empty where the layouts agree.
    """
    values = {name: getattr(read, name) for name in expected}
    return [f"{name} is {values[name]}, not {default}" for name, default in expected.items() if values[name] != default]


def weight_name(name: bytes) -> str:
    """The weight that a node's factor is, without what the scheduler put around it: ``CUDA0#blk.0.attn_k.weight#0``."""
    parts = name.decode("utf-8", "replace").split("#")
    return parts[1] if len(parts) > 1 else parts[0]
