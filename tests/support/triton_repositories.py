"""Small Triton repositories: settings as Undercroft renders them, networks of a few bytes."""

from __future__ import annotations

from pathlib import Path

from tests.support import raw_onnx
from undercroft.engines.encoder.folder import Encoder
from undercroft.optimize.triton.configs import NetworkRuntime, Ordered, configs
from undercroft.registry.inspection.onnx_signature import NetworkTensor, Signature
from undercroft.registry.triton.text_format import render

INT64, FLOAT = 7, 1
ENCODERS = {
    "embed": Encoder("embed", 100, "mean", True),
    "rerank": Encoder("rerank", 100, labels=("LABEL_0",), activation="sigmoid"),
    "classify": Encoder("classify", 100, labels=("bad", 'the "good"'), activation="softmax"),
}
SIGNATURE = Signature(
    tuple(NetworkTensor(name, "int64", ("n", "t")) for name in ("input_ids", "attention_mask", "token_type_ids")),
    (NetworkTensor("last_hidden_state", "float32", ("n", "t", 8)),),
)
LOGITS = {task: Signature(SIGNATURE.inputs, (NetworkTensor("logits", "float32", ("n", width)),))
          for task, width in (("rerank", 1), ("classify", 2))}  # fmt: skip


def ordered(task: str = "embed", runtime: NetworkRuntime = "onnxruntime") -> Ordered:
    """What a repository of a task is to be."""
    return Ordered("mini", ENCODERS[task], LOGITS.get(task, SIGNATURE), runtime, "f32")


def write(folder: Path, task: str = "embed", runtime: NetworkRuntime = "onnxruntime") -> dict[str, Path]:
    """A repository as the registry keeps it; its files by their paths."""
    for name, config in configs(ordered(task, runtime)).items():
        (folder / name).mkdir(parents=True)
        (folder / name / "config.pbtxt").write_text(render(config), encoding="utf-8")
    (folder / "mini_network" / "1").mkdir()
    (folder / "mini_network" / "1" / "model.onnx").write_bytes(raw_onnx.model(raw_onnx.tensor("weights", (8, 8))))
    (folder / "mini_tokenizer" / "1").mkdir()
    (folder / "mini_tokenizer" / "1" / "tokenizer.json").write_text('{"model": {}}', encoding="utf-8")
    (folder / "config.json").write_text('{"architectures": ["BertModel"], "num_hidden_layers": 3}', encoding="utf-8")
    if runtime == "tensorrt":
        (folder / "mini_network" / "1" / "trtexec.options").write_text("--onnx=model.onnx\n--fp16\n", encoding="utf-8")
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def value(tag: int, name: str, element: int, *sizes: int | str) -> bytes:
    """An input (tag 11) or output (tag 12) of an ONNX graph."""
    shape = [
        raw_onnx.message(1, raw_onnx.number(1, size) if isinstance(size, int) else raw_onnx.message(2, size.encode()))
        for size in sizes
    ]
    kind = raw_onnx.message(1, raw_onnx.number(1, element), raw_onnx.message(2, *shape))
    return raw_onnx.message(tag, raw_onnx.message(1, name.encode()), raw_onnx.message(2, kind))
