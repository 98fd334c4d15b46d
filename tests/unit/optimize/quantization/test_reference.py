"""What llama.cpp's own quantizer makes of our random models, byte by byte; written by `tools.quantization_vectors`."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
from pathlib import Path
from typing import Any

import pytest

from tests.support.quantization_cases import CASES, NETWORKS, sources
from tests.support.random_networks import random_importance
from tests.support.split_ggufs import write_split
from undercroft.core.errors import RefusedError
from undercroft.optimize.quantization.importance import ImportanceMatrix
from undercroft.optimize.quantization.planning import plan_file
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.quantization.source import Source

_VECTORS = Path(__file__).parents[3] / "vectors" / "quantization" / "reference.json.gz"
REFERENCE: dict[str, Any] = json.loads(gzip.decompress(_VECTORS.read_bytes()))
_ALL = [(name, scheme, has_matrix) for name, cases in CASES.items() for scheme, has_matrix in cases]
_EVERYDAY = [
    *(("llama", scheme, False) for scheme in ("Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "Q4_0", "Q3_K_M", "Q2_K", "BF16")),
    *(("llama", scheme, True) for scheme in ("Q4_K_M", "Q3_K_M", "IQ4_XS")),
    ("llama-tied", "Q4_K_M", False),
    ("llama-q8", "Q4_K_M", True),
    ("llama-f32", "Q5_K_M", False),
    ("mixtral-8", "Q4_K_M", True),
    ("qwen3moe-4", "Q4_K_M", True),
    ("bert", "Q4_K_M", False),
    ("odd", "Q4_K_M", False),
]
needs_the_same_arithmetic = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"},
    reason="the vectors were made on x86-64; rounding may differ elsewhere",
)


def _name(case: tuple[str, str, bool]) -> str:
    name, scheme, has_matrix = case
    return f"{name}/{scheme}{'+matrix' if has_matrix else ''}"


def _importance(name: str, has_matrix: bool) -> ImportanceMatrix | None:
    return random_importance(NETWORKS[name]) if has_matrix else None


def _check(case: tuple[str, str, bool], folder: Path, *, parts: int = 1) -> None:
    """Quantizes and compares the whole file, header and all."""
    name, scheme, has_matrix = case
    expected = REFERENCE[_name(case)]
    result = folder / "result.gguf"
    source = sources(folder, name)
    quantize_file(
        source if parts == 1 else write_split(source, folder, parts=parts),
        result,
        SCHEMES[scheme],
        importance=_importance(name, has_matrix),
        threads=2,
        report=lambda done, total: None,
        allow_requantize=True,
    )
    assert hashlib.sha256(result.read_bytes()).hexdigest() == expected["sha256"]


@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_tensor_gets_the_type_that_llama_cpp_gives_it(name: str, tmp_path: Path) -> None:
    """For each scheme, with and without a matrix; what llama.cpp refuses is refused."""
    with Source(sources(tmp_path, name)) as source:
        for scheme, has_matrix in CASES[name]:
            expected = REFERENCE[_name((name, scheme, has_matrix))]
            given = (source.tensors, source.keys, source.network, SCHEMES[scheme], _importance(name, has_matrix))
            if "refused" in expected:
                with pytest.raises(RefusedError) as caught:
                    plan_file(*given, alignment=source.alignment, allow_requantize=True)
                assert caught.value.code == "needs-importance"
                continue
            plan = plan_file(*given, alignment=source.alignment, allow_requantize=True)
            assert {tensor.name: tensor.kind for tensor in plan.tensors} == expected["types"], (scheme, has_matrix)


@needs_the_same_arithmetic
@pytest.mark.parametrize("case", _EVERYDAY, ids=_name)
def test_a_file_is_the_one_that_llama_cpp_writes(case: tuple[str, str, bool], tmp_path: Path) -> None:
    """Not only the tensors: every byte of it."""
    _check(case, tmp_path)


@needs_the_same_arithmetic
@pytest.mark.parametrize("case", [("llama", "Q4_K_M", False), ("mixtral-8", "Q4_K_M", False)], ids=_name)
def test_so_is_that_of_a_split_model(case: tuple[str, str, bool], tmp_path: Path) -> None:
    """Three parts become the one file that llama.cpp makes of the whole, without a trace of the parts."""
    _check(case, tmp_path, parts=3)


@needs_the_same_arithmetic
@pytest.mark.long
def test_every_file_is_the_one_that_llama_cpp_writes(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """All models under all schemes at full size; else one scheme that each everyday test leaves out."""
    wanted = (
        _ALL if request.config.getoption("--full") else [("llama", "IQ3_S", True), ("mixtral-8", "MXFP4_MOE", True)]
    )
    for case in wanted:
        if "refused" not in REFERENCE[_name(case)]:
            _check(case, tmp_path)
