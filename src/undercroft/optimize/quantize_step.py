"""The step that quantizes: what it would make and take, and the doing of it."""

from __future__ import annotations

import hashlib
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from undercroft.core.errors import ConflictError, InvalidError, RefusedError, UnavailableError
from undercroft.optimize.compression.settings import Calibration
from undercroft.optimize.evaluation.texts import parse_texts
from undercroft.optimize.jobs.room import Forecast
from undercroft.optimize.measures.importance import collect_importance
from undercroft.optimize.measures.reading import Reading, check_texts
from undercroft.optimize.prepared import PreparedStep
from undercroft.optimize.quantization.importance import ImportanceMatrix, read_importance
from undercroft.optimize.quantization.library import Library, open_library
from undercroft.optimize.quantization.mixtures import choose_types
from undercroft.optimize.quantization.quantizing import plan_quantization, quantize_file
from undercroft.optimize.quantization.schemes import TYPES, UNQUANTIZED, Scheme, scheme_named
from undercroft.optimize.quantization.source import Source as OpenFile
from undercroft.optimize.recipes import Importance, Quantize
from undercroft.optimize.sources import Source
from undercroft.optimize.steps import Progress, Workspace
from undercroft.storage.blobs import digest_file

# Python with its libraries, and the pieces that each thread has in hand.
_BASE_BYTES = 128 * 1024**2
_THREAD_BYTES = 8 * 1024**2
_READING_BYTES = 384 * 1024**2  # what the engine takes beside the weights while it reads texts
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 64, 2048


class QuantizeStep:
    """Fewer bits a weight.

    Args:
        settings: What the recipe says.
    """

    def __init__(self, settings: Quantize) -> None:
        self._scheme = scheme_named(settings.scheme)
        self._settings = settings

    def run(self, work: Workspace, report: Callable[[Progress], None]) -> None:
        """Makes the file, as `undercroft.optimize.steps.Step` says."""
        matrix = self._collected(work, report)
        quantize_file(
            work.source,
            work.result,
            self._scheme,
            importance=matrix,
            threads=work.threads,
            report=lambda done, total: report(Progress(done, total, "bytes", "quantizing")),
            allow_requantize=self._settings.allow_requantize,
        )

    def _collected(self, work: Workspace, report: Callable[[Progress], None]) -> ImportanceMatrix | None:
        importance = self._settings.importance
        if importance is None:
            return None
        if importance.texts is None:
            return read_matrix(importance)
        return collect_importance(
            work.source,
            [read_texts(importance)],
            Reading(threads=work.threads),
            datasets=[importance.texts.name],
            report=lambda done, total: report(Progress(done, total, "windows", "reading texts")),
        )


def prepare_quantize(settings: Quantize, source: Source, *, threads: int) -> PreparedStep:
    """Looks whether a model can be quantized so, and what that takes.

    Args:
        settings: What the recipe says.
        source: The model.
        threads: Processors that will work; count.

    Raises:
        InvalidError: ``nothing-to-do``, or the file is no model of texts.
        RefusedError: ``requantizing`` or ``needs-importance``.
    """
    scheme = scheme_named(settings.scheme)
    has_texts = settings.importance is not None and settings.importance.texts is not None
    if settings.importance is not None and has_texts:
        check_texts([read_texts(settings.importance)])
    kinds, values, size_bytes = _plan(settings, source, scheme)
    changed = Counter[str]()
    for name, kind in kinds.items():
        if kind != values[name][0]:
            changed[kind] += values[name][1]
    if not changed:
        raise InvalidError(
            "nothing-to-do",
            f"model {source.model.name!r} is {scheme.name} already: no tensor of it would change",
            hint=f"undercroft model show {source.model.name}",
        )
    memory = _BASE_BYTES + threads * _THREAD_BYTES + (source.header.size_bytes + _READING_BYTES if has_texts else 0)
    return PreparedStep(
        kind="quantize",
        step=QuantizeStep(settings),
        forecast=Forecast(result_bytes=size_bytes, disk_bytes=size_bytes, memory_bytes=memory),
        told=_told(settings, kinds),
        libraries=("numpy", "xllamacpp"),
        is_reproducible=not has_texts,  # sums of products depend on how many threads share them
        measure=None if has_texts else lambda: seconds_to_make(changed, open_library(), threads=threads),
        warning=scheme.warning,
    )


def _plan(
    settings: Quantize, source: Source, scheme: Scheme
) -> tuple[Mapping[str, str], Mapping[str, tuple[str, int]], int]:
    """Tensor → type that it gets; tensor → type and count of values that it has; bytes of the new file."""
    has_matrix = settings.importance is not None
    has_texts = settings.importance is not None and settings.importance.texts is not None
    matrix = read_matrix(settings.importance) if settings.importance is not None and not has_texts else None
    try:
        plan_quantization(source.path, scheme, importance=matrix, allow_requantize=settings.allow_requantize)
    except RefusedError as error:
        if error.code == "requantizing":
            raise _requantizing(source, scheme) from error
        if not has_texts:
            raise
    with OpenFile(source.path) as opened:
        kinds = choose_types(opened.tensors, opened.network, scheme, with_importance=has_matrix)
        values = {tensor.name: (tensor.kind, math.prod(tensor.shape)) for tensor in opened.tensors}
        around = source.header.size_bytes - opened.size_bytes
    blocks = ((TYPES[kind], values[name][1]) for name, kind in kinds.items())
    return kinds, values, around + sum(count // kind.block * kind.block_bytes for kind, count in blocks)


def read_matrix(importance: Importance) -> ImportanceMatrix:
    """A matrix that was collected before, as long as its file is what it was when the recipe was read.

    Raises:
        ConflictError: ``importance-changed``.
        InvalidError: ``bad-gguf``, ``bad-importance``: it is damaged, or something else.
        UnavailableError: ``importance-unreadable``.
    """
    path = importance.file
    assert path is not None  # the caller has looked
    try:
        digest = digest_file(path)
        matrix = read_importance(path)
    except OSError as error:
        raise UnavailableError(
            "importance-unreadable", f"cannot read the importance matrix {path}: {error.strerror}"
        ) from error
    if importance.file_digest is not None and digest != importance.file_digest:
        raise ConflictError(
            "importance-changed",
            f"the importance matrix {path} is not what the recipe was made for: expected {importance.file_digest}, "
            f"got {digest}",
            hint="put it back, or leave file_digest out of the recipe and ask anew",
        )
    return matrix


def read_texts(asked: Importance | Calibration) -> str:
    """What a file of texts holds, as long as it is what it was when the recipe was read.

    Args:
        asked: Names the file: plain text, or JSON lines where its name ends in ``.jsonl``.

    Returns:
        The plain text; texts of JSON lines with a blank line between them.

    Raises:
        ConflictError: ``texts-changed``.
        InvalidError: ``bad-texts``: it is not UTF-8, or a line is no text.
        UnavailableError: ``texts-unreadable``.
    """
    path = asked.texts
    assert path is not None  # the caller has looked
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise UnavailableError("texts-unreadable", f"cannot read the texts {path}: {error.strerror}") from error
    digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
    if asked.texts_digest is not None and digest != asked.texts_digest:
        raise ConflictError(
            "texts-changed",
            f"the texts {path} are not what the recipe was made for: expected {asked.texts_digest}, got {digest}",
            hint="put them back, or leave texts_digest out of the recipe and ask anew",
        )
    if path.suffix == ".jsonl":
        return "\n\n".join(text.text for text in parse_texts(raw, path).texts)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise InvalidError(
            "bad-texts",
            f"the texts {path} are not UTF-8: byte {error.start:,} is {raw[error.start]:#04x}",
            hint="save them as UTF-8",
        ) from error


def _requantizing(source: Source, scheme: Scheme) -> RefusedError:
    return RefusedError(
        "requantizing",
        f"model {source.model.name!r} is rounded to {source.model.facts.quantization} already; making {scheme.name} of "
        "it would round it twice, which loses more than rounding once",
        hint="take the model in F16, BF16 or F32; or say that it is meant: --allow-requantize, in a recipe "
        "allow_requantize: true",
    )


def seconds_to_make(values: Mapping[str, int], library: Library, *, threads: int) -> float:
    """About how long a number of values takes, by making a few of them here and now.

    Args:
        values: Name of a type → values that get it.
        library: That makes them.
        threads: That work; count.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((_SAMPLE_ROWS, _SAMPLE_COLUMNS), np.float32)
    seconds = 0.0
    for kind, count in values.items():
        if kind in UNQUANTIZED:
            continue
        into = np.empty((_SAMPLE_ROWS, library.row_bytes(kind, _SAMPLE_COLUMNS)), np.uint8)
        weights = np.ones(_SAMPLE_COLUMNS, np.float32)
        begin = time.perf_counter()
        library.quantize(kind, rows, weights, into)
        library.dequantize(kind, into, np.empty_like(rows))
        seconds += (time.perf_counter() - begin) * count / rows.size
    return seconds / threads


def _told(settings: Quantize, kinds: Mapping[str, str]) -> dict[str, Any]:
    """For the lineage: every setting, and how many tensors have which type."""
    types = Counter(kinds.values())
    told = settings.model_dump(mode="json", exclude_none=True)
    return {"settings": told, "tensors": {kind: types[kind] for kind in TYPES if kind in types}}
