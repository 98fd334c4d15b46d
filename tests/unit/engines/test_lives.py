"""How an engine process begins and ends: with control, without it, at its limit, by force."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.adapters import write_adapter
from tests.support.engines import Bench, chat, healthy, replica_processes, wait_until
from tests.support.ggufs import TOOLS_TEMPLATE, write_embedding_model, write_rerank_model
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.engines import records, spawning, wire
from undercroft.engines.contract import Adapter, EngineRecord, EngineSpec, Health, Task
from undercroft.engines.launcher import LaunchOrder

MIB = 1024**2


def dead(bench: Bench, record: EngineRecord) -> str:
    """Waits until a replica is dead; its reason."""
    wait_until(lambda: bench.engine.look(record, timeout_seconds=5) is Health.DEAD, what="the engine is dead")
    reason = bench.engine.failure(record)
    assert reason is not None
    assert "\n" not in reason
    return reason


def fails(bench: Bench, spec: EngineSpec) -> str:
    """Starts what cannot run; its reason."""
    started = bench.engine.start(spec)
    reason = dead(bench, started)
    bench.engine.stop(started, grace_seconds=1)
    assert replica_processes(spec.run_dir) == []
    return reason


def test_damaged_model_is_told(wheel: Bench) -> None:
    """A file that is cut off ends the engine by itself, with what was wrong in one sentence."""
    assert wheel.spec.model_path is not None
    whole = wheel.spec.model_path.read_bytes()
    wheel.spec.model_path.write_bytes(whole[:3000])
    assert fails(wheel, wheel.spec).startswith("its model cannot be loaded: ")
    wheel.spec.model_path.write_bytes(b"no model at all" * 10)
    assert "expected 'GGUF'" in fails(wheel, wheel.spec)


def test_missing_model_is_refused(wheel: Bench, short_folder: Path) -> None:
    """A file that is not there is refused before anything starts."""
    with pytest.raises(InvalidError, match=r"bot.* cannot start: .*/nothing\.gguf is not a file"):
        wheel.engine.start(wheel.with_spec(model_path=short_folder / "nothing.gguf"))


def test_bad_template_is_told(wheel: Bench) -> None:
    """A chat template that is no Jinja ends the start with its parser's error."""
    assert "its chat template cannot be read: " in fails(wheel, wheel.with_spec(chat_template="{{ never {% closed"))


def test_failing_binary_is_told(fake: Bench, short_folder: Path) -> None:
    """What a binary printed last is the reason; one that cannot be executed says so."""
    model = short_folder / "model.json"
    model.write_text(json.dumps({"fails": "unknown model architecture: 'zebra'"}), encoding="utf-8")
    spec = fake.with_spec(model_path=model)
    assert "it does not know the model's architecture: " in fails(fake, spec)
    program = short_folder / "bin" / "llama-server"
    program.write_text("#!/nowhere/python\n", encoding="utf-8")
    assert "its program could not be run: " in fails(fake, fake.spec)
    program.chmod(0o644)
    with pytest.raises(InvalidError, match="expected a program that can be run"):
        fake.engine.start(fake.spec)


def test_loading_is_loading(fake: Bench, short_folder: Path) -> None:
    """While its model loads, a replica that listens already is loading."""
    model = short_folder / "model.json"
    model.write_text(json.dumps({"load_seconds": 600}), encoding="utf-8")
    started = fake.engine.start(fake.with_spec(model_path=model))
    wait_until(lambda: Path(started.socket_path or "").exists(), what="it listens")
    assert fake.engine.look(started, timeout_seconds=5) is Health.LOADING
    with pytest.raises(UnavailableError, match="expected status 200 for /props, got 503: Loading model"):
        fake.engine.capabilities(started, fake.spec)
    fake.engine.stop(started, grace_seconds=1)


@pytest.mark.parametrize(
    ("word", "reason"),
    [("POISON", "it stopped at a check of its own: GGML_ASSERT"), ("EXIT", "it ended by itself with exit status 3")],
)
def test_crash_in_a_request_is_told(fake: Bench, word: str, reason: str) -> None:
    """An engine that a request ends is dead, and says how."""
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    with pytest.raises(ConnectionError):
        chat(started, word)
    assert dead(fake, started).startswith(reason)


def test_hanging_in_a_request_is_silent(fake: Bench) -> None:
    """An engine whose main loop stands still is silent, though its process lives; a stop ends it."""
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    with pytest.raises(TimeoutError):
        chat(started, "HANG", timeout_seconds=0.5)
    assert fake.engine.look(started, timeout_seconds=0.3) is Health.SILENT
    fake.engine.stop(started, grace_seconds=0)
    assert replica_processes(fake.spec.run_dir) == []


def test_memory_limit_ends_the_engine_only(fake: Bench) -> None:
    """An engine that takes memory without end gets no more than its limit, ends, and says so; we go on."""
    started = fake.engine.start(fake.with_spec(memory_limit_bytes=256 * MIB))
    healthy(fake, started)
    limits = Path(f"/proc/{started.pid}/limits").read_text(encoding="utf-8").splitlines()
    assert next(line for line in limits if line.startswith("Max data size")).split()[3:5] == [str(256 * MIB)] * 2
    with pytest.raises(ConnectionError):
        chat(started, "GROW")
    assert dead(fake, started).startswith("it ran out of memory, at most 256.0 MiB are allowed")


def test_cache_beyond_the_limit_is_told(wheel: Bench) -> None:
    """A cache that does not fit the limit ends the real engine's start, with the limit and the buffer named."""
    reason = fails(wheel, wheel.with_spec(context_tokens=400_000, memory_limit_bytes=300 * MIB))
    assert reason.startswith("it ran out of memory, at most 300.0 MiB are allowed (engines.memory_limit_bytes): ")
    assert "insufficient memory" in reason


def test_stop_ends_nobody_else(fake: Bench) -> None:
    """A process that only has the replica's folder in its command line, as an administrator's may, is left alone."""
    started = fake.engine.start(fake.spec)
    other = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()", started.run_dir or ""])
    try:
        fake.engine.stop(started, grace_seconds=5)
        assert other.poll() is None
        assert [process.pid for process in replica_processes(fake.spec.run_dir)] == [other.pid]
    finally:
        other.kill()
        other.wait()


def test_start_that_cannot_write_is_told(fake: Bench, short_folder: Path) -> None:
    """A folder that cannot be made is an error in words, not a traceback."""
    (short_folder / "a-file").touch()
    with pytest.raises(UnavailableError, match=r"was not started: .*a-file"):
        fake.engine.start(fake.with_spec(log_path=short_folder / "a-file" / "log"))


def test_engine_dies_with_its_warden(fake: Bench) -> None:
    """Killing the warden ends the engine: nothing of a replica is left behind alone."""
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    warden = psutil.Process(started.pid).parent()
    assert warden is not None
    assert warden in replica_processes(fake.spec.run_dir)
    warden.kill()
    wait_until(lambda: replica_processes(fake.spec.run_dir) == [], what="both are gone")


def test_control_is_nobodys_parent(fake: Bench) -> None:
    """The engine is no descendant of the process that started it: it does not end with it, and stays no zombie."""
    started = fake.engine.start(fake.spec)
    assert started.pid not in [child.pid for child in psutil.Process().children(recursive=True)]
    os.kill(started.pid or 0, signal.SIGKILL)
    wait_until(lambda: not psutil.pid_exists(started.pid or 0), what="it was reaped by its warden")


_START_AND_WAIT = """
import signal, sys
from pathlib import Path
from tests.support.engines import bench
with bench("binary", Path(sys.argv[1])) as made:
    print(made.engine.start(made.spec).run_dir, flush=True)
    signal.pause()
"""


def test_engine_outlives_control(fake: Bench, short_folder: Path) -> None:
    """Control is killed: the engine goes on, and is adopted by its record."""
    control = subprocess.Popen(
        [sys.executable, "-c", _START_AND_WAIT, str(short_folder)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert control.stdout is not None
    run_dir = Path(control.stdout.readline().strip())
    control.kill()
    control.wait()
    control.stdout.close()
    found = records.read(run_dir)
    assert found is not None
    try:
        assert records.is_adoptable(found)
        healthy(fake, found)
        assert chat(found, "still there").status == 200
    finally:
        fake.engine.stop(found, grace_seconds=5)


@pytest.mark.long
def test_control_killed_at_any_moment_leaves_nothing_unknown(fake: Bench, short_folder: Path, is_full: bool) -> None:
    """Wherever in a start control is killed: what is recorded serves or is dead, all else ends by itself."""
    seen = {"adopted": 0, "nothing": 0}
    for attempt in range(200 if is_full else 6):
        folder = short_folder / f"a{attempt}"
        folder.mkdir()
        control = subprocess.Popen(
            [sys.executable, "-c", _START_AND_WAIT, str(folder)],
            stdout=subprocess.DEVNULL,
            cwd=Path(__file__).parents[3],
        )
        engines = folder / "engines"
        wait_until(engines.exists, what="the start has begun")
        if attempt % 2:
            wait_until(lambda e=engines: records.list_all(e) != [], what="it is recorded")  # type: ignore[misc]
        select.select([], [], [], attempt % 40 * 0.003)  # another moment of the start each time
        control.kill()
        control.wait()
        recorded = records.list_all(engines)
        seen["nothing" if recorded == [] else "adopted"] += 1
        for found in recorded:
            wait_until(lambda r=found: is_decided(fake, r), what="it serves or has ended")  # type: ignore[misc]
            fake.engine.stop(found, grace_seconds=1)
        wait_until(lambda e=engines: replica_processes(e) == [], what="nothing is left")  # type: ignore[misc]
        records.remove_broken(engines)
        assert list(engines.iterdir()) == []
    assert all(seen.values()), seen


def is_decided(bench: Bench, record: EngineRecord) -> bool:
    """Whether a replica serves, and can be adopted, or has ended."""
    health = bench.engine.look(record, timeout_seconds=5)
    return health is Health.DEAD or (health is Health.HEALTHY and records.is_adoptable(record))


def test_start_that_control_does_not_finish_leaves_no_process(fake: Bench) -> None:
    """A process that never gets its word, because control died before it had written the record, ends."""
    fake.spec.run_dir.mkdir(parents=True)
    order = LaunchOrder(
        replica_id=fake.spec.replica_id,
        arguments=["/bin/sleep", "600"],
        environment={},
        run_dir=str(fake.spec.run_dir),
        log_path=str(fake.spec.log_path),
        readable=spawning.readable_paths(Path("/bin/sleep"), []),
        devices=[],
        memory_limit_bytes=None,
        seal_required=False,
        needs_loopback=False,
    )
    with spawning.launch(order) as launched:
        assert launched.process.is_alive()
    wait_until(lambda: replica_processes(fake.spec.run_dir) == [], what="it is gone")
    assert records.remove_broken(fake.spec.run_dir.parent) == [fake.spec.run_dir.name]


def test_record_of_another_process_is_not_trusted(fake: Bench) -> None:
    """A record whose pid was given to another process, or whose folder is open to others, is not adopted."""
    started = fake.engine.start(fake.spec)
    assert records.is_adoptable(started)
    fake.spec.run_dir.chmod(0o755)
    assert not records.is_adoptable(started)
    fake.spec.run_dir.chmod(0o700)
    fake.engine.stop(started, grace_seconds=5)
    assert not records.is_adoptable(started)


def test_process_between_two_programs_is_asked_again(fake: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the launcher becomes the engine the kernel shows no command line; one that stays empty is not trusted."""
    started = fake.engine.start(fake.spec)
    seen = iter([[], [], ["server", started.replica_id]])
    monkeypatch.setattr(psutil.Process, "cmdline", lambda process: next(seen, []))
    assert records.is_adoptable(started)
    assert not records.is_adoptable(started)
    fake.engine.stop(started, grace_seconds=5)


def test_busy_while_it_computes(fake: Bench) -> None:
    """An engine that computes a request is busy, so that a stop waits."""
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    endpoint = wire.endpoint_of(started)
    body = json.dumps({"messages": [{"role": "user", "content": "SLOW " * 100}]}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {endpoint.key}\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(started.socket_path or "")
        client.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: fake.engine.is_busy(started), what="it is busy")
    fake.engine.stop(started, grace_seconds=0)
    assert not fake.engine.is_busy(started)


def test_embeds_and_reranks(wheel: Bench, short_folder: Path) -> None:
    """A replica of a model that embeds, and one of a model that ranks, warm up with a request of their task."""
    for task, write, routes in (
        (Task.EMBED, write_embedding_model, {"embeddings"}),
        (Task.RERANK, write_rerank_model, {"rerank"}),
    ):
        spec = wheel.with_spec(task=task, model_path=write(short_folder / f"{task}.gguf"))
        started = wheel.engine.start(spec)
        healthy(wheel, started)
        assert wheel.engine.capabilities(started, spec).tasks == routes
        assert wheel.engine.warm_up(started, spec, timeout_seconds=30).tokens_per_second is None
        wheel.engine.stop(started, grace_seconds=5)


def test_adapters_are_loaded_and_off(wheel: Bench, short_folder: Path) -> None:
    """An adapter changes nothing until a request gives it a scale; capabilities name it by its number."""
    plain = wheel.engine.start(wheel.spec)
    healthy(wheel, plain)
    without = first_logprob(plain, None)
    wheel.engine.stop(plain, grace_seconds=5)
    spec = wheel.with_spec(adapters=(Adapter("polite", write_adapter(short_folder / "polite.gguf")),))
    started = wheel.engine.start(spec)
    healthy(wheel, started)
    assert wheel.engine.capabilities(started, spec).adapters == ("polite",)
    assert wheel.engine.warm_up(started, spec, timeout_seconds=30).seconds > 0
    assert first_logprob(started, 0.0) == pytest.approx(without, abs=1e-3)
    assert abs(first_logprob(started, 1.0) - without) > 0.01
    wheel.engine.stop(started, grace_seconds=5)


def first_logprob(record: EngineRecord, scale: float | None) -> float:
    """How likely the engine finds its first token, with the adapter at ``scale``."""
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 1, "temperature": 0, "logprobs": True}
    if scale is not None:
        body["lora"] = [{"id": 0, "scale": scale}]
    answer = wire.request(wire.endpoint_of(record), "POST", "/v1/chat/completions", body, timeout_seconds=30)
    return float(answer.json()["choices"][0]["logprobs"]["content"][0]["logprob"])


def test_template_of_the_spec_wins(wheel: Bench) -> None:
    """The release's template is used in place of the model's own, and says whether tools are known."""
    spec = wheel.with_spec(chat_template=TOOLS_TEMPLATE)
    started = wheel.engine.start(spec)
    healthy(wheel, started)
    assert wheel.engine.capabilities(started, spec).has_tools
    wheel.engine.stop(started, grace_seconds=5)


def test_prompts_are_not_logged(wheel: Bench) -> None:
    """What is asked does not appear in the engine's log."""
    started = wheel.engine.start(wheel.spec)
    healthy(wheel, started)
    assert chat(started, "confidential diagnosis").status == 200
    wheel.engine.stop(started, grace_seconds=5)
    log = wheel.spec.log_path.read_text(encoding="utf-8")
    assert wheel.spec.replica_id in log
    assert "confidential" not in log
