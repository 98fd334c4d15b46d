"""What a sealed engine cannot do, tried from inside it; and what is said where the kernel does not help."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.engines import Bench, chat, healthy, is_root, replica_processes
from undercroft.core.errors import InvalidError, UnavailableError
from undercroft.core.processes import identify
from undercroft.core.settings import EngineSettings
from undercroft.engines import wire
from undercroft.engines.contract import EngineRecord
from undercroft.engines.external import External
from undercroft.engines.sealing import landlock, namespaces, seccomp

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="engines are sealed on Linux only")


@pytest.fixture
def record(fake: Bench) -> Iterator[EngineRecord]:
    """A sealed replica that tries what it is asked to."""
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    yield started
    fake.engine.stop(started, grace_seconds=5)


def probe(record: EngineRecord, **wanted: object) -> dict[str, str]:
    """What came of each thing, tried inside the engine."""
    answer = wire.request(wire.endpoint_of(record), "POST", "/probe", wanted, timeout_seconds=20)
    assert answer.status == 200
    found: dict[str, str] = answer.json()
    return found


def test_is_sealed_as_seen_from_outside(record: EngineRecord) -> None:
    """The record says sealed, and the kernel says so: another network namespace, with nothing but a loopback."""
    assert record.is_sealed
    assert record.seal_note.startswith("sealed: ")
    assert record.pid is not None
    assert namespaces.has_empty_network(record.pid)
    assert namespaces.interfaces(record.pid) == {"lo"}
    assert os.readlink(f"/proc/{record.pid}/ns/net") != os.readlink("/proc/self/ns/net")
    assert not namespaces.has_empty_network(os.getpid())


def test_wheel_is_sealed_too(wheel: Bench) -> None:
    """The engine of the wheel runs in the same empty network."""
    started = wheel.engine.start(wheel.spec)
    assert started.is_sealed
    assert started.pid is not None
    assert namespaces.interfaces(started.pid) == {"lo"}
    wheel.engine.stop(started, grace_seconds=5)


def test_reaches_nobody(record: EngineRecord, short_folder: Path) -> None:
    """No TCP to this machine or another, no datagram, no Unix socket of ours by stream or datagram."""
    stream, datagram = short_folder / "control.sock", short_folder / "log.sock"
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as listening,
        closing(socket.socket(socket.AF_UNIX)) as ours,
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as logging,
    ):
        ours.bind(str(stream))
        ours.listen()
        logging.bind(str(datagram))
        here = list(listening.getsockname())
        assert all(
            result.startswith(("PermissionError", "OSError"))
            for wanted in ({"tcp": here}, {"tcp": ["192.0.2.1", 443]}, {"udp": ["192.0.2.1", 53]})
            for result in probe(record, **wanted).values()
        )
        found = probe(record, unix=str(stream), unix_datagram=str(datagram))
    assert all(result.startswith("PermissionError") for result in found.values()), found


@pytest.mark.skipif(landlock.version() < 1, reason="this kernel has no Landlock")
def test_sees_no_file_but_its_own(record: EngineRecord, fake: Bench, short_folder: Path) -> None:
    """It reads its model and writes its folder; it reads and writes nothing else of ours."""
    secret = short_folder / "secret"
    secret.write_text("not for engines", encoding="utf-8")
    found = probe(record, read=str(secret), write=str(short_folder / "new"))
    assert all(result.startswith("PermissionError") for result in found.values()), found
    assert not (short_folder / "new").exists()
    own = probe(record, read=str(fake.spec.model_path), write=str(fake.spec.run_dir / "new"))
    assert own == {"read": "ok", "write": "ok"}


def test_signals_nobody(record: EngineRecord) -> None:
    """Control cannot be signalled from inside: its number means nothing there, or is refused."""
    assert probe(record, signal=os.getpid())["signal"].startswith(("ProcessLookupError", "PermissionError"))


def test_gets_no_secret_of_ours(fake: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment holds nothing of ours, nor a hub token; its command line holds no key."""
    monkeypatch.setenv("UNDERCROFT_KEY", "uc-secret")
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    started = fake.engine.start(fake.spec)
    healthy(fake, started)
    names = Path(f"/proc/{started.pid}/environ").read_bytes()
    assert b"UNDERCROFT" not in names
    assert b"secret" not in names
    key = Path(started.key_file or "").read_text(encoding="utf-8")
    assert len(key) == 43
    for process in replica_processes(fake.spec.run_dir):
        assert key not in " ".join(process.cmdline())
    fake.engine.stop(started, grace_seconds=5)


def test_has_no_privilege_and_leaves_no_core(record: EngineRecord) -> None:
    """It can gain no privilege, keeps at most that of reading, and writes no core file, which would hold prompts."""
    lines = Path(f"/proc/{record.pid}/status").read_text(encoding="utf-8").splitlines()
    status = {line.split(":")[0]: line.split(":")[1].strip() for line in lines}
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) in {0, 1 << 2}
    assert int(status["CapBnd"], 16) in {0, 1 << 2}
    limits = Path(f"/proc/{record.pid}/limits").read_text(encoding="utf-8")
    core = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    assert core.split()[4:6] == ["0", "0"]


def test_key_is_closed_to_others(record: EngineRecord) -> None:
    """Folder and key are its owner's alone, so that no other user reaches the socket; each start has another key."""
    run_dir, key_file = Path(record.run_dir or ""), Path(record.key_file or "")
    assert run_dir.stat().st_mode & 0o777 == 0o700
    assert key_file.stat().st_mode & 0o777 == 0o600
    if is_root():
        connect = f"import socket; socket.socket(socket.AF_UNIX).connect({record.socket_path!r})"
        assert "PermissionError" in as_nobody(connect).stderr


# A kernel that lacks something, imitated: a filter that refuses the call, in a process that starts an engine.
_WITHOUT = textwrap.dedent(
    """
    import dataclasses, os, pickle, sys
    from undercroft.engines.sealing import kernel, seccomp

    machine = seccomp.MACHINES[os.uname().machine]
    refused = {"unshare": {"x86_64": 272, "aarch64": 97}[os.uname().machine], "landlock": 444}[sys.argv[3]]
    never = 0x3FFFFFFF
    machine = dataclasses.replace(machine, socket=never, socketpair=never, refused=(refused,))
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    seccomp.install(seccomp.program(machine, may_listen_on_tcp=False))

    from tests.support.engines import Bench, bench, chat, healthy
    from undercroft.core.errors import UnavailableError
    from pathlib import Path

    with bench("binary", Path(sys.argv[1])) as made:
        try:
            started = made.engine.start(made.with_spec(seal_required=sys.argv[2] == "required"))
        except UnavailableError as error:
            print(error)
        else:
            healthy(made, started)
            print(started.is_sealed, started.seal_note, chat(started, "hello").status, sep="|")
            from tests.unit.engines.test_sealing import probe
            print(probe(started, tcp=["127.0.0.1", 1]))
            made.engine.stop(started, grace_seconds=5)
    """
)


def start_without(what: str, folder: Path, seal: str = "preferred") -> str:
    """Output of a start where the kernel refuses ``unshare`` or ``landlock``."""
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, str(folder), seal, what],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(os.uname().machine not in seccomp.MACHINES, reason="system calls of this machine are not known")
def test_says_so_where_it_cannot_be_sealed(short_folder: Path) -> None:
    """Without namespaces an engine runs on its Unix socket, is said not to be sealed, and still connects nowhere."""
    first, second = start_without("unshare", short_folder).splitlines()
    is_sealed, note, status = first.split("|")
    assert is_sealed == "False"
    assert note.startswith("not sealed: this kernel allows no empty network here (")
    assert "outgoing connections refused by seccomp" in note
    assert status == "200"
    assert "PermissionError" in second


@pytest.mark.skipif(os.uname().machine not in seccomp.MACHINES, reason="system calls of this machine are not known")
def test_does_not_start_where_sealing_is_required(short_folder: Path) -> None:
    """Without namespaces and with engines.seal = required the start fails with one thing to do, and leaves nothing."""
    text = start_without("unshare", short_folder, "required")
    assert text.startswith("cannot-seal: replica rep_")
    assert "engines.seal is 'required': this kernel allows no empty network here" in text
    assert "Try: allow user namespaces on this machine, or set engines.seal to 'preferred'" in text
    assert list((short_folder / "engines").iterdir()) == []


@pytest.mark.skipif(os.uname().machine not in seccomp.MACHINES, reason="system calls of this machine are not known")
def test_is_sealed_without_landlock(short_folder: Path) -> None:
    """A kernel without Landlock still gives an empty network; the note says what is missing."""
    is_sealed, note, status = start_without("landlock", short_folder).splitlines()[0].split("|")
    assert (is_sealed, status) == ("True", "200")
    assert note.startswith("sealed: ")
    assert "no files limited by Landlock (this kernel has no Landlock)" in note


def test_long_path_means_loopback_and_key(fake: Bench, short_folder: Path) -> None:
    """Where no Unix socket can lie, it listens on the loopback, asks for its key, and is said not to be sealed."""
    run_dir = short_folder / ("long" * 30) / fake.spec.replica_id
    spec = fake.with_spec(run_dir=run_dir)
    started = fake.engine.start(spec)
    try:
        healthy(fake, started)
        assert started.socket_path is None
        assert (started.base_url or "").startswith("http://127.0.0.1:")
        assert not started.is_sealed
        assert "not sealed: it listens on a TCP port of this machine" in started.seal_note
        assert "the path of its socket is too long" in started.seal_note
        assert [chat(started, "hello").status, chat(started, "hello", key=None).status] == [200, 401]
        assert probe(started, tcp=["192.0.2.1", 443])["tcp"].startswith("PermissionError")
    finally:
        fake.engine.stop(started, grace_seconds=5)
    with pytest.raises(UnavailableError, match="it listens on a TCP port"):
        fake.engine.start(fake.with_spec(run_dir=run_dir, seal_required=True))


@pytest.mark.skipif(not is_root(), reason="only root can become another user")
def test_is_sealed_for_an_ordinary_user() -> None:
    """A user without any privilege gets the same seal."""
    done = as_nobody("namespaces.enter_empty_network(); print(os.getuid(), sorted(namespaces.interfaces('self')))")
    assert done.stdout.strip() == "65534 ['lo']", done.stderr


def as_nobody(script: str) -> subprocess.CompletedProcess[str]:
    """Runs a script that began as root, whose Python others may not read, and gave all that up."""
    begin = """
import encodings.ascii
import os
from undercroft.engines.sealing import kernel, namespaces
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
kernel.prctl(4, 1)  # PR_SET_DUMPABLE, as after an ordinary start: /proc/self belongs to the user again
"""
    return subprocess.run([sys.executable, "-P", "-c", begin + script], capture_output=True, text=True, timeout=60)


def test_external_cannot_be_sealed(fake: Bench) -> None:
    """Another's server is refused where sealing is required."""
    from_fake = fake.with_spec(url="http://127.0.0.1:1", model_path=None, seal_required=True)
    with pytest.raises(InvalidError, match="cannot be sealed here"):
        External(EngineSettings()).start(from_fake)


def test_filter_refuses_foreign_calls() -> None:
    """The filter's program ends in a decision on every path: each jump stays inside it."""
    for machine in seccomp.MACHINES.values():
        for may_listen in (False, True):
            steps = seccomp.program(machine, may_listen_on_tcp=may_listen)
            returns = [index for index, step in enumerate(steps) if step[0] == 0x06]
            assert returns[-1] == len(steps) - 1
            for index, (code, if_true, if_false, _) in enumerate(steps):
                if code in {0x15, 0x35}:
                    assert index + 1 + max(if_true, if_false) < len(steps)


@pytest.mark.parametrize(
    ("call", "arguments", "is_allowed"),
    [
        ("read", (), True),
        ("connect", (), False),
        ("io_uring_setup", (), False),
        ("ptrace", (), False),
        ("socket", (socket.AF_UNIX, socket.SOCK_STREAM), True),
        ("socket", (socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC), True),
        ("socket", (socket.AF_UNIX, socket.SOCK_DGRAM), False),
        ("socket", (socket.AF_INET, socket.SOCK_STREAM), False),
        ("socket", (socket.AF_INET6, socket.SOCK_STREAM), False),
        ("socket", (socket.AF_NETLINK, socket.SOCK_RAW), False),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_DGRAM), False),
        ("socketpair", (socket.AF_UNIX, socket.SOCK_STREAM), True),
    ],
)
@pytest.mark.parametrize("name", sorted(seccomp.MACHINES))
def test_filter_decides(name: str, call: str, arguments: tuple[int, ...], is_allowed: bool) -> None:
    """Every machine's filter, run step by step here: answering is allowed, connecting is not."""
    numbers = {
        "x86_64": {"read": 0, "connect": 42, "io_uring_setup": 425, "ptrace": 101, "socket": 41, "socketpair": 53},
        "aarch64": {"read": 63, "connect": 203, "io_uring_setup": 425, "ptrace": 117, "socket": 198, "socketpair": 199},
    }[name]
    machine = seccomp.MACHINES[name]
    steps = seccomp.program(machine, may_listen_on_tcp=False)
    assert run_filter(steps, machine.architecture, numbers[call], arguments) == is_allowed
    assert not run_filter(steps, 0x40000003, numbers[call], arguments)  # another architecture's call


def test_x32_calls_are_refused() -> None:
    """The second numbering of x86-64 is not a way around the filter."""
    machine = seccomp.MACHINES["x86_64"]
    steps = seccomp.program(machine, may_listen_on_tcp=False)
    assert not run_filter(steps, machine.architecture, 0x40000000 | 42, ())


def run_filter(steps: list[seccomp.Instruction], architecture: int, number: int, arguments: tuple[int, ...]) -> bool:
    """What the kernel would decide: True is allowed, False the refusal with EACCES."""
    fields = {0: number, 4: architecture, **{16 + 8 * i: value for i, value in enumerate(arguments)}}
    position, value = 0, 0
    while True:
        code, if_true, if_false, constant = steps[position]
        position += 1
        if code == 0x06:
            assert constant in {0x7FFF0000, 0x00050000 | errno.EACCES}
            return constant == 0x7FFF0000
        if code == 0x20:
            value = fields.get(constant, 0)
        elif code == 0x54:
            value &= constant
        else:
            is_true = value == constant if code == 0x15 else value >= constant
            position += if_true if is_true else if_false


def test_process_is_not_ours_to_confuse(record: EngineRecord) -> None:
    """The pid in the record is the one outside, and its start time the one that the kernel knows."""
    assert record.pid is not None
    assert identify(record.pid) == record.process
