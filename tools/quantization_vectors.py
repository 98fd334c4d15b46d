"""Writes what llama.cpp's own quantizer makes of our random models into ``tests/vectors/quantization``.

python -m tools.quantization_vectors

Needs ``g++`` and the package index, which those who run the tests need not have: `benchmarks.llama_quantize`. To be run
again when the engine's package moves on; what changes then is what the quantizer has to follow.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.llama_quantize import need_library
from tests.support.quantization_cases import CASES, MATRIX, NETWORKS, sources
from tests.support.random_networks import random_importance

from undercroft.optimize.quantization.importance import write_importance
from undercroft.registry.inspection.gguf import read_gguf

ROOT = Path(__file__).parent.parent
INTO = ROOT / "tests" / "vectors" / "quantization" / "reference.json.gz"


def reference(model: Path, scheme: str, matrix: Path | None, result: Path) -> bool:
    """Has llama.cpp quantize a model, in the model's folder; False where it refuses."""
    need_library()
    options = ["--allow-requantize", *(["--imatrix", matrix.name] if matrix else [])]
    words = [*options, str(model), str(result), scheme, "1"]
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from benchmarks.llama_quantize import main; main()"
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, cwd=model.parent, capture_output=True, check=False).returncode == 0


def make(folder: Path) -> dict[str, dict[str, object]]:
    """All vectors: ``MODEL/SCHEME`` or ``MODEL/SCHEME+matrix`` → types of the tensors and digest of the file."""
    made: dict[str, dict[str, object]] = {}
    for name in NETWORKS:
        (folder / name).mkdir()
        model = sources(folder / name, name)
        matrix = folder / name / MATRIX
        write_importance(matrix, random_importance(NETWORKS[name]))
        for scheme, has_matrix in CASES[name]:
            result = folder / name / "result.gguf"
            key = f"{name}/{scheme}{'+matrix' if has_matrix else ''}"
            if not reference(model, scheme, matrix if has_matrix else None, result):
                made[key] = {"refused": True}
                continue
            tensors = read_gguf(result, key, with_tokens=False).tensors
            digest = hashlib.sha256(result.read_bytes()).hexdigest()
            made[key] = {"types": {t.name: t.kind.name for t in tensors}, "sha256": digest}
            result.unlink()
        print(name, len(CASES[name]), flush=True)
    return made


def main() -> None:
    """Makes them and writes them."""
    with tempfile.TemporaryDirectory() as work:
        content = json.dumps(make(Path(work)), sort_keys=True).encode()
    INTO.parent.mkdir(exist_ok=True)
    INTO.write_bytes(gzip.compress(content, mtime=0))
    print(INTO, INTO.stat().st_size)


if __name__ == "__main__":
    main()
