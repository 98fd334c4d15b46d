"""Whether the files of a LoRA are what vLLM can load as PEFT writes them, and whether they fit a base model.

vLLM refuses some of what PEFT can do when a request comes, and computes something else for the rest of it; here each is
a sentence before an engine is started.

Source: ``vllm/lora/peft_helper.py``, ``lora_model.py`` and ``utils.py``, 0.32; PEFT's ``tuners/lora/config.py``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from undercroft.core.errors import InvalidError
from undercroft.registry.facts import AdapterFacts, ModelFacts
from undercroft.registry.inspection.hugging_face import stored_facts
from undercroft.registry.inspection.safetensors import StoredTensor
from undercroft.registry.selection import PEFT_CONFIG, PEFT_WEIGHTS

RANK_LIMIT = 512
_PAIRED = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<part>[AB])\.weight")
_TAIL = re.compile(r"(?:.*\.)?(?P<tail>(?:layers|h|blocks)\.\d+\..+)")
_DTYPES = ("F32", "BF16", "F16")
_NAME_LIMIT = 200
_MERGE = "merge it into its base (PEFT's merge_and_unload) and pull the whole model"
# Beginnings that only set the first numbers; PEFT's others change the base, too, which is not served here.
_PLAIN_BEGINNINGS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# What PEFT can do beside a plain LoRA: setting → what it is; there and true, it is refused.
_UNUSUAL = {
    "use_dora": "a DoRA, which changes lengths of rows besides",
    "use_qalora": "a QA-LoRA, which pools its inputs",
    "use_bdlora": "a block-diagonal LoRA",
    "modules_to_save": "whole layers that were trained beside it",
    "trainable_token_indices": "rows of the token table that were trained beside it",
    "target_parameters": "changes of tensors that are no layers of their own",
    "layer_replication": "layers of the base that it uses several times",
    "alora_invocation_tokens": "an activated LoRA, which begins in the middle of a prompt",
    "lora_bias": "biases",
}


@dataclass(frozen=True, slots=True)
class PeftPair:
    """The two matrices that change one of the base's.

    Args:
        a: Shape of ``lora_A``: rank, columns.
        b: Shape of ``lora_B``: rows, rank.
    """

    a: tuple[int, ...]
    b: tuple[int, ...]


# Rows and columns of a matrix; None where a packed one does not say.
Matrix = tuple[int | None, int | None]


def inspect_peft(config: Any, tensors: Sequence[StoredTensor]) -> ModelFacts:
    """Checks that a folder is a LoRA, and reads its facts.

    Args:
        config: Parsed ``adapter_config.json``; None where there is none.
        tensors: Of ``adapter_model.safetensors``.

    Raises:
        InvalidError: ``bad-adapter``.
    """
    if not isinstance(config, dict):
        _fail(PEFT_WEIGHTS, f"it needs {PEFT_CONFIG} beside it, which says how it was trained", hint="pull the folder")
    kind = config.get("peft_type")
    if kind != "LORA":
        _fail(PEFT_CONFIG, f"it is an adapter of the type {str(kind)[:40]!r}, expected 'LORA'", hint=_MERGE)
    for setting, what in _UNUSUAL.items():
        if config.get(setting):
            _fail(PEFT_CONFIG, f"it says {setting}: {what}; expected a plain LoRA", hint=_MERGE)
    if config.get("bias") not in (None, "none"):
        _fail(PEFT_CONFIG, f"it changes biases ({str(config['bias'])[:40]!r}), expected bias 'none'", hint=_MERGE)
    beginning = config.get("init_lora_weights")
    if isinstance(beginning, str) and beginning.lower() not in _PLAIN_BEGINNINGS:
        problem = f"it began as {beginning[:40]!r}, which changes the base, too; expected a plain LoRA"
        _fail(PEFT_CONFIG, problem, hint="save it anew with PEFT's path_initial_model_for_weight_conversion")
    if not isinstance(config.get("target_modules"), (str, list)):
        _fail(PEFT_CONFIG, "it does not say its 'target_modules'")
    ranks, alpha = _ranks(config), _alpha(config)
    pairs = peft_pairs(tensors)
    for module, pair in pairs.items():
        if pair.a[0] not in ranks:
            said = " or ".join(f"{rank:,}" for rank in ranks)
            _fail(PEFT_WEIGHTS, f"layer {module[:120]!r} has the rank {pair.a[0]:,}, {PEFT_CONFIG} says {said}")
    return replace(
        stored_facts(tensors),
        base_models=_base_models(config),
        adapter=AdapterFacts(
            rank=max(ranks),
            alpha=alpha,
            changes=_changed(pairs),
            changed_tensors=len(pairs),
            has_half_precision=any(tensor.dtype == "F16" for tensor in tensors),
            is_rank_stabilized=config.get("use_rslora") is True,
        ),
    )


def peft_pairs(tensors: Iterable[StoredTensor]) -> dict[str, PeftPair]:
    """The layers of the base that an adapter changes, by name, each with its pair.

    Raises:
        InvalidError: ``bad-adapter``: it has half of a pair, matrices that do not multiply, or something else.
    """
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    for tensor in tensors:
        match = _PAIRED.fullmatch(tensor.name)
        if match is None:
            problem = f"it has the tensor {tensor.name[:120]!r}, expected pairs lora_A and lora_B of layers"
            _fail(PEFT_WEIGHTS, problem, hint=_MERGE)
        if tensor.dtype not in _DTYPES:
            _fail(PEFT_WEIGHTS, f"tensor {tensor.name[:120]!r} is {tensor.dtype}, expected {', '.join(_DTYPES)}")
        found.setdefault(match["module"], {})[match["part"]] = tensor.shape
    pairs = {}
    for module, parts in found.items():
        if len(parts) != 2:
            _fail(PEFT_WEIGHTS, f"layer {module[:120]!r} has only one of lora_A and lora_B")
        pair = PeftPair(parts["A"], parts["B"])
        if len(pair.a) != 2 or len(pair.b) != 2 or pair.a[0] != pair.b[1] or 0 in (*pair.a, *pair.b):
            shown = f"lora_A {_shown(pair.a)} and lora_B {_shown(pair.b)}"
            _fail(PEFT_WEIGHTS, f"layer {module[:120]!r} has {shown}, which do not multiply")
        pairs[module] = pair
    return pairs


def uneven_scale(config: Mapping[str, Any]) -> str | None:
    """The setting by which layers of an adapter are scaled differently; None where all are scaled by one number. Pure.

    Args:
        config: Parsed ``adapter_config.json``, inspected already.
    """
    for setting, usual in (("alpha_pattern", config["lora_alpha"]), ("rank_pattern", config["r"])):
        pattern = config.get(setting) or {}
        if not isinstance(pattern, dict) or any(value != usual for value in pattern.values()):
            return setting
    return None


def matrices_of(tensors: Iterable[StoredTensor]) -> dict[str, Matrix]:
    """The layers of a published model that an adapter can change, with what is said of their sizes.

    Args:
        tensors: Of all files of its weights.
    """
    found: dict[str, Matrix] = {}
    for tensor in tensors:
        module, _, part = tensor.name.rpartition(".")
        if len(tensor.shape) != 2:
            continue
        if part == "weight":
            found[module] = (tensor.shape[0], tensor.shape[1])
        elif part == "weight_packed":  # several numbers of a row in one
            found[module] = (tensor.shape[0], None)
        elif part == "qweight":  # GPTQ packs columns and AWQ rows
            found[module] = (None, None)
    return found


def find_peft_misfit(pairs: Mapping[str, PeftPair], base: Mapping[str, Matrix]) -> str | None:
    """Why an adapter cannot belong to a base; None where it can. Pure.

    Models that see or hear keep the language model's layers under another prefix in their files than in the program
    that trained the adapter, so that a layer is also found by what follows the prefix.

    Args:
        pairs: What the adapter changes.
        base: Layers of the base, as `matrices_of` gives them.
    """
    by_tail: dict[str, list[Matrix]] = {}
    for module, matrix in base.items():
        by_tail.setdefault(_tail(module), []).append(matrix)
    for module, pair in pairs.items():
        known = [base[module]] if module in base else by_tail.get(_tail(module), [])
        if not known:
            return f"it changes the layer {module[:120]!r}, which this model does not have"
        changed = (pair.b[0], pair.a[1])
        if not any(_agrees(changed, matrix) for matrix in known):
            return f"it changes the layer {module[:120]!r} as {_shown(changed)}, this model has it as {_said(known[0])}"
    return None


def _tail(module: str) -> str:
    match = _TAIL.fullmatch(module)
    return match["tail"] if match else module


def _agrees(changed: tuple[int, int], matrix: Matrix) -> bool:
    return all(size in (None, wanted) for wanted, size in zip(changed, matrix, strict=True))


def _ranks(config: Mapping[str, Any]) -> list[int]:
    """The usual one first, then those of ``rank_pattern``."""
    pattern = config.get("rank_pattern") or {}
    found = [config.get("r"), *(pattern.values() if isinstance(pattern, dict) else [pattern])]
    for rank in found:
        if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= RANK_LIMIT:
            _fail(PEFT_CONFIG, f"it says a rank of {str(rank)[:40]}, expected 1 to {RANK_LIMIT}, as vLLM takes it")
    return [rank for rank in found if isinstance(rank, int)]


def _alpha(config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, (int, float)) or isinstance(alpha, bool) or not math.isfinite(alpha) or alpha <= 0:
        _fail(PEFT_CONFIG, f"its 'lora_alpha' is {str(alpha)[:40]}, expected a number above 0")
    return float(alpha)


def _base_models(config: Mapping[str, Any]) -> tuple[str, ...]:
    name = config.get("base_model_name_or_path")
    return (name[:_NAME_LIMIT],) if isinstance(name, str) and name and name.isprintable() else ()


def _changed(pairs: Iterable[str]) -> tuple[str, ...]:
    """Kinds of layers: ``q_proj``, ``down_proj``; most often changed first."""
    counted = Counter(module.rpartition(".")[2] for module in pairs)
    return tuple(sorted(counted, key=lambda kind: (-counted[kind], kind)))


def _shown(shape: Sequence[int]) -> str:
    return " × ".join(f"{size:,}" for size in shape)


def _said(matrix: Matrix) -> str:
    return " × ".join("?" if size is None else f"{size:,}" for size in matrix)


def _fail(name: str, problem: str, *, hint: str = "get the folder again from where it came") -> NoReturn:
    raise InvalidError("bad-adapter", f"{name!r} is not of a LoRA that can be served: {problem}", hint=hint)
