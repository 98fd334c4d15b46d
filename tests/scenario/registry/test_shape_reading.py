"""Models found by whatever names them: the catalogue, the registry, files here, and a hub of which headers are read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from tests.support.hub import Hub, Repository, running_hub
from tests.support.sparse_ggufs import write_sparse
from undercroft.catalog.families import load_catalogue
from undercroft.core.errors import InvalidError, NotFoundError, UnavailableError
from undercroft.core.home import Home
from undercroft.core.settings import RegistrySettings
from undercroft.registry.models import add_local
from undercroft.registry.shape_reading import Subject, find_subject, shape_of
from undercroft.storage.database import Database

TINY = load_catalogue().find("smollm-135m").shape
WEIGHTS_BYTES = 24 * 1024 * 1024


@dataclass
class Place:
    """A home with a registry, and a hub."""

    home: Home
    database: Database
    hub: Hub

    def find(self, text: str) -> Subject:
        settings = RegistrySettings(hub_endpoint=self.hub.url)
        return find_subject(text, home=self.home, settings=settings, database=self.database)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    home = Home(tmp_path / "home")
    home.prepare()
    database = Database(home.database_file)
    with running_hub() as hub:
        yield Place(home, database, hub)
    database.close()


def test_a_name_of_the_catalogue(place: Place) -> None:
    """The entry itself, with its licence and its official languages."""
    found = place.find("qwen2.5:7b")
    assert (found.name, found.origin, found.licence) == ("qwen2.5-7b", "catalogue", "apache-2.0")
    assert found.entry is not None
    assert {"th", "ar", "vi"} <= found.languages
    assert shape_of("meta-llama/Llama-3.2-1B", home=place.home).layers == 16
    with pytest.raises(NotFoundError, match="near it"):
        place.find("qwen2.5:8b")


def test_the_users_own_catalogue_is_looked_into(place: Place) -> None:
    """A file in the home's catalogue folder names models like ours do."""
    place.home.catalogue.mkdir()
    (place.home.catalogue / "own.yaml").write_text(
        "family: own\nname: Own\nmaker: Us\nmodels:\n  own-1b: {architecture: llama, task: chat, licence: mit, "
        "layers: 2, width: 64, heads: 4, kv_heads: 2, feed_forward: 128, vocabulary: 100, context_tokens: 512}\n",
        encoding="utf-8",
    )
    assert place.find("own-1b").shape.layers == 2


def test_a_registered_model_goes_before_the_catalogue(place: Place, tmp_path: Path) -> None:
    """What is stored under a name is read from its file, not from an entry of the same name."""
    path = write_chat_model(tmp_path / "x.gguf", licence="mit", layers=3)
    add_local(place.database, place.home, path, name="qwen3-8b", actor="test")
    found = place.find("qwen3-8b")
    assert (found.origin, found.shape.layers, found.licence, found.stored_type) == ("registry", 3, "mit", "F32")
    assert found.stored_bytes == path.stat().st_size
    assert found.shape.tensors


def test_a_registered_folder_is_read_by_its_configuration(place: Place, tmp_path: Path) -> None:
    """Safetensors have their shape in ``config.json``, which is stored beside them."""
    folder = write_folder(tmp_path / "hf", intermediate_size=172)
    add_local(place.database, place.home, folder, name="hf", actor="test")
    found = place.find("hf")
    assert (found.origin, found.shape.feed_forward, found.licence) == ("registry", 172, "apache-2.0")


def test_files_and_folders_here(place: Place, tmp_path: Path) -> None:
    """A GGUF, a folder of Hugging Face's files and a bare configuration are read where they lie."""
    path = write_sparse(tmp_path / "smol-F16.gguf", TINY, licence="apache-2.0")
    file = place.find(str(path))
    assert (file.origin, file.name, file.shape.width, file.stored_type) == ("file", "smol-F16", 576, "F16")
    folder = write_folder(tmp_path / "hf", intermediate_size=172)
    found = place.find(str(folder))
    assert (found.origin, found.name, found.stored_type, found.licence) == ("folder", "hf", "BF16", "apache-2.0")
    assert place.find(str(folder / "config.json")).shape == found.shape
    with pytest.raises(NotFoundError, match="no file or folder"):
        place.find("./nothing.gguf")


def test_a_gguf_on_a_hub_costs_its_header(place: Place, tmp_path: Path) -> None:
    """Of a file with 24 MiB of weights, less than 2 MiB are asked for, by ranges; no weights are fetched."""
    head = write_chat_model(tmp_path / "m.gguf", width=512, layers=6, licence="llama3.2").read_bytes()
    assert len(head) > WEIGHTS_BYTES
    place.hub.repositories["org/m"] = Repository({"m-F32.gguf": head, "x-Q8_0.gguf": head}, large={"m-F32.gguf"})
    found = place.find("hf://org/m:F32")
    assert (found.origin, found.shape.width, found.shape.layers) == ("hub", 512, 6)
    assert (found.licence, found.stored_type, found.stored_bytes) == ("llama3.2", "F32", len(head))
    assert list(place.hub.sent_bytes) == ["m-F32.gguf"]
    assert place.hub.sent_bytes["m-F32.gguf"] <= 1024 * 1024
    assert place.hub.ranges("m-F32.gguf") == ["bytes=0-1048575"]


def test_a_large_vocabulary_is_read_in_several_pieces(place: Place, tmp_path: Path) -> None:
    """A header of more than one piece is read on where the first one ends."""
    small = replace(TINY, layers=1, kv_heads=(3,), vocabulary=1000)
    content = write_sparse(tmp_path / "m.gguf", small, tokens=100_000).read_bytes()
    place.hub.repositories["org/m"] = Repository({"m.gguf": content})
    found = place.find("hf://org/m")
    assert replace(found.shape, tensors=(), parameters=small.parameters, extra={}) == small
    assert found.shape.extra == {"merge_count": 100_000}
    first, second = place.hub.ranges("m.gguf")
    assert first == "bytes=0-1048575"
    assert second is not None
    assert 0 < int(second.removeprefix("bytes=").split("-")[0]) <= 1_048_576


def test_safetensors_on_a_hub_cost_configuration_and_header(place: Place, tmp_path: Path) -> None:
    """The configuration says the shape, the listing the size, the header of the first file the kind of weights."""
    folder = write_folder(tmp_path / "hf", intermediate_size=172)
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    place.hub.repositories["org/hf"] = Repository(files, card={"license": "other", "license_name": "Qwen-Research"})
    found = place.find("hf://org/hf")
    assert (found.shape.feed_forward, found.licence, found.stored_type) == (172, "qwen-research", "BF16")
    assert found.stored_bytes == len(files["model.safetensors"])
    assert set(place.hub.sent_bytes) == {"config.json", "model.safetensors"}


def test_a_hub_without_ranges_is_not_downloaded(place: Place, tmp_path: Path) -> None:
    """A server that answers a range with the whole file is told off, not listened to."""
    head = write_chat_model(tmp_path / "m.gguf", width=512, layers=6).read_bytes()
    place.hub.repositories["org/m"] = Repository({"m.gguf": head})
    place.hub.ignores_ranges = True
    with pytest.raises(UnavailableError, match="gives no parts") as caught:
        place.find("hf://org/m")
    assert caught.value.code == "no-ranges"


def test_hostile_headers_on_a_hub(place: Place) -> None:
    """What is no GGUF, and a configuration that is no JSON, are refused as they are when they are pulled."""
    place.hub.repositories["org/m"] = Repository({"m.gguf": b"GGUF" + b"\xff" * 4096})
    with pytest.raises(InvalidError, match="bad-gguf"):
        place.find("hf://org/m")
    place.hub.repositories["org/c"] = Repository({"config.json": b"{" * 5000, "model.safetensors": b"x"})
    with pytest.raises(InvalidError) as caught:
        place.find("hf://org/c")
    assert caught.value.code == "bad-json"
    place.hub.repositories["org/s"] = Repository(
        {"config.json": json.dumps({"model_type": "llama"}).encode(), "model.safetensors": b"x"}
    )
    with pytest.raises(InvalidError, match="does not say its num_hidden_layers"):
        place.find("hf://org/s")
