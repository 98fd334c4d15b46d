"""The contract of engines, kept by Triton and TensorRT-LLM: running servers, attached by URL; here stand-ins."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.contract.test_engines import (
    test_becomes_healthy_by_loading,
    test_idle_is_not_busy,
    test_is_adopted_by_a_later_control_process,
    test_killed_is_dead,
    test_memory_is_that_of_the_process,
    test_refuses_what_it_cannot_start,
    test_start_leaves_its_record,
    test_stop_ends_what_does_not_listen,
    test_stop_leaves_nothing_and_may_be_repeated,
    test_stopped_by_a_signal_is_silent,
    test_warms_up_with_a_real_request,
)
from tests.support import fake_triton
from tests.support.engines import Bench, can_connect, chat, free_port, healthy, wait_until
from undercroft.core.errors import InvalidError, RefusedError, UnavailableError
from undercroft.core.ids import new_id
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.all import engines
from undercroft.engines.contract import EngineRecord, EngineSpec, Health, Task

__all__ = [
    "test_becomes_healthy_by_loading",
    "test_idle_is_not_busy",
    "test_is_adopted_by_a_later_control_process",
    "test_killed_is_dead",
    "test_memory_is_that_of_the_process",
    "test_refuses_what_it_cannot_start",
    "test_start_leaves_its_record",
    "test_stop_ends_what_does_not_listen",
    "test_stop_leaves_nothing_and_may_be_repeated",
    "test_stopped_by_a_signal_is_silent",
    "test_warms_up_with_a_real_request",
]

_SUPPORT = Path(__file__).parents[1] / "support"
_TASKS = {"embed": Task.EMBED, "classify": Task.CLASSIFY, "rerank": Task.RERANK, "trtllm": Task.GENERATE}


@pytest.fixture(params=["embed", "embed over grpc", "trtllm"])
def engine(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Triton with an encoder, over HTTP and over gRPC, and trtllm-serve."""
    model, _, over = request.param.partition(" over ")
    with tempfile.TemporaryDirectory(prefix="uc-") as folder, attached(Path(folder), model, over=over) as made:
        yield made


@pytest.fixture(params=["http", "grpc"])
def over(request: pytest.FixtureRequest) -> str:
    """How Triton is asked."""
    return str(request.param)


@pytest.fixture
def record(engine: Bench) -> Iterator[EngineRecord]:
    """A replica that is healthy."""
    started = engine.engine.start(engine.spec)
    healthy(engine, started)
    yield started
    engine.engine.stop(started, grace_seconds=5)


@contextmanager
def attached(folder: Path, model: str, *options: str, over: str = "http") -> Iterator[Bench]:
    """A server that somebody else runs, and the engine that attaches it."""
    port, other, grpc_port = free_port(), free_port(), free_port()
    key_file, metrics_port, name = None, 0, "tensorrt-llm"
    if model == "trtllm":
        key_file = folder / "their.key"
        key_file.write_text("their-key\n", encoding="utf-8")
        command = [sys.executable, str(_SUPPORT / "fake_trtllm.py"), str(port), "their-key"]
    else:
        metrics_port, name = other, "triton"
        more = [f"grpc={grpc_port}"] if over.startswith("grpc") else []
        command = [sys.executable, str(_SUPPORT / "fake_triton.py"), str(port), str(other), *more, *options]
    server = subprocess.Popen(command)
    replica_id = new_id("rep")
    spec = EngineSpec(
        replica_id=replica_id,
        name="bot",
        task=_TASKS.get(model, Task.EMBED),
        run_dir=folder / "engines" / replica_id,
        log_path=folder / "log",
        slots=4,
        url=f"{over}://localhost:{grpc_port}" if over.startswith("grpc") else f"http://127.0.0.1:{port}",
        upstream_model="upstream" if model == "trtllm" else model,
        key_file=key_file,
        metrics_port=metrics_port,
        digest="digest-of-the-spec",
    )
    settings = EngineSettings()
    try:
        wait_until(lambda: can_connect(port), what="the server listens")
        yield Bench("external", settings, engines(settings)[name], spec, server)
    finally:
        server.kill()
        server.wait()


@pytest.mark.parametrize("model", [*_TASKS, "embed over grpc", "classify over grpc", "rerank over grpc"])
def test_says_what_it_does(tmp_path: Path, model: str) -> None:
    """A healthy replica tells its one task, and of Triton how its model is asked."""
    routes = {Task.EMBED: "embeddings", Task.CLASSIFY: "classify", Task.RERANK: "rerank"}
    model, _, over = model.partition(" over ")
    with attached(tmp_path, model, over=over) as bench:
        found = bench.engine.capabilities(bench.engine.start(bench.spec), bench.spec)
    if bench.spec.task is Task.GENERATE:
        assert (found.tasks, found.kserve) == ({"chat", "completions"}, None)
        return
    assert found.tasks == {routes[bench.spec.task]}
    assert found.kserve is not None
    assert found.kserve.is_grpc is (over == "grpc")
    assert (found.kserve.most_inputs, found.kserve.tokens) == (fake_triton.MOST_INPUTS, "TOKENS")
    assert found.context_tokens == fake_triton.MOST_TOKENS
    assert found.kserve.labels == (tuple(fake_triton.LABELS) if bench.spec.task is Task.CLASSIFY else ())


def test_counts_its_own_alone(engine: Bench, record: EngineRecord) -> None:
    """What waits in the model and its parts is counted, and what waits in others is not; TensorRT-LLM counts tokens."""
    if engine.spec.task is not Task.GENERATE:
        found = engine.engine.figures(record)
        assert found is not None
        assert found.waiting == 0
        return
    before = engine.engine.figures(record)
    assert chat(record, "one two three").status == 200
    after = engine.engine.figures(record)
    assert before is not None
    assert after is not None
    assert (after.cache_ratio, after.running) == (0.25, 0)
    assert (after.prompt_tokens or 0) - (before.prompt_tokens or 0) == 3


def test_a_model_that_is_not_loaded_yet_is_loading(tmp_path: Path, over: str) -> None:
    """A server that is up and whose model is not is loading, and healthy once the model is."""
    with attached(tmp_path, "embed", "cold", over=over) as bench:
        record = bench.engine.start(bench.spec)
        assert bench.engine.look(record, timeout_seconds=5) is Health.LOADING
        assert "expected status 200, got 400" in (bench.engine.failure(record) or "")
        assert over == "http" or "ModelReady of model 'embed'" in (bench.engine.failure(record) or "")
        assert wire.request(_beside(bench), "POST", "/warm", timeout_seconds=5).status == 200
        assert bench.engine.look(record, timeout_seconds=5) is Health.HEALTHY


def test_a_model_that_nobody_knows_never_becomes_ready(tmp_path: Path, over: str) -> None:
    """A name that the server does not have is loading, and its warm-up says what the server said."""
    with attached(tmp_path, "embed", over=over) as bench:
        spec = bench.with_spec(upstream_model="embeed")
        record = bench.engine.start(spec)
        assert bench.engine.look(record, timeout_seconds=5) is Health.LOADING
        with pytest.raises(
            UnavailableError, match="got 404" if over == "http" else "got NOT_FOUND: Request for unknown"
        ):
            bench.engine.warm_up(record, spec, timeout_seconds=5)


@pytest.mark.parametrize(
    ("model", "task", "problem"),
    [
        ("image", Task.EMBED, "it takes pixels TYPE_FP32"),
        ("classify", Task.EMBED, "it is for classify, wanted is one to embed"),
        ("plain", Task.RERANK, "expected 2 of TYPE_STRING"),
    ],
)
def test_a_model_of_another_kind_is_refused(tmp_path: Path, over: str, model: str, task: Task, problem: str) -> None:
    """A model that takes or gives something else is named with what it takes, before anybody asks it."""
    with attached(tmp_path, "embed", over=over) as bench:
        spec = bench.with_spec(upstream_model=model, task=task)
        record = bench.engine.start(spec)
        with pytest.raises(UnavailableError, match=problem):
            bench.engine.capabilities(record, spec)


def test_anothers_model_without_counts_is_taken(tmp_path: Path, over: str) -> None:
    """Any model will do that takes a text and gives a row of floats; its tokens are then not known."""
    with attached(tmp_path, "embed", over=over) as bench:
        spec = bench.with_spec(upstream_model="plain")
        record = bench.engine.start(spec)
        found = bench.engine.capabilities(record, spec).kserve
        assert found is not None
        assert (found.texts, found.answer, found.tokens, found.most_tokens) == (("TEXT",), "v", None, 0)
        assert bench.engine.warm_up(record, spec, timeout_seconds=5).seconds > 0


def test_a_redirect_is_refused(tmp_path: Path) -> None:
    """Prompts go where the administrator said and nowhere else."""
    with attached(tmp_path, "embed", "redirect") as bench:
        record = bench.engine.start(bench.spec)
        assert "redirects are refused" in (bench.engine.failure(record) or "")
        with pytest.raises(UnavailableError, match="redirects are refused"):
            bench.engine.capabilities(record, bench.spec)


def _beside(bench: Bench) -> wire.Endpoint:
    """The stand-in's HTTP port, whose state is that of its gRPC port."""
    assert bench.server is not None
    arguments = bench.server.args
    assert isinstance(arguments, list)
    return wire.Endpoint(None, f"http://127.0.0.1:{arguments[2]}", None)


def test_grpc_over_tls_shows_its_key(tmp_path: Path) -> None:
    """The certificate is checked, and the key goes with every call; without the right one the error names its file."""
    tls = _SUPPORT / "tls"
    key_file = tmp_path / "key"
    key_file.write_text("right\n", encoding="utf-8")
    options = (f"tls={tls / 'key.pem'}:{tls / 'cert.pem'}", "key=right")
    with attached(tmp_path, "embed", *options, over="grpcs") as bench:
        distrusting = bench.engine.start(bench.with_spec(replica_id="rep_a", run_dir=tmp_path / "rep_a"))
        assert "TLS failed" in (bench.engine.failure(distrusting) or "")
        spec = bench.with_spec(key_file=key_file, ca_file=tls / "cert.pem")
        record = bench.engine.start(spec)
        assert bench.engine.look(record, timeout_seconds=5) is Health.HEALTHY
        assert bench.engine.warm_up(record, spec, timeout_seconds=5).seconds > 0
        assert bench.engine.figures(record) is not None
        key_file.write_text("wrong", encoding="utf-8")
        with pytest.raises(UnavailableError, match=r"does not accept the key in .*key \(UNAUTHENTICATED\)"):
            bench.engine.capabilities(record, spec)


def test_grpc_is_not_for_text(tmp_path: Path) -> None:
    """Triton's frontend for text has no gRPC, and TensorRT-LLM none at all: both say what to give."""
    spec = EngineSpec(
        replica_id="rep_a", name="bot", task=Task.GENERATE, run_dir=tmp_path / "rep_a", log_path=tmp_path / "log",
        url="grpc://127.0.0.1:8001",
    )  # fmt: skip
    with pytest.raises(InvalidError, match="has no gRPC"):
        engines(EngineSettings())["triton"].start(spec)
    with pytest.raises(InvalidError, match=r"expected the http\(s\) URL"):
        engines(EngineSettings())["tensorrt-llm"].start(spec)


def test_a_port_that_speaks_no_grpc_is_told(tmp_path: Path) -> None:
    """Triton's HTTP port given as its gRPC port is said to be none."""
    with attached(tmp_path, "embed") as bench:
        record = bench.engine.start(bench.with_spec(url=(bench.spec.url or "").replace("http", "grpc")))
        assert bench.engine.look(record, timeout_seconds=5) is Health.DEAD
        assert "cannot be reached" in (bench.engine.failure(record) or "")


@pytest.mark.parametrize("name", ["triton", "tensorrt-llm"])
def test_only_hosts_that_are_allowed(tmp_path: Path, name: str) -> None:
    """A server outside is attached only where the administrator allowed its host."""
    spec = EngineSpec(
        replica_id="rep_a", name="bot", task=Task.EMBED, run_dir=tmp_path / "rep_a", log_path=tmp_path / "log",
        url="http://gpu-box:8000",
    )  # fmt: skip
    with pytest.raises(RefusedError, match="gpu-box"):
        engines(EngineSettings())[name].start(spec)
    record = engines(EngineSettings(external_hosts=["gpu-box"]))[name].start(spec)
    assert record.base_url == "http://gpu-box:8000"
    assert record.interface == ("kserve" if name == "triton" else "openai")


def test_text_goes_through_the_openai_frontend(tmp_path: Path) -> None:
    """Triton is asked for text in OpenAI's protocol, at its frontend, whose metrics are where it answers."""
    spec = EngineSpec(
        replica_id="rep_a", name="bot", task=Task.GENERATE, run_dir=tmp_path / "rep_a", log_path=tmp_path / "log",
        url="http://127.0.0.1:9000",
    )  # fmt: skip
    record = engines(EngineSettings())["triton"].start(spec)
    assert (record.interface, record.metrics_port, record.upstream_model) == ("openai", None, "bot")


def test_trtllm_does_not_classify(tmp_path: Path) -> None:
    """What trtllm-serve does not do is refused at the start, with what does it."""
    spec = EngineSpec(
        replica_id="rep_a", name="bot", task=Task.CLASSIFY, run_dir=tmp_path / "rep_a", log_path=tmp_path / "log",
        url="http://127.0.0.1:9000",
    )  # fmt: skip
    with pytest.raises(InvalidError, match="--to triton"):
        engines(EngineSettings())["tensorrt-llm"].start(spec)
