"""Which files of a list make a model, and which lists are up to something."""

from __future__ import annotations

import pytest

from undercroft.core.errors import InvalidError, NotFoundError, RefusedError
from undercroft.registry.selection import Role, check_listing, find_parts, role_of, select_files


def sizes(*paths: str) -> dict[str, int | None]:
    return dict.fromkeys(paths, 1000)


QUANTS = sizes("m-Q4_K_M.gguf", "m-Q4_K_S.gguf", "m-Q8_0.gguf", "m-f16.gguf", "README.md", "LICENSE", "config.json")


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("Q4_K_M", "m-Q4_K_M.gguf"),
        ("q4_k_m", "m-Q4_K_M.gguf"),
        ("F16", "m-f16.gguf"),
        ("m-Q8_0.gguf", "m-Q8_0.gguf"),
    ],
)
def test_quantization_picks_one(wanted: str, path: str) -> None:
    """A quantization or a file name picks one GGUF, with the documents beside it and nothing else."""
    selection = select_files(QUANTS, source="x", wanted=wanted)
    assert selection.weights == (path,)
    assert selection.others == ("LICENSE", "README.md")
    assert "config.json" in selection.skipped


@pytest.mark.parametrize("wanted", ["Q4_K", "Q5_K_M", "4_K_M", "nope.gguf"])
def test_quantization_that_is_not_there(wanted: str) -> None:
    """A quantization must be named whole; where there is none, what there is gets listed."""
    with pytest.raises(NotFoundError) as caught:
        select_files(QUANTS, source="x", wanted=wanted)
    for path in ("m-Q4_K_M.gguf", "m-Q8_0.gguf", "1000 B"):
        assert path in caught.value.message


def test_several_and_none_chosen() -> None:
    """Several models without a choice are listed with their sizes."""
    with pytest.raises(InvalidError, match=r"(?s)several.*m-Q4_K_M\.gguf  1000 B") as caught:
        select_files(QUANTS, source="x")
    assert caught.value.code == "several-models"


def test_two_that_match() -> None:
    """A quantization that two models have is ambiguous, and both are listed."""
    with pytest.raises(InvalidError, match=r"2 GGUF models that match"):
        select_files(sizes("a-Q8_0.gguf", "b-Q8_0.gguf", "a-F16.gguf"), source="x", wanted="Q8_0")


def test_parts_of_a_split_file() -> None:
    """A split model is one model; its parts come in order, and all of them."""
    parts = [f"q/m-Q8_0-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert select_files(sizes(*reversed(parts)), source="x").weights == tuple(parts)
    assert select_files(sizes(*parts), source="x", wanted="Q8_0").weights == tuple(parts)
    with pytest.raises(InvalidError, match=r"expected 'q/m-Q8_0-00002-of-00003\.gguf'"):
        select_files(sizes(parts[0], parts[2]), source="x")


@pytest.mark.parametrize("name", ["m-00000-of-00003.gguf", "m-00004-of-00003.gguf", "m-00001-of-09999.gguf"])
def test_part_that_cannot_be(name: str) -> None:
    """A part's number lies within the count, and the count within reason."""
    with pytest.raises(InvalidError) as caught:
        find_parts(name)
    assert caught.value.code == "bad-parts"


def test_vision_parts_are_not_models() -> None:
    """A projector beside a model leaves the choice clear."""
    selection = select_files(sizes("m.gguf", "mmproj-m.gguf", "m.imatrix.gguf"), source="x")
    assert selection.weights == ("m.gguf",)
    assert selection.skipped == ("m.imatrix.gguf", "mmproj-m.gguf")


def test_hugging_face_folder() -> None:
    """Weights, configuration, tokenizer and documents are taken; pickles and pictures are left."""
    taken = ["config.json", "tokenizer.json", "tokenizer.model", "merges.txt", "chat_template.jinja", "README.md"]
    selection = select_files(
        sizes("model.safetensors", *taken, "pytorch_model.bin", "training_args.bin", "picture.png"), source="x"
    )
    assert selection.weights == ("model.safetensors",)
    assert set(selection.others) == set(taken)
    assert selection.skipped == ("picture.png", "pytorch_model.bin", "training_args.bin")


def test_sharded_folder_leaves_the_consolidated_copy() -> None:
    """With an index the shards are the weights."""
    shards = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    selection = select_files(
        sizes(*shards, "model.safetensors.index.json", "consolidated.safetensors", "config.json"), source="x"
    )
    assert selection.weights == shards


def test_onnx_folder() -> None:
    """An ONNX model brings its external weights along."""
    selection = select_files(
        sizes("config.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_int8.onnx"), source="x"
    )
    assert selection.weights == ("onnx/model.onnx", "onnx/model.onnx_data")


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "m.ckpt", "m.pkl", "m.h5", "m.keras", "flax.msgpack"]
)
def test_only_pickles(name: str) -> None:
    """A folder whose weights can only be loaded by running code is refused, not called empty."""
    with pytest.raises(RefusedError) as caught:
        select_files(sizes("config.json", name), source="x")
    assert caught.value.code == "unsafe-format"
    assert name in caught.value.message


def test_no_weights() -> None:
    """A folder without weights says which kinds are known."""
    with pytest.raises(InvalidError, match="no GGUF, safetensors or ONNX"):
        select_files(sizes("config.json"), source="x")


@pytest.mark.parametrize(
    "path",
    [
        "../m.gguf",
        "a/../../m.gguf",
        "/etc/passwd",
        "a//b",
        "./a",
        "a/.",
        "a\\b",
        "a\0b",
        "a\nb",
        "\x1b[2J",
        "a\u202eb",
        "n" * 256,
        "ü" * 128,
        "a/" * 8 + "b",
        "",
        "\udc80",
    ],
)
def test_hostile_names(path: str) -> None:
    """A name that leads out, hides something or is too long refuses the whole list."""
    with pytest.raises(RefusedError) as caught:
        check_listing(["config.json", path], source="x")
    assert caught.value.code == "hostile-name"
    assert caught.value.message.isprintable()


@pytest.mark.parametrize(("one", "other"), [("README.md", "readme.MD"), ("e\u0301.json", "\u00e9.json")])
def test_names_that_some_file_systems_confuse(one: str, other: str) -> None:
    """Two names that differ only in case or composition refuse the list."""
    with pytest.raises(RefusedError, match="the same name"):
        check_listing([one, other], source="x")


@pytest.mark.parametrize("path", ["modeling.py", "a/b/x.PY", "x.pyc", "lib.so", "setup.exe"])
def test_code(path: str) -> None:
    """A list with code in it is refused, wherever the code lies."""
    with pytest.raises(RefusedError) as caught:
        check_listing(["m.gguf", path], source="x")
    assert caught.value.code == "carries-code"


def test_roles() -> None:
    """A file's part follows from its name; what has no other is taken for weights and must prove it."""
    assert role_of("config.json") is Role.CONFIG
    assert role_of("1_Pooling/config.json") is Role.CONFIG
    assert role_of("vocab.txt") is Role.TOKENIZER
    assert role_of("LICENSE.md") is Role.DOCUMENT
    assert role_of("evil") is Role.WEIGHTS
