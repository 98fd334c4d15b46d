"""The forecast of memory: cases by hand, and what must hold for every model."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.planning.shapes import DEEPSEEK_V2_LITE, DEEPSEEK_V3, MIXTRAL, OLMOE, QWEN_MOE, TINYLLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import ModelShape, StoredTensor
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import MemoryForecast, Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.memory_cache import cache_bytes_per_token, cells, layer_cache_bytes
from undercroft.planning.memory_weights import is_repacked, weight_layout
from undercroft.planning.targets import Pool, Rate, Target

GIB, MIB = 1024**3, 1024**2
CATALOGUE = load_catalogue()
AVX2 = frozenset({"avx2"})
RATE = Rate(1.0, 1.0, 1.0, "a test")
SHAPES = [model.shape for model in CATALOGUE.models] + [
    *(TINYLLAMA, MIXTRAL, QWEN_MOE, OLMOE, DEEPSEEK_V2_LITE, DEEPSEEK_V3)
]
DECODERS = [shape for shape in SHAPES if not shape.is_encoder]


def shape_of(name: str) -> ModelShape:
    return CATALOGUE.find(name).shape


def machine(*accelerators_gib: float) -> Target:
    host = Pool("host", "a host", "cpu", 4096 * GIB, 4096 * GIB, RATE)
    pools = tuple(
        Pool(f"gpu{n}", "a card", "gpu", int(size * GIB), int(size * GIB), RATE, context_bytes=300 * MIB)
        for n, size in enumerate(accelerators_gib)
    )
    return Target("a test", host, pools, RATE, features=AVX2)


def term(forecast: MemoryForecast, name: str, pool: str = "host") -> int:
    return sum(t.size_bytes for t in forecast.terms if t.name == name and t.pool == pool)


def total(forecast: MemoryForecast) -> int:
    return sum(t.size_bytes for t in forecast.terms)


def cache_of(shape: ModelShape, **workload: object) -> int:
    return term(forecast_memory(shape, Workload(**workload), machine()), "kv cache")  # type: ignore[arg-type]


def test_cache_of_qwen_2_5_7b_by_hand() -> None:
    """2 x 28 blocks x 4 heads x 128 values x 2 bytes x 32,768 tokens are 1.75 GiB."""
    assert cache_of(shape_of("qwen2.5-7b"), context_tokens=32_768) == 2 * 28 * 4 * 128 * 2 * 32_768 == 1.75 * GIB


@pytest.mark.parametrize(
    ("shape", "cache_type", "size_bytes"),
    [
        (shape_of("llama-3.1-8b"), "f16", 131_072),  # 2 x 32 x 8 x 128 x 2
        (shape_of("llama-3.1-8b"), "q8_0", 69_632),  # 34 bytes for 32 values
        (shape_of("llama-3.1-8b"), "q4_0", 36_864),  # 18 bytes for 32 values
        (shape_of("llama-3.1-8b"), "fp8", 65_536),
        (DEEPSEEK_V3, "f16", 70_272),  # 61 x (512 + 64) x 2
        (TINYLLAMA, "f16", 22_528),  # 2 x 22 x 4 x 64 x 2
    ],
)
def test_cache_of_a_token_by_hand(shape: ModelShape, cache_type: str, size_bytes: int) -> None:
    """What articles and model cards give for one more token."""
    assert cache_bytes_per_token(shape, cache_type) == size_bytes


def test_a_sliding_window_keeps_the_window_and_one_piece() -> None:
    """Gemma 3 1B at 32,768 tokens: 22 blocks keep 512 + 512 tokens, 4 keep all of them."""
    row = 2 * 1 * 256 * 2
    assert cache_of(shape_of("gemma-3-1b"), context_tokens=32_768) == row * (22 * 1024 + 4 * 32_768)


def test_a_window_that_llama_cpp_does_not_use_saves_nothing() -> None:
    """Mistral 7B v0.1 has a window of 4,096; llama.cpp keeps all 8,192."""
    shape = dataclasses.replace(shape_of("mistral-7b-v0.1"), window_tokens=4096, window_layers=frozenset(range(32)))
    assert cache_of(shape, context_tokens=8192) == 131_072 * 8192


def test_one_head_for_all_queries_by_hand() -> None:
    """Multi-query attention: Falcon 7B keeps 2 x 32 blocks x 1 head x 64 values x 2 bytes, a 71st of all heads."""
    falcon = dataclasses.replace(
        TINYLLAMA, layers=32, width=4544, heads=71, kv_heads=(1,) * 32, head_dim=64, value_head_dim=64
    )
    assert cache_bytes_per_token(falcon) == 8192
    whole = dataclasses.replace(falcon, kv_heads=(71,) * 32)
    assert cache_bytes_per_token(whole) == 71 * 8192


def test_a_quantized_cache_by_hand() -> None:
    """Llama 3.1 8B at 8,192 tokens: 34 bytes for 32 values in q8_0, 18 in q4_0; 1 GiB in fp16."""
    shape = shape_of("llama-3.1-8b")
    sizes = {kind: cache_of(shape, context_tokens=8192, cache_type=kind) for kind in ("f16", "q8_0", "q4_0")}
    assert sizes == {"f16": GIB, "q8_0": GIB * 34 // 64, "q4_0": GIB * 18 // 64}


def test_compressed_rows_of_deepseek_by_hand() -> None:
    """61 blocks x (512 + 64) values x 2 bytes x 4,096 tokens; its 128 heads would take 57 times as much."""
    assert cache_of(DEEPSEEK_V3, context_tokens=4096) == 61 * 576 * 2 * 4096


def test_a_state_does_not_grow_with_the_text() -> None:
    """12 Mamba 2 blocks of 201,984 values, 4 slots: 4 bytes each, alive and in three snapshots, four in long ones."""
    shape = dataclasses.replace(
        TINYLLAMA, layers=12, kv_heads=(0,) * 12, recurrent_layers=frozenset(range(12)), recurrent_values=201_984
    )
    short, long = (
        forecast_memory(shape, Workload(context_tokens=tokens, slots=4, gpu_layers=0), machine())
        for tokens in (1024, 32_768)
    )
    assert term(short, "state") == 4 * 12 * 4 * 201_984 * 4
    assert term(long, "state") == 5 * 12 * 4 * 201_984 * 4
    assert term(long, "kv cache") == 0


def test_a_state_lies_with_its_block_and_its_snapshots_on_the_host() -> None:
    """On a card one state of each slot, on the host three."""
    shape = dataclasses.replace(
        TINYLLAMA, layers=12, kv_heads=(0,) * 12, recurrent_layers=frozenset(range(12)), recurrent_values=1000
    )
    found = forecast_memory(shape, Workload(slots=2, gpu_layers=-1), machine(80))
    assert term(found, "state", "gpu0") == 12 * 2 * 1000 * 4
    assert term(found, "state") == 3 * 12 * 2 * 1000 * 4


def test_cells_are_padded_to_256_in_every_slot() -> None:
    """3 slots of 100 tokens: 300 cells become 512, a third of them 256 each."""
    assert cells(TINYLLAMA, context_tokens=100, slots=3, micro_batch_tokens=512).full == 256


def test_an_encoder_keeps_no_cache() -> None:
    """It reads all tokens at once."""
    shape = shape_of("bge-small-en")
    room = cells(shape, context_tokens=512, slots=1, micro_batch_tokens=512)
    assert sum(layer_cache_bytes(shape, "f16", room)) == 0


def test_an_encoder_pays_for_logits_that_nobody_reads() -> None:
    """llama.cpp keeps a row of the vocabulary for every token that is embedded: 512 x 250,037 x 4 bytes."""
    work = Workload(quantization="F16", context_tokens=512, is_embedding=True)
    found = forecast_memory(shape_of("multilingual-e5-small"), work, machine())
    assert max(t.size_bytes for t in found.terms if t.name == "runtime") >= 512 * 250_037 * 4


@pytest.mark.parametrize(
    ("type_name", "features", "expected"),
    [
        ("Q4_0", {"avx2"}, True),
        ("Q4_K", {"avx2"}, True),
        ("IQ4_NL", {"avx2"}, True),
        ("Q6_K", {"avx2"}, False),
        ("Q8_0", {"avx2"}, False),
        ("Q6_K", {"neon", "dotprod"}, True),
        ("Q8_0", {"neon", "dotprod"}, True),
        ("Q4_0", {"neon"}, False),
        ("F16", {"avx2"}, False),
    ],
)
def test_what_a_cpu_keeps_twice(type_name: str, features: set[str], *, expected: bool) -> None:
    """By type and instruction set, as ggml's repack.cpp chooses."""
    assert is_repacked(StoredTensor("blk.0.attn_q.weight", (256, 8), type_name, 1), frozenset(features)) is expected


def test_rows_that_do_not_fill_a_group_are_not_repacked() -> None:
    """Eight rows are read together; seven are left as they are."""
    assert not is_repacked(StoredTensor("blk.0.attn_q.weight", (256, 7), "Q4_0", 1), AVX2)


def test_half_precision_is_not_kept_twice() -> None:
    """Its pages of the file are all there is."""
    layout = weight_layout(TINYLLAMA, "F16", AVX2)
    assert layout.repacked == 0
    assert layout.total == 2 * 1_100_048_384 + 2 * 2048 * (2 * 22 + 1)


def test_a_tied_table_lies_on_both_sides() -> None:
    """Rows are looked up on the host; the accelerator multiplies with its own copy."""
    shape = shape_of("qwen2.5-3b")
    found = forecast_memory(shape, Workload(quantization="F16", gpu_layers=-1), machine(24))
    table = shape.vocabulary * shape.width * 2
    assert term(found, "weights") == table
    assert term(found, "weights", "gpu0") == weight_layout(shape, "F16", AVX2).total


def test_as_many_blocks_as_fit_go_on_the_card() -> None:
    """One more would be too much, and the context of the driver is counted."""
    shape, target = shape_of("llama-3.1-8b"), machine(4)
    work = Workload(quantization="Q4_K_M", context_tokens=8192, gpu_layers=-1)
    found = forecast_memory(shape, work, target)
    assert 0 < found.gpu_layers < 33
    assert found.in_pool("gpu0") <= 4 * GIB
    more = forecast_memory(shape, dataclasses.replace(work, gpu_layers=found.gpu_layers + 1), target)
    assert more.in_pool("gpu0") > 4 * GIB


def test_no_block_on_a_card_leaves_it_empty() -> None:
    """Not even a context of the driver is counted."""
    found = forecast_memory(TINYLLAMA, Workload(quantization="F16", gpu_layers=0), machine(24))
    assert found.gpu_layers == 0
    assert {t.pool for t in found.terms} == {"host"}


@pytest.mark.parametrize("bad", [{"context_tokens": 0}, {"slots": 0}, {"micro_batch_tokens": 0}, {"cache_type": "x"}])
def test_what_cannot_be_is_refused(bad: dict[str, object]) -> None:
    """A count below 1 or an unknown type of cache."""
    with pytest.raises(InvalidError, match="bad-workload"):
        forecast_memory(TINYLLAMA, dataclasses.replace(Workload(), **bad), machine())  # type: ignore[arg-type]


def test_an_unknown_engine_is_refused() -> None:
    """The sentence says which there are."""
    with pytest.raises(InvalidError, match=r"unknown-engine.*llama\.cpp"):
        forecast_memory(TINYLLAMA, Workload(engine="abacus"), machine())


WORKLOADS = st.builds(
    Workload,
    quantization=st.sampled_from(["F16", "Q8_0", "Q6_K", "Q4_K_M", "Q4_0", "IQ4_XS", "Q2_K"]),
    context_tokens=st.integers(1, 65_536),
    slots=st.integers(1, 16),
    cache_type=st.sampled_from(["f16", "q8_0", "q4_0"]),
    gpu_layers=st.just(0),
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(SHAPES), WORKLOADS, st.integers(1, 4096), st.integers(1, 4))
def test_more_never_needs_less(shape: ModelShape, work: Workload, tokens: int, slots: int) -> None:
    """More context, more slots, or a finer cache take as much memory or more."""
    least = total(forecast_memory(shape, work, machine()))
    longer = dataclasses.replace(work, context_tokens=work.context_tokens + tokens)
    wider = dataclasses.replace(work, slots=work.slots + slots)
    finer = dataclasses.replace(work, cache_type={"q4_0": "q8_0", "q8_0": "f16", "f16": "f32"}[work.cache_type])
    for other in (longer, finer):
        assert total(forecast_memory(shape, other, machine())) >= least
    # Cells of a slot are rounded to 256, so another slot may change the others' rounding; whole ones do not.
    if work.context_tokens % 256 == 0:
        assert total(forecast_memory(shape, wider, machine())) >= least


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DECODERS), WORKLOADS)
def test_another_block_needs_more(shape: ModelShape, work: Workload) -> None:
    """A deeper network of the same width takes more."""
    deeper = dataclasses.replace(shape, layers=shape.layers + 1, kv_heads=(*shape.kv_heads, shape.kv_heads[-1]))
    assert total(forecast_memory(deeper, work, machine())) > total(forecast_memory(shape, work, machine()))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(DECODERS), WORKLOADS, st.integers(0, 130), st.integers(1, 4))
def test_sharing_out_loses_nothing(shape: ModelShape, work: Workload, layers: int, cards: int) -> None:
    """Weights and cache are the same however blocks are placed, but for the second copy of a tied table."""
    whole = forecast_memory(shape, work, machine())
    parts = forecast_memory(shape, dataclasses.replace(work, gpu_layers=layers), machine(*[80.0] * cards))
    assert sum(parts.in_pool(pool) for pool in {t.pool for t in parts.terms}) == total(parts)
    assert sum(t.size_bytes for t in parts.terms if t.name == "kv cache") == term(whole, "kv cache")
    layout = weight_layout(shape, work.quantization, AVX2)
    copy = layout.tied_output if parts.gpu_layers else 0
    stored = sum(t.size_bytes for t in parts.terms if t.name == "weights")
    unmapped = layout.unmapped if not parts.gpu_layers else 0
    assert stored == layout.total + copy - unmapped


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DECODERS), WORKLOADS, st.integers(1, 130), st.integers(1, 4))
def test_each_block_on_a_card_takes_from_the_host(shape: ModelShape, work: Workload, layers: int, cards: int) -> None:
    """One block more on cards: they hold more and the host less or the same, beside the snapshots that stay there."""
    target = machine(*[400.0] * cards)
    fewer, more = (
        forecast_memory(shape, dataclasses.replace(work, gpu_layers=count), target) for count in (layers, layers + 1)
    )
    on_cards = [sum(found.in_pool(pool.id) for pool in target.accelerators) for found in (fewer, more)]
    assert on_cards[0] <= on_cards[1]
    assert more.in_pool("host") <= fewer.in_pool("host")


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DECODERS), WORKLOADS)
def test_pools_hold_all_terms(shape: ModelShape, work: Workload) -> None:
    """What the pools hold together is the sum of the terms, file pages and private memory apart."""
    found = forecast_memory(shape, dataclasses.replace(work, gpu_layers=-1), machine(8, 8))
    pools = ("host", "gpu0", "gpu1")
    assert sum(found.in_pool(pool) for pool in pools) == total(found)
    files = sum(t.size_bytes for t in found.terms if t.is_file)
    assert sum(found.in_pool(pool, with_files=False) for pool in pools) == total(found) - files


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(DECODERS), WORKLOADS, st.lists(st.floats(0.5, 96), min_size=1, max_size=4))
def test_what_was_decided_fits(shape: ModelShape, work: Workload, sizes: list[float]) -> None:
    """With -1 no card is ever given more than it has free."""
    target = machine(*sizes)
    found = forecast_memory(shape, dataclasses.replace(work, gpu_layers=-1), target)
    assert all(found.in_pool(pool.id) <= pool.available_bytes for pool in target.accelerators)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.architecture}-{shape.layers}x{shape.width}")
def test_every_term_is_explained(shape: ModelShape) -> None:
    """Each has a size, a formula and a source."""
    found = forecast_memory(shape, Workload(quantization="Q4_K_M", is_embedding=shape.is_encoder), machine(8))
    assert found.terms
    assert all(t.size_bytes > 0 and t.formula and t.source for t in found.terms)
