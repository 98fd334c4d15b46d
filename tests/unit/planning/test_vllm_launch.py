"""How vLLM is started, by plan."""

from __future__ import annotations

import pytest

from tests.unit.planning.test_memory_engines import GIB, LLAMA_8B, target, term
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.memory_vllm import UTILIZATION
from undercroft.planning.vllm_launch import VllmLaunch, launch_without_shape, vllm_launch

WORK = Workload(engine="vllm", context_tokens=4096, slots=4)


def test_host_gets_the_cache_that_its_slots_fill() -> None:
    """Four times 4,096 tokens of 131,072 bytes each, a page of 128 that stays empty, and no share of anything; for
    4,097 tokens a page more."""
    assert vllm_launch(LLAMA_8B, WORK, target(0)) == VllmLaunch(0, None, (4 * 4096 + 128) * 131_072)
    more = Workload(engine="vllm", context_tokens=4097, slots=1)
    assert vllm_launch(LLAMA_8B, more, target(0)).cache_bytes == (4096 + 128 + 128) * 131_072


def test_one_card_is_enough_and_its_share_is_what_is_needed() -> None:
    """An 8B in half precision takes one 80 GiB card of four; its share holds weights and cache and leaves the rest."""
    found = vllm_launch(LLAMA_8B, WORK, target(4))
    assert (found.gpus, found.cache_bytes) == (1, None)
    assert found.gpu_memory_ratio is not None
    need = 2 * 8_030_261_248 + 4 * 4096 * 131_072
    assert need / (80 * GIB) < found.gpu_memory_ratio < 0.5


def test_small_cards_share_the_layers() -> None:
    """Where one card of 16 GiB is too small two are taken, and as many as divide the heads where none suffices."""
    found = vllm_launch(LLAMA_8B, WORK, target(4, gib=16))
    assert found.gpus == 2
    assert found.gpu_memory_ratio is not None
    assert found.gpu_memory_ratio <= UTILIZATION
    assert vllm_launch(LLAMA_8B, WORK, target(3, gib=4)) == VllmLaunch(2, UTILIZATION, None)


def test_what_was_asked_for_is_taken() -> None:
    """Cards and share that a person gave are those that are used; what cannot be is refused with the reason."""
    asked = vllm_launch(LLAMA_8B, WORK, target(4), gpus=4, gpu_memory_ratio=0.6)
    assert asked == VllmLaunch(4, 0.6, None)
    with pytest.raises(InvalidError, match="this machine has 2"):
        vllm_launch(LLAMA_8B, WORK, target(2), gpus=4)
    with pytest.raises(InvalidError, match="32 heads are not divided"):
        vllm_launch(LLAMA_8B, WORK, target(4), gpus=3)


def test_unknown_shape_is_left_to_vllm() -> None:
    """A network that we cannot read takes one card as vLLM would, or a cache of 1 GiB on a host."""
    assert launch_without_shape(target(0)) == VllmLaunch(0, None, GIB)
    assert launch_without_shape(target(4)) == VllmLaunch(1, UTILIZATION, None)
    assert launch_without_shape(target(4), gpus=2, gpu_memory_ratio=0.5) == VllmLaunch(2, 0.5, None)


def test_its_processes_take_memory_on_a_host() -> None:
    """Without accelerators the program itself counts, beside weights and cache."""
    found = forecast_memory(LLAMA_8B, WORK, target(0))
    assert term(found, "runtime", "host") == 1_300_000_000
    assert term(found, "kv cache", "host") == 4 * 4096 * 131_072
