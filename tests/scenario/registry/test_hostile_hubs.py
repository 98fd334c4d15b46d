"""Hubs and repositories that mean no good: refused before their weights are fetched, or before anything has a name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.folders import write_folder
from tests.support.ggufs import write_chat_model
from tests.support.hub import Hub, Repository, running_hub
from undercroft.core.errors import ConflictError, InvalidError, RefusedError, UnavailableError, UndercroftError
from undercroft.core.home import Home
from undercroft.core.settings import RegistrySettings
from undercroft.registry import models
from undercroft.registry.importing import Arrival
from undercroft.registry.pulling import pull
from undercroft.storage.database import Database


class Cellar:
    """An empty installation, and a hub that it pulls from."""

    def __init__(self, folder: Path, hub: Hub) -> None:
        self.hub = hub
        self.home = Home(folder / "home")
        self.home.prepare()
        self.database = Database(self.home.database_file)

    def pull(self, reference: str = "hf://org/m", name: str | None = None) -> Arrival:
        settings = RegistrySettings(hub_endpoint=self.hub.url)
        return pull(self.database, self.home, reference, settings=settings, name=name, actor="test")

    def refused(self, reference: str = "hf://org/m") -> UndercroftError:
        """The error of a pull that must not leave a model."""
        with pytest.raises((InvalidError, RefusedError, UnavailableError)) as caught:
            self.pull(reference)
        with self.database.read() as connection:
            assert models.list_models(connection) == []
        return caught.value


@pytest.fixture
def gguf(tmp_path: Path) -> bytes:
    return write_chat_model(tmp_path / "m.gguf").read_bytes()


@pytest.fixture
def cellar(tmp_path: Path, gguf: bytes) -> Iterator[Cellar]:
    with running_hub({"org/m": Repository({"m.gguf": gguf})}) as hub:
        made = Cellar(tmp_path, hub)
        yield made
        made.database.close()


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "name", ["../../evil.gguf", "/etc/cron.d/evil", "a\\..\\evil", "x" * 300, "a\x1b[2J", "M.GGUF", "a/../m.gguf"]
)
def test_hostile_names_in_a_listing(cellar: Cellar, name: str) -> None:
    """A name that leads out, hides something or collides refuses the repository, and nothing of it is fetched."""
    cellar.hub.extra_names = [name]
    error = cellar.refused()
    assert error.code == "hostile-name"
    assert cellar.hub.sent_bytes == {}


@pytest.mark.parametrize("name", ["modeling_evil.py", "sub/x.py", "lib.so"])
def test_code_in_a_listing(cellar: Cellar, name: str) -> None:
    """Code beside a good GGUF refuses the repository, and nothing of it is fetched."""
    cellar.hub.extra_names = [name]
    assert cellar.refused().code == "carries-code"
    assert cellar.hub.sent_bytes == {}


def test_auto_map_is_found_before_the_weights(cellar: Cellar, tmp_path: Path) -> None:
    """A configuration that asks for code refuses the repository after a few hundred bytes."""
    folder = write_folder(tmp_path / "f", auto_map={"AutoModel": "x.Y"})
    cellar.hub.repositories["org/m"] = Repository(files_of(folder))
    assert cellar.refused().code == "carries-code"
    assert "model.safetensors" not in cellar.hub.sent_bytes


def test_auto_map_beside_a_gguf(cellar: Cellar, gguf: bytes) -> None:
    """It refuses the repository also where the file that asks for code would not be taken."""
    config = json.dumps({"auto_map": {}}).encode()
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf, "other/config.json": config})
    assert cellar.refused().code == "carries-code"
    assert "m.gguf" not in cellar.hub.sent_bytes


def test_folder_from_a_hub(cellar: Cellar, tmp_path: Path) -> None:
    """A repository with Hugging Face files becomes a model; files that no model needs are left and listed."""
    files = files_of(write_folder(tmp_path / "f"))
    cellar.hub.repositories["org/m"] = Repository({**files, "training_args.bin": b"\x80\x02.", "plot.png": b"x"})
    arrival = cellar.pull()
    assert arrival.skipped == ("plot.png", "training_args.bin")
    assert {file.path for file in arrival.model.files} == set(files)
    assert arrival.model.facts.licence == "apache-2.0"


def test_pickle_called_gguf(cellar: Cellar) -> None:
    """What a hub calls a GGUF is looked into before it gets a name, and is gone when it is none."""
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": b"\x80\x04\x95" + bytes(5000)})
    assert cellar.refused().code == "unsafe-format"
    assert not any(path.is_file() and path.stat().st_size > 4000 for path in cellar.home.blobs.rglob("*"))


def test_content_that_is_not_what_was_listed(cellar: Cellar, gguf: bytes) -> None:
    """A large file whose digest is not the listed one is refused."""
    repository = Repository({"m.gguf": gguf}, large={"m.gguf"})
    with running_hub({"org/m": Repository({"m.gguf": gguf[:-1] + b"\1"}, large={"m.gguf"})}) as elsewhere:
        cellar.hub.repositories["org/m"] = repository
        cellar.hub.cdn = elsewhere.url
        assert cellar.refused().code == "wrong-digest"


def test_size_that_is_not_what_was_listed(cellar: Cellar, gguf: bytes) -> None:
    """A file of another size than listed is refused before its content is read."""
    cellar.hub.wrong_sizes["m.gguf"] = len(gguf) - 1
    assert cellar.refused().code == "bad-hub-answer"
    assert cellar.hub.sent_bytes.get("m.gguf", 0) == 0 or not list(cellar.home.blobs.rglob("*.gguf"))


def test_size_that_no_disk_has(cellar: Cellar) -> None:
    """A file that does not fit is refused before the first byte."""
    cellar.hub.wrong_sizes["m.gguf"] = 2**60
    assert cellar.refused().code == "disk-full"
    assert cellar.hub.sent_bytes == {}


def test_connection_that_keeps_breaking(cellar: Cellar, gguf: bytes) -> None:
    """A hub that never gets further is given up after some attempts, and what came is kept for the next pull."""
    cellar.hub.cut_after_bytes = [100_000] + [0] * 20
    error = cellar.refused()
    assert error.code == "download-cut-off"
    assert error.hint is not None
    assert "goes on from there" in error.hint
    cellar.hub.cut_after_bytes = []
    assert cellar.pull().is_new
    assert cellar.hub.ranges("m.gguf")[-1] == "bytes=100000-"
    assert cellar.hub.sent_bytes["m.gguf"] == len(gguf)


def test_hub_that_is_busy(cellar: Cellar) -> None:
    """A hub that is busy for a moment is asked again; one that stays so is given up with what to do."""
    cellar.hub.statuses = [503, 429]
    assert cellar.pull().is_new
    cellar.hub.statuses = [503] * 20
    with pytest.raises(UnavailableError) as caught:
        cellar.pull(name="other")
    assert "HTTP 503" in caught.value.message


def test_weights_that_are_here_are_not_fetched_again(cellar: Cellar, gguf: bytes) -> None:
    """A large file whose digest is stored already is taken from the store."""
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf}, large={"m.gguf"})
    first = cellar.pull(name="first")
    sent = dict(cellar.hub.sent_bytes)
    second = cellar.pull(name="second")
    assert second.is_new
    assert second.model.digest == first.model.digest
    assert cellar.hub.sent_bytes == sent


def test_pull_mends_a_damaged_model(cellar: Cellar, gguf: bytes) -> None:
    """A model whose file was cut off is not called there already: the pull fetches it again."""
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf}, large={"m.gguf"})
    model = cellar.pull().model
    (blob,) = (path for path in (cellar.home.blobs / "sha256").rglob("*") if path.is_file())
    blob.chmod(0o600)
    blob.write_bytes(gguf[:1000])
    arrival = cellar.pull()
    assert (arrival.is_new, arrival.model) == (False, model)
    assert cellar.hub.sent_bytes["m.gguf"] == 2 * len(gguf)
    with cellar.database.read() as connection:
        assert models.model_file(cellar.home, connection, model).read_bytes() == gguf


def test_name_that_is_taken_is_found_before_the_download(cellar: Cellar, gguf: bytes, tmp_path: Path) -> None:
    """Where the listing tells the content, a name that belongs to other content is refused before a byte is fetched."""
    other = write_chat_model(tmp_path / "other.gguf", seed=1)
    models.add_local(cellar.database, cellar.home, other, name="m", actor="test")
    cellar.hub.repositories["org/m"] = Repository({"m.gguf": gguf}, large={"m.gguf"})
    with pytest.raises(ConflictError, match="--name"):
        cellar.pull()
    assert cellar.hub.sent_bytes == {}


@pytest.mark.parametrize(
    "answer", [b"<html>", b"[]", b"{}", b'{"siblings": [{"size": 1}]}', b'{"siblings": 1}', b"\xff"]
)
def test_hub_that_answers_something_else(cellar: Cellar, answer: bytes) -> None:
    """A server that is no hub is said to be none."""
    cellar.hub.api_answer = answer
    assert cellar.refused().code in {"bad-hub-answer", "no-weights"}
