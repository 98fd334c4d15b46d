"""What quantizing would make and take, and what is refused before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ggufs import write_chat_model
from undercroft.cli.optimize_job import suggested_name
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError
from undercroft.core.home import Home
from undercroft.optimize.jobs import asking
from undercroft.optimize.prepared import Prepared
from undercroft.optimize.quantization.quantizing import quantize_file
from undercroft.optimize.quantization.schemes import scheme_named
from undercroft.optimize.quantize_step import read_texts
from undercroft.optimize.recipes import Importance, make_recipe
from undercroft.registry import models
from undercroft.storage.database import Database


def prepared(database: Database, home: Home, scheme: str, *, source: str = "tiny", **settings: object) -> Prepared:
    step = {"quantize": {"scheme": scheme, **settings}}
    return asking.look_at(home, database, make_recipe({"from": source, "to": "new", "steps": [step]}))


@pytest.fixture
def file(database: Database, home: Home, tmp_path: Path) -> Path:
    """The file of a registered model."""
    made = write_chat_model(tmp_path / "tiny.gguf", width=256, layers=2)
    models.add_local(database, home, made, actor="cli:anna")
    return made


@pytest.mark.parametrize("scheme", ["Q8_0", "Q4_K_M", "Q2_K", "F16"])
def test_the_forecast_of_the_size_holds(
    database: Database, home: Home, file: Path, scheme: str, tmp_path: Path
) -> None:
    """To less than a kilobyte, which is what keys of metadata may add."""
    forecast = prepared(database, home, scheme).forecast
    target = tmp_path / "made.gguf"
    quantize_file(
        file, target, scheme_named(scheme), importance=None, threads=1, report=lambda done_bytes, total_bytes: None
    )
    assert abs(target.stat().st_size - forecast.result_bytes) < 1024
    assert forecast.wanted_disk_bytes == int(forecast.result_bytes * 1.05)


def test_the_time_is_tried_on_this_machine(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """More than nothing; not known where texts have to be read first."""
    seconds = prepared(database, home, "Q4_K_M").measured_seconds()
    assert seconds is not None
    assert seconds > 0
    texts = tmp_path / "texts.txt"
    texts.write_text("what it is for", encoding="utf-8")
    assert prepared(database, home, "Q4_K_M", importance={"texts": texts}).measured_seconds() is None


def test_rounding_twice_has_to_be_meant(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """A quantized model is refused, with the two ways out; with leave it is taken."""
    small = tmp_path / "small.gguf"
    quantize_file(
        file, small, scheme_named("Q8_0"), importance=None, threads=1, report=lambda done_bytes, total_bytes: None
    )
    models.add_local(database, home, small, actor="cli:anna")
    with pytest.raises(RefusedError, match="model 'small' is rounded to Q8_0 already") as caught:
        prepared(database, home, "Q4_K_M", source="small")
    assert "--allow-requantize" in str(caught.value.hint)
    assert prepared(database, home, "Q4_K_M", source="small", allow_requantize=True).forecast.result_bytes > 0


def test_nothing_to_do_is_said(database: Database, home: Home, file: Path) -> None:
    """A scheme that would change no tensor makes no second model of the same content."""
    with pytest.raises(InvalidError, match="nothing-to-do: model 'tiny' is F32 already"):
        prepared(database, home, "F32")


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "empty-text"), (b" \n", "empty-text"), (b"caf\xe9 au lait", "bad-texts")]
)
def test_texts_that_say_nothing_are_refused(
    database: Database, home: Home, file: Path, tmp_path: Path, content: bytes, code: str
) -> None:
    """Before the job is begun."""
    texts = tmp_path / "texts.txt"
    texts.write_bytes(content)
    with pytest.raises(InvalidError) as caught:
        prepared(database, home, "Q4_K_M", importance={"texts": texts})
    assert caught.value.code == code


def test_texts_may_be_lines_of_json(database: Database, home: Home, file: Path, tmp_path: Path) -> None:
    """What is read is the texts and not the JSON around them; a line that is no text is refused with its number."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text('{"text": "Grüße"}\n{"id": "b", "text": "\\"two\\""}\n', encoding="utf-8")
    assert read_texts(Importance(texts=texts)) == 'Grüße\n\n"two"'
    texts.write_text('{"text": "one"}\n{"txt": "two"}\n', encoding="utf-8")
    with pytest.raises(InvalidError, match="line 2"):
        prepared(database, home, "Q4_K_M", importance={"texts": texts})


def test_a_model_that_is_not_there(database: Database, home: Home) -> None:
    """Is named."""
    with pytest.raises(NotFoundError, match="there is no model 'tiny'"):
        prepared(database, home, "Q4_K_M")


def test_a_scheme_of_the_other_form_is_refused(database: Database, home: Home, file: Path) -> None:
    """The form of the model decides; the error says what to do."""
    with pytest.raises(InvalidError, match="wrong-form: model 'tiny' is gguf, fp8 is for safetensors"):
        prepared(database, home, "fp8")
    with database.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO models VALUES ('published', 'sha256:0', 'x', 'safetensors', 1, '{}', '{}', '2026')"
        )
    with pytest.raises(InvalidError, match="wrong-form: model 'published' is safetensors, Q4_K_M is for GGUF"):
        prepared(database, home, "Q4_K_M", source="published")


@pytest.mark.parametrize(
    ("model", "scheme", "name"),
    [
        ("support-7b-f16", "Q4_K_M", "support-7b-q4_k_m"),
        ("support-7b", "q8_0", "support-7b-q8_0"),
        ("pilot.bf16", "IQ4_XS", "pilot-iq4_xs"),
        ("f16", "Q8_0", "f16-q8_0"),
        ("a" * 63, "Q4_K_M", "a" * 56 + "-q4_k_m"),
    ],
)
def test_the_name_that_is_suggested(model: str, scheme: str, name: str) -> None:
    """The scheme takes the place of what the model was stored in."""
    assert suggested_name(model, scheme) == name
