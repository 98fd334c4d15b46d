"""Equal blocks counted together say what every tensor by itself says."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from undercroft.catalog.families import load_catalogue
from undercroft.planning.memory_weights import layout_of_tensors, stored_tensors, weight_layout
from undercroft.planning.quantization import MIXES
from undercroft.planning.traffic import traffic_of
from undercroft.planning.weight_groups import groups_of

CATALOGUE = load_catalogue()
# Dense, with tied tables, of experts, with fused matrices, with windows, an encoder and a reranker.
NAMES = (
    "llama-3.1-8b",
    "qwen2.5-0.5b",
    "qwen3-30b-a3b",
    "phi-3-mini-4k",
    "gemma-3-1b",
    "minilm-l6",
    "bge-reranker-v2-m3",
)
ARM, X86 = frozenset({"neon", "dotprod"}), frozenset({"avx2"})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mix", list(MIXES))
def test_groups_hold_every_tensor_once(name: str, mix: str) -> None:
    """Sizes by type and the number of tensors are those of the whole list, in every mix of llama.cpp."""
    shape = CATALOGUE.find(name).shape
    grouped: Counter[str] = Counter()
    tensors = 0
    for group in groups_of(shape, mix):
        tensors += len(group.tensors) * len(group.blocks)
        for tensor in group.tensors:
            grouped[tensor.type_name] += tensor.size_bytes * len(group.blocks)
    every = stored_tensors(shape, mix)
    alone: Counter[str] = Counter()
    for tensor in every:
        alone[tensor.type_name] += tensor.size_bytes
    assert (tensors, grouped) == (len(every), alone)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mix", ["F16", "Q8_0", "Q5_K_M", "Q4_K_M", "Q4_0", "IQ4_XS", "IQ3_XS", "IQ2_M"])
@pytest.mark.parametrize("features", [ARM, X86], ids=["arm", "x86"])
def test_a_layout_of_groups_is_that_of_all_tensors(name: str, mix: str, features: frozenset[str]) -> None:
    """Block by block, rearranged or not, and at both ends of the file."""
    shape = CATALOGUE.find(name).shape
    assert weight_layout(shape, mix, features) == layout_of_tensors(shape, stored_tensors(shape, mix), features)


@pytest.mark.parametrize("name", NAMES)
def test_traffic_of_groups_is_that_of_a_file(name: str) -> None:
    """What a step reads is the same whether a file with the same tensors is there or not."""
    shape = CATALOGUE.find(name).shape
    stored = replace(shape, tensors=stored_tensors(shape, "Q4_K_M"))
    planned, there = traffic_of(shape, "Q4_K_M"), traffic_of(stored, "")
    for part in ("blocks", "experts", "output"):
        by_type = [{m.type_name: (m.size_bytes, m.elements) for m in getattr(one, part)} for one in (planned, there)]
        assert by_type[0] == by_type[1]
    assert (planned.main_type, planned.stored_bytes) == (there.main_type, there.stored_bytes)
