"""Which tensors no scheme touches: too small to matter, too delicate, or not weights of a product.

Source: ``tensor_allows_quantization`` in ``src/llama-quant.cpp`` of llama.cpp, b11549.
"""

from __future__ import annotations

from collections.abc import Sequence

_KEPT_NAMES = frozenset({"position_embd.weight", "token_types.weight"})
_KEPT_PARTS = (
    "_norm.weight",
    # routing between experts
    "ffn_gate_inp.weight",
    "ffn_gate_tid2eid.weight",
    # tiny ones of Gemma 3n
    "altup",
    "laurel",
    "per_layer_model_proj",
    # convolutions of recurrent blocks
    "ssm_conv1d",
    "shortconv.conv.weight",
    # the indexer of MiniMax
    "indexer.k_proj.weight",
    "indexer.q_proj.weight",
    # small matrices of RWKV
    "time_mix_first.weight",
    "time_mix_w0.weight",
    "time_mix_w1.weight",
    "time_mix_w2.weight",
    "time_mix_v0.weight",
    "time_mix_v1.weight",
    "time_mix_v2.weight",
    "time_mix_a0.weight",
    "time_mix_a1.weight",
    "time_mix_a2.weight",
    "time_mix_g1.weight",
    "time_mix_g2.weight",
    "time_mix_decay_w1.weight",
    "time_mix_decay_w2.weight",
    "time_mix_lerp_fused.weight",
    # relative positions of T5
    "attn_rel_b.weight",
    # images and sound
    ".position_embd",
    "sam.pos_embd",
    "sam.neck.",
    "sam.net_",
    ".rel_pos",
    ".patch_embd",
    ".patch_merger",
    "a.rvq.codebook",
    "mm.a.code_embd",
)
_KEPT_PARTS_OF = {
    "glm5-next": (
        "hc_",
        "indexer.attn_q_b",
        "indexer.attn_k",
        "indexer.proj",
        "indexer_compressor_gate",
        "indexer_compressor_ape",
        "ssm_f_a.weight",
        "ssm_f_b.weight",
        "ssm_g_a.weight",
        "ssm_g_b.weight",
        "ssm_beta.weight",
        "attn_kv_a_mqa.weight",
        "attn_k_b.weight",
        "attn_v_b.weight",
    )
}


def is_quantizable(name: str, shape: Sequence[int], architecture: str) -> bool:
    """Whether a scheme may store a tensor in another type.

    Args:
        name: Of the tensor.
        shape: Sizes, innermost first; ones at the end do not count as dimensions.
        architecture: ``general.architecture`` of the model.
    """
    if not any(size > 1 for size in shape[1:]) or not name.endswith("weight") or name in _KEPT_NAMES:
        return False
    return not any(part in name for part in (*_KEPT_PARTS, *_KEPT_PARTS_OF.get(architecture, ())))
