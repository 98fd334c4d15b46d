"""Memory of engines: what is read from the kernel, and what is allowed."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from undercroft.core.processes import ProcessIdentity, identify
from undercroft.engines.memory import parse_status, used_memory
from undercroft.engines.memory_limit import default_memory_limit

GIB = 1024**3


def test_reads_the_kernels_counts() -> None:
    """Anonymous, shared and swapped memory is private; mapped files are not."""
    lines = [
        "Name:\tx",
        "VmRSS:\t 900 kB",
        "RssAnon:\t 100 kB",
        "RssFile:\t 700 kB",
        "RssShmem:\t 20 kB",
        "VmSwap:\t 3 kB",
    ]
    assert parse_status(lines) == (123 * 1024, 700 * 1024)


def test_own_memory_is_seen() -> None:
    """A running process tells its memory, one that is gone nothing."""
    found = used_memory(identify(os.getpid()) or ProcessIdentity(0, 0))
    assert found is not None
    assert found.private_bytes > 1024**2
    assert used_memory(ProcessIdentity(os.getpid(), 1.0)) is None


def test_limit_covers_what_was_measured() -> None:
    """The two measured loads (471 MB and 1,075 MB private) fit the limit, with room."""
    shape = {"layers": 24, "kv_heads": 8, "head_dim": 64}
    for context_tokens, slots, measured in ((4096, 1, 471e6), (4096, 4, 1075e6)):
        limit = default_memory_limit(model_bytes=290_000_000, context_tokens=context_tokens, slots=slots, **shape)
        assert 1.5 * measured < limit < 5 * GIB


def test_unknown_shape_is_generous() -> None:
    """Without a shape the limit is three times the file and 2 GiB."""
    assert default_memory_limit(model_bytes=GIB, context_tokens=4096, slots=4) == 5 * GIB
    assert default_memory_limit(model_bytes=GIB, context_tokens=4096, slots=4, layers=2, kv_heads=2) == 5 * GIB


@given(st.integers(1, 10**6), st.integers(1, 256), st.sampled_from(["f16", "q8_0", "q4_0"]))
def test_limit_grows_with_the_cache(context_tokens: int, slots: int, cache_type: str) -> None:
    """A longer context and more slots are never allowed less, a smaller cache type never more."""

    def limit(tokens: int, count: int, kind: str) -> int:
        return default_memory_limit(
            model_bytes=1000,
            context_tokens=tokens,
            slots=count,
            layers=8,
            kv_heads=4,
            head_dim=64,
            cache_type=kind,
        )

    assert limit(context_tokens + 1, slots, cache_type) >= limit(context_tokens, slots, cache_type)
    assert limit(context_tokens, slots + 1, cache_type) >= limit(context_tokens, slots, cache_type)
    assert limit(context_tokens, slots, cache_type) <= limit(context_tokens, slots, "f16")
