"""The catalogue of models: what it says is consistent, and it is found by the names that people use."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.catalog.counting import count_parameters
from undercroft.catalog.families import Catalogue, load_catalogue, read_family
from undercroft.core.errors import InvalidError, NotFoundError

CATALOGUE = load_catalogue()
ENTRY = """
family: house
name: House
maker: Us
models:
  {name}:
    architecture: llama
    hub: us/house-7b
    task: chat
    licence: house-licence
    layers: {layers}
    width: 4096
    heads: 32
    kv_heads: 8
    feed_forward: 11008
    vocabulary: 32000
    context_tokens: 4096
    {more}
"""


def write(folder: Path, *, name: str = "house-7b", layers: str = "32", more: str = "") -> Path:
    path = folder / "house.yaml"
    path.write_text(ENTRY.format(name=name, layers=layers, more=more), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", [model.name for model in CATALOGUE.models])
def test_published_parameters_are_those_of_the_shape(name: str) -> None:
    """Counting every tensor by hand gives the number of elements that the maker's checkpoint has."""
    shape = CATALOGUE.find(name).shape
    assert count_parameters(shape) == shape.parameters


@pytest.mark.parametrize("name", [model.name for model in CATALOGUE.models])
def test_every_entry_says_where_it_stands(name: str) -> None:
    """Shape, licence, languages and release have a source, and no template is left in it."""
    model = CATALOGUE.find(name)
    assert {"shape", "licence", "languages", "released"} <= set(model.sources)
    assert not any("{" in text for text in model.sources.values())
    assert model.official


def test_every_name_leads_to_one_model() -> None:
    """No alias of one entry is taken from it by another."""
    for model in CATALOGUE.models:
        for name in model.names:
            assert CATALOGUE.find(name).name == model.name, name


def test_families_of_the_promise_are_there() -> None:
    """Every family that the issue names has entries, and the catalogue is not a handful."""
    assert {model.family for model in CATALOGUE.models} == {
        "llama", "tinyllama", "mistral", "qwen", "glm", "phi", "gemma", "smollm", "encoders",
    }  # fmt: skip
    assert len(CATALOGUE.models) >= 70


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("llama-3.2-3b", "llama-3.2-3b"),
        ("meta-llama/Llama-3.2-3B-Instruct", "llama-3.2-3b"),
        ("meta-llama/Llama-3.2-3B", "llama-3.2-3b"),
        ("bartowski/Llama-3.2-3B-Instruct-GGUF", "llama-3.2-3b"),
        ("Qwen2.5-7B-Instruct-Q4_K_M.gguf", "qwen2.5-7b"),
        ("qwen2.5:7b", "qwen2.5-7b"),
        ("llama3.1:8b-instruct-q4_K_M", "llama-3.1-8b"),
        ("gemma3:4b", "gemma-3-4b"),
        ("Mistral_7B", "mistral-7b-v0.3"),
        ("all-MiniLM-L6-v2", "minilm-l6"),
        ("BGE-M3", "bge-m3"),
    ],
)
def test_a_model_is_found_by_the_names_in_use(written: str, name: str) -> None:
    """Organisation, upper case, separators, tuning and quantization do not matter."""
    assert CATALOGUE.find(written).name == name


def test_a_name_that_is_not_there_is_answered_with_near_ones() -> None:
    """A slip of the finger is met with the names that it may have meant."""
    with pytest.raises(NotFoundError, match=r"no model 'lama-3\.2-3b'; near it: llama-3\.2-3b"):
        CATALOGUE.find("lama-3.2-3b")
    with pytest.raises(NotFoundError, match=r"near it: qwen2\.5-0\.5b, qwen2\.5-1\.5b"):
        CATALOGUE.find("qwen2.5")


@pytest.mark.parametrize(
    ("name", "languages", "licence"),
    [
        ("bge-reranker-base", ("en", "zh"), "mit"),
        ("bge-reranker-v2-m3", ("th", "ms", "vi", "ar", "zh"), "apache-2.0"),
        ("jina-reranker-v2-base-multilingual", ("th", "ms", "vi", "ar", "zh"), "cc-by-nc-4.0"),
        ("Qwen/Qwen3-Reranker-0.6B", ("th", "ms", "vi", "ar", "zh"), "apache-2.0"),
    ],
)
def test_rerankers_are_told_from_encoders(name: str, languages: tuple[str, ...], licence: str) -> None:
    """A reranker ranks, in the languages that its maker names, under a licence of its own."""
    model = CATALOGUE.find(name)
    assert (model.task, model.licence) == ("rerank", licence)
    assert {model.language_support(language) for language in languages} == {"official"}


def test_windows_follow_the_pattern_of_their_architecture() -> None:
    """Gemma 3: each sixth block sees everything; Gemma 2: each second; Mistral 7B v0.1: none."""
    assert [i for i in range(26) if i not in CATALOGUE.find("gemma-3-1b").shape.window_layers] == [5, 11, 17, 23]
    assert CATALOGUE.find("gemma-2-2b").shape.window_layers == frozenset(range(0, 26, 2))
    assert len(CATALOGUE.find("mistral-7b-v0.1").shape.window_layers) == 32


def test_official_languages_are_told_from_usable_ones() -> None:
    """Thai is promised for Llama 3.1, trained for Gemma 3, and neither for Llama 3; Malay for Qwen 2.5 is usable."""
    assert CATALOGUE.find("llama-3.1-8b").language_support("th") == "official"
    assert CATALOGUE.find("gemma-3-4b").language_support("th") == "usable"
    assert CATALOGUE.find("llama-3-8b").language_support("th") == "none"
    assert CATALOGUE.find("qwen2.5-7b").language_support("ms") == "usable"
    assert CATALOGUE.find("qwen3-8b").language_support("ms") == "official"


def test_a_user_adds_and_replaces_models(tmp_path: Path) -> None:
    """A file of the user's is found beside ours, and goes before ours under the same name."""
    write(tmp_path)
    assert load_catalogue(tmp_path).find("house-7b").shape.head_dim == 128
    write(tmp_path, name="llama-3.1-8b", layers="31")
    catalogue = load_catalogue(tmp_path)
    assert catalogue.find("llama-3.1-8b").shape.layers == 31
    assert len(catalogue.models) == len(CATALOGUE.models)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"layers": "0"}, "models.house-7b: layers: expected at least 1, got 0"),
        ({"layers": "many"}, "models.house-7b: layers: expected a whole number, got 'many'"),
        ({"layers": "31.5"}, "models.house-7b: layers: expected a whole number, got 31.5"),
        ({"more": "wings: 2"}, "models.house-7b: wings: there is no such field"),
        (
            {"more": "official: English"},
            "official: expected ISO 639 codes with blanks between them, such as 'en th', got",
        ),
        ({"more": "hub: house-7b"}, "hub: expected a repository such as 'org/name', got 'house-7b'"),
        ({"more": "released: soon"}, "released: expected a date such as 2026-01-31, got 'soon'"),
        ({"more": "task: talk"}, "task: expected 'chat', 'embed', 'rerank' or 'encode', got 'talk'"),
        ({"more": "experts: 8"}, "models.house-7b: experts: expected a mapping, got 8"),
        ({"more": "experts: {count: 8}"}, "models.house-7b: experts.used: is missing"),
        ({"more": "is_tied: perhaps"}, "is_tied: expected true or false, got 'perhaps'"),
        ({"more": "window_tokens: 512"}, "models.house-7b: window_tokens and window_pattern belong together"),
        ({"more": "kv_heads: [8, 8]"}, "models.house-7b: kv_heads has 2 entries, expected one for each of 32 layers"),
        (
            {"more": "kv_heads: few"},
            "kv_heads: expected a whole number from 1, or a list with one number for each layer, got",
        ),
        ({"name": "House 7B"}, "models.House 7B: name: expected up to 63 lower-case letters, digits, '.' and '-'"),
        ({"more": "]"}, "it is not YAML"),
    ],
)
def test_a_bad_entry_is_named_with_its_field(tmp_path: Path, values: dict[str, str], problem: str) -> None:
    """The error says which file, entry and field, and what was expected."""
    path = write(tmp_path, **values)
    with pytest.raises(InvalidError) as caught:
        read_family(path)
    assert problem in caught.value.message
    assert str(path) in caught.value.message
    assert not any(word in caught.value.message for word in ("Input", "should be", "String", "pydantic"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    """A file with two mistakes is mended in one go."""
    with pytest.raises(InvalidError) as caught:
        read_family(write(tmp_path, layers="0", more="wings: 2"))
    assert caught.value.message.count("models.house-7b: ") == 2


def test_yaml_that_makes_objects_is_refused(tmp_path: Path) -> None:
    """A tag that asks for code is an error and runs nothing."""
    path = tmp_path / "evil.yaml"
    path.write_text(f"family: !!python/object/apply:pathlib.Path.touch ['{tmp_path}/touched']", encoding="utf-8")
    with pytest.raises(InvalidError, match="not YAML"):
        read_family(path)
    assert not (tmp_path / "touched").exists()


def test_an_empty_catalogue_answers_too() -> None:
    """Without models there are no near names, and the error still says what to do."""
    with pytest.raises(NotFoundError, match="undercroft plan models"):
        Catalogue([]).find("x")
