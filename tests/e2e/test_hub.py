"""Pulling from a hub with the installed command: cut off, killed, private, through a proxy."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cellar import Cellar
from tests.support.ggufs import write_chat_model
from tests.support.hub import COMMIT, Hub, Repository, running_hub
from tests.support.proxy import running_proxy
from tests.support.server import wait_for

TOKEN = "hf_secret_of_the_test"  # noqa: S105  (made up)
CARD = b"---\nlicense: apache-2.0\nlanguage: [en, th]\nbase_model: org/base\n---\n# A model\n"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model of some 10 MB, so that there is something to interrupt."""
    path = write_chat_model(tmp_path_factory.mktemp("weights") / "m.gguf", width=256, layers=4)
    return path.read_bytes()


@pytest.fixture
def hub(weights: bytes, tmp_path: Path) -> Iterator[Hub]:
    """A hub with a public, a private and a gated repository."""
    other = write_chat_model(tmp_path / "other.gguf", seed=1).read_bytes()
    files = {"m-Q4_K_M.gguf": weights, "m-Q8_0.gguf": other, "README.md": CARD, "notes.bin": b"\x80\x02."}
    with running_hub(
        {
            "org/public": Repository(dict(files), large={"m-Q4_K_M.gguf"}),
            "org/private": Repository(dict(files), token=TOKEN, large={"m-Q4_K_M.gguf"}),
            "org/gated": Repository(dict(files), is_gated=True),
        }
    ) as running:
        yield running


def machine_of(folder: Path, hub: Hub, **variables: str) -> Cellar:
    """A home whose hub is the given one."""
    return Cellar(folder, "model", **{"HF_ENDPOINT": hub.url, **variables})


@pytest.fixture
def machine(tmp_path: Path, hub: Hub) -> Cellar:
    return machine_of(tmp_path, hub)


def test_pull_by_quantization(machine: Cellar, hub: Hub, weights: bytes) -> None:
    """A quantization picks its one file; the commit is pinned, facts come from file and card, nothing is left over."""
    model = machine.json("pull", "hf://org/public:q4_k_m")
    assert model["name"] == "m-q4_k_m"
    assert model["source"] == f"hf://org/public:q4_k_m@{COMMIT}"
    assert model["lineage"]["commit"] == COMMIT
    assert model["facts"]["licence"] == "apache-2.0"
    assert model["facts"]["languages"] == ["en", "th"]
    assert model["facts"]["base_models"] == ["org/base"]
    assert model["skipped"] == ["m-Q8_0.gguf", "notes.bin"]
    assert hub.sent_bytes["m-Q4_K_M.gguf"] == len(weights)
    assert "notes.bin" not in hub.sent_bytes
    assert list((machine.home / "quarantine").iterdir()) == []
    assert list(machine.user_home.iterdir()) == []
    assert {seen.authorization for seen in hub.seen} == {None}


def test_second_pull_downloads_nothing(machine: Cellar, hub: Hub) -> None:
    """A model that is there already is said to be, without its bytes being fetched once more."""
    machine.run("pull", "hf://org/public:Q8_0")
    sent = dict(hub.sent_bytes)
    result = machine.run("pull", "hf://org/public:Q8_0")
    assert "there already" in result.stdout
    assert hub.sent_bytes == sent


def test_connection_that_breaks_is_continued(machine: Cellar, hub: Hub, weights: bytes) -> None:
    """One pull survives two broken connections and fetches no byte twice."""
    hub.cut_after_bytes = [3_000_000, 2_000_000]
    machine.run("pull", "hf://org/public:Q4_K_M")
    assert hub.ranges("m-Q4_K_M.gguf") == [None, "bytes=3000000-", "bytes=5000000-"]
    assert hub.sent_bytes["m-Q4_K_M.gguf"] == len(weights)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_interrupted_pull_goes_on(machine: Cellar, hub: Hub, weights: bytes, how: signal.Signals) -> None:
    """A pull that is killed or interrupted leaves no model; the next one asks only for what is missing."""
    hub.hold_after_bytes = 4 * 1024 * 1024
    process = machine.start("pull", "hf://org/public:Q4_K_M")
    assert hub.held.wait(60)
    wait_for(lambda: machine.partial_bytes() >= 4_000_000, "the bytes that were sent")
    process.send_signal(how)
    _, err = process.communicate(timeout=240)
    assert process.returncode in (-how, 130)
    if how is signal.SIGINT:
        assert "goes on from there" in err
    hub.hold_after_bytes = None
    hub.release.set()
    assert machine.json("list") == []
    kept = machine.partial_bytes()
    model = machine.json("pull", "hf://org/public:Q4_K_M")
    assert model["is_new"]
    (_, second) = hub.ranges("m-Q4_K_M.gguf")
    assert second is not None
    begin = int(second.removeprefix("bytes=").removesuffix("-"))
    assert 4_000_000 <= begin <= kept
    assert json.loads(machine.run("verify", "--json").stdout)["is_whole"]
    assert len(weights) == next(f["size_bytes"] for f in model["files"] if f["path"].endswith(".gguf"))


def test_two_pulls_of_the_same(machine: Cellar, hub: Hub, weights: bytes) -> None:
    """Of two pulls at the same time one downloads and the other waits for it; both end well."""
    hub.hold_after_bytes = 1024 * 1024
    first = machine.start("pull", "hf://org/public:Q4_K_M", "--json")
    assert hub.held.wait(60)
    second = machine.start("pull", "hf://org/public:Q4_K_M", "--json")
    assert second.stderr is not None
    assert "waiting" in second.stderr.readline()
    hub.hold_after_bytes = None
    hub.release.set()
    results = [json.loads(process.communicate(timeout=240)[0]) for process in (first, second)]
    assert [result["is_new"] for result in results] == [True, False]
    assert hub.sent_bytes["m-Q4_K_M.gguf"] == len(weights)


def test_token_goes_to_the_hub_only(tmp_path: Path, hub: Hub) -> None:
    """The token of the file opens a private repository, never reaches the host that a download is redirected to, and
    is in no output."""
    token_file = tmp_path / "token"
    token_file.write_text(TOKEN + "\n")
    machine = machine_of(tmp_path, hub, UNDERCROFT_REGISTRY__HUB_TOKEN_FILE=str(token_file))
    with running_hub({"org/private": hub.repositories["org/private"]}) as elsewhere:
        hub.cdn = elsewhere.url
        result = machine.run("pull", "hf://org/private:Q4_K_M", "--json")
        assert {seen.authorization for seen in hub.seen} == {f"Bearer {TOKEN}"}
        assert [seen.authorization for seen in elsewhere.seen] == [None]
    shown = machine.run("show", "m-q4_k_m", "--json")
    assert TOKEN not in result.stdout + result.stderr + shown.stdout
    for path in machine.home.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("reference", "status", "words"),
    [
        ("hf://org/private:Q8_0", 3, ["hub-refused", "private, gated, or not there", "hub_token_file"]),
        ("hf://org/gated:Q8_0", 3, ["hub-gated", "accept its terms", "hub_token_file"]),
        ("hf://org/public:Q8_0@nope", 4, ["no-such-revision", "'nope'"]),
        ("hf://org/public:Q5_K_M", 4, ["no-such-file", "m-Q4_K_M.gguf", "9.7 MiB"]),
        ("hf://org/public", 2, ["several-models", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]),
        ("hf://org", 2, ["bad-reference", "org/name"]),
        ("oci://registry/model", 2, ["bad-reference", "oci://", "hf://org/name"]),
    ],
)
def test_refusals_say_what_to_do(machine: Cellar, reference: str, status: int, words: list[str]) -> None:
    """What a hub does not give is explained, with the choices there are."""
    result = machine.run("pull", reference, expected=status)
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_through_a_proxy(tmp_path: Path, hub: Hub) -> None:
    """HTTP_PROXY is respected: every request of a pull goes through it."""
    with running_proxy() as proxy:
        machine = machine_of(tmp_path, hub, HTTP_PROXY=proxy.url)
        machine.run("pull", "hf://org/public:Q8_0")
        assert len(proxy.passed) == len(hub.seen) > 0
        assert all(seen.via_proxy for seen in hub.seen)


def test_setting_goes_before_the_environment(tmp_path: Path, hub: Hub) -> None:
    """registry.hub_endpoint says which hub, whatever HF_ENDPOINT says."""
    machine = machine_of(tmp_path, hub, UNDERCROFT_REGISTRY__HUB_ENDPOINT=hub.url)
    machine.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    assert machine.json("pull", "hf://org/public:Q8_0")["is_new"]


def test_hub_that_is_not_there(tmp_path: Path, hub: Hub) -> None:
    """A hub that does not answer is said so in a sentence, with what to check."""
    machine = machine_of(tmp_path, hub)
    machine.environment["HF_ENDPOINT"] = "http://127.0.0.1:9"
    result = machine.run("pull", "hf://org/public:Q8_0", expected=6)
    assert "hub-unreachable" in result.stderr
    assert "Traceback" not in result.stderr
