"""What a Triton repository of ours is known by: names of parameters and tensors. Data."""

from __future__ import annotations

from collections.abc import Mapping

# Key of the parameter of a model's settings in which ours say what they are.
NOTE = "undercroft"
# Inputs of an ensemble, each a text; and the output that counts their tokens.
TEXTS_OF_TASK: Mapping[str, tuple[str, ...]] = {
    "embed": ("TEXT",),
    "classify": ("TEXT",),
    "rerank": ("QUERY", "DOCUMENT"),
}
TOKENS = "TOKENS"
