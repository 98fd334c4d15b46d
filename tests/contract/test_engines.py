"""One suite for every engine: llama.cpp as a wheel, stand-ins of llama.cpp and vLLM (real processes), external."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.engines import KINDS, Bench, bench, chat, healthy, replica_processes, wait_until
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.engines import records
from undercroft.engines.contract import EngineRecord, Health


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="uc-") as folder:
        yield Path(folder)


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, short_folder: Path) -> Iterator[Bench]:
    """Each implementation in turn."""
    with bench(request.param, short_folder) as made:
        yield made


@pytest.fixture
def record(engine: Bench) -> Iterator[EngineRecord]:
    """A replica that is healthy."""
    started = engine.engine.start(engine.spec)
    healthy(engine, started)
    yield started
    engine.engine.stop(started, grace_seconds=5)


def test_start_leaves_its_record(engine: Bench) -> None:
    """When start returns, the record that it returned can be read from the replica's folder, closed to others."""
    started = engine.engine.start(engine.spec)
    assert records.list_all(engine.spec.run_dir.parent) == [started]
    assert started.spec_digest == engine.spec.digest
    assert engine.spec.run_dir.stat().st_mode & 0o777 == 0o700
    assert (engine.spec.run_dir / records.RECORD_FILE).stat().st_mode & 0o777 == 0o600
    engine.engine.stop(started, grace_seconds=5)


def test_becomes_healthy_by_loading(engine: Bench) -> None:
    """From its start a replica is loading or healthy, never dead or silent, and then healthy."""
    started = engine.engine.start(engine.spec)
    seen = set()

    def is_healthy() -> bool:
        seen.add(engine.engine.look(started, timeout_seconds=5))
        return Health.HEALTHY in seen

    wait_until(is_healthy, what="the engine is healthy")
    assert seen <= {Health.LOADING, Health.HEALTHY}
    engine.engine.stop(started, grace_seconds=5)


def test_says_what_it_can_do(engine: Bench, record: EngineRecord) -> None:
    """A healthy replica tells its tasks, its context of one slot, and its slots."""
    found = engine.engine.capabilities(record, engine.spec)
    assert found.tasks == {"chat", "completions"}
    assert found.context_tokens == 256
    assert found.slots == engine.spec.slots
    assert found.protocol == ("openai" if engine.kind in ("external", "vllm") else "llama.cpp")


def test_warms_up_with_a_real_request(engine: Bench, record: EngineRecord) -> None:
    """The warm-up takes time, and measures tokens per second where the engine reports them."""
    found = engine.engine.warm_up(record, engine.spec, timeout_seconds=30)
    assert found.seconds > 0
    assert (found.tokens_per_second is None) == (engine.kind == "external")


def test_answers_with_its_key_only(engine: Bench, record: EngineRecord) -> None:
    """Chat is answered with the right key; without a key and with another one it is 401."""
    answer = chat(record, "hello there")
    assert answer.status == 200
    assert isinstance(answer.json()["choices"][0]["message"]["content"], str)
    assert [chat(record, "hello", key=key).status for key in (None, "another")] == [401, 401]


def test_memory_is_that_of_the_process(engine: Bench, record: EngineRecord) -> None:
    """A process of ours tells its private and file-backed memory; another's server tells nothing."""
    found = engine.engine.memory(record)
    if engine.kind == "external":
        assert found is None
        return
    assert found is not None
    assert found.private_bytes > 1024**2
    assert found.file_bytes > 1024**2


def test_is_adopted_by_a_later_control_process(engine: Bench, record: EngineRecord) -> None:
    """Another engine object, with nothing but the record from the folder, sees, asks and stops the replica."""
    later, read = engine.fresh_engine(), records.read(engine.spec.run_dir)
    assert read == record
    assert records.is_adoptable(read)
    assert later.look(read, timeout_seconds=5) is Health.HEALTHY
    assert later.capabilities(read, engine.spec) == engine.engine.capabilities(record, engine.spec)
    later.stop(read, grace_seconds=5)
    assert replica_processes(engine.spec.run_dir) == []


def test_killed_is_dead(engine: Bench, record: EngineRecord) -> None:
    """A replica that was killed is dead at the next look, and says why in one sentence."""
    os.kill(engine.pid(record), signal.SIGKILL)
    wait_until(lambda: engine.engine.look(record, timeout_seconds=5) is Health.DEAD, what="the engine is dead")
    reason = engine.engine.failure(record)
    assert reason is not None
    assert ("nobody accepts connections" if engine.kind == "external" else "SIGKILL") in reason
    assert "\n" not in reason
    assert engine.engine.memory(record) is None
    with pytest.raises(UnavailableError):
        engine.engine.warm_up(record, engine.spec, timeout_seconds=5)


def test_stopped_by_a_signal_is_silent(engine: Bench, record: EngineRecord) -> None:
    """A replica that is alive and does not answer is silent, and heals when it goes on."""
    os.kill(engine.pid(record), signal.SIGSTOP)
    # Its threads take the signal one after the other; the last of them may still answer once.
    wait_until(lambda: engine.engine.look(record, timeout_seconds=0.3) is Health.SILENT, what="it is silent")
    os.kill(engine.pid(record), signal.SIGCONT)
    wait_until(lambda: engine.engine.look(record, timeout_seconds=5) is Health.HEALTHY, what="it answers again")


def test_stop_leaves_nothing_and_may_be_repeated(engine: Bench, record: EngineRecord) -> None:
    """After a stop there is no process and no folder; stopping again does nothing."""
    for _ in range(2):
        engine.engine.stop(record, grace_seconds=5)
        assert replica_processes(engine.spec.run_dir) == []
        assert not engine.spec.run_dir.exists()


def test_stop_ends_what_does_not_listen(engine: Bench, record: EngineRecord) -> None:
    """A replica that hangs is ended all the same, without a grace; another's server is left as it is."""
    os.kill(engine.pid(record), signal.SIGSTOP)
    engine.engine.stop(record, grace_seconds=0)
    assert replica_processes(engine.spec.run_dir) == []
    if engine.server is not None:
        assert engine.server.poll() is None


def test_counts_what_it_computed(engine: Bench, record: EngineRecord) -> None:
    """Tokens of prompts are counted from one look to the next, and nothing runs or waits in between."""
    before = engine.engine.figures(record)
    assert before is not None
    assert chat(record, "one two three four five").status == 200
    after = engine.engine.figures(record)
    assert after is not None
    assert (after.running or 0, after.waiting or 0) == (0, 0)
    if engine.kind in ("wheel", "vllm"):
        assert before.prompt_tokens is not None
        assert after.prompt_tokens is not None
        assert after.prompt_tokens >= before.prompt_tokens + 5


def test_idle_is_not_busy(engine: Bench, record: EngineRecord) -> None:
    """Nothing is computed, so nothing is to be waited for."""
    assert not engine.engine.is_busy(record)


def test_refuses_what_it_cannot_start(engine: Bench) -> None:
    """Without a model or a URL the start is refused, and leaves no folder."""
    with pytest.raises(InvalidError):
        engine.engine.start(engine.with_spec(model_path=None, url=None))
    assert not engine.spec.run_dir.exists()


def test_a_model_without_a_chat_template_goes_on_with_texts(short_folder: Path) -> None:
    """vLLM refuses conversations with such a model: it is warmed up with a text, and says what it cannot do."""
    with bench("vllm", short_folder) as made:
        assert made.spec.model_path is not None
        (made.spec.model_path / "chat_template.jinja").unlink()
        started = made.engine.start(made.spec)
        healthy(made, started)
        assert made.engine.capabilities(started, made.spec).tasks == {"completions"}
        assert made.engine.warm_up(started, made.spec, timeout_seconds=30).tokens_per_second is not None
        made.engine.stop(started, grace_seconds=5)
        named = made.with_spec(chat_template="{{ messages[0].content }}")
        started = made.engine.start(named)
        healthy(made, started)
        assert made.engine.capabilities(started, named).tasks == {"chat", "completions"}
        assert made.engine.warm_up(started, named, timeout_seconds=30).tokens_per_second is not None
        made.engine.stop(started, grace_seconds=5)
