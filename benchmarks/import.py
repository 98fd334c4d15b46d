# ruff: noqa: N999  (the issue names it; `python -m` takes any name)
"""What it takes to register a large local file, beside ``sha256sum`` of the same file.

    python -m benchmarks.import [--json] [--quick]

Both read the whole file from the page cache, in turns; ours also looks into it, links it, writes its rows and syncs
them. The file is a sound GGUF with random weights. See ``docs/benchmarks.md``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from benchmarks.reporting import Report, arguments, divided, median
from undercroft.core.home import Home
from undercroft.registry import models
from undercroft.registry.importing import Arrival
from undercroft.registry.progress import silent
from undercroft.registry.references import LocalReference
from undercroft.storage.database import Database

TITLE = "import: registering a local file, beside sha256sum"

# Debian's sha256sum knows nothing of the processor's SHA instructions; OpenSSL, which we use too, does.
PEERS = {"sha256sum": ["sha256sum"], "openssl": ["openssl", "dgst", "-sha256"]}

_SIZE_BYTES, _QUICK_SIZE_BYTES = 2_000_000_000, 500_000_000
_ROUNDS, _QUICK_ROUNDS = 5, 3
_SPEED_RATIO = 0.80
# Rows of the database, folders and a lock file; far from a second copy.
_ROOM_BYTES = 16 * 1024 * 1024
_LOAD_SECONDS = 0.05
_WIDTH, _VOCABULARY = 2048, 512
_BLOCK_BYTES = 18 / 32  # of Q4_0, per weight


def write_model(path: Path, size_bytes: int) -> None:
    """Writes a model with random weights that an engine would load.

    Args:
        path: Where to.
        size_bytes: About how long it becomes.
    """
    inner = 4 * _WIDTH
    block = (4 * _WIDTH * _WIDTH + 3 * _WIDTH * inner) * _BLOCK_BYTES
    layers = max(1, round(size_bytes / block))
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(2048)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(inner)
    writer.add_head_count(16)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"t{number}" for number in range(_VOCABULARY)])
    random = np.random.default_rng(20_261_120)

    def matrix(name: str, rows: int, columns: int) -> None:
        raw = random.integers(0, 256, (rows, int(columns * _BLOCK_BYTES)), dtype=np.uint8)
        writer.add_tensor(name, raw, raw_dtype=gguf.GGMLQuantizationType.Q4_0)

    matrix("token_embd.weight", _VOCABULARY, _WIDTH)
    writer.add_tensor("output_norm.weight", np.ones(_WIDTH, np.float32))
    for prefix in (f"blk.{number}." for number in range(layers)):
        writer.add_tensor(prefix + "attn_norm.weight", np.ones(_WIDTH, np.float32))
        writer.add_tensor(prefix + "ffn_norm.weight", np.ones(_WIDTH, np.float32))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{prefix}{name}.weight", _WIDTH, _WIDTH)
        matrix(prefix + "ffn_gate.weight", inner, _WIDTH)
        matrix(prefix + "ffn_up.weight", inner, _WIDTH)
        matrix(prefix + "ffn_down.weight", _WIDTH, inner)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _register(home: Home, path: Path) -> Arrival:
    home.prepare()
    database = Database(home.database_file)
    try:
        return models.bring_local(
            database,
            home,
            LocalReference(path),
            name="m",
            actor="benchmark",
            reason=None,
            must_copy=False,
            progress=silent,
        )
    finally:
        database.close()


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _extra_bytes(home: Home, arrival: Arrival) -> int:
    """What registering takes on the disk: the file once more where it was copied, and everything beside it."""
    files = [path for path in home.root.rglob("*") if path.is_file() and home.blobs not in path.parents]
    copied = arrival.model.size_bytes if "copy" in arrival.methods else 0
    return copied + sum(path.lstat().st_blocks * 512 for path in files)


def _hash(command: list[str], path: Path) -> float:
    return _seconds(lambda: subprocess.run([*command, str(path)], check=True, stdout=subprocess.DEVNULL))


def measure(folder: Path, size_bytes: int, rounds: int) -> Report:
    """Takes turns, and compares what the middle round took."""
    path = folder / "model.gguf"
    write_model(path, size_bytes)
    os.sync()
    found = {peer: command for peer, command in PEERS.items() if shutil.which(command[0])}
    ours: list[float] = []
    loads: list[float] = []
    theirs: dict[str, list[float]] = {peer: [] for peer in found}
    extra = 0
    for number in range(rounds + 1):
        home = Home(folder / f"home-{number}")
        begun = time.perf_counter()
        arrival = _register(home, path)
        own = time.perf_counter() - begun
        extra = max(extra, _extra_bytes(home, arrival))
        load = _look(home, arrival)
        others = {peer: _hash(command, path) for peer, command in found.items()}
        shutil.rmtree(home.root)
        if number:  # the first round fills the page cache
            ours.append(own)
            loads.append(load)
            for peer, seconds in others.items():
                theirs[peer].append(seconds)
    return _report(path.stat().st_size, ours, theirs, extra, loads)


def _look(home: Home, arrival: Arrival) -> float:
    """Seconds of what stands in place of a second read when the model is loaded."""
    database = Database(home.database_file)
    try:
        with database.read() as connection:
            return _seconds(lambda: models.model_file(home, connection, arrival.model))
    finally:
        database.close()


def _report(size: int, ours: list[float], theirs: dict[str, list[float]], extra: int, loads: list[float]) -> Report:
    own = median(ours)
    report = Report(TITLE)
    report.figures["file_bytes"] = size
    report.figures["seconds"] = own
    report.figures["gb_per_second"] = divided(size / 1e9, own)
    report.figures["extra_disk_bytes"] = extra
    report.figures["look_before_load_seconds"] = median(loads)
    for peer in PEERS:
        if peer not in theirs:
            report.missing(peer, "it is not installed")
            continue
        seconds = median(theirs[peer])
        report.peers[peer] = {"seconds": seconds, "gb_per_second": divided(size / 1e9, seconds)}
        report.ratios[f"speed_vs_{peer}"] = divided(seconds, own)
    ratio = divided(median(theirs.get("sha256sum", [])), own)
    report.at_least("speed_vs_sha256sum", ratio, _SPEED_RATIO)
    report.at_most("extra_disk_bytes", extra, _ROOM_BYTES)
    report.at_most("look_before_load_seconds", median(loads), _LOAD_SECONDS)
    return report


def main() -> None:
    """Reads the command line, measures, reports."""
    given = arguments(TITLE)
    size = _QUICK_SIZE_BYTES if given.quick else _SIZE_BYTES
    with tempfile.TemporaryDirectory(prefix="undercroft-import-", dir=os.environ.get("TMPDIR")) as folder:
        report = measure(Path(folder), size, _QUICK_ROUNDS if given.quick else _ROUNDS)
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
