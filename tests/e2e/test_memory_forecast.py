"""The forecast of memory against the real engine, with small models of random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from benchmarks import sizing_files
from benchmarks.sizing import compare, error_of, this_host, workload
from benchmarks.sizing_models import Load

from undercroft.catalog.shapes import Experts, ModelShape
from undercroft.planning.memory import forecast_memory
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.shapes_gguf import shape_of_gguf

MIB = 1024**2
# What an engine takes apart from its model differs by a few MiB from system to system.
BOUND_RATIO, BOUND_BYTES = 0.06, 12 * MIB

LLAMA = ModelShape(
    architecture="llama",
    layers=4,
    width=512,
    heads=8,
    kv_heads=(4,) * 4,
    head_dim=64,
    value_head_dim=64,
    feed_forward=1536,
    vocabulary=8000,
    context_tokens=4096,
    is_tied=True,
)
GEMMA = ModelShape(
    architecture="gemma3",
    layers=6,
    width=320,
    heads=2,
    kv_heads=(1,) * 6,
    head_dim=128,
    value_head_dim=128,
    feed_forward=1024,
    vocabulary=8000,
    context_tokens=4096,
    is_tied=True,
    has_query_key_norm=True,
    window_tokens=256,
    window_layers=frozenset(range(5)),
)
EXPERTS = ModelShape(
    architecture="qwen3moe",
    layers=3,
    width=512,
    heads=8,
    kv_heads=(2,) * 3,
    head_dim=64,
    value_head_dim=64,
    feed_forward=1024,
    vocabulary=8000,
    context_tokens=4096,
    has_query_key_norm=True,
    experts=Experts(count=16, used=4, feed_forward=512),
)
ENCODER = ModelShape(
    architecture="bert",
    layers=3,
    width=256,
    heads=8,
    kv_heads=(8,) * 3,
    head_dim=32,
    value_head_dim=32,
    feed_forward=1024,
    vocabulary=8000,
    context_tokens=512,
    is_tied=True,
    is_gated=False,
    has_attention_bias=True,
    is_encoder=True,
    position_rows=512,
    extra={"token_type_count": 2},
)
EVERYDAY = [
    pytest.param(LLAMA, Load("llama", "Q4_0", 1024, 2), id="llama-repacked"),
    pytest.param(GEMMA, Load("gemma", "Q8_0", 2048), id="gemma-window"),
    pytest.param(EXPERTS, Load("experts", "Q4_K_M", 1024, 1, "q8_0"), id="experts"),
]
LONG = [
    pytest.param(LLAMA, Load("llama", quantization, 4096, slots, cache), id=f"llama-{quantization}-{slots}-{cache}")
    for quantization in ("F32", "F16", "BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_NL", "IQ4_XS", "Q3_K_M", "Q2_K")
    for slots, cache in ((1, "f16"), (8, "q4_0"))
] + [
    pytest.param(GEMMA, Load("gemma", "Q4_K_M", 1024, 4), id="gemma-slots"),
    pytest.param(EXPERTS, Load("experts", "F16", 4096, 4), id="experts-slots"),
    pytest.param(ENCODER, Load("encoder", "F16", 512), id="encoder"),
]


def assert_close(shape: ModelShape, load: Load) -> None:
    pair = compare(load, shape)
    for part in (pair.private, pair.file, pair.total):
        forecast, measured = part
        assert abs(error_of(part)) <= BOUND_RATIO or abs(forecast - measured) <= BOUND_BYTES, (load, pair)


@pytest.mark.parametrize(("shape", "load"), EVERYDAY)
def test_memory_is_as_forecast(shape: ModelShape, load: Load) -> None:
    """Private memory, mapped pages and their sum are each within 6 % or 12 MiB of what the engine took."""
    assert_close(shape, load)


@pytest.mark.parametrize(("shape", "load"), [*EVERYDAY, LONG[-1]])
def test_a_header_says_as_much_as_a_shape(shape: ModelShape, load: Load, tmp_path: Path) -> None:
    """Each term is the same bytes, whether a shape is known or only the header of a file is read."""
    path = tmp_path / "model.gguf"
    sizing_files.write(path, shape, load.quantization)
    read = shape_of_gguf([read_gguf(path, path.name, with_tokens=False)])
    known = dataclasses.replace(shape, extra={**shape.extra, "merge_count": read.extra.get("merge_count", 0)})
    wanted = forecast_memory(known, workload(known, load), this_host())
    found = forecast_memory(read, dataclasses.replace(workload(read, load), quantization=""), this_host())
    assert [(t.name, t.size_bytes) for t in found.terms] == [(t.name, t.size_bytes) for t in wanted.terms]


@pytest.mark.long
def test_memory_is_as_forecast_in_every_type(*, is_full: bool) -> None:
    """The same for every quantization, with one slot and with eight; the encoder alone in the everyday run."""
    for parameters in LONG if is_full else LONG[-1:]:
        shape, load = parameters.values
        assert_close(shape, load)
