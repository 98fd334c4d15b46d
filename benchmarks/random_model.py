"""A Llama with random weights, as large as a small real one: `python -m benchmarks.random_model FILE`.

It says nothing sensible and takes as long for a token as a trained model of its shape, which is what a benchmark needs
of it. Seeded: everybody gets the same file.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np

_BYTE_TOKENS = 256
_SPECIAL = ("<unk>", "<s>", "</s>")
_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Shape:
    """Of a Llama; input and output embeddings are one tensor.

    Args:
        width: Of the embedding; values.
        blocks: Count.
        heads: Query heads; count.
        kv_heads: Key/value heads; count.
        feed_forward: Width of the feed-forward part; values.
        vocabulary: Tokens; count.
        context_tokens: That it says it was trained for.
    """

    width: int = 1024
    blocks: int = 16
    heads: int = 16
    kv_heads: int = 4
    feed_forward: int = 2816
    vocabulary: int = 32_000
    context_tokens: int = 4096

    @property
    def parameters(self) -> int:
        """Weights; count."""
        kv_width = self.width // self.heads * self.kv_heads
        attention = 2 * self.width * self.width + 2 * self.width * kv_width
        return self.vocabulary * self.width + self.blocks * (attention + 3 * self.width * self.feed_forward)


def write(path: Path, shape: Shape) -> None:
    """Writes the model in Q8_0; the file has its name only when it is whole.

    Args:
        path: Where to.
        shape: Of the model.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    writer = gguf.GGUFWriter(unfinished, "llama")
    _write_metadata(writer, shape)
    random = np.random.default_rng(20_261_120)
    kv_width = shape.width // shape.heads * shape.kv_heads

    def matrix(name: str, rows: int, columns: int) -> None:
        # The usual spread of a first initialisation, so that activations neither die nor explode.
        values = random.standard_normal((rows, columns), dtype=np.float32) * np.float32(columns**-0.5)
        data = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, data, raw_dtype=gguf.GGMLQuantizationType.Q8_0)

    def ones(name: str) -> None:
        writer.add_tensor(name, np.ones(shape.width, np.float32))

    matrix("token_embd.weight", shape.vocabulary, shape.width)
    ones("output_norm.weight")
    for index in range(shape.blocks):
        block = f"blk.{index}."
        ones(block + "attn_norm.weight")
        ones(block + "ffn_norm.weight")
        matrix(block + "attn_q.weight", shape.width, shape.width)
        matrix(block + "attn_k.weight", kv_width, shape.width)
        matrix(block + "attn_v.weight", kv_width, shape.width)
        matrix(block + "attn_output.weight", shape.width, shape.width)
        matrix(block + "ffn_gate.weight", shape.feed_forward, shape.width)
        matrix(block + "ffn_up.weight", shape.feed_forward, shape.width)
        matrix(block + "ffn_down.weight", shape.width, shape.feed_forward)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(path)


def _write_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    known = [*_SPECIAL, *(f"<0x{byte:02X}>" for byte in range(_BYTE_TOKENS)), "▁", *letters]
    tokens = [*known, *(f"▁w{number}" for number in range(shape.vocabulary - len(known)))]
    special, plain = len(_SPECIAL), len(tokens) - len(_SPECIAL) - _BYTE_TOKENS
    writer.add_name("random-llama")
    writer.add_license("apache-2.0")
    writer.add_context_length(shape.context_tokens)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.blocks)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.width // shape.heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * (special + _BYTE_TOKENS) + [-float(number) for number in range(plain)])
    writer.add_token_types([2, 3, 3] + [6] * _BYTE_TOKENS + [1] * plain)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(_TEMPLATE)


def main() -> None:
    """Reads the command line and writes the model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    write(parser.parse_args().file, Shape())


if __name__ == "__main__":
    main()
