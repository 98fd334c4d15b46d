"""The buffer of a graph: the allocator by hand, and what the engine itself says to reserve."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undercroft.catalog.families import load_catalogue
from undercroft.catalog.shapes import Experts, LatentAttention, ModelShape
from undercroft.planning.compute_buffers import graph_buffer, work_buffer_bytes
from undercroft.planning.compute_graph import Piece
from undercroft.planning.graph_allocator import BufferSize, Graph

MIB = 1024**2
CATALOGUE = load_catalogue()


def shape_of(name: str) -> ModelShape:
    return CATALOGUE.find(name).shape


def cut(shape: ModelShape, layers: int) -> ModelShape:
    window = frozenset(layer for layer in shape.window_layers if layer < layers)
    return dataclasses.replace(shape, layers=layers, kv_heads=shape.kv_heads[:layers], window_layers=window)


GRANITE = ModelShape(
    architecture="granitemoe",
    layers=3,
    width=1024,
    heads=16,
    kv_heads=(8,) * 3,
    head_dim=64,
    value_head_dim=64,
    feed_forward=512,
    vocabulary=49_155,
    context_tokens=4096,
    is_tied=True,
    experts=Experts(count=32, used=8, feed_forward=512),
)
DEEPSEEK = ModelShape(
    architecture="deepseek2",
    layers=3,
    width=2048,
    heads=16,
    kv_heads=(1,) * 3,
    head_dim=192,
    value_head_dim=128,
    feed_forward=10_944,
    vocabulary=32_000,
    context_tokens=163_840,
    experts=Experts(count=16, used=6, feed_forward=1408, shared=2, shared_feed_forward=2816, dense_layers=1),
    latent=LatentAttention(kv_rank=512, rope_dim=64, query_rank=768),
)
ENCODING = {"has_logits": False, "has_pooling": True}


def test_what_is_read_no_more_makes_room() -> None:
    """Of three steps of 128 bytes the third lies where the first lay; one of 256 follows where the second lay."""
    graph = Graph()
    first = graph.computed(128)
    second = graph.computed(128, first)
    third = graph.computed(128, second)
    graph.computed(256, third)
    assert graph.buffer_size() == BufferSize(reserved=384, written=384)


def test_the_smallest_hole_that_is_large_enough_is_taken() -> None:
    """Of free places of 256 and 128 bytes a tensor of 128 takes the second."""
    graph = Graph()
    large, wall, small = graph.given(256), graph.given(64), graph.given(128)
    end = graph.given(64)
    graph.computed(0, large)
    graph.computed(0, small)
    last = graph.computed(128)
    graph.computed(0, wall, end, last)
    graph.buffer_size()
    assert last.offset == small.offset == 320


def test_a_sum_takes_the_place_of_what_nothing_else_reads() -> None:
    """A second reader keeps its values where they are."""
    graph = Graph()
    first, second = graph.computed(128), graph.computed(128)
    total = graph.changed(first, second)
    graph.computed(64, total, second)
    assert graph.buffer_size().reserved == 320
    assert total.offset == first.offset
    other = Graph()
    first = other.computed(128)
    changed = other.changed(first)
    other.computed(64, first, changed)
    assert other.buffer_size().reserved == 320


def test_a_branch_that_is_only_kept_ready_is_reserved_and_never_written() -> None:
    """A host gives no memory to it, a card does."""
    graph = Graph()
    graph.given(1024, is_written=False)
    graph.computed(256, is_written=False)
    graph.computed(128)
    assert graph.buffer_size() == BufferSize(reserved=1408, written=128)


@pytest.mark.parametrize(
    ("shape", "piece", "reserved_mib"),
    [
        (cut(shape_of("tinyllama-1.1b"), 2), Piece(512, 1, 2048), 55.02),
        (cut(shape_of("qwen2.5-0.5b"), 3), Piece(512, 1, 4096), 41.27),
        (cut(shape_of("qwen3-0.6b"), 3), Piece(512, 1, 4096, has_rotation=True), 32.10),
        (cut(shape_of("llama-3.2-1b"), 3), Piece(512, 4, 2048, has_rotation=True), 70.05),
        (cut(shape_of("smollm2-135m"), 3), Piece(512, 4, 2048), 16.64),
        (cut(shape_of("gemma-2-2b"), 4), Piece(512, 1, 4096, 4096), 84.53),
        (cut(shape_of("gemma-3-1b"), 7), Piece(512, 1, 8192, 1024), 60.78),
        (cut(shape_of("phi-3-mini-4k"), 3), Piece(512, 1, 4096), 82.02),
        (GRANITE, Piece(512, 1, 2048), 36.02),
        (cut(shape_of("glm-4-9b-0414"), 3), Piece(512, 1, 4096), 124.27),
        (cut(shape_of("chatglm3-6b"), 3), Piece(512, 1, 4096), 124.27),
        (cut(shape_of("ministral-3-3b"), 3), Piece(512, 1, 4096), 88.02),
        (cut(shape_of("smollm3-3b"), 3), Piece(512, 2, 4096, has_rotation=True), 88.60),
        (DEEPSEEK, Piece(512, 1, 4096), 88.14),
        (cut(shape_of("bge-small-en"), 3), Piece(512, 512, 512, **ENCODING), 7.26),
        (cut(shape_of("multilingual-e5-small"), 3), Piece(512, 512, 512, **ENCODING), 7.26),
    ],
    ids=[
        *("llama", "qwen2", "qwen3", "llama-slots", "smollm", "gemma2", "gemma3", "phi3", "experts"),
        *("glm4", "chatglm", "mistral3", "smollm3", "latent", "bge", "e5"),
    ],
)
def test_the_buffer_is_what_the_engine_reserves(shape: ModelShape, piece: Piece, reserved_mib: float) -> None:
    """llama.cpp's log of 2026-11-21 says ``CPU compute buffer size``; indices, which are not counted, take 0.1 MiB."""
    assert graph_buffer(shape, piece).reserved / MIB == pytest.approx(reserved_mib, abs=0.11)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([model.shape for model in CATALOGUE.models]),
    st.builds(Piece, tokens=st.integers(1, 2048), outputs=st.just(1), cells=st.integers(256, 32_768)),
)
def test_no_more_is_written_than_reserved(shape: ModelShape, piece: Piece) -> None:
    """And a buffer holds at least the mask and one block's inputs."""
    found = graph_buffer(shape, piece)
    assert found.written <= found.reserved
    assert found.written >= 2 * piece.tokens * piece.cells + 4 * piece.tokens * shape.width


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([model.shape for model in CATALOGUE.models]), st.integers(4, 40))
def test_blocks_take_turns(shape: ModelShape, layers: int) -> None:
    """From the fourth block on a deeper network needs no larger buffer."""
    sizes = [dataclasses.replace(shape, layers=n, kv_heads=shape.kv_heads[:1] * n) for n in (layers, layers + 1)]
    first, second = (graph_buffer(size, Piece(512, 1, 4096)) for size in sizes)
    assert first == second


def test_some_types_need_a_tile_for_each_thread() -> None:
    """Q6_K is multiplied in tiles of 512 KiB, Q8_0 is not; more threads need more of them."""
    shape = shape_of("tinyllama-1.1b")
    one, eight = (work_buffer_bytes(shape, tokens=512, weight_type="Q6_K", threads=threads) for threads in (1, 8))
    assert eight - one == 7 * 512 * 1024
    whole = work_buffer_bytes(shape, tokens=512, weight_type="Q8_0", threads=8)
    assert whole == 512 * 5632 * 34 // 32
