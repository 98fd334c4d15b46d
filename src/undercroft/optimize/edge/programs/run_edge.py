"""Runs and times a model that was made for a device, in the device's own runtime, from its folder.

    python run_edge.py [FOLDER] [--text TEXT] [--rounds 100] [--threads 0] [--json]

This one file needs Python 3.10 or later, ``tokenizers``, and the runtime that ``edge.json`` in the folder names:
``executorch`` (which brings torch), or ``ai-edge-litert``. It opens no connection and writes nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

MANIFEST = "edge.json"
_WARM_UP_ROUNDS, _FEWEST_ROUNDS, _MOST_SECONDS = 5, 10, 30.0
LENGTHS = (16, 64, 256)
_READ_TOKENS, _WRITTEN_TOKENS = 32, 32
_SAMPLE = (
    "The cellar door was open , and nobody had locked it since Tuesday . Please check the pump , the valve and the "
    "old boiler before the next visit ; write down what you saw , what you did and what is still to be done ."
)
WORDS = _SAMPLE.split()
_PACKAGES = {"executorch": "executorch", "litert": "ai-edge-litert"}


class WrongManifestError(Exception):
    """``edge.json`` asks for something that no runtime here does."""


class TooLongError(Exception):
    """A text does not fit the program."""


class Embedder(Protocol):
    """A program that a runtime has loaded, which makes vectors."""

    def vector(self, ids: Sequence[int]) -> list[float]:
        """The vector of a text."""


class Writer(Protocol):
    """A program that a runtime has loaded, which goes on with a text."""

    def logits(self, tokens: Sequence[int], position: int) -> list[float]:
        """What follows the last of some tokens, of every token of the vocabulary.

        Args:
            tokens: Ids; the first goes to a position of the cache, the others behind it.
            position: In the cache; what was kept from there on is forgotten.
        """


class ExecuTorchNetwork:
    """A ``.pte`` in ExecuTorch: its inputs say which of both it is.

    Args:
        folder: Of the model.
        manifest: Its ``edge.json``.
        threads: Processors; 0 leaves it to the runtime.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int) -> None:
        import torch  # noqa: PLC0415  (there where this runtime is)
        from executorch.extension.pybindings import portable_lib  # noqa: PLC0415
        from executorch.runtime import Runtime  # noqa: PLC0415

        if threads:
            portable_lib._unsafe_reset_threadpool(threads)
        self._torch = torch
        self._method = Runtime.get().load_program(folder / manifest["program"]).load_method("forward")

    def vector(self, ids: Sequence[int]) -> list[float]:
        tensor = self._torch.tensor([list(ids)], dtype=self._torch.long)
        (found,) = self._method.execute([tensor, self._torch.ones_like(tensor)])
        return list(found[0].tolist())

    def logits(self, tokens: Sequence[int], position: int) -> list[float]:
        ids = self._torch.tensor([list(tokens)], dtype=self._torch.long)
        (found,) = self._method.execute([ids, self._torch.arange(position, position + len(tokens))])
        return list(found[0, -1].tolist())


class LiteRtNetwork:
    """A ``.tflite`` in LiteRT that makes vectors: one signature for each length, which a text is filled up to.

    Args:
        folder: Of the model.
        manifest: Its ``edge.json``.
        threads: Processors; 0 leaves it to the runtime.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int) -> None:
        import numpy  # noqa: PLC0415  (there where this runtime is)

        self._numpy, self._fill = numpy, int(manifest["pad_token"])
        self._runners = _signatures(folder, manifest, threads, "embed")
        self._names = [one["name"] for one in manifest["inputs"]]
        self._kinds = {
            name: detail["dtype"] for name, detail in next(iter(self._runners.values())).get_input_details().items()
        }

    def vector(self, ids: Sequence[int]) -> list[float]:
        length = fitting_length(len(ids), list(self._runners))
        spare = length - len(ids)
        rows = ([*ids, *[self._fill] * spare], [1] * len(ids) + [0] * spare)
        given = {
            name: self._numpy.array([row], dtype=self._kinds[name]) for name, row in zip(self._names, rows, strict=True)
        }
        (found,) = self._runners[length](**given).values()
        return list(found[0].tolist())


class LiteRtWriter:
    """A ``.tflite`` in LiteRT that goes on with a text: one signature for each length that is read at once.

    The program keeps nothing. The cache of keys and values lies here; it goes in with every call, and what is new of it
    comes out under the same names.

    Args:
        folder: Of the model.
        manifest: Its ``edge.json``.
        threads: Processors; 0 leaves it to the runtime.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int) -> None:
        import numpy  # noqa: PLC0415  (there where this runtime is)

        self._numpy, self._fill = numpy, int(manifest["pad_token"])
        self._runners = _signatures(folder, manifest, threads, "generate")
        runner = next(iter(self._runners.values()))
        given, coming = runner.get_input_details(), runner.get_output_details()
        self._kept = {name: numpy.zeros(one["shape"], one["dtype"]) for name, one in given.items() if name in coming}

    def logits(self, tokens: Sequence[int], position: int) -> list[float]:
        left, found = list(tokens), []
        while left:
            length = fitting_length(len(left), list(self._runners))
            piece, left = left[:length], left[length:]
            found = self._read(piece, position, length)
            position += len(piece)
        return found

    def _read(self, piece: list[int], position: int, length: int) -> list[float]:
        """What follows a piece, which is filled up behind; of what is new only its own is kept."""
        count = len(piece)
        given = {"input_ids": [[*piece, *[self._fill] * (length - count)]], "position": [position], "last": [count - 1]}
        arrays = {name: self._numpy.array(values, dtype=self._numpy.int32) for name, values in given.items()}
        found = self._runners[length](**arrays, **self._kept)
        for name, kept in self._kept.items():
            kept[:, :, position : position + count] = found[name][:, :, :count]
        return list(found["logits"][0, -1].tolist())


def _signatures(folder: Path, manifest: dict[str, Any], threads: int, name: str) -> dict[int, Any]:
    """What runs each length."""
    from ai_edge_litert.interpreter import Interpreter  # noqa: PLC0415  (there where this runtime is)

    interpreter = Interpreter(model_path=str(folder / manifest["program"]), num_threads=threads or None)
    return {length: interpreter.get_signature_runner(f"{name}_{length}") for length in manifest["lengths"]}


_EMBEDDERS: dict[str, Callable[[Path, dict[str, Any], int], Embedder]] = {
    "executorch": ExecuTorchNetwork,
    "litert": LiteRtNetwork,
}
_WRITERS: dict[str, Callable[[Path, dict[str, Any], int], Writer]] = {
    "executorch": ExecuTorchNetwork,
    "litert": LiteRtWriter,
}


class EmbeddingModel:
    """A model of a folder that makes vectors, with its tokenizer.

    Args:
        folder: With ``edge.json``, the program and ``tokenizer.json``.
        manifest: Its ``edge.json``.
        threads: Processors; 0 leaves it to the runtime.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int = 0) -> None:
        self.manifest = manifest
        self._tokenizer = tokenizer_of(folder, manifest)
        self._tokenizer.enable_truncation(manifest["most_tokens"])
        self._network = _EMBEDDERS[manifest["runtime"]](folder, manifest, threads)

    def ids(self, text: str) -> list[int]:
        """Token ids, special ones with them, cut to what the program takes."""
        return list(self._tokenizer.encode(text).ids)

    def embed(self, text: str) -> list[float]:
        """The vector of a text, of length 1."""
        return self._network.vector(self.ids(text))


class WritingModel:
    """A model of a folder that goes on with a text, with its tokenizer.

    Args:
        folder: With ``edge.json``, the program and ``tokenizer.json``.
        manifest: Its ``edge.json``.
        threads: Processors; 0 leaves it to the runtime.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], threads: int = 0) -> None:
        self.manifest = manifest
        self._tokenizer = tokenizer_of(folder, manifest)
        self.network = _WRITERS[manifest["runtime"]](folder, manifest, threads)

    def ids(self, text: str) -> list[int]:
        """Token ids, special ones with them."""
        return list(self._tokenizer.encode(text).ids)

    def text(self, ids: Sequence[int]) -> str:
        """What token ids say."""
        return str(self._tokenizer.decode(list(ids)))

    def go_on(self, prompt: Sequence[int], tokens: int) -> list[int]:
        """The likeliest tokens after a prompt, one after the other, until one ends the answer or the cache is full.

        Args:
            prompt: Token ids, at least one.
            tokens: To write at most; count.

        Returns:
            Token ids, the one that ends the answer not among them.

        Raises:
            TooLongError: The prompt leaves no room for an answer.
        """
        most, ends = self.manifest["most_tokens"], self.manifest["end_tokens"]
        if not 0 < len(prompt) < most:
            raise TooLongError(
                f"the text has {len(prompt):,} tokens: expected 1 to {most - 1:,}, so that an answer fits"
            )
        written: list[int] = []
        following = list(prompt)
        for position in range(len(prompt), min(len(prompt) + tokens, most)):
            row = self.network.logits(following, position - len(following))
            following = [max(range(len(row)), key=row.__getitem__)]
            if following[0] in ends:
                break
            written += following
        return written


def open_model(folder: Path, threads: int = 0) -> EmbeddingModel | WritingModel:
    """Loads the model of a folder into its runtime.

    Args:
        folder: With ``edge.json``, the program and ``tokenizer.json``.
        threads: Processors; 0 leaves it to the runtime.

    Raises:
        WrongManifestError: Its runtime is none that does its task.
    """
    manifest = _manifest(folder)
    return (EmbeddingModel if manifest["task"] == "embed" else WritingModel)(folder, manifest, threads)


def _manifest(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    task, runtime = found["task"], found["runtime"]
    if runtime not in {"embed": [*_EMBEDDERS], "generate": [*_WRITERS]}.get(task, []):
        raise WrongManifestError(
            f"{MANIFEST} says {task} in {runtime}: expected embed in {' or '.join(_EMBEDDERS)}, or generate in "
            f"{' or '.join(_WRITERS)}"
        )
    return found


def tokenizer_of(folder: Path, manifest: dict[str, Any]) -> Any:
    """What cuts text into tokens.

    Args:
        folder: Of the model.
        manifest: Its ``edge.json``.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415  (there where this is run)

    return Tokenizer.from_file(str(folder / manifest["tokenizer"]))


def fitting_length(tokens: int, lengths: Sequence[int]) -> int:
    """The shortest length of a program that takes a text, or the longest where none does.

    Args:
        tokens: Of the text.
        lengths: That the program has.
    """
    return min((length for length in lengths if length >= tokens), default=max(lengths))


def time_model(folder: Path, *, rounds: int = 100, threads: int = 0) -> dict[str, Any]:
    """Loads a model and times it, text by text.

    Args:
        folder: Of the model.
        rounds: Of each length; fewer where they would take more than half a minute.
        threads: Processors; 0 leaves it to the runtime.

    Returns:
        Plain data for JSON. Times are milliseconds from text to vector, cutting into tokens counted; memory is that of
        the whole process, Python and the runtime's libraries with it: ``before_bytes`` without the model.
    """
    _import_runtime(folder)
    before = _resident_bytes()
    begin = time.perf_counter()
    model = open_model(folder, threads)
    loaded = time.perf_counter() - begin
    manifest = model.manifest
    timed: dict[str, Any]
    if isinstance(model, EmbeddingModel):
        lengths = sorted({min(length, manifest["most_tokens"]) for length in LENGTHS})
        timed = {"lengths": [_time_length(model, length, rounds) for length in lengths]}
    else:
        timed = {"answer": _time_answer(model, rounds)}
    return {
        "runtime": manifest["runtime"],
        "runtime_version": importlib.metadata.version(_PACKAGES[manifest["runtime"]]),
        "task": manifest["task"],
        "weights": manifest["weights"],
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} processors",
        "threads": threads or None,
        "size_bytes": sum(path.stat().st_size for path in (folder / manifest["program"], folder / "tokenizer.json")),
        "load_seconds": loaded,
        "before_bytes": before,
        "peak_bytes": _peak_bytes(),
        **timed,
    }


def _import_runtime(folder: Path) -> None:
    """Imports what loading would, so that what comes after is the model's."""
    runtime = _manifest(folder)["runtime"]
    import tokenizers  # noqa: F401, PLC0415

    if runtime == "executorch":
        import executorch.runtime  # noqa: F401, PLC0415
    else:
        import ai_edge_litert.interpreter  # noqa: F401, PLC0415


def _time_length(model: EmbeddingModel, tokens: int, rounds: int) -> dict[str, Any]:
    words: list[str] = []
    while len(model.ids(" ".join(words))) < tokens:
        words += [WORDS[len(words) % len(WORDS)]]
    text = " ".join(words)
    seconds = timed_rounds(lambda: model.embed(text), rounds)
    count = len(model.ids(text))
    lengths = model.manifest["lengths"]
    return {
        "tokens": count,
        "computed_tokens": fitting_length(count, lengths) if model.manifest["is_length_fixed"] else count,
        **percentiles(seconds),
        "texts_per_second": len(seconds) / sum(seconds),
    }


def _time_answer(model: WritingModel, rounds: int) -> dict[str, Any]:
    fits = model.manifest["most_tokens"]
    read = min(_READ_TOKENS, fits // 2)
    written = min(_WRITTEN_TOKENS, fits - read)
    prompt = (model.ids(" ".join(WORDS)) * read)[:read]
    firsts: list[float] = []
    steps: list[float] = []

    def answer() -> None:
        begin = time.perf_counter()
        model.network.logits(prompt, 0)
        firsts.append(time.perf_counter() - begin)
        for position in range(read, read + written):
            begin = time.perf_counter()
            model.network.logits([prompt[position % read]], position)
            steps.append(time.perf_counter() - begin)

    count = len(timed_rounds(answer, max(1, rounds // 10), fewest=3))
    firsts, steps = firsts[-count:], steps[-count * written :]
    return {
        "read_tokens": read,
        "read_tokens_per_second": read * len(firsts) / sum(firsts),
        "first_token_ms": percentiles(firsts)["p50_ms"],
        "written_tokens": written,
        "written_tokens_per_second": len(steps) / sum(steps),
        **percentiles(steps),
    }


def timed_rounds(work: Callable[[], object], rounds: int, *, fewest: int = _FEWEST_ROUNDS) -> list[float]:
    """Seconds of each round, after a few that count for nothing."""
    for _ in range(min(_WARM_UP_ROUNDS, fewest)):
        work()
    seconds: list[float] = []
    begin = time.perf_counter()
    while len(seconds) < rounds and (len(seconds) < fewest or time.perf_counter() - begin < _MOST_SECONDS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return seconds


def percentiles(seconds: Sequence[float]) -> dict[str, Any]:
    ordered = sorted(seconds)
    # The nearest rank: a time that really came.
    ranks = {f"p{share}_ms": ordered[math.ceil(len(ordered) * share / 100) - 1] * 1000 for share in (50, 90, 99)}
    return {"rounds": len(ordered), **ranks}


def _resident_bytes() -> int:
    """Memory of this process now; the most so far where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return _peak_bytes()
    return pages * resource.getpagesize()


def _peak_bytes() -> int:
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def describe(found: dict[str, Any]) -> list[str]:
    """Figures for people, at most 80 columns wide.

    Args:
        found: As `time_model` gives them.
    """
    threads = f"{found['threads']} threads" if found["threads"] else "threads as the runtime chooses"
    mb = 1_000_000
    lines = [
        f"{found['runtime']} {found['runtime_version']}, weights {found['weights']}, {threads}",
        found["machine"],
        f"size {found['size_bytes'] / mb:,.1f} MB, loaded in {found['load_seconds'] * 1000:,.0f} ms",
    ]
    if found["peak_bytes"] is not None:
        lines.append(f"memory at most {found['peak_bytes'] / mb:,.0f} MB")
    if found["before_bytes"] is not None:
        lines.append(f"  of that {found['before_bytes'] / mb:,.0f} MB are Python and the runtime, without the model")
    lines.append("")
    if "lengths" in found:
        lines.append("  tokens  computed     p50 ms     p90 ms     p99 ms   texts/s   rounds")
        lines += [
            f"{one['tokens']:8,}{one['computed_tokens']:10,}{_times(one)}{one['texts_per_second']:10,.1f}"
            f"{one['rounds']:9,}"
            for one in found["lengths"]
        ]
        return lines
    answer = found["answer"]
    read, written = answer["read_tokens"], answer["written_tokens"]
    return [
        *lines,
        f"reads  {answer['read_tokens_per_second']:10,.1f} tokens/s; a prompt of {read:,} takes "
        f"{answer['first_token_ms']:,.1f} ms",
        f"writes {answer['written_tokens_per_second']:10,.1f} tokens/s, {written:,} tokens an answer",
        "            p50 ms     p90 ms     p99 ms   rounds",
        f"a token{_times(answer)}{answer['rounds']:9,}",
    ]


def _times(one: dict[str, Any]) -> str:
    return "".join(f"{one[name]:11,.2f}" for name in ("p50_ms", "p90_ms", "p99_ms"))


def _said(model: EmbeddingModel | WritingModel, text: str) -> str:
    """What comes of a text."""
    if isinstance(model, EmbeddingModel):
        return json.dumps(model.embed(text))
    return model.text(model.go_on(model.ids(text), _WRITTEN_TOKENS))


def main() -> None:
    """Reads the command line of a device."""
    parser = argparse.ArgumentParser(description="Runs and times a model that was made for a device.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent, help="with edge.json")
    parser.add_argument("--text", help="say what comes of this text, and time nothing")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=0, help="processors; 0 leaves it to the runtime")
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    given = parser.parse_args()
    if not (given.folder / MANIFEST).is_file():
        sys.exit(f"there is no {MANIFEST} in {given.folder}: give the folder that was copied to this device")
    try:
        if given.text is not None:
            print(_said(open_model(given.folder, given.threads), given.text))
            return
        found = time_model(given.folder, rounds=max(1, given.rounds), threads=max(0, given.threads))
    except (WrongManifestError, TooLongError) as error:
        sys.exit(str(error))
    print(json.dumps(found) if given.json else "\n".join(describe(found)))


if __name__ == "__main__":
    main()
