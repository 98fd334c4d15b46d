"""Which engine runs which format."""

from __future__ import annotations

import pytest

from undercroft.catalog.engines import ENGINE_NAMES, ENGINE_OF_FORMAT, check_runs, engine_of, find_engine
from undercroft.core.errors import InvalidError


def test_each_format_has_an_engine_that_there_is() -> None:
    """A format is run by an engine of the list, which accepts it and is found by its name."""
    for model_format, engine in ENGINE_OF_FORMAT.items():
        assert engine in ENGINE_NAMES
        assert engine_of("m", model_format) == engine == find_engine(engine)
        check_runs(engine, "m", model_format)


def test_another_engine_is_refused_by_naming_the_right_one() -> None:
    """A GGUF for an engine that does not read it names the engine that does."""
    with pytest.raises(InvalidError, match=r"model 'm' is gguf, which llama\.cpp runs; .*engine 'external'") as refused:
        check_runs("external", "m", "gguf")
    assert "--engine llama.cpp" in str(refused.value)


def test_what_no_engine_runs_is_refused_by_naming_the_formats() -> None:
    """A format without an engine, and an engine that there is not, say what there is."""
    with pytest.raises(InvalidError, match="is tflite, expected gguf"):
        engine_of("m", "tflite")
    with pytest.raises(InvalidError, match=r"expected one of llama\.cpp, .*, got 'lama'"):
        find_engine("lama")
