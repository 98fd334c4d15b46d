"""An engine of several processes is sealed, too: they reach each other and nobody else."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.support.engines import Bench, bench, healthy, replica_processes, wait_until
from undercroft.engines import wire
from undercroft.engines.contract import EngineRecord, Health
from undercroft.engines.sealing import landlock, namespaces, seccomp


@pytest.fixture(name="folder")
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="uc-") as folder:
        yield Path(folder)


@pytest.fixture(name="engine")
def _engine(folder: Path) -> Iterator[Bench]:
    with bench("vllm", folder) as made:
        yield made


@pytest.fixture(name="record")
def _record(engine: Bench) -> Iterator[EngineRecord]:
    started = engine.engine.start(engine.spec)
    if not started.is_sealed:
        engine.engine.stop(started, grace_seconds=5)
        pytest.skip(f"no empty network here: {started.seal_note}")
    healthy(engine, started)
    yield started
    engine.engine.stop(started, grace_seconds=5)


def probe(record: EngineRecord, **wanted: object) -> dict[str, str]:
    """Lets the engine try things; what came of each."""
    answer = wire.request(wire.endpoint_of(record), "POST", "/probe", wanted, timeout_seconds=20)
    assert answer.status == 200
    found: dict[str, str] = answer.json()
    return found


def test_is_sealed_as_seen_from_outside(record: EngineRecord) -> None:
    """Its network is another one with nothing but a loopback, and the note says who it can connect to."""
    assert record.pid is not None
    assert namespaces.has_empty_network(record.pid)
    assert "only its own processes" in record.seal_note


def test_reaches_nobody_outside(record: EngineRecord, engine: Bench, folder: Path) -> None:
    """It finds neither what listens on this machine's loopback, nor an address outside, nor a socket of control's."""
    assert engine.spec.run_dir.parents[1] == folder
    control, elsewhere = folder / "control.sock", Path(tempfile.gettempdir()) / f"uc-{os.getpid()}.sock"
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        closing(socket.socket(socket.AF_UNIX)) as first,
        closing(socket.socket(socket.AF_UNIX)) as second,
    ):
        for ours, path in ((first, control), (second, elsewhere)):
            ours.bind(str(path))
            ours.listen()
        try:
            found = [
                probe(record, tcp=list(listening.getsockname())),
                probe(record, tcp=["192.0.2.1", 443]),
                probe(record, udp=["192.0.2.1", 53]),
                probe(record, unix=str(control)),
                probe(record, unix=str(elsewhere)),
            ]
        finally:
            elsewhere.unlink()
    refused = ("ConnectionRefusedError", "OSError", "FileNotFoundError", "PermissionError")
    assert all(result.startswith(refused) for one in found for result in one.values()), found


@pytest.mark.skipif(landlock.version() < 1, reason="this kernel has no Landlock")
def test_sees_no_file_but_its_own(record: EngineRecord, engine: Bench, folder: Path) -> None:
    """It reads its model, writes its folder and a folder for temporary files that nobody else sees; nothing of ours."""
    (folder / "secret").write_text("not for engines", encoding="utf-8")
    name = f"/tmp/uc-{os.getpid()}-scratch"
    assert engine.spec.model_path is not None
    own = [
        probe(record, read=str(engine.spec.model_path / "config.json"), write=str(engine.spec.run_dir / "new")),
        probe(record, write=name),
    ]
    assert own == [{"read": "ok", "write": "ok"}, {"write": "ok"}]
    assert not Path(name).exists()
    probe(record, write=str(folder / "new"))
    assert not (folder / "new").exists()
    assert probe(record, read=str(folder / "secret"))["read"].startswith(("FileNotFoundError", "PermissionError"))


def test_ends_whole_when_a_part_is_killed(record: EngineRecord, engine: Bench) -> None:
    """Without its second process the engine ends, and leaves none."""
    assert record.pid is not None
    (part,) = psutil.Process(record.pid).children()
    part.send_signal(signal.SIGKILL)
    wait_until(lambda: engine.engine.look(record, timeout_seconds=5) is Health.DEAD, what="the engine has ended")
    wait_until(lambda: not replica_processes(engine.spec.run_dir), what="nothing of it is left")
    assert engine.engine.failure(record) == "one of its processes ended: Engine core proc EngineCore died."


@pytest.mark.parametrize("machine", seccomp.MACHINES.values())
def test_filter_lets_parts_connect_and_refuses_the_rest(machine: seccomp.Machine) -> None:
    """Every path of the filter ends in a decision, and only the call to connect is taken from what is refused."""
    plain = seccomp.program(machine, may_listen_on_tcp=True)
    steps = seccomp.program(machine, may_listen_on_tcp=True, may_connect=True)
    for index, (code, if_true, if_false, _) in enumerate(steps):
        if code in {0x15, 0x35}:
            assert index + 1 + max(if_true, if_false) < len(steps)
    refused = {step[3] for step in plain if step[0] == 0x15} - {step[3] for step in steps if step[0] == 0x15}
    assert machine.connect in refused
    assert refused - {machine.connect} <= {int(socket.SOCK_STREAM)}
