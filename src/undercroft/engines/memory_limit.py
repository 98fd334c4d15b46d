"""The most memory that an engine may take. Pure."""

from __future__ import annotations

GIB = 1024**3
KV_BYTES_PER_VALUE = {"f32": 4.0, "f16": 2.0, "q8_0": 34 / 32, "q4_0": 18 / 32}


def default_memory_limit(
    *,
    model_bytes: int,
    context_tokens: int,
    slots: int,
    layers: int | None = None,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    cache_type: str = "f16",
) -> int:
    """The most private memory that an engine of this model can have a reason to take.

    Generous on purpose: it is there to protect the machine from an engine that runs away, not to forecast. It covers
    weights that are repacked or not mapped (once the file, and the file again while that happens), the key-value cache
    of every slot, and 1 GiB for compute buffers, thread stacks and the program.

    Args:
        model_bytes: Size of the weights' files.
        context_tokens: Tokens of one slot.
        slots: Requests computed at the same time.
        layers: Blocks that keep a cache; None where the file does not say.
        kv_heads: Key/value heads; None where the file does not say.
        head_dim: Width of one head; None where the file does not say.
        cache_type: ``f32``, ``f16``, ``q8_0`` or ``q4_0``.

    Returns:
        Bytes. Where the shape is not known, three times the file and 2 GiB.

    Source:
        Measured: a 290 MB Q4_K_M file with a 201 MB cache took 471 MB, with an 805 MB cache 1,075 MB (facts.md).
    """
    if layers is None or kv_heads is None or head_dim is None:
        return 3 * model_bytes + 2 * GIB
    values = 2 * layers * kv_heads * head_dim * context_tokens * slots
    return 2 * model_bytes + int(values * KV_BYTES_PER_VALUE[cache_type]) + GIB
