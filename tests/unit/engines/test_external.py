"""Another's server: its URL, its answers, and what is said when they are not those of an engine."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.scripted import http, scripted
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.core.settings import EngineSettings
from undercroft.engines.contract import EngineRecord, EngineSpec, Health, Task
from undercroft.engines.external import External, check_host, check_url, listed_context

ENGINE = External(EngineSettings())


@pytest.fixture
def start(tmp_path: Path) -> Callable[[int], tuple[EngineRecord, EngineSpec]]:
    """Starts a replica of a server at a port."""

    def started(port: int) -> tuple[EngineRecord, EngineSpec]:
        spec = EngineSpec(
            replica_id="rep_a",
            name="bot",
            task=Task.GENERATE,
            run_dir=tmp_path / "rep_a",
            log_path=tmp_path / "log",
            url=f"http://127.0.0.1:{port}/v1",
            upstream_model="theirs",
        )
        return ENGINE.start(spec), spec

    return started


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://10.0.0.5:8000", "http://10.0.0.5:8000"),
        ("https://llm.example/v1/", "https://llm.example"),
        ("https://llm.example/team/v1", "https://llm.example/team"),
        ("http://[::1]:8000/", "http://[::1]:8000"),
    ],
)
def test_url_is_kept_without_its_end(url: str, base: str) -> None:
    """A URL may end with /v1 and slashes, as people copy it."""
    assert check_url(url, deployment="bot") == base


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        "llm.example:8000",
        "ftp://llm.example",
        "file:///etc/passwd",
        "http://",
        "http://x:99999",
        "http://x?k=1",
    ],
)
def test_url_that_is_none_is_refused(url: str | None) -> None:
    """What is no http(s) URL of a server is refused with the deployment's name."""
    with pytest.raises(InvalidError, match="deployment 'bot' expected") as caught:
        check_url(url, deployment="bot")
    assert caught.value.code == "bad-engine-url"


@pytest.mark.parametrize("url", ["https://anna:hunter2@llm.example", "https://hunter2@llm.example"])
def test_secret_in_the_url_is_not_repeated(url: str) -> None:
    """A URL with a secret in it is refused, without saying the secret."""
    with pytest.raises(InvalidError) as caught:
        check_url(url, deployment="bot")
    assert "hunter2" not in str(caught.value)


def test_missing_key_file_is_refused(tmp_path: Path) -> None:
    """A key file that is not there is refused at the start."""
    missing = tmp_path / "key"
    spec = EngineSpec("rep_a", "bot", Task.GENERATE, tmp_path, tmp_path, url="http://127.0.0.1", key_file=missing)
    with pytest.raises(InvalidError, match="expected a file with its key"):
        ENGINE.start(spec)


@pytest.mark.parametrize(
    ("answer", "health", "reason"),
    [
        (http("200 OK", '{"data": []}'), Health.HEALTHY, None),
        (http("503 Service Unavailable"), Health.LOADING, "expected status 200, got 503"),
        (http("401 Unauthorized"), Health.HEALTHY, "does not accept a request without a key (status 401)"),
        (
            http("307 Temporary Redirect", "", "Location: http://169.254.169.254/"),
            Health.HEALTHY,
            "redirects are refused",
        ),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Health.DEAD, "cannot be reached"),
    ],
    ids=["well", "loading", "key", "redirect", "no-http"],
)
def test_answers_are_understood(
    start: Callable[[int], tuple[EngineRecord, EngineSpec]], answer: bytes, health: Health, reason: str | None
) -> None:
    """Who answers is there; what keeps it from serving is said in one sentence."""
    with scripted(answer) as port:
        record, _ = start(port)
        assert ENGINE.look(record, timeout_seconds=5) is health
        found = ENGINE.failure(record)
    assert (found is None) == (reason is None)
    assert (reason or "") in (found or "")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (http("302 Found", "", "Location: http://127.0.0.1:1/"), "redirects are refused"),
        (http("403 Forbidden"), "does not accept a request without a key"),
        (http("404 Not Found"), "expected status 200, got 404"),
        (http("200 OK", "<html>welcome</html>"), "expected JSON, got something else"),
    ],
    ids=["redirect", "key", "missing", "page"],
)
def test_warm_up_finds_what_does_not_serve(
    start: Callable[[int], tuple[EngineRecord, EngineSpec]], answer: bytes, message: str
) -> None:
    """A server that answers but does not serve never becomes ready: its warm-up says why."""
    with scripted(answer) as port:
        record, spec = start(port)
        with pytest.raises(UnavailableError, match="bot") as caught:
            ENGINE.warm_up(record, spec, timeout_seconds=5)
    assert message in str(caught.value)


def test_list_of_models_may_be_missing(start: Callable[[int], tuple[EngineRecord, EngineSpec]]) -> None:
    """A server without a list of models is used as configured, with its context unknown."""
    with scripted(http("404 Not Found")) as port:
        record, spec = start(port)
        found = ENGINE.capabilities(record, spec)
    assert (found.tasks, found.context_tokens, found.slots) == ({"chat", "completions"}, 0, spec.slots)


TLS = Path(__file__).parents[2] / "support" / "tls"


def test_own_certificates_are_trusted_where_they_are_named(tmp_path: Path) -> None:
    """A server with a certificate of one's own is reached with the file that names it, and not without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
    listed = http("200 OK", '{"data": []}')
    with scripted(listed, context=context) as port:
        for ca_file, health in ((TLS / "cert.pem", Health.HEALTHY), (None, Health.DEAD)):
            spec = EngineSpec("rep_a", "bot", Task.GENERATE, tmp_path / str(health), tmp_path / "log")
            record = ENGINE.start(replace(spec, url=f"https://localhost:{port}", ca_file=ca_file))
            assert ENGINE.look(record, timeout_seconds=5) is health
        assert "TLS failed" in (ENGINE.failure(record) or "")


def test_certificates_that_are_none_are_refused(tmp_path: Path) -> None:
    """A missing file, one without certificates, and certificates for a server without TLS are refused at the start."""
    (tmp_path / "empty.pem").write_text("nothing", encoding="utf-8")
    spec = EngineSpec("rep_a", "bot", Task.GENERATE, tmp_path / "r", tmp_path / "log", url="https://localhost")
    cases = (
        ("missing.pem", "https://localhost"),
        ("empty.pem", "https://localhost"),
        (TLS / "cert.pem", "http://[::1]"),
    )
    for name, url in cases:
        with pytest.raises(InvalidError, match="certificates"):
            ENGINE.start(replace(spec, url=url, ca_file=tmp_path / name))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "gpu-box", "GPU-Box", "10.0.0.5"])
def test_host_of_this_machine_or_allowed(host: str) -> None:
    """This machine itself needs no leave; another one is found in the list whatever its letters' case."""
    check_host(f"http://{host}:8000/v1", ["gpu-box", "10.0.0.5"], deployment="bot")


@pytest.mark.parametrize("host", ["gpu-box2", "localhost.example", "10.0.0.6", "127.0.0.1.example", "[2001:db8::1]"])
def test_host_outside_is_refused(host: str, tmp_path: Path) -> None:
    """A server outside that nobody allowed gets nothing, and the error says which setting allows it."""
    spec = EngineSpec("rep_a", "bot", Task.GENERATE, tmp_path / "r", tmp_path / "log", url=f"https://{host}")
    engine = External(EngineSettings(external_hosts=["gpu-box"]))
    with pytest.raises(RefusedError, match=r"out of this machine, to .* \(gpu-box\)") as refused:
        engine.start(spec)
    assert "external_hosts" in str(refused.value)
    assert not (tmp_path / "r").exists()


def test_record_says_where_requests_go(start: Callable[[int], tuple[EngineRecord, EngineSpec]]) -> None:
    """Whoever looks at its seal reads the host that requests leave for."""
    record, _ = start(4711)
    assert not record.is_sealed
    assert record.seal_note.startswith("not sealed: requests leave for 127.0.0.1:4711")


def test_figures_of_any_engine_behind_it(start: Callable[[int], tuple[EngineRecord, EngineSpec]]) -> None:
    """Metrics of another's server are read where it has them, and are none of its duties."""
    with scripted(http("200 OK", 'sglang:num_running_reqs{model="x"} 3\n')) as port:
        record, _ = start(port)
        found = ENGINE.figures(record)
    assert found is not None
    assert found.running == 3
    assert ENGINE.figures(record) is None


def test_nobody_there_is_dead(start: Callable[[int], tuple[EngineRecord, EngineSpec]]) -> None:
    """Where nobody accepts connections the replica is dead, and says so."""
    record, _ = start(1)
    assert ENGINE.look(record, timeout_seconds=5) is Health.DEAD
    assert ENGINE.failure(record) == "nobody accepts connections at http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("entry", "tokens"),
    [
        ({"max_model_len": 4096}, 4096),
        ({"meta": {"n_ctx": 512}}, 512),
        ({"meta": None}, 0),
        ({"meta": "none"}, 0),
        ({"max_model_len": "many"}, 0),
        ({"max_model_len": True}, 0),
        ({}, 0),
    ],
)
def test_context_as_servers_say_it(entry: dict[str, object], tokens: int) -> None:
    """vLLM and llama.cpp say their context in their own ways; another server says none."""
    assert listed_context(entry) == tokens
