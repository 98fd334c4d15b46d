"""How llama.cpp is told to cut text before it looks into a vocabulary of byte pairs.

The converter knows the published vocabularies by a fingerprint. One that somebody trained themselves it does not know,
although it nearly always cuts text the way a published one does. Then each known way is tried on texts of many scripts,
and one counts only where every text becomes the very token ids that the model's own tokenizer gives.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from undercroft.core.errors import InvalidError

# Ways that differ in what llama.cpp does, the most used first; other names are the same ways again.
CANDIDATES = (
    *("gpt-2", "llama-bpe", "qwen2", "tekken", "gpt-4o", "deepseek-v3", "deepseek-llm", "deepseek-coder"),
    *("chatglm-bpe", "command-r", "falcon", "falcon3", "starcoder", "smollm", "stablelm2", "olmo", "viking", "bloom"),
    *("exaone", "mpt", "default", "poro-chat"),
    *("gpt3-finnish", "kimi-k2", "superbpe", "seed-coder", "hunyuan", "llama4"),
)  # fmt: skip


def choose(expected: Sequence[Sequence[int]], split: Callable[[str], Sequence[Sequence[int]]]) -> str:
    """The first way that splits every text as the model's own tokenizer does.

    Args:
        expected: Token ids of each text, by the model's own tokenizer.
        split: Name of a way to token ids of each text; refused where llama.cpp does not load the vocabulary with it.

    Raises:
        InvalidError: ``unknown-tokenizer``: none does.
    """
    nearest, most = "", -1
    refused: InvalidError | None = None
    for name in CANDIDATES:
        try:
            found = split(name)
        except InvalidError as error:
            refused = error
            continue
        same = sum(list(one) == list(other) for one, other in zip(found, expected, strict=True))
        if same == len(expected):
            return name
        if same > most:
            nearest, most = name, same
    if not nearest and refused is not None:
        raise InvalidError(
            "unknown-tokenizer",
            f"llama.cpp loads this model's vocabulary in no way; of the last it said: {refused.message}",
            hint="it looks for special tokens of some architectures by their names, such as <unk> of Phi 3: add them",
        ) from refused
    raise InvalidError(
        "unknown-tokenizer",
        f"llama.cpp splits text in no way as this model's tokenizer does; nearest is {nearest!r} with "
        f"{most} of {len(expected)} texts the same",
        hint="use a tokenizer that cuts text as GPT-2, Llama 3 or Qwen do",
    )
