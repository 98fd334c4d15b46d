"""Floating-point numbers of four bits: which tensors get them, and that the engine reads what was written."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.random_networks import RandomNetwork, write_random
from undercroft.optimize.measures.divergence import measure_divergence
from undercroft.optimize.measures.reading import Reading
from undercroft.optimize.quantization.library import open_library
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES

STARTER = Path(__file__).parents[4] / "src/undercroft/starter/ticket-pilot.gguf"


def _made(source: Path, folder: Path, scheme: str) -> Path:
    target = folder / f"{scheme}.gguf"
    quantize_file(
        source,
        target,
        SCHEMES[scheme],
        importance=None,
        threads=2,
        report=lambda done, total: None,
        allow_requantize=True,
    )
    return target


def _tensors(path: Path) -> dict[str, gguf.ReaderTensor]:
    return {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}


def _values(tensor: gguf.ReaderTensor) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    into = np.empty(int(tensor.n_elements), np.float32)
    open_library().dequantize(tensor.tensor_type.name, np.ascontiguousarray(tensor.data).view(np.uint8), into)
    return into


@pytest.mark.parametrize("scheme", ["MXFP4", "NVFP4"])
def test_matrices_of_blocks_get_them_and_the_ends_of_the_network_do_not(scheme: str, tmp_path: Path) -> None:
    """Embeddings and output stay in eight bits, norms as they were; of experts, those alone, as llama.cpp does it."""
    dense = _tensors(_made(write_random(tmp_path / "dense", RandomNetwork(blocks=2)), tmp_path, scheme))
    kinds = {name: tensor.tensor_type.name for name, tensor in dense.items()}
    assert {kinds[f"blk.1.{part}.weight"] for part in ("attn_q", "attn_v", "ffn_up", "ffn_down")} == {scheme}
    assert (kinds["token_embd.weight"], kinds["output.weight"]) == ("Q8_0", "Q8_0")
    source = write_random(tmp_path / "experts", RandomNetwork(blocks=2, experts=4))
    experts = _tensors(_made(source, tmp_path, scheme))
    assert experts["blk.1.ffn_up_exps.weight"].tensor_type.name == scheme
    assert experts["blk.1.attn_q.weight"].tensor_type.name == "Q8_0"
    scales = [tensor for name, tensor in experts.items() if name.endswith(".scale")]
    assert {tuple(map(int, tensor.shape)) for tensor in scales} == ({(4,)} if scheme == "NVFP4" else set())


@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_scales_of_eight_bits_do_not_run_out(size: float, tmp_path: Path) -> None:
    """Small weights lose no more than large ones, for each matrix has a number that its scales are held against."""
    source = tmp_path / "source.gguf"
    network = RandomNetwork(blocks=1)
    write_random(source, network)
    reader = gguf.GGUFReader(source, "r+")
    for tensor in reader.tensors:
        if tensor.name == "blk.0.attn_q.weight":
            tensor.data[:] = np.random.default_rng(1).standard_normal(tensor.data.shape).astype(np.float16) * size
            wanted = tensor.data.astype(np.float32).reshape(-1).copy()
    reader.data.flush()
    made = _tensors(_made(source, tmp_path, "NVFP4"))
    found = _values(made["blk.0.attn_q.weight"]) * made["blk.0.attn_q.scale"].data[0]
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 0.11


def test_the_engine_reads_what_was_written(tmp_path: Path) -> None:
    """The starter still says nearly what it said, and NVFP4 moves it less than MXFP4, whose scales are coarser."""
    texts = ["The parcel came without the lamp that I ordered. My order is AB-12345, please send it.\n" * 12]
    reading = Reading(window_tokens=256, threads=1)
    moved = {
        scheme: measure_divergence(_made(STARTER, tmp_path, scheme), STARTER, texts, reading).mean_nats
        for scheme in ("MXFP4", "NVFP4", "Q2_K")
    }
    assert 0 < moved["NVFP4"] < moved["MXFP4"] < 1.0
    assert moved["NVFP4"] < moved["Q2_K"]
