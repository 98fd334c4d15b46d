"""What the doors are told of a deployment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from undercroft.engines.contract import Capabilities, EngineRecord, EngineSpec, ReplicaState, Task
from undercroft.serving.deployments import Deployment, DeploymentSettings
from undercroft.serving.entries import entry_for, patient
from undercroft.serving.replica import ReplicaView
from undercroft.serving.snapshot import DeploymentEntry, KeyEntry, Snapshot, read_kept

DEPLOYMENT = Deployment("bot", "llama.cpp", "tiny", DeploymentSettings(), 1, True, "2026-01-01T00:00:00.000Z")


def view(state: ReplicaState, folder: Path) -> ReplicaView:
    key_file = folder / "key"
    key_file.write_text("secret-of-the-engine\n")
    spec = EngineSpec("rep_a", "bot", Task.GENERATE, folder, folder / "log", slots=3)
    record = EngineRecord(
        replica_id="rep_a",
        engine="llama.cpp",
        deployment="bot",
        spec_digest="d",
        pid=1,
        process_started=1.0,
        socket_path="/run/x.sock",
        base_url=None,
        key_file=str(key_file),
        is_sealed=True,
        seal_note="sealed",
        started_at="2026-01-01T00:00:00.000Z",
    )
    capabilities = Capabilities(frozenset({"completions", "chat"}), True, 512, 3, protocol="llama.cpp")
    return ReplicaView(spec, "d", state, 0.0, record=record, capabilities=capabilities)


def tell(views: list[ReplicaView], **changes: object) -> DeploymentEntry:
    values: dict[str, object] = {"note": "", "failures": 0, "is_loaded": True, "load_seconds": None, **changes}
    return entry_for(DEPLOYMENT, views, **values)  # type: ignore[arg-type]


def test_a_ready_replica_is_told_with_all_that_a_door_needs(tmp_path: Path) -> None:
    """Socket, key, slots, dialect, tasks, context."""
    entry = tell([view(ReplicaState.READY, tmp_path)], note="an old story")
    assert (entry.state, entry.note, entry.context_tokens, entry.has_tools) == ("ready", "", 512, True)
    lasting = "it runs with less context"
    assert tell([view(ReplicaState.READY, tmp_path)], note="an old story", lasting_note=lasting).note == lasting
    assert [tell([], note=note, lasting_note=lasting).note for note in ("it failed", "")] == ["it failed", lasting]
    assert entry.tasks == ("chat", "completions")
    replica = entry.replicas[0]
    assert (replica.socket_path, replica.key, replica.slots) == ("/run/x.sock", "secret-of-the-engine", 3)


@pytest.mark.parametrize(
    "state", [ReplicaState.STARTING, ReplicaState.WARMING, ReplicaState.STOPPING, ReplicaState.FAILED]
)
def test_only_ready_replicas_get_requests(tmp_path: Path, state: ReplicaState) -> None:
    """Whatever else a replica is, no door is told of it."""
    entry = tell([view(state, tmp_path)])
    assert entry.replicas == ()
    assert entry.state == "loading"


def test_states_without_a_ready_replica() -> None:
    """Waiting for a first request, loading, and failed after three times in a row, with the reason."""
    assert tell([], is_loaded=False).state == "unloaded"
    assert tell([], failures=2, note="out of memory").state == "loading"
    failed = tell([], failures=3, note="out of memory")
    assert (failed.state, failed.note) == ("failed", "out of memory")


def test_a_snapshot_survives_json(tmp_path: Path) -> None:
    """What control writes is what a door reads."""
    snapshot = Snapshot(
        version=7,
        keys={"0" * 64: KeyEntry("key_a", ("bot",), 1.5, False), "1" * 64: KeyEntry("key_b", None, None, True)},
        deployments={"bot": tell([view(ReplicaState.READY, tmp_path)])},
        quarantined=frozenset({"aa", "bb"}),
    )
    assert Snapshot.from_dict(json.loads(json.dumps(snapshot.to_dict()))) == snapshot


def test_who_waits_for_a_replacement_that_fails_is_not_refused() -> None:
    """Its failure is told once it is decided what answers instead; that of others at once."""
    failed = tell([], failures=3)
    assert failed.state == "failed"
    told = patient({"bot@2": failed, "other": failed}, {"bot@2"})
    assert {name: entry.state for name, entry in told.items()} == {"bot@2": "loading", "other": "failed"}
    assert not told["bot@2"].is_replacing
    assert patient({"bot@2": failed}, {"bot@2"}, {"bot@2"})["bot@2"].is_replacing


def test_a_snapshot_that_cannot_be_read_is_told_from_none(tmp_path: Path) -> None:
    """None is a new home; one that is damaged has a sentence."""
    assert read_kept(tmp_path / "snapshot.json") is None
    (tmp_path / "snapshot.json").write_text('{"version": 1}')
    with pytest.raises(ValueError, match="KeyError"):
        read_kept(tmp_path / "snapshot.json")
