"""Which files of a folder or repository make a model: decided on the list of names and sizes, before any is read.

What is not on the list of wanted names is left where it is, and said so. Code is not left out but refused: a model
that brings code expects it to be run.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from undercroft.core.errors import InvalidError, NotFoundError, RefusedError
from undercroft.core.units import format_bytes

_PATH_LIMIT_BYTES = 1024
_NAME_LIMIT_BYTES = 255
_DEPTH_LIMIT = 8
_SHOWN = 12
_PARTS_LIMIT = 1000

_CODE = re.compile(r".*\.(py|pyc|pyx|pyd|so|dll|dylib|exe)", re.IGNORECASE)
_PICKLES = re.compile(
    r".*\.(bin|pt|pth|ckpt|pkl|pickle|joblib|npy|npz|h5|hdf5|keras|pb|msgpack|t7|mar|dill)", re.IGNORECASE
)
_PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
_NOT_WEIGHTS = re.compile(r"mmproj|imatrix", re.IGNORECASE)
_CONFIG = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template|"
    r"preprocessor_config|modules|sentence_bert_config|config_sentence_transformers|quantize_config|quant_config|"
    r"ort_config|genai_config|edge|adapter_config|model\.safetensors\.index)\.json|\d_[A-Z][A-Za-z]*/config\.json"
)
_TOKENIZER = re.compile(
    r"(tokenizer|spiece|sentencepiece(\.bpe)?)\.(model|spm)|(vocab|merges)\.txt|chat_template\.jinja"
)
_DOCUMENT = re.compile(r"(LICEN[CS]E|NOTICE|COPYING|USE_POLICY)([._-][A-Za-z0-9._-]*)?|README\.md", re.IGNORECASE)
INDEX = "model.safetensors.index.json"
# A LoRA as PEFT writes it.
PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_ONNX_DATA = re.compile(r".*\.(onnx_data|onnx\.data|onnx_data_\d+)")


class Role(StrEnum):
    """What a file is for, by its name; whether it is fit for that is said by its content."""

    WEIGHTS = "weights"
    CONFIG = "config"
    TOKENIZER = "tokenizer"
    DOCUMENT = "document"


def role_of(path: str) -> Role:
    """The part that a file of a selection plays."""
    if _CONFIG.fullmatch(path):
        return Role.CONFIG
    if _TOKENIZER.fullmatch(path):
        return Role.TOKENIZER
    return Role.DOCUMENT if _DOCUMENT.fullmatch(path) else Role.WEIGHTS


@dataclass(frozen=True, slots=True)
class Selection:
    """What is taken and what is left.

    Args:
        weights: Paths, in order.
        others: Configuration, tokenizer, licence, card.
        skipped: Left where they are.
    """

    weights: tuple[str, ...]
    others: tuple[str, ...]
    skipped: tuple[str, ...]


def check_listing(paths: Sequence[str], *, source: str) -> None:
    """Refuses a list of names that is up to something, as a whole.

    Args:
        paths: Relative, with ``/``.
        source: What to call the list in errors.

    Raises:
        RefusedError: ``hostile-name``, or ``carries-code``: a name leads out of its folder, is not printable, is too
            long, differs from another only in case, or names code.
    """
    seen: dict[str, str] = {}
    for path in paths:
        problem = _name_problem(path)
        folded = unicodedata.normalize("NFC", path).casefold()
        if problem is None and folded in seen:
            problem = f"and {seen[folded][:80]!r} are the same name on some file systems"
        if problem is not None:
            raise RefusedError(
                "hostile-name",
                f"{source} holds a file named {path[:120]!r}, which {problem}",
                hint="get the model from another place",
            )
        seen[folded] = path
        if _CODE.fullmatch(path):
            raise RefusedError(
                "carries-code",
                f"{source} holds {path[:120]!r}: the model brings code to run",
                hint="get a model of an architecture that the engines know, or a GGUF of it",
            )


def _name_problem(path: str) -> str | None:
    parts = path.split("/")
    if not path.isprintable() or "\\" in path:
        return "has characters that no file of a model needs"
    if path.startswith("/") or any(part in ("", ".", "..") for part in parts):
        return "leads out of its folder"
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "is not Unicode text"
    if max(sizes) > _NAME_LIMIT_BYTES or sum(sizes) > _PATH_LIMIT_BYTES or len(parts) > _DEPTH_LIMIT:
        return "is too long"
    return None


def select_files(sizes: Mapping[str, int | None], *, source: str, wanted: str | None = None) -> Selection:
    """Picks the files of one model.

    Args:
        sizes: Bytes by path; None where the source does not say. Checked by `check_listing`.
        source: What to call it in errors.
        wanted: A path, or a quantization that is part of a GGUF's name; None takes what there is, where that is clear.

    Raises:
        NotFoundError: There is no such file or quantization; the message lists what there is.
        InvalidError: Several models are there and none was chosen, or there are no weights.
        RefusedError: All weights are pickles.
    """
    paths = sorted(sizes)
    weights = _choose(sizes, source, wanted)
    documents = [path for path in paths if _DOCUMENT.fullmatch(path)]
    if weights[0].lower().endswith(".gguf"):
        others = documents
    elif weights == [PEFT_WEIGHTS]:
        # Trainers leave the base's tokenizer beside it; what reads a prompt is the base's own.
        others = [path for path in paths if path == PEFT_CONFIG] + documents
    else:
        settings = (path for path in paths if path != PEFT_CONFIG)  # libraries would load an adapter unasked
        others = [path for path in settings if _CONFIG.fullmatch(path) or _TOKENIZER.fullmatch(path)] + documents
        folder = str(PurePosixPath(weights[0]).parent)
        if weights[0].lower().endswith(".onnx"):
            # What they really are is said inside the model, and compared when it is read.
            weights = [*weights, *(p for p in paths if _ONNX_DATA.fullmatch(p) and _parent(p) == folder)]
    taken = {*weights, *others}
    return Selection(tuple(weights), tuple(others), tuple(path for path in paths if path not in taken))


def is_vocabulary(path: str) -> bool:
    """Whether a JSON file is a list of tokens, in which any word may stand."""
    return PurePosixPath(path).name in {"tokenizer.json", "vocab.json", "added_tokens.json"}


def config_files(paths: Sequence[str]) -> list[str]:
    """The JSON files in which a model could ask for code."""
    return [path for path in paths if path.lower().endswith(".json") and not is_vocabulary(path)]


def _parent(path: str) -> str:
    return str(PurePosixPath(path).parent)


def _choose(sizes: Mapping[str, int | None], source: str, wanted: str | None) -> list[str]:
    groups = _gguf_groups(sizes)
    if wanted is not None:
        return _wanted(sizes, groups, source, wanted)
    if len(groups) == 1:
        return _complete(groups[0], source)
    if groups:
        raise InvalidError(
            "several-models",
            f"{source} holds {len(groups)} GGUF models, expected a choice of one:\n{_listed(groups, sizes)}",
            hint="add one of them to the reference, such as hf://org/name:Q4_K_M, or give the path of the file",
        )
    tensors = _safetensors(sizes)
    if tensors:
        return tensors
    return _onnx_or_refuse(sizes, source)


def _gguf_groups(sizes: Mapping[str, int | None]) -> list[list[str]]:
    """GGUF models, each with its parts in order."""
    groups: dict[str, list[str]] = {}
    for path in sorted(sizes):
        if path.lower().endswith(".gguf") and not _NOT_WEIGHTS.search(PurePosixPath(path).name):
            match = _PART.fullmatch(path)
            groups.setdefault(f"{match['stem']}-of-{match['count']}" if match else path, []).append(path)
    return list(groups.values())


def find_parts(path: str) -> list[str] | None:
    """All parts of the split GGUF that a path names one of; None where it names a whole one.

    Raises:
        InvalidError: ``bad-parts``: it names a part that cannot be.
    """
    match = _PART.fullmatch(path)
    if match is None:
        return None
    number, count = int(match["number"]), int(match["count"])
    if not 1 <= number <= count <= _PARTS_LIMIT:
        raise InvalidError("bad-parts", f"{path[-120:]!r} names part {number:,} of {count:,}, expected up to 1,000")
    return [f"{match['stem']}-{part:05d}-of-{count:05d}{path[-5:]}" for part in range(1, count + 1)]


def _complete(group: list[str], source: str) -> list[str]:
    expected = find_parts(group[0])
    if expected is None:
        return group
    missing = [path for path in expected if path not in group]
    if missing:
        raise InvalidError(
            "bad-parts",
            f"{source}: {group[0]!r} is one of {len(expected)} parts, expected {missing[0]!r} beside it",
            hint="put all parts into one folder",
        )
    return expected


def _wanted(sizes: Mapping[str, int | None], groups: list[list[str]], source: str, wanted: str) -> list[str]:
    if wanted in sizes:
        group = next((group for group in groups if wanted in group), None)
        return _complete(group, source) if group else [wanted]
    found = [group for group in groups if _names_quantization(group[0], wanted)]
    if len(found) == 1:
        return _complete(found[0], source)
    choices = found or groups
    listed = f":\n{_listed(choices, sizes)}" if choices else "; it has no GGUF"
    if found:
        raise InvalidError(
            "several-models",
            f"{source} holds {len(found)} GGUF models that match {wanted!r}, expected one{listed}",
            hint="add the whole file name to the reference",
        )
    raise NotFoundError("no-such-file", f"{source} holds neither a file nor a GGUF quantization {wanted!r}{listed}")


def _names_quantization(path: str, wanted: str) -> bool:
    """Whether a quantization is a word of a path: Q4_K is none of ``x-Q4_K_M.gguf``."""
    word = rf"(?<![A-Za-z0-9]){re.escape(wanted)}(?![A-Za-z0-9_])"
    return re.search(word, path.rpartition(".")[0], re.IGNORECASE) is not None


def _listed(groups: list[list[str]], sizes: Mapping[str, int | None]) -> str:
    lines = []
    for group in groups[:_SHOWN]:
        known = [size for path in group if (size := sizes[path]) is not None]
        total = f"  {format_bytes(sum(known))}" if len(known) == len(group) else ""
        parts = f"  in {len(group)} parts" if len(group) > 1 else ""
        lines.append(f"  {group[0][:160]}{total}{parts}")
    more = len(groups) - _SHOWN
    return "\n".join([*lines, f"  and {more} more"] if more > 0 else lines)


def _safetensors(sizes: Mapping[str, int | None]) -> list[str]:
    found = [p for p in sorted(sizes) if p.lower().endswith(".safetensors") and "/" not in p]
    if INDEX in sizes:
        # Some repositories bring the same weights once more in one consolidated file.
        return [p for p in found if re.fullmatch(r"model-\d{5}-of-\d{5}\.safetensors", p)] or found
    return next(([whole] for whole in ("model.safetensors", PEFT_WEIGHTS) if whole in found), found)


def _onnx_or_refuse(sizes: Mapping[str, int | None], source: str) -> list[str]:
    found = [p for p in sorted(sizes) if p.lower().endswith(".onnx") and _parent(p) in (".", "onnx")]
    plain = [p for p in found if PurePosixPath(p).name == "model.onnx"]
    if len(plain) == 1 or len(found) == 1:
        return plain or found
    if found:
        raise InvalidError(
            "several-models",
            f"{source} holds {len(found)} ONNX models, expected a choice of one:\n"
            + _listed([[path] for path in found], sizes),
            hint="add the file name to the reference",
        )
    pickles = [path for path in sorted(sizes) if _PICKLES.fullmatch(path)]
    if pickles:
        raise RefusedError(
            "unsafe-format",
            f"{source} has its weights only in {pickles[0][:120]!r}: loading such a file can run code",
            hint="get the model as GGUF or safetensors",
        )
    raise InvalidError("no-weights", f"{source} holds no GGUF, safetensors or ONNX file")
