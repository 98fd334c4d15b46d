"""llama.cpp's converter, with a pre-tokenizer named from outside where it knows none for the model's vocabulary.

Order on stdin, JSON: ``sources`` (folder of the converter), ``model`` (folder), ``target`` (file), ``type``, ``name``,
``pre_tokenizer`` (or null), ``is_vocabulary_only``. The last line on stdout is JSON: ``outcome`` (``done``,
``unsupported``, ``unknown-pre-tokenizer``), ``detail``, ``pre_tokenizer``. Anything else is a failure, told on stderr.
"""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any


class _UnknownPreTokenizerError(Exception):
    """The converter has no name for how this vocabulary splits text, and none was given."""


def main() -> None:
    """Converts what stdin orders."""
    order: dict[str, Any] = json.load(sys.stdin)
    sources: str = order["sources"]
    sys.path[:0] = [sources, f"{sources}/gguf-py"]
    import conversion  # noqa: PLC0415  (found only now)
    from conversion import base  # noqa: PLC0415

    if (architecture := _unsupported(order["model"], conversion, base)) is not None:
        known = sorted(conversion.TEXT_MODEL_MAP)
        _say(outcome="unsupported", detail={"architecture": architecture, "known": known})
        return
    found: list[str] = []
    known_name = base.TextModel.get_vocab_base_pre

    def pre_tokenizer(model: Any, tokenizer: Any) -> str:
        try:
            name: str = known_name(model, tokenizer)
        except NotImplementedError:
            if order["pre_tokenizer"] is None:
                raise _UnknownPreTokenizerError from None
            name = order["pre_tokenizer"]
        found.append(name)
        return name

    base.TextModel.get_vocab_base_pre = pre_tokenizer
    arguments = [order["model"], "--outfile", order["target"], "--outtype", order["type"]]
    arguments += ["--model-name", order["name"]]
    sys.argv = ["convert_hf_to_gguf.py", *arguments, *(["--vocab-only"] if order["is_vocabulary_only"] else [])]
    try:
        runpy.run_path(f"{sources}/convert_hf_to_gguf.py", run_name="__main__")
    except _UnknownPreTokenizerError:
        _say(outcome="unknown-pre-tokenizer", detail=None)
        return
    _say(outcome="done", detail=None, pre_tokenizer=found[-1] if found else None)


def _unsupported(model: str, conversion: Any, base: Any) -> str | None:
    """The architecture where the converter does not know it, else None."""
    parameters = base.ModelBase.load_hparams(Path(model), False)
    architecture: str = base.get_model_architecture(parameters, base.ModelType.TEXT)
    return None if architecture in conversion.TEXT_MODEL_MAP else architecture


def _say(**said: Any) -> None:
    print(json.dumps({"pre_tokenizer": None, **said}), flush=True)


if __name__ == "__main__":
    main()
