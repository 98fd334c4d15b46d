"""A model is quantized whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.support.random_networks import RandomNetwork, random_importance, write_random
from tests.support.split_ggufs import write_split
from undercroft.core.errors import InvalidError, RefusedError, UndercroftError
from undercroft.hardware.measuring.matrix import library_path
from undercroft.optimize.quantization.library import Bytes, Floats, Library
from undercroft.optimize.quantization.losses import limit_of
from undercroft.optimize.quantization.planning import Plan
from undercroft.optimize.quantization.quantizing import QuantizationResult, plan_quantization, quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.quantization.writing import Writer

_NETWORK = RandomNetwork(blocks=2)
_ALIGNMENT = 32


def _quantize(
    source: Path,
    target: Path,
    scheme: str = "Q4_K_M",
    *,
    threads: int = 2,
    report: Callable[[int, int], None] = lambda done, total: None,
    **options: object,
) -> QuantizationResult:
    options.setdefault("importance", None)
    return quantize_file(source, target, SCHEMES[scheme], threads=threads, report=report, **options)  # type: ignore[arg-type]


def _only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small model in F16."""
    return write_random(tmp_path / "model.gguf", _NETWORK)


def test_the_result_says_what_became_of_each_tensor(model: Path, tmp_path: Path) -> None:
    """Types, sizes and losses, within what each type may lose."""
    result = _quantize(model, tmp_path / "small.gguf")
    assert result.size_bytes == (tmp_path / "small.gguf").stat().st_size
    assert result.size_bytes < model.stat().st_size * 0.5
    by_name = {tensor.name: tensor for tensor in result.tensors}
    assert by_name["blk.0.attn_norm.weight"].relative_error == 0.0
    assert by_name["blk.0.attn_q.weight"].kind == "Q4_K"
    for tensor in result.tensors:
        assert tensor.kind == tensor.source_kind or 0 < tensor.relative_error < limit_of(tensor.kind)


def test_any_number_of_threads_writes_the_same(tmp_path: Path) -> None:
    """Tensors of many pieces too."""
    model = write_random(tmp_path / "model.gguf", RandomNetwork(blocks=1, rows=2500))
    for threads in (1, 3):
        _quantize(model, tmp_path / f"{threads}.gguf", "Q4_0", threads=threads)
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_progress_rises_to_its_total(model: Path, tmp_path: Path) -> None:
    """Every byte counts when it is written and when it is compared."""
    seen: list[tuple[int, int]] = []
    _quantize(model, tmp_path / "small.gguf", report=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with Source(model) as source:
        assert seen[-1] == (2 * source.size_bytes, 2 * source.size_bytes)


def test_what_the_report_raises_ends_the_work_and_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """So a job is cancelled."""

    def stop(done: int, total: int) -> None:
        raise InterruptedError

    (tmp_path / "out").mkdir()
    with pytest.raises(InterruptedError):
        _quantize(model, tmp_path / "out" / "small.gguf", report=stop)
    assert _only(tmp_path / "out") == []


def test_metadata_is_kept_and_says_what_was_done(model: Path, tmp_path: Path) -> None:
    """The vocabulary stands as it stood, the type is the new one, the matrix is named."""
    _quantize(model, tmp_path / "small.gguf", "IQ4_XS", importance=random_importance(_NETWORK))
    before, after = gguf.GGUFReader(model).fields, gguf.GGUFReader(tmp_path / "small.gguf").fields
    for key, field in before.items():
        if not key.startswith("GGUF.") and key != "general.file_type":
            assert after[key].contents() == field.contents(), key
    assert after["general.file_type"].contents() == 30
    assert after["general.quantization_version"].contents() == 2
    assert after["quantize.imatrix.file"].contents() == "matrix.gguf"
    assert after["quantize.imatrix.dataset"].contents() == "random.txt"
    assert after["quantize.imatrix.chunks_count"].contents() == 4
    assert after["quantize.imatrix.entries_count"].contents() == 14


def test_a_type_that_needs_a_matrix_is_refused_before_anything_is_written(model: Path, tmp_path: Path) -> None:
    """By the name of the first tensor that would be garbage."""
    with pytest.raises(RefusedError, match=r"blk\.0\.") as caught:
        _quantize(model, tmp_path / "small.gguf", "IQ2_XS")
    assert caught.value.code == "needs-importance"
    assert _only(tmp_path) == ["model.gguf"]


def test_a_tensor_with_one_row_is_written_with_one_dimension(tmp_path: Path) -> None:
    """As llama.cpp writes it, which never rounds such a tensor."""
    network = RandomNetwork(
        blocks=1, extra={"blk.0.ffn_gate_up.weight": (1, 256), "blk.0.ffn_up_1.weight": (1, 2, 256)}
    )
    _quantize(write_random(tmp_path / "model.gguf", network), tmp_path / "small.gguf")
    found = {t.name: (list(t.shape), t.tensor_type.name) for t in gguf.GGUFReader(tmp_path / "small.gguf").tensors}
    assert found["blk.0.ffn_gate_up.weight"] == ([256], "F16")
    assert found["blk.0.ffn_up_1.weight"] == ([256, 2], "Q4_K")


def test_a_matrix_in_which_most_columns_say_nothing_is_usable(model: Path, tmp_path: Path) -> None:
    """As neurons that never fire leave behind."""
    matrix = random_importance(_NETWORK)
    for sums in matrix.sums.values():
        sums[:, 16:] = 0.0
    for scheme in ("Q4_0", "Q4_K_M", "IQ4_XS", "IQ2_XS"):
        assert _quantize(model, tmp_path / "small.gguf", scheme, importance=matrix).tensors


def test_rounding_twice_has_to_be_meant(tmp_path: Path) -> None:
    """A model in Q8_0 is taken only when that is said."""
    model = write_random(tmp_path / "model.gguf", RandomNetwork(blocks=1, kind="Q8_0"))
    with pytest.raises(RefusedError, match="Q8_0") as caught:
        plan_quantization(model, SCHEMES["Q4_K_M"])
    assert caught.value.code == "requantizing"
    assert _quantize(model, tmp_path / "small.gguf", allow_requantize=True).scheme == "Q4_K_M"


def test_a_split_model_becomes_one_file(tmp_path: Path) -> None:
    """With the bytes that its whole would give."""
    whole = write_random(tmp_path / "whole.gguf", _NETWORK)
    write_split(whole, tmp_path)
    _quantize(whole, tmp_path / "a.gguf")
    _quantize(tmp_path / "part-00001-of-00002.gguf", tmp_path / "b.gguf")
    assert (tmp_path / "a.gguf").read_bytes() == (tmp_path / "b.gguf").read_bytes()
    (tmp_path / "part-00002-of-00002.gguf").rename(tmp_path / "elsewhere.gguf")
    with pytest.raises(InvalidError, match="part-00002-of-00002"):
        plan_quantization(tmp_path / "part-00001-of-00002.gguf", SCHEMES["Q8_0"])
    with pytest.raises(InvalidError, match="not the first part"):
        plan_quantization(tmp_path / "part-00002-of-00002.gguf", SCHEMES["Q8_0"])


@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_damaged_weight_is_found_with_its_tensors_name(poison: float, model: Path, tmp_path: Path) -> None:
    """Q8_0 would round it to some number and say nothing."""
    reader = gguf.GGUFReader(model, "r+")
    tensor = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight")
    tensor.data[1, 7] = poison
    reader.data.flush()
    with pytest.raises(InvalidError, match=r"blk\.1\.ffn_up\.weight") as caught:
        _quantize(model, tmp_path / "small.gguf", "Q8_0")
    assert caught.value.code == "damaged-tensor"
    assert _only(tmp_path) == ["model.gguf"]


def test_a_file_that_was_cut_off_is_refused(model: Path, tmp_path: Path) -> None:
    """By the name of the tensor that it lacks."""
    content = model.read_bytes()
    model.write_bytes(content[:-_ALIGNMENT])
    with pytest.raises(InvalidError, match=r"output_norm\.weight"):
        plan_quantization(model, SCHEMES["Q8_0"])


def test_a_full_disk_leaves_nothing(model: Path, tmp_path: Path) -> None:
    """A process that may not write as much as the result takes is told so, and no file stays."""
    (tmp_path / "out").mkdir()
    code = (
        "import resource, sys; from pathlib import Path\n"
        "from undercroft.optimize.quantization.quantizing import quantize_file\n"
        "from undercroft.optimize.quantization.schemes import SCHEMES\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try:\n"
        "    quantize_file(Path(sys.argv[1]), Path(sys.argv[2]), SCHEMES['Q8_0'], importance=None, threads=1,\n"
        "                  report=lambda done, total: None)\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )
    command = [sys.executable, "-c", code, model, tmp_path / "out" / "small.gguf"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert told.startswith("disk-full: ")
    assert "small.gguf" in told
    assert _only(tmp_path / "out") == []


def test_the_source_is_not_overwritten(model: Path) -> None:
    """Under its own name or a link to it."""
    before = model.read_bytes()
    with pytest.raises(InvalidError) as caught:
        _quantize(model, model)
    assert caught.value.code == "same-file"
    assert model.read_bytes() == before


class _Confused(Library):
    """The engine's library, with the rows of each piece in the wrong order."""

    def quantize(self, kind: str, rows: Floats, importance: Floats | None, into: Bytes) -> None:
        super().quantize(kind, np.ascontiguousarray(rows[::-1]), importance, into)


def test_a_writer_that_is_silently_wrong_is_found(model: Path, tmp_path: Path) -> None:
    """A file that loads is not yet the model."""
    plan: Plan = plan_quantization(model, SCHEMES["Q4_K_M"])
    (tmp_path / "small.gguf").write_bytes(bytes(plan.size_bytes))
    with Source(model) as source, (tmp_path / "small.gguf").open("r+b") as file:
        writer = Writer(source, plan, file.fileno(), _Confused(library_path()), None)
        with pytest.raises(UndercroftError) as caught:
            writer.run(2, lambda done, total: None)
    assert caught.value.code == "lost-too-much"


@pytest.mark.parametrize(("kind", "what"), [("adapter", "adapter"), ("imatrix", "imatrix"), ("mmproj", "mmproj")])
def test_what_is_no_model_is_refused_for_what_it_is(kind: str, what: str, tmp_path: Path) -> None:
    """An adapter, a matrix, a projector."""
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", "llama")
    writer.add_type(kind)
    writer.add_tensor("a.weight", np.ones((2, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(InvalidError, match=what) as caught:
        plan_quantization(tmp_path / "other.gguf", SCHEMES["Q8_0"])
    assert caught.value.code == "not-a-model"
