"""Embeds texts with somebody else's library, in the Python of its own environment; imports nothing of ours.

    python embed_peer.py sentence-transformers MODEL_FOLDER THREADS TEXTS
    python embed_peer.py onnxruntime MODEL_FOLDER THREADS TEXTS

TEXTS is a JSON list. For each line on stdin it embeds all of them and prints the seconds that took; for ``vectors`` it
prints the vectors, JSON, each of length 1. Both sort by length and fill batches of 32 up.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_BATCH = 32
_MOST_TOKENS = 256

Embed = Callable[[Sequence[str]], Any]


def sentence_transformers(folder: Path, threads: int) -> Embed:
    """The library that the model was published with."""
    import torch  # noqa: PLC0415  (only where it is asked for)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    torch.set_num_threads(threads)
    model = SentenceTransformer(str(folder), device="cpu")
    return lambda texts: model.encode(list(texts), batch_size=_BATCH, normalize_embeddings=True)


def bare_onnxruntime(folder: Path, threads: int) -> Embed:
    """The runtime with as little around it as can be: tokenizer, session, mean."""
    import onnxruntime  # noqa: PLC0415
    from tokenizers import Tokenizer  # noqa: PLC0415

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    (network,) = folder.rglob("*.onnx")
    session = onnxruntime.InferenceSession(str(network), options, providers=["CPUExecutionProvider"])
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(_MOST_TOKENS)
    tokenizer.enable_padding()
    names = [one.name for one in session.get_inputs()]

    def embed(texts: Sequence[str]) -> Any:
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        vectors = None
        for begin in range(0, len(order), _BATCH):
            chosen = order[begin : begin + _BATCH]
            split = tokenizer.encode_batch([texts[index] for index in chosen])
            fed = {
                "input_ids": np.array([one.ids for one in split], np.int64),
                "attention_mask": np.array([one.attention_mask for one in split], np.int64),
                "token_type_ids": np.array([one.type_ids for one in split], np.int64),
            }
            (hidden,) = session.run(None, {name: fed[name] for name in names})
            mask = fed["attention_mask"][:, :, None].astype(np.float32)
            mean = (hidden * mask).sum(1) / mask.sum(1)
            if vectors is None:
                vectors = np.empty((len(texts), mean.shape[1]), np.float32)
            vectors[chosen] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return vectors

    return embed


def main() -> None:
    """Reads the command line and answers line by line."""
    kind, folder, threads, texts_file = sys.argv[1:]
    texts = json.loads(Path(texts_file).read_text(encoding="utf-8"))
    make = {"sentence-transformers": sentence_transformers, "onnxruntime": bare_onnxruntime}[kind]
    embed = make(Path(folder), int(threads))
    embed(texts[:_BATCH])
    print("ready", flush=True)
    for line in sys.stdin:
        begun = time.perf_counter()
        vectors = embed(texts)
        seconds = time.perf_counter() - begun
        print(json.dumps(vectors.tolist() if line.strip() == "vectors" else seconds), flush=True)


if __name__ == "__main__":
    main()
