"""Writes a random Llama, 192 wide, the way models are published: ``python published_wide.py FOLDER``.

Run by the Python of the environment ``compress``; imports nothing of ours.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

_TEXT = "The cellar keeps what is yours, and the door has a lock; nobody had locked it since Tuesday. 0123456789"


def write(folder: Path) -> None:
    """Writes model and tokenizer into a folder that it makes."""
    torch.manual_seed(7)
    folder.mkdir(parents=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<pad>", "<s>", "</s>"]
    tokenizer.train_from_iterator(
        [_TEXT], trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, special_tokens=special)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    config = transformers.LlamaConfig(
        vocab_size=len(fast), hidden_size=192, intermediate_size=576, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=True,
        bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    made = transformers.LlamaForCausalLM(config)
    # So wide that what comes next depends on what was read, and on every block: with narrow blocks beside a wide table
    # a token expects itself, however they are rounded.
    for name, weights in made.named_parameters():
        if weights.ndim == 2:
            torch.nn.init.normal_(weights, 0.0, 0.15 if "embed_tokens" in name else 0.05)
    made.to(torch.bfloat16).save_pretrained(folder)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
