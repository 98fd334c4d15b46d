"""What could be made of a model, with the size that it would have, and what is not worth making."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import write_chat_model
from undercroft.core.errors import InvalidError, NotFoundError
from undercroft.core.home import Home
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import SCHEMES
from undercroft.optimize.quantization.source import Source
from undercroft.optimize.rightsizing.candidates import Candidate, LeftOut, Why, any_matrix, plan_candidates
from undercroft.optimize.rightsizing.machines import FitMachine, find_machine, size_of
from undercroft.optimize.rightsizing.outlook import Wish, hopeful, outlook_of
from undercroft.planning.forecasts import Workload
from undercroft.registry.inspection.gguf import read_gguf
from undercroft.registry.shapes_gguf import shape_of_gguf
from undercroft.storage.database import Database

WORK = Workload(context_tokens=256, prompt_tokens=128, answer_tokens=64)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A model in F32."""
    return write_chat_model(tmp_path / "tiny.gguf", width=256, layers=2)


def planned(file: Path, *schemes: str, has_texts: bool = False) -> tuple[list[Candidate], list[LeftOut]]:
    with Source(file) as source:
        matrix = any_matrix(source, "letters.txt") if has_texts else None
        return plan_candidates(source, file.stat().st_size, schemes or SCHEMES, matrix)


def machine(home: Home, database: Database, fit: str) -> FitMachine:
    with database.read() as connection:
        return find_machine(fit, home, connection, has_gpu_engine=False)


def test_sizes_are_those_of_the_files(file: Path, tmp_path: Path) -> None:
    """To the byte, before anything is written; the smallest stands first."""
    found, _ = planned(file)
    assert [one.size_bytes for one in found] == sorted(one.size_bytes for one in found)
    for one in (found[0], found[-1]):
        made = tmp_path / f"{one.name}.gguf"
        quantize_file(file, made, SCHEMES[one.name], importance=None, threads=1, report=lambda done, total: None)
        assert made.stat().st_size == one.size_bytes
        assert {t.name: t.type_name for t in one.tensors} == {
            t.name: t.kind.name for t in read_gguf(made, made.name).tensors
        }


def test_types_that_need_texts_are_left_out_without_them(file: Path) -> None:
    """With texts they are there; every scheme is either a candidate or left out with its reason."""
    (found, out), (with_texts, _) = planned(file), planned(file, has_texts=True)
    needing = {one.name for one in out if one.why is Why.NEEDS_TEXTS}
    assert {"IQ1_S", "IQ2_XXS", "Q2_K_S"} <= needing
    assert needing <= {one.name for one in with_texts}
    assert {one.name for one in found} | {one.name for one in out} == set(SCHEMES)


def test_what_would_be_the_same_file_is_made_once(file: Path) -> None:
    """And what is no smaller than the model is not made at all."""
    found, out = planned(file, "F32", "Q4_K_M", "F16")
    assert [one.name for one in found] == ["Q4_K_M", "F16"]
    assert [(one.name, one.why) for one in out] == [("F32", Why.NOT_SMALLER)]
    _, out = planned(write_chat_model(file.with_name("narrow.gguf"), width=64), "Q2_K", "Q3_K_S")
    assert [(one.name, one.why) for one in out] == [("Q2_K", Why.SAME)]
    assert out[0].sentence == "every tensor gets the type that it gets as Q3_K_S"


def test_a_model_that_is_rounded_is_not_rounded_again(file: Path, tmp_path: Path) -> None:
    """Unless that is meant."""
    small = tmp_path / "small.gguf"
    quantize_file(file, small, SCHEMES["Q8_0"], importance=None, threads=1, report=lambda done, total: None)
    with Source(small) as source:
        found, out = plan_candidates(source, small.stat().st_size, ("Q4_0",), None)
        meant, _ = plan_candidates(source, small.stat().st_size, ("Q4_0",), None, allow_requantize=True)
    assert (found, [one.why for one in out], [one.name for one in meant]) == ([], [Why.ROUNDED_ALREADY], ["Q4_0"])


def test_what_cannot_fit_is_never_made(file: Path, database: Database, home: Home) -> None:
    """The sentence holds both numbers; what is a little smaller than the limit is kept."""
    shape = shape_of_gguf([read_gguf(file, file.name)])
    candidates, _ = planned(file, "F16", "Q4_0")
    generous = Wish(machine(home, database, "8GB"), WORK)
    needs = {one.name: outlook_of(shape, one, generous).needed_bytes for one in candidates}
    between = (needs["F16"] + needs["Q4_0"]) // 2
    kept, out = hopeful(shape, candidates, Wish(machine(home, database, f"{between // 1024}KB"), WORK))
    assert [one.name for one, _ in kept] == ["Q4_0"]
    ((left, outlook),) = out
    assert (left.name, left.why) == ("F16", Why.DOES_NOT_FIT)
    assert "MiB of memory, this machine with" in left.sentence
    assert outlook.missing_bytes > 0


def test_what_is_forecast_too_slow_is_never_made(file: Path, database: Database, home: Home) -> None:
    """Elsewhere by the best figure; here, where it is measured, only where even the favourable end is too slow."""
    shape = shape_of_gguf([read_gguf(file, file.name)])
    (candidate,), _ = planned(file, "Q4_0")
    for fit in ("edge-8gb", "here"):
        where = machine(home, database, fit)
        speed = outlook_of(shape, candidate, Wish(where, WORK)).speed
        assert speed is not None
        between = (speed.value + speed.high) / 2
        assert len(hopeful(shape, [candidate], Wish(where, WORK, between))[0]) == int(where.is_here)
        (((out, _)),) = hopeful(shape, [candidate], Wish(where, WORK, speed.high * 1.01))[1]
        assert out.why is Why.TOO_SLOW


def test_machines_by_their_names(database: Database, home: Home) -> None:
    """A class, a device, this machine, and this machine with a limit."""
    assert machine(home, database, "edge-8gb").target.host.total_bytes == 8 * 1024**3
    assert machine(home, database, "raspberry-pi-5").name == "Raspberry Pi 5, 8 GB"
    assert machine(home, database, "here").is_here
    limited = machine(home, database, "512 MB")
    assert (limited.is_here, limited.limit_bytes, limited.target.host.available_bytes) == (True, 2**29, 2**29)
    with pytest.raises(NotFoundError, match=r"no device 'edge-9gb'; near it: .*edge-8gb.*or a size of memory"):
        machine(home, database, "edge-9gb")


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 2**33), ("8 GiB", 2**33), ("1.5g", 3 * 2**29), ("900mb", 900 * 2**20), ("edge-8gb", None), ("8", None)],
)
def test_sizes_as_people_write_them(text: str, size: int | None) -> None:
    """In powers of 1,024, as memory is sold."""
    assert size_of(text) == size


def test_no_memory_is_no_size() -> None:
    """It is refused at once."""
    with pytest.raises(InvalidError, match="expected a size of memory above 0, got '0GB'"):
        size_of("0GB")
