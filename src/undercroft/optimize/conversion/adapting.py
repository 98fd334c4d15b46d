"""From PEFT's folder of a LoRA to one GGUF that was run beside its base and says the same."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from undercroft.core.errors import InvalidError
from undercroft.environments.installed import Environment
from undercroft.optimize.conversion.comparing import TOLERANCE_NATS, Agreement
from undercroft.optimize.conversion.converting import NEW_TOKENS, continuations_of
from undercroft.optimize.conversion.programs_run import run_program
from undercroft.optimize.conversion.sample_texts import PROMPTS
from undercroft.optimize.conversion.verifying import verify_generation
from undercroft.optimize.steps import Progress
from undercroft.registry.inspection.peft_adapter import uneven_scale
from undercroft.registry.selection import PEFT_CONFIG, PEFT_WEIGHTS

# F16 is none of them: large activations overflow in it, and llama.cpp then computes nothing that is a number.
AdapterType = Literal["f32", "bf16"]
ADAPTER_TYPES: tuple[AdapterType, ...] = ("f32", "bf16")


@dataclass(frozen=True, slots=True)
class AdapterOrder:
    """What is wanted.

    Args:
        adapter: Folder as PEFT writes it.
        base: Folder of the published model that it changes.
        model: GGUF of that model, which the result is tried beside.
        model_type: What the weights of ``model`` are kept in: a key of `TOLERANCE_NATS`.
        target: GGUF to write.
        weight_type: What the adapter's matrices are kept in.
        folder: For what is in between; the caller removes it.
        threads: Processors to use; count.
    """

    adapter: Path
    base: Path
    model: Path
    model_type: str
    target: Path
    weight_type: AdapterType
    folder: Path
    threads: int


def convert_adapter(order: AdapterOrder, environment: Environment, report: Callable[[Progress], None]) -> Agreement:
    """Converts with llama.cpp's own converter, and runs the result beside its base, against torch, before it counts.

    Args:
        order: What is wanted.
        environment: The installed ``convert``.
        report: Told what it does.

    Raises:
        InvalidError: ``not-the-same``, or llama.cpp cannot load it.
        UnavailableError: A program failed, or memory is short.
        OSError: The disk is full.
    """
    report(Progress(0, 0, "steps", "converting"))
    # The converter calls the result after the folder, in which it finds one number for the scale of all pairs.
    told = order.folder / order.adapter.name
    told.mkdir()
    settings = json.loads((order.adapter / PEFT_CONFIG).read_bytes())
    (told / PEFT_CONFIG).write_text(
        json.dumps({**settings, "lora_alpha": alpha_of(settings), "use_rslora": False}), encoding="utf-8"
    )
    (told / PEFT_WEIGHTS).symlink_to((order.adapter / PEFT_WEIGHTS).resolve())
    run_program(
        environment,
        "adapter_to_gguf",
        {
            "sources": str(environment.sources),
            "adapter": str(told),
            "base": str(order.base),
            "target": str(order.target),
            "type": order.weight_type,
        },
        folder=order.folder,
    )
    report(Progress(0, 0, "steps", "asking the source"))
    asked = {
        "model": str(order.base),
        "adapter": str(order.adapter),
        "task": "generate",
        "split_texts": (),
        "texts": PROMPTS,
        "new_tokens": NEW_TOKENS,
        "threads": order.threads,
    }
    reference = run_program(environment, "reference", asked, folder=order.folder)
    report(Progress(0, 0, "steps", "comparing with the source"))
    kept = max(order.model_type, order.weight_type, key=TOLERANCE_NATS.__getitem__)
    return verify_generation(order.model, PROMPTS, continuations_of(reference), kept, adapter=order.target)


def alpha_of(settings: Mapping[str, Any]) -> float:
    """The one number by which a GGUF says the scale of all pairs, which is this number by the rank of each. Pure.

    Args:
        settings: Parsed ``adapter_config.json``, inspected already.

    Raises:
        InvalidError: ``no-one-scale``: PEFT scales its pairs in a way that no one number says.
    """
    alpha, rank = float(settings["lora_alpha"]), int(settings["r"])
    is_stabilized = settings.get("use_rslora") is True
    odd = uneven_scale(settings)
    if odd == "alpha_pattern" or (odd == "rank_pattern" and is_stabilized):
        raise InvalidError(
            "no-one-scale",
            f"{PEFT_CONFIG} says {odd}: layers of different scales, where a GGUF adapter has one alpha for all",
            hint="merge it into its base (PEFT's merge_and_unload) and convert the whole model",
        )
    return alpha * math.sqrt(rank) if is_stabilized else alpha
