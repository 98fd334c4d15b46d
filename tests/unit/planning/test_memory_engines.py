"""Memory of vLLM and ONNX Runtime: cases by hand, and what must hold."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.planning.shapes import DEEPSEEK_V2_LITE, DEEPSEEK_V3, TINYLLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.core.errors import InvalidError
from undercroft.hardware.catalogue import load_devices
from undercroft.planning.fitting import Verdict, fit_of
from undercroft.planning.forecasts import MemoryForecast, Workload
from undercroft.planning.memory import forecast_memory
from undercroft.planning.memory_vllm import adapter_bytes, cache_bytes, card_bytes, linear_bits, weight_bytes
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.targets_of import target_of_device

GIB = 1024**3
CATALOGUE = load_catalogue()
LLAMA_8B = CATALOGUE.find("llama-3.1-8b").shape
MINILM = CATALOGUE.find("minilm-l6").shape
RATE = Rate(1.0, 1.0, 1.0, "a test")


def target(cards: int, gib: int = 80) -> Target:
    host = Pool("host", "a host", "cpu", 512 * GIB, 512 * GIB, RATE)
    size = gib * GIB
    return Target(
        "a test",
        host,
        tuple(Pool(f"gpu{n}", "a card", "gpu", size, size - GIB, RATE, context_bytes=GIB // 2) for n in range(cards)),
        RATE,
    )


def term(forecast: MemoryForecast, name: str, pool: str) -> int:
    return sum(t.size_bytes for t in forecast.terms if t.name == name and t.pool == pool)


def test_half_precision_takes_two_bytes_a_parameter() -> None:
    """8,030,261,248 parameters are 16,060,522,496 bytes."""
    assert weight_bytes(LLAMA_8B, linear_bits("BF16")) == 2 * 8_030_261_248


def test_four_bits_leave_tables_alone() -> None:
    """AWQ of Llama 3.1 8B: 218,103,808 values a block at 4.15625 bits, two tables and 65 norms in half precision."""
    blocks = 32 * 218_103_808 * (4 + 20 / 128) / 8
    assert weight_bytes(LLAMA_8B, linear_bits("AWQ")) == blocks + 2 * (2 * 128_256 * 4096 + 65 * 4096)


@pytest.mark.parametrize(
    ("name", "bits"),
    [("W4A16", 4.125), ("W4A16_G64", 4.25), ("W4A16_G32", 4.5), ("W8A8", 8), ("MXFP4A16", 4.25), ("NVFP4A16", 4.5)],
)
def test_what_quantize_makes_for_vllm_is_known_by_its_groups(name: str, bits: float) -> None:
    """Four bits and a scale of 16 for each group, or of 8; tables and norms in half precision."""
    blocks = 32 * 218_103_808 * bits / 8
    assert weight_bytes(LLAMA_8B, linear_bits(name)) == blocks + 2 * (2 * 128_256 * 4096 + 65 * 4096)


def test_the_share_that_was_given_is_taken_whole() -> None:
    """What weights leave becomes pages of the cache, up to the utilization and never more than is free."""
    found = forecast_memory(LLAMA_8B, Workload(engine="vllm", slots=4), target(1))
    assert found.in_pool("gpu0") == int(0.92 * 80 * GIB)
    assert term(found, "paging reserve", "gpu0") > 0


def test_what_does_not_fit_has_no_reserve() -> None:
    """A model larger than the card is forecast with its own size."""
    found = forecast_memory(LLAMA_8B, Workload(engine="vllm"), target(1, 12))
    assert term(found, "paging reserve", "gpu0") == 0
    assert found.in_pool("gpu0") > 12 * GIB


def test_what_vllm_leaves_to_others_does_not_count_as_room() -> None:
    """A model that needs between 92 and 100 % of a card does not fit; what is above 92 % is missing."""
    card, work = target(1, 24), Workload(engine="vllm", context_tokens=2048)
    alone = forecast_memory(LLAMA_8B, work, card)
    taken = alone.in_pool("gpu0") - term(alone, "paging reserve", "gpu0")
    (pool,) = card.accelerators
    tight = dataclasses.replace(pool, total_bytes=taken + 100, available_bytes=taken + 100)
    small = dataclasses.replace(card, accelerators=(tight,))
    fit = fit_of(forecast_memory(LLAMA_8B, work, small), small, LLAMA_8B.layers)
    assert fit.verdict is Verdict.NO
    assert fit.missing_bytes == taken - int(0.92 * (taken + 100))
    assert fit_of(alone, card, LLAMA_8B.layers).verdict is Verdict.FITS


def test_on_shared_memory_vllm_leaves_what_the_host_needs() -> None:
    """Python and torch live in the same memory as the share of the accelerator, and the two fit together."""
    device = target_of_device(load_devices()["nvidia-jetson-thor"])
    memory = forecast_memory(LLAMA_8B, Workload(engine="vllm"), device)
    assert fit_of(memory, device, LLAMA_8B.layers).verdict is Verdict.FITS


def test_two_cards_share_heads_and_weights() -> None:
    """Each holds half of the weights and half of the cache."""
    work = Workload(engine="vllm", context_tokens=8192, slots=8)
    one, two = (forecast_memory(LLAMA_8B, work, target(n)) for n in (1, 2))
    for name in ("weights", "kv cache"):
        assert term(two, name, "gpu0") == term(two, name, "gpu1") == term(one, name, "gpu0") // 2


def test_cards_that_do_not_divide_the_heads_stay_empty() -> None:
    """32 heads are not shared by three."""
    found = forecast_memory(LLAMA_8B, Workload(engine="vllm"), target(3))
    assert {t.pool for t in found.terms} == {"host", "gpu0", "gpu1"}


def test_a_compressed_cache_is_kept_by_each_card() -> None:
    """DeepSeek's row cannot be cut: 70,272 bytes a token on every card."""
    work = Workload(engine="vllm", context_tokens=16)
    assert cache_bytes(DEEPSEEK_V3, work, 8, 8192) == 16 * 70_272
    assert cache_bytes(DEEPSEEK_V2_LITE, work, 1, 2048) == 16 * 27 * 576 * 2


def test_adapters_take_room_for_every_matrix() -> None:
    """Llama 3.1 8B has 2,886,144 rows and columns: two LoRAs of rank 16 take two bytes for each and their files; on two
    cards each keeps one half of every pair and shares the other."""
    outer = 32 * (8192 + 5120 + 5120 + 8192 + 3 * 18_432) + 2 * (4096 + 128_256)
    work = Workload(engine="vllm", adapters_bytes=1000, adapter_slots=2, adapter_rank=16)
    one, two = (forecast_memory(LLAMA_8B, work, target(n)) for n in (1, 2))
    assert term(one, "adapters", "gpu0") == 2 * 16 * 2 * outer
    assert term(two, "adapters", "gpu1") == 2 * 16 * 2 * outer * 3 // 4
    assert term(one, "adapters", "host") == 1000
    bare = dataclasses.replace(work, adapters_bytes=0, adapter_slots=0)
    needs = [card_bytes(LLAMA_8B, workload, 1, is_large=True) for workload in (bare, work)]
    assert needs[1] - needs[0] == term(one, "adapters", "gpu0")
    single = dataclasses.replace(work, quantization="F32")
    assert adapter_bytes(LLAMA_8B, single, 1) == 2 * adapter_bytes(LLAMA_8B, work, 1)
    assert adapter_bytes(TINYLLAMA, work, 1) > 0


def test_pages_are_whole() -> None:
    """17 tokens take two pages of 16."""
    assert cache_bytes(LLAMA_8B, Workload(context_tokens=17), 1, 2048) == 32 * 131_072


def test_minilm_in_single_precision_by_hand() -> None:
    """22.6 million values of 4 bytes, without the pooler."""
    found = forecast_memory(MINILM, Workload(engine="onnxruntime", context_tokens=256), target(0))
    assert term(found, "weights", "host") == 4 * (MINILM.parameters - 385 * 384)


def test_the_largest_tensor_is_there_twice_while_it_is_read() -> None:
    """Short texts need less than the embedding table of multilingual-e5: 250,037 x 384 x 4 bytes."""
    shape = CATALOGUE.find("multilingual-e5-small").shape
    found = forecast_memory(shape, Workload(engine="onnxruntime", context_tokens=32), target(0))
    assert term(found, "compute buffers", "host") == 250_037 * 384 * 4


def test_the_arena_of_two_runs_by_hand() -> None:
    """MiniLM, 512 tokens: 2 x 512 x (2 x 12 heads x 512 scores + 4 x 384) x 4 bytes are 54 MiB; measured were 54.3."""
    found = forecast_memory(MINILM, Workload(engine="onnxruntime", context_tokens=512), target(0))
    assert term(found, "compute buffers", "host") == 54 * 1024**2


def test_int8_takes_a_quarter_of_the_matrices() -> None:
    """Norms and biases stay as they are, and so do the tables of rows: 30,522, 512 and 2 rows of 384."""
    whole, small = (
        term(forecast_memory(MINILM, Workload(engine="onnxruntime", quantization=q), target(0)), "weights", "host")
        for q in ("F32", "INT8")
    )
    tables = 4 * 384 * (30_522 + 512 + 2)
    assert (small - tables) / (whole - tables) == pytest.approx(0.25, abs=0.005)


def test_a_model_that_generates_has_its_cache_from_the_start() -> None:
    """TinyLlama, 22 blocks with 4 KV heads of 64: 45,056 bytes a token in single precision; its table stays mapped."""
    work = Workload(engine="onnxruntime", quantization="INT4", context_tokens=100, slots=3)
    found = forecast_memory(TINYLLAMA, work, target(0))
    assert term(found, "kv cache", "host") == 300 * 2 * 22 * 4 * 64 * 4
    mapped = sum(one.size_bytes for one in found.terms if one.name == "weights" and one.is_file)
    assert mapped == 32_000 * 2048 * 4


def test_what_generates_was_compared_with_the_engine() -> None:
    """A Llama of 12 blocks, 125 million weights, two slots of 1,024 tokens: 492 MiB private were measured in F32."""
    shape = dataclasses.replace(
        TINYLLAMA, layers=12, width=768, feed_forward=2048, heads=12, head_dim=64, value_head_dim=64,
        kv_heads=(4,) * 12,
    )  # fmt: skip
    work = Workload(engine="onnxruntime", quantization="F32", context_tokens=1024, slots=2)
    found = forecast_memory(shape, work, target(0))
    assert found.in_pool("host", with_files=False) / 1024**2 == pytest.approx(492, rel=0.1)


@pytest.mark.parametrize("engine", ["vllm", "onnxruntime"])
def test_more_never_needs_less(engine: str) -> None:
    """Longer texts, more of them, or finer weights."""
    work = Workload(engine=engine, quantization="INT8", context_tokens=128, slots=2)
    shape = TINYLLAMA if engine == "vllm" else MINILM
    host_only = target(0)
    least = forecast_memory(shape, work, host_only).in_pool("host")
    # Tables of an encoder in INT8 stay in F32, so that a small one in F16 takes less.
    finer = ("F16", "F32") if engine == "vllm" else ("F32",)
    changes = ({"context_tokens": 512}, {"slots": 16}, *({"quantization": one} for one in finer))
    for change in changes:
        more = dataclasses.replace(work, **change)  # type: ignore[arg-type]
        assert forecast_memory(shape, more, host_only).in_pool("host") > least


@pytest.mark.parametrize("engine", ["vllm", "onnxruntime"])
def test_what_cannot_be_is_refused(engine: str) -> None:
    """An unknown quantization or no context at all."""
    with pytest.raises(InvalidError, match=r"unknown-quantization.*Q3_K_M"):
        forecast_memory(MINILM, Workload(engine=engine, quantization="Q3_K_M"), target(1))
    with pytest.raises(InvalidError, match="bad-workload"):
        forecast_memory(MINILM, Workload(engine=engine, context_tokens=0), target(1))
