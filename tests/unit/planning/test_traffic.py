"""What a step reads: counted by hand for published shapes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.planning.published import LLAMA_8B, MINI_LM, QWEN_7B, QWEN_30B_A3B, TINY_LLAMA
from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import ModelShape
from undercroft.core.errors import InvalidError
from undercroft.planning.forecasts import Workload
from undercroft.planning.memory_weights import stored_tensors
from undercroft.planning.steps import job_of, read_load
from undercroft.planning.targets import Pool, Rate, Target
from undercroft.planning.traffic import (
    attention_operations,
    cache_read_bytes,
    distinct_experts_share,
    traffic_of,
)

RATE = Rate(1e9, 1e9, 1e9, "as given")
HOST = Pool("host", "Processor", "cpu", 2**37, 2**37, RATE, {"fp32": RATE})


def test_an_untied_embedding_table_is_not_read() -> None:
    """Llama 3.1 8B in F16: 8,030,261,248 weights less the 128,256 x 4,096 of the table, at two bytes."""
    traffic = traffic_of(LLAMA_8B, "F16")
    read = sum(m.size_bytes for m in (*traffic.blocks, *traffic.output))
    norms = 2 * (65 * 4096)  # vectors stay in F32: two bytes more each
    assert traffic.stored_bytes == 2 * 8_030_261_248 + norms
    assert read == 2 * (8_030_261_248 - 128_256 * 4096) + norms


def test_a_tied_table_is_read_as_the_output_layer() -> None:
    """A tied TinyLlama reads its table once a step, and its prompt does not."""
    tied = replace(TINY_LLAMA, is_tied=True)
    traffic = traffic_of(tied, "F16")
    assert sum(m.elements for m in traffic.output) == 32000 * 2048
    assert traffic.active_elements - traffic.block_elements == 32000 * 2048


def test_bytes_of_a_mix_are_those_of_its_types() -> None:
    """TinyLlama in Q8_0, by hand: 34 bytes for 32 weights of all matrices but the table, four for each of its norms.

    A block has 4,194,304 + 2 x 524,288 + 4,194,304 weights of attention and 3 x 11,534,336 of the feed-forward part.
    """
    traffic = traffic_of(TINY_LLAMA, "Q8_0")
    block = 2 * 2048 * 2048 + 2 * 2048 * 256 + 3 * 2048 * 5632
    norms = 4 * 2048 * (2 * 22 + 1)
    read = sum(m.size_bytes for m in (*traffic.blocks, *traffic.output))
    assert read == (22 * block + 32000 * 2048) * 34 // 32 + norms
    assert traffic.stored_bytes - read == 32000 * 2048 * 34 // 32
    assert traffic.main_type == "Q8_0"


def test_a_tied_table_of_a_mix_is_read_in_the_type_of_an_output_layer() -> None:
    """Q4_K_M keeps a tied table in Q6_K, 210 bytes for 256 weights, and a token reads all of it."""
    traffic = traffic_of(replace(TINY_LLAMA, is_tied=True), "Q4_K_M")
    assert [(m.type_name, m.size_bytes) for m in traffic.output if m.type_name != "F32"] == [
        ("Q6_K", 32000 * 2048 * 210 // 256)
    ]


def test_an_expert_takes_its_share_of_the_bytes() -> None:
    """Qwen 3 30B-A3B in Q8_0: three matrices of 2,048 x 768 in each of 128 experts and 48 blocks; a token of one
    sequence reads a sixteenth of them, and attention whole."""
    traffic = traffic_of(QWEN_30B_A3B, "Q8_0")
    (experts,) = traffic.experts
    assert experts.size_bytes == 48 * 128 * 3 * 2048 * 768 * 34 // 32
    target = Target("test", HOST, (), RATE)
    job = job_of(QWEN_30B_A3B, Workload(quantization="Q8_0"), target, 0)
    (part,) = job.parts
    attention = sum(m.size_bytes for m in (*traffic.blocks, *traffic.output))
    assert read_load(job, part, 1).size_bytes == pytest.approx(attention + experts.size_bytes / 16)
    assert read_load(job, part, 4).size_bytes == pytest.approx(attention + experts.size_bytes * (1 - (15 / 16) ** 4))


@given(st.integers(1, 40), st.integers(1, 200))
def test_a_batch_never_reads_more_than_all_experts_nor_less_than_one_tokens(tokens: int, more: int) -> None:
    """Expected distinct experts grow with the tokens, from those of one to all."""
    few, many = (distinct_experts_share(QWEN_30B_A3B, n) for n in (tokens, tokens + more))
    assert 8 / 128 <= few < many < 1


@given(st.sampled_from([LLAMA_8B, QWEN_7B, QWEN_30B_A3B, TINY_LLAMA]), st.sampled_from(["F16", "Q4_K_M", "IQ4_XS"]))
def test_parts_add_up_to_the_whole(shape: ModelShape, mix: str) -> None:
    """What is read, and rows that are not, make the file; each sum of a group is that of its types."""
    traffic = traffic_of(shape, mix)
    groups = (traffic.blocks, traffic.experts, traffic.output)
    rows = sum(t.size_bytes for t in stored_tensors(shape, mix) if t.name == "token_embd.weight" and not shape.is_tied)
    assert sum(m.size_bytes for group in groups for m in group) + rows == traffic.stored_bytes
    for group, load in zip(groups, (traffic.block_load, traffic.expert_load, traffic.output_load), strict=True):
        assert load.size_bytes == sum(m.size_bytes for m in group)
        assert load.elements == sum(m.elements for m in group)


def test_few_experts_are_active_and_many_are_read_by_a_batch() -> None:
    """Qwen 3 30B-A3B: 8 of 128 for one token; 16 tokens miss an expert with (1 - 8/128)^16."""
    assert distinct_experts_share(QWEN_30B_A3B, 1) == pytest.approx(8 / 128)
    assert distinct_experts_share(QWEN_30B_A3B, 16) == pytest.approx(1 - (1 - 8 / 128) ** 16)
    assert distinct_experts_share(LLAMA_8B, 16) == 0
    active = traffic_of(QWEN_30B_A3B, "Q8_0").active_elements
    assert 2.9e9 < active < 3.4e9


def test_the_cache_of_a_context_is_read_once_a_step() -> None:
    """Qwen 2.5 7B at 32,768 tokens in F16: 2 x 28 x 4 x 128 x 2 bytes x 32,768 = 1.75 GiB."""
    assert cache_read_bytes(QWEN_7B, "f16", 32768) == 1.75 * 1024**3
    assert cache_read_bytes(QWEN_7B, "q8_0", 32768) == 1.75 * 1024**3 * 34 / 64
    assert cache_read_bytes(MINI_LM, "f16", 512) == 0


def test_a_window_bounds_what_is_read() -> None:
    """Blocks with a window read no more than the window, the others all."""
    half = frozenset(range(0, 32, 2))
    windowed = replace(LLAMA_8B, window_tokens=1024, window_layers=half)
    whole = cache_read_bytes(LLAMA_8B, "f16", 8192)
    assert cache_read_bytes(windowed, "f16", 8192) == whole / 2 + whole / 2 * 1024 / 8192
    assert attention_operations(windowed, 8192) < attention_operations(LLAMA_8B, 8192)


def test_gemma_reads_a_window_in_five_of_six_blocks() -> None:
    """Gemma 3 1B at 8,192 tokens in F16: 22 blocks read 512 tokens, 4 read all; 2 x 256 values of one head each."""
    gemma = load_catalogue().find("gemma-3-1b").shape
    assert gemma.window_tokens == 512
    assert len(gemma.window_layers) == 22
    assert cache_read_bytes(gemma, "f16", 8192) == 2 * 2 * 256 * (22 * 512 + 4 * 8192)
    assert cache_read_bytes(gemma, "f16", 300) == 2 * 2 * 256 * 26 * 300


def test_attention_over_a_prompt_looks_at_the_past_only() -> None:
    """Llama 3.1 8B over 1,000 tokens: 2 x 32 heads x 256 x half a million pairs x 32 layers."""
    assert attention_operations(LLAMA_8B, 1000) == 2 * 32 * 256 * 500_000 * 32
    assert attention_operations(MINI_LM, 100) == 2 * 12 * 64 * 10_000 * 6


@pytest.mark.parametrize(("engine", "quantization", "share"), [("vllm", "FP8", 0.5), ("vllm", "AWQ", 0.27)])
def test_formats_of_vllm_are_one_type_for_all_matrices(engine: str, quantization: str, share: float) -> None:
    """FP8 takes half of BF16, AWQ about a quarter with its scales; the output layer stays in 16 bits."""
    wide = traffic_of(LLAMA_8B, "BF16", engine)
    narrow = traffic_of(LLAMA_8B, quantization, engine)
    blocks = sum(m.size_bytes for m in narrow.blocks) / sum(m.size_bytes for m in wide.blocks)
    assert blocks == pytest.approx(share, rel=0.03)
    assert [m.type_name for m in narrow.output] == ["BF16"]


def test_an_unknown_quantization_is_refused_by_name() -> None:
    """A format that the engine does not run, and none at all, are errors that say what is expected."""
    with pytest.raises(InvalidError, match="expected one of"):
        traffic_of(LLAMA_8B, "Q4_K_M", "vllm")
    with pytest.raises(InvalidError, match="name one"):
        traffic_of(LLAMA_8B, "")
