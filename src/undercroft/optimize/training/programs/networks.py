"""Opens a model in torch, puts low-rank matrices beside its own, computes what it gives to tokens, and saves it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from undercroft.optimize.training.programs.packing import Batch, Sequences, lay_out

_FACTORS = "rope_factors.json"


class RefusedError(Exception):
    """The model cannot be opened so; the text says why."""


def open_network(folder: str, *, is_quantized: bool = False) -> Any:
    """A model of transformers in float32, or with its matrices in four bits.

    Args:
        folder: With ``config.json`` and safetensors.
        is_quantized: Matrices of blocks as NF4 with quantized scales, as QLoRA has them.

    Raises:
        RefusedError: A tensor is missing, or one too many.
    """
    how = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    # Nothing of the model's is run as code.
    network, found = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        trust_remote_code=False,
        attn_implementation="sdpa",
        output_loading_info=True,
        **({"quantization_config": how} if is_quantized else {}),
    )
    wrong = [f"{what}: {sorted(found[what])[:3]}" for what in ("missing_keys", "unexpected_keys") if found[what]]
    if wrong:
        raise RefusedError(f"its tensors are not those of its architecture; {'; '.join(wrong)}")
    factors = Path(folder) / _FACTORS
    if factors.exists():
        rotary = network.model.rotary_emb
        rotary.inv_freq /= torch.tensor(json.loads(factors.read_text(encoding="utf-8")), dtype=torch.float32)
    network.config.use_cache = False
    return network.train()


def with_lora(network: Any, lora: dict[str, Any], *, is_quantized: bool) -> Any:
    """The model with a pair of matrices beside each matrix of its blocks; only these learn."""
    from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training  # noqa: PLC0415  (slow, not for all)

    if is_quantized:
        network = prepare_model_for_kbit_training(network, use_gradient_checkpointing=False)
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout_ratio"],
        target_modules="all-linear",
        task_type="CAUSAL_LM",
    )
    return get_peft_model(network, config)


def logits(network: Any, batch: Batch) -> torch.Tensor:
    """What a model gives to the tokens that are judged.

    Args:
        network: With or without matrices of low rank.
        batch: Rows.

    Returns:
        Shape ``(judged, vocabulary)``.
    """
    inner = network.base_model.model if hasattr(network, "peft_config") else network
    hidden = inner.model(
        input_ids=torch.from_numpy(batch.tokens),
        attention_mask=torch.from_numpy(batch.mask()),
        position_ids=torch.from_numpy(batch.positions),
        use_cache=False,
    ).last_hidden_state
    chosen = hidden.reshape(-1, hidden.shape[-1])[torch.from_numpy(batch.places)]
    found: torch.Tensor = inner.lm_head(chosen).float()
    return found


def learnt(network: Any) -> dict[str, torch.Tensor]:
    """The weights that learn, by name."""
    return {name: one for name, one in network.named_parameters() if one.requires_grad}


def save(network: Any, folder: Path) -> None:
    """Writes the result: the whole weights, or the adapter as PEFT has it."""
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(network, "peft_config"):
        network.save_pretrained(folder, save_embedding_layers=False)
        return
    tied = bool(network.config.tie_word_embeddings)
    weights = {
        name: one.detach().float().contiguous()
        for name, one in network.state_dict().items()
        if not (tied and name == "lm_head.weight")
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def chosen_log_probabilities(found: torch.Tensor, targets: NDArray[np.int64]) -> torch.Tensor:
    """Natural logarithms of what is given to each target; shape ``(judged,)``."""
    return torch.log_softmax(found, -1).gather(1, torch.from_numpy(targets)[:, None])[:, 0]


def score(order: dict[str, Any]) -> list[list[float]]:
    """What a model, with its adapter where there is one, gives to the judged tokens of each sequence; nats."""
    torch.set_num_threads(order["threads"])
    network = open_network(order["model"])
    if order["adapter"] is not None:
        from peft import PeftModel  # noqa: PLC0415  (slow, not for all)

        network = PeftModel.from_pretrained(network, order["adapter"])
    network.eval()
    sequences = Sequences.load(order["sequences"])
    found = []
    with torch.inference_mode():
        for number in range(len(sequences.lengths)):
            batch = lay_out(sequences, [(number,)], int(sequences.lengths[number]))
            found.append(chosen_log_probabilities(logits(network, batch), batch.targets).tolist())
    return found
