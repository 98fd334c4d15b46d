"""Folders with Hugging Face files: what is taken, what is read from them, what is refused."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest

from tests.support import raw_onnx
from tests.support.folders import write_folder
from tests.support.ggufs import CHAT_TEMPLATE, write_chat_model
from tests.support.raw_safetensors import build, entry
from undercroft.core.errors import InvalidError, NotFoundError, RefusedError, UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.registry.models import Model
from undercroft.storage.database import Database


def add(database: Database, home: Home, path: Path) -> Model:
    return models.add_local(database, home, path, name="m", actor="test")


def refused(database: Database, home: Home, path: Path) -> UndercroftError:
    with pytest.raises((InvalidError, RefusedError)) as caught:
        add(database, home, path)
    with database.read() as connection:
        assert models.list_models(connection) == []
    assert list(home.quarantine.iterdir()) == []
    return caught.value


def test_facts_of_a_folder(database: Database, home: Home, tmp_path: Path) -> None:
    """Configuration, tensors, template and card are read."""
    model = add(database, home, write_folder(tmp_path / "f"))
    facts = model.facts
    assert model.format == "safetensors"
    assert (facts.architecture, facts.task, facts.context_tokens) == ("LlamaForCausalLM", "generate", 2048)
    assert (facts.layers, facts.heads, facts.kv_heads, facts.head_dim) == (2, 4, 2, 16)
    assert (facts.parameters, facts.quantization, facts.bits_per_weight) == (132, "BF16", 16.48)
    assert (facts.licence, facts.languages, facts.base_models) == ("apache-2.0", ("en", "th"), ("org/base",))
    assert facts.chat_template == CHAT_TEMPLATE
    assert [file.path for file in model.files] == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_what_is_not_said_is_unknown(database: Database, home: Home, tmp_path: Path) -> None:
    """A folder that says next to nothing gets no invented facts."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(build({"a": entry("F16", [2], 0, 4)}, 4))
    facts = add(database, home, folder).facts
    assert (facts.architecture, facts.licence, facts.title) == ("unknown", "unknown", "unknown")
    assert (facts.context_tokens, facts.layers, facts.task, facts.languages) == (None, None, None, ())


def test_licence_text(database: Database, home: Home, tmp_path: Path) -> None:
    """Where no card says it, a well-known licence is known by its text."""
    folder = write_folder(tmp_path / "f")
    (folder / "README.md").unlink()
    (folder / "LICENSE").write_text("   Apache License\n   Version 2.0, January 2004\n")
    assert add(database, home, folder).facts.licence == "apache-2.0"


def test_folder_with_a_gguf(database: Database, home: Home, tmp_path: Path) -> None:
    """A folder that holds one GGUF is that model, with the licence of its card."""
    folder = tmp_path / "f"
    folder.mkdir()
    write_chat_model(folder / "m.gguf")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    model = add(database, home, folder)
    assert (model.format, model.facts.licence) == ("gguf", "mit")


def test_onnx_with_external_weights(database: Database, home: Home, tmp_path: Path) -> None:
    """External weights are part of the model, and must be as long as the model says."""
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(
        raw_onnx.model(raw_onnx.tensor("w", [8], external={"location": "model.onnx_data", "length": "32"}))
    )
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (folder / "model.onnx_data").write_bytes(bytes(31))
    assert "needs 32 bytes" in refused(database, home, folder).message
    (folder / "model.onnx_data").write_bytes(bytes(32))
    model = add(database, home, folder)
    assert (model.format, model.facts.task, model.facts.parameters) == ("onnx", "embed", 8)


def test_shards_and_index(database: Database, home: Home, tmp_path: Path) -> None:
    """An index must tell the truth about its shards."""
    folder = write_folder(tmp_path / "f")
    (folder / "model.safetensors").unlink()
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for number, shard in enumerate(shards):
        (folder / shard).write_bytes(build({f"t{number}": entry("F16", [2], 0, 4)}, 4))
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"t0": shards[0], "t1": shards[0]}}))
    assert "is not in" in refused(database, home, folder).message
    index.write_text(json.dumps({"weight_map": {"t0": shards[0], "t1": shards[1]}}))
    assert add(database, home, folder).facts.parameters == 4


def test_tensor_in_two_shards(database: Database, home: Home, tmp_path: Path) -> None:
    """The same tensor in two files is refused: readers differ in which one they take."""
    folder = write_folder(tmp_path / "f")
    (folder / "model.safetensors").unlink()
    for name in ("a.safetensors", "b.safetensors"):
        (folder / name).write_bytes(build({"t": entry("F16", [2], 0, 4)}, 4))
    assert "too" in refused(database, home, folder).message


@pytest.mark.parametrize(
    "file", ["config.json", "tokenizer_config.json", "sub/deep/config.json", "generation_config.json"]
)
def test_auto_map(database: Database, home: Home, tmp_path: Path, file: str) -> None:
    """A configuration that asks for code is refused wherever it lies, also one that would not be taken."""
    folder = write_folder(tmp_path / "f")
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"a": [{"auto_map": {"AutoModel": "modeling.Evil"}}]}))
    error = refused(database, home, folder)
    assert error.code == "carries-code"
    assert "auto_map" in error.message


def test_python_in_a_folder(database: Database, home: Home, tmp_path: Path) -> None:
    """Code in a folder refuses it, also beside a good GGUF and in a folder below."""
    folder = write_folder(tmp_path / "f")
    write_chat_model(folder / "m.gguf")
    (folder / "sub").mkdir()
    (folder / "sub" / "modeling_x.py").write_text("print('hello')")
    assert refused(database, home, folder).code == "carries-code"


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("name", ["m.gguf", "model.safetensors", "m.onnx", "m.bin", "m", "m.json"])
@pytest.mark.parametrize("protocol", range(6))
def test_pickles_under_any_name(database: Database, home: Home, tmp_path: Path, name: str, protocol: int) -> None:
    """A pickle is refused as one whatever it is called, and is never loaded."""
    trap = tmp_path / "trap"
    path = tmp_path / name
    path.write_bytes(pickle.dumps(Touch(trap), protocol))
    error = refused(database, home, path)
    assert error.code == "unsafe-format"
    assert "pickle" in error.message
    assert not trap.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}", "NumPy"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"\x7fELF" + bytes(100), "program"),
        (b"MZ" + bytes(100), "program"),
        (b"#!/bin/sh\nid\n", "script"),
        (b"\x1f\x8b\x08" + bytes(100), "gzip"),
        (bytes(257) + b"ustar" + bytes(300), "tar"),
    ],
)
def test_programs_and_archives(database: Database, home: Home, tmp_path: Path, content: bytes, words: str) -> None:
    """What can carry code is refused by its content, and the refusal says what it is."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    error = refused(database, home, path)
    assert error.code == "unsafe-format"
    assert words in error.message


def test_torch_archive(database: Database, home: Home, tmp_path: Path) -> None:
    """PyTorch's archive of pickles is refused, also as the weights of a folder."""
    folder = write_folder(tmp_path / "f")
    with zipfile.ZipFile(folder / "model.safetensors", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    assert refused(database, home, folder).code == "unsafe-format"


def test_pickle_as_tokenizer(database: Database, home: Home, tmp_path: Path) -> None:
    """Files beside the weights are looked into too."""
    folder = write_folder(tmp_path / "f")
    (folder / "tokenizer.model").write_bytes(pickle.dumps({"a": 1}))
    assert refused(database, home, folder).code == "unsafe-format"


@pytest.mark.parametrize("content", [b"", b"hello", bytes(100), b"\xff" * 100])
def test_unknown_content(database: Database, home: Home, tmp_path: Path, content: bytes) -> None:
    """What is nothing known is refused whatever it is called."""
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    assert refused(database, home, path).code == "unknown-format"


def test_gguf_under_another_name(database: Database, home: Home, tmp_path: Path) -> None:
    """Content decides: a GGUF called model.bin is a GGUF."""
    path = write_chat_model(tmp_path / "m.gguf").rename(tmp_path / "model.bin")
    model = add(database, home, path)
    assert (model.format, model.files[0].path) == ("gguf", "model.bin.gguf")
    with database.read() as connection:
        assert models.model_file(home, connection, model).is_file()


@pytest.mark.parametrize("content", ['{"a": 1, "a": 2}', "{", "\ufeff[1", '"text"', "[" * 5000])
def test_damaged_configuration(database: Database, home: Home, tmp_path: Path, content: str) -> None:
    """A configuration that is not one JSON object, or says a thing twice, is refused."""
    folder = write_folder(tmp_path / "f")
    (folder / "generation_config.json").write_text(content)
    assert refused(database, home, folder).code == "bad-json"


def test_link_out_of_the_folder(database: Database, home: Home, tmp_path: Path) -> None:
    """A link that leads out of a folder is refused: a downloaded folder may not make us read the user's own files."""
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    folder = write_folder(tmp_path / "f")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret)
    error = refused(database, home, folder)
    assert error.code == "hostile-name"
    assert "leads out" in error.message


def test_cache_of_the_hub(database: Database, home: Home, tmp_path: Path) -> None:
    """A snapshot in the hub's own cache, all links into its blobs, can be registered."""
    cache = tmp_path / "models--org--m"
    made = write_folder(cache / "made")
    snapshot = cache / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for path in made.iterdir():
        path.rename(cache / "blobs" / path.name)
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert add(database, home, snapshot).facts.licence == "apache-2.0"


def test_special_files_are_left(database: Database, home: Home, tmp_path: Path) -> None:
    """A pipe in a folder is not opened: nobody would ever write to it."""
    folder = write_folder(tmp_path / "f")
    os.mkfifo(folder / "NOTICE")
    assert all(file.path != "NOTICE" for file in add(database, home, folder).files)


def test_name_that_a_terminal_would_obey(database: Database, home: Home, tmp_path: Path) -> None:
    """A file whose name holds control characters is refused: names are shown."""
    error = refused(database, home, write_chat_model(tmp_path / "a\x1b[2J.gguf"))
    assert error.code == "hostile-name"
    assert error.message.isprintable()


def test_file_that_cannot_be_read(database: Database, home: Home) -> None:
    """What the operating system refuses is a sentence, not a traceback."""
    with pytest.raises(UnavailableError) as caught:
        add(database, home, Path("/proc/self/mem"))
    assert caught.value.code == "file-unusable"


def test_paths_that_are_nothing(database: Database, home: Home, tmp_path: Path) -> None:
    """What is not there, or neither file nor folder, is said so."""
    with pytest.raises(NotFoundError):
        add(database, home, tmp_path / "nope")
    with pytest.raises(InvalidError):
        add(database, home, Path("/dev/null"))
